"""The module a clinician opens in 3D Slicer: a CT in, the model's contour out, beside the experts'.

The file puts things together and is thin: the sections of the panel are in ``CMEDLSegmentPanel``, the work is in
``CMEDLSegmentLib``, where ``scene`` makes nodes and ``jobs`` runs the network in a process of its own. Logic is the
face for scripts and needs no window. Nothing is imported here that Slicer does not bundle.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.inference.options import AUTO, THRESHOLD, TUMOR, Click, SegmentationOptions
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.process.client import WorkerClient
from CMEDLSegmentLib.process.protocol import Outcome
from CMEDLSegmentPanel import dependencies, interpreter, requirements, samples
from CMEDLSegmentPanel.agreement_section import AgreementSection
from CMEDLSegmentPanel.batch_section import BatchSection
from CMEDLSegmentPanel.candidates_section import CandidatesSection
from CMEDLSegmentPanel.click_section import ClickSection
from CMEDLSegmentPanel.experts_section import ExpertsSection
from CMEDLSegmentPanel.export_section import ExportSection
from CMEDLSegmentPanel.input_section import InputSection
from CMEDLSegmentPanel.panel import Panel
from CMEDLSegmentPanel.result_section import ResultSection
from CMEDLSegmentPanel.review_section import ReviewSection
from CMEDLSegmentPanel.run_section import RunSection
from CMEDLSegmentPanel.runner import RunCallbacks, SegmentationRunner
from CMEDLSegmentPanel.scene import clicked_tumors, layouts, lesion_candidates, result_nodes, volume_nodes
from CMEDLSegmentPanel.scene.clicked_tumors import ClickedTumors

OLD_MODEL = "student"
"""What the parameter ``model`` was called in scenes saved before."""


class CMEDLSegment(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.parent.title = _("CMEDL Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["CMEDL contributors"]
        self.parent.helpText = _(
            "Segments lung tumors on CT with a network, which needs nothing but the CT; how a model was "
            "trained, with the help of MRI or without, is in its model card (Details). Choose a CT and a model and "
            "press Segment tumor; likely lesion candidates are ticked, others can be unfolded. What it missed is "
            "added by one click: press Add a tumor and click into it. Compare with experts shows their contours in "
            "Overlay or Side by side, measures everybody against everybody, finds the worst slices, makes a consensus "
            "and writes a report; Blinded review has the contours scored without names. Correct and "
            "export opens the Segment Editor and writes RTSTRUCT, DICOM SEG or a training case. Try it with the "
            "phantom in Sample Data, category CMEDL. Research use, not a medical device."
        )
        self.parent.acknowledgementText = _(
            'The method: J. Jiang, A. Rimner, J. O. Deasy, H. Veeraraghavan, "Unpaired cross-modality educed '
            'distillation (CMEDL) for medical image segmentation", IEEE Transactions on Medical Imaging, 2022. '
            "Please cite it when you use this module. What a model was trained on, with its license and "
            "attribution, is in the model's card."
        )
        # Sample Data may be loaded later than this module, and the views are made after all modules.
        slicer.app.connect("startupCompleted()", samples.register)
        slicer.app.connect("startupCompleted()", layouts.describe_all)
        slicer.app.connect("startupCompleted()", dependencies.openAgain)


@cache
def parameterNodeClass() -> type:
    """The class of the scene's typed parameters.

    It is made at its first use: while Slicer reads this file the class of segmentation nodes may not be there yet.
    """

    @parameterNodeWrapper
    class CMEDLSegmentParameterNode:
        """What the panel remembers in the scene.

        ct - the CT volume to segment
        model - the name of the model
        device - where the network runs: "auto", "cpu", "cuda:0", ...
        ownThreshold - whether ``threshold`` is used instead of the model's own
        threshold - probability from which a voxel is tumor
        allSlices - whether slices without lung are looked at too
        minimumCc - components below this volume (cc) are dropped
        probability - whether the probability is kept, for a live threshold
        result - the segmentation that the panel shows
        layout - "overlay", "side-by-side", or empty for the layout that the user has
        outlineWidth - width of the contours, pixels
        fill - opacity of the inside of the contours
        structure - whose contours are compared: those of this structure; empty for what most experts mark
        tolerance - of the surface DSC, mm
        measure - what the matrix shows
        """

        ct: vtkMRMLScalarVolumeNode
        model: str = registry.DEFAULT
        device: str = "auto"
        ownThreshold: bool = False
        threshold: Annotated[float, WithinRange(0.01, 0.99)] = 0.5
        allSlices: bool = False
        minimumCc: Annotated[float, WithinRange(0.0, 1000.0)] = 0.0
        probability: bool = False
        result: slicer.vtkMRMLSegmentationNode
        layout: str = ""
        outlineWidth: Annotated[float, WithinRange(1.0, 8.0)] = 2.0
        fill: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
        structure: str = ""
        tolerance: Annotated[float, WithinRange(0.1, 20.0)] = 2.0
        measure: str = "dsc"

    return CMEDLSegmentParameterNode


class CMEDLSegmentWidget(Panel):
    """The panel: it owns the sections and gives them the scene's parameter node while the module is open."""

    @property
    def Parameters(self) -> type:
        """The class of the scene's typed parameters."""
        return parameterNodeClass()

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        super().setup()
        lesion_candidates.prepare()
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/CMEDLSegment.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CMEDLSegmentLogic()
        self.input, self.run, self.result = InputSection(self), RunSection(self), ResultSection(self)
        self.candidates, self.click = CandidatesSection(self), ClickSection(self)
        self.experts, self.handOn = ExpertsSection(self), ExportSection(self)
        self.agreement, self.review = AgreementSection(self), ReviewSection(self)
        compared = [self.experts, self.agreement, self.review]
        self.batch = BatchSection(self)
        found = [self.result, self.candidates, self.click]
        self.open([self.input, self.run, *found, *compared, self.handOn, self.batch])

    def cleanup(self) -> None:
        """Called when the module is unloaded or Slicer ends: a run is dropped, the worker ends."""
        super().cleanup()
        if self.logic:
            self.logic.close()

    def enter(self) -> None:
        """Called each time the module is opened."""
        self.logic.readModels()
        self.input.fillModels()
        super().enter()

    def onSceneEndImport(self, caller, event) -> None:
        """A scene was read, and its parameter node with it: bring back what it was saved with."""
        super().onSceneEndImport(caller, event)
        if self.parent.isEntered:
            self.experts.restoreLayout()

    def bind(self) -> None:
        """Show the scene's parameter node and follow its changes; propose what is looked at."""
        super().bind()
        if not self.parameters.ct:
            self.parameters.ct = volume_nodes.proposed_volume()

    def showNewResult(self, result: "slicer.vtkMRMLSegmentationNode") -> None:
        """Make a new result the one that the panel shows, also while another module is open."""
        parameters = self.parameters or self.logic.getParameterNode()
        parameters.result = result
        volume, card = result_nodes.volume_of_result(result), self.logic.card(parameters.model)
        if volume and card and card.slices == "lung":
            volume_nodes.propose_lung_window(volume)
        if self.parameters:
            self.experts.showNewResult(result)


class CMEDLSegmentLogic(ScriptedLoadableModuleLogic):
    """The module's face for scripts: :meth:`segment` makes a segmentation of a volume."""

    def __init__(self) -> None:
        super().__init__()
        self._runner: SegmentationRunner | None = None
        self._models: list[registry.Entry] = []
        self._clicked: dict[str, ClickedTumors] = {}
        self.readModels()
        self._inputChecks: tuple[tuple | None, list[volume_nodes.InputCheck]] = (None, [])

    def parameterNode(self):
        """The scene's parameter node as it is in the scene."""
        return super().getParameterNode()

    def getParameterNode(self):
        """The scene's parameter node with typed parameters, see :func:`parameterNodeClass`."""
        node = self.parameterNode()
        if node.HasParameter(OLD_MODEL) and not node.HasParameter("model"):
            node.SetParameter("model", node.GetParameter(OLD_MODEL))
        return parameterNodeClass()(node)

    def readModels(self) -> None:
        """Look anew which models there are: bundled ones and those that the user installed."""
        self._models = [entry for entry in registry.list_models() if entry.current and entry.card]

    def models(self) -> list[registry.Entry]:
        """The models that can be used."""
        return self._models

    def card(self, model: str) -> Card | None:
        """The card of a model, or None if there is no such model."""
        return next((entry.card for entry in self._models if entry.name == model), None)

    def inputChecks(self, ct: vtkMRMLScalarVolumeNode | None, model: str) -> list[volume_nodes.InputCheck]:
        """What is missing or doubtful about the input; looked at anew only when the CT or the model changed."""
        parts = [ct, ct.GetImageData(), ct.GetParentTransformNode()] if ct else []
        state = (model, ct and ct.GetID(), *(part and part.GetMTime() for part in parts))
        if self._inputChecks[0] != state:
            self._inputChecks = (state, volume_nodes.input_checks(ct, self.card(model)))
        return self._inputChecks[1]

    def blockingReason(self, ct: vtkMRMLScalarVolumeNode | None, model: str) -> str:
        """Why a run cannot start now and what to do about it; empty when it can."""
        if self.busy:
            return _("A segmentation is running; wait for its end or cancel it.")
        card = self.card(model)
        if card is not None and card.prompt is not None:
            return _("This model contours what is clicked; press Add a tumor and click into it.")
        return self.clickBlockingReason(ct, model)

    def clickBlockingReason(self, ct: vtkMRMLScalarVolumeNode | None, model: str) -> str:
        """Why no tumor can be clicked in this CT and what to do about it; empty when one can."""
        if self.card(model) is None:
            return _("Choose a model.")
        return next((check.text for check in self.inputChecks(ct, model) if check.blocks), "")

    def clickModel(self, model: str) -> str | None:
        """Who answers clicks beside a model: one that reads clicks, its images and its label; None: its probability."""
        card = self.card(model)
        if card is None or card.prompt is not None:
            return None if card is None else model
        answering = registry.click_reader(self._models, card)
        return answering.name if answering else None

    def segment(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        model: str | None = None,
        device: str = "auto",
        threshold: float | None = None,
        allSlices: bool = False,
        minimumCc: float = 0.0,
        probability: bool = False,
        clicks: Sequence[Click] = (),
        progress: Callable[[str, float, float, float | None], None] | None = None,
        log: Callable[[str], None] | None = None,
        finished: Callable[["slicer.vtkMRMLSegmentationNode"], None] | None = None,
        failed: Callable[[str], None] | None = None,
    ) -> "slicer.vtkMRMLSegmentationNode | None":
        """Segment a volume into a new segmentation node; the volume is not changed.

        The work is done in a worker process, which stays for the next call and ends some minutes after the last one.
        Packages that are missing are not installed here: that needs a person to agree.

        Args:
            volumeNode: the CT, in HU.
            model: a model's name or file; None is the bundled default.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            threshold: probability from which a voxel is tumor; None is the model's own.
            allSlices: look at every slice, also those without lung.
            minimumCc: components below this volume (cc) are dropped.
            probability: also add the probability as a volume; see ``scene.result_nodes.rethreshold``.
            clicks: tumors that a person pointed at, for the new segmentation; see :meth:`addTumor` for one that is
                there. Their points are LPS in the world, mm.
            progress: called with the stage, the fraction done, seconds elapsed and seconds left (None: unknown).
            log: called with each line that the worker prints.
            finished: called with the segmentation node. With ``finished`` or ``failed`` the call returns at once.
            failed: called with a sentence that says what is wrong and what to do; also after :meth:`cancel`.

        Returns:
            The segmentation node; None when ``finished`` or ``failed`` is given.

        Raises:
            CMEDLError: the input is no CT that the model reads, a run is under way, or (without ``finished`` and
                ``failed``) the run failed. The message says what to do.
        """
        model = model or registry.DEFAULT
        self._checkInstalled()
        volume = volume_nodes.volume_of(volumeNode)
        options = SegmentationOptions(model, device, threshold, allSlices, minimumCc, tuple(clicks))
        callbacks = RunCallbacks(progress, log, finished, failed)
        if finished or failed:
            self.runner.start(volumeNode, volume, options, probability, callbacks)
            return None
        return self.runner.run(volumeNode, volume, options, probability, callbacks)

    def addTumor(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        point: Sequence[float],
        action: str = TUMOR,
        result: "slicer.vtkMRMLSegmentationNode | None" = None,
        model: str | None = None,
        device: str = "auto",
        allSlices: bool = False,
        progress: Callable[[str, float, float, float | None], None] | None = None,
        log: Callable[[str], None] | None = None,
        finished: Callable[["slicer.vtkMRMLSegmentationNode"], None] | None = None,
        failed: Callable[[str], None] | None = None,
    ) -> "slicer.vtkMRMLSegmentationNode | None":
        """Add the tumor at a place to a result, or mend the one that was added last; :meth:`undoClick` takes it back.

        Candidates of the model's that overlap the tumor are replaced by it.

        Args:
            volumeNode: the CT, in HU.
            point: a place in the tumor: RAS in the world, mm.
            action: ``tumor``; or, of the tumor that was added last, ``add`` or ``cut`` what is at the point, or
                ``end``: it goes no further than the point's slice.
            result: a result of ours on this CT; None is its latest one, and where there is none a new one is made.
            model: a model that finds tumors by itself; None is the bundled default. A model that reads clicks, its
                images and its label answers; where there is none, the model's own probability around the place does.
            device, progress, log, finished, failed: as of :meth:`segment`.
            allSlices: where the model's own probability answers, also on slices without lung.

        Returns:
            The result; None when ``finished`` or ``failed`` is given.

        Raises:
            CMEDLError: as :meth:`segment`; or the place is outside of the CT, there is no tumor to mend, it was edited
                by hand since, or nothing is seen at the place. Nothing is changed then.
        """
        model = model or registry.DEFAULT
        self._checkInstalled()
        volume = volume_nodes.volume_of(volumeNode)
        click = clicked_tumors.click_at(volume, point, action)
        given, result = result, clicked_tumors.result_of(volumeNode, result)
        if given is not None and given is not result:
            raise InputError(
                _("'{name}' is no result of CMEDL on this CT; choose one that is.").format(name=given.GetName())
            )
        clicks: tuple[Click, ...] = (click,)
        if action != TUMOR:
            tumors = self.clickedTumors(result)
            if tumors is None:
                raise InputError(_("No tumor was clicked in this session; click the tumor first."))
            tumors.check_mendable()
            clicks = (*tumors.clicks(), click)
        answering = self.clickModel(model)
        options = SegmentationOptions(
            model=answering or model,
            device=device,
            all_slices=allSlices,
            clicks=clicks,
            click_model=AUTO if answering else THRESHOLD,
        )

        def add(volumeNode: vtkMRMLScalarVolumeNode, outcome: Outcome) -> "slicer.vtkMRMLSegmentationNode":
            return self._addClicked(volumeNode, result, outcome, options)

        callbacks = RunCallbacks(progress, log, finished, failed)
        if finished or failed:
            self.runner.start(volumeNode, volume, options, False, callbacks, add)
            return None
        return self.runner.run(volumeNode, volume, options, False, callbacks, add)

    def clickedTumors(self, result: "slicer.vtkMRMLSegmentationNode | None") -> ClickedTumors | None:
        """The clicked tumors of a result that can be mended or taken back: those of this session; None without any."""
        self._clicked = {key: tumors for key, tumors in self._clicked.items() if tumors.present}
        tumors = self._clicked.get(result.GetID()) if result else None
        return tumors if tumors and tumors.node is result and tumors.undoable else None

    def undoClick(self, result: "slicer.vtkMRMLSegmentationNode") -> bool:
        """Take the last click into a result back: its voxels and candidates are what they were.

        Returns:
            Whether the result is still there; one that a click has made goes with its only tumor.

        Raises:
            CMEDLError: there is no click to undo.
        """
        tumors = self.clickedTumors(result)
        if tumors is None:
            raise InputError(_("There is no click to undo."))
        return tumors.undo()

    def _addClicked(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        result: "slicer.vtkMRMLSegmentationNode | None",
        outcome: Outcome,
        options: SegmentationOptions,
    ) -> "slicer.vtkMRMLSegmentationNode":
        """The clicked tumor in the scene."""
        if result is None or result.GetScene() is None:
            tumors = ClickedTumors.of_new_result(volumeNode, outcome)
        else:
            tumors = self.clickedTumors(result) or ClickedTumors(result)
        try:
            tumors.add(volumeNode, outcome, options.clicks, alone=options.click_model != THRESHOLD)
        except CMEDLError:
            if tumors.node is not result:
                slicer.mrmlScene.RemoveNode(tumors.node)
            raise
        self._clicked[tumors.node.GetID()] = tumors
        return tumors.node

    def _checkInstalled(self) -> None:
        """Check that the packages of a run are there."""
        missing = requirements.missing("segment")
        if missing:
            raise InputError(
                _("Not installed: {packages}. Press Segment tumor in the panel to install them.").format(
                    packages=", ".join(missing)
                )
            )

    @property
    def runner(self) -> SegmentationRunner:
        """What runs segmentations; made at the first one."""
        if self._runner is None:
            client = WorkerClient(
                python=[interpreter.python()],
                environment=interpreter.environment(),
                folder=Path(slicer.app.temporaryPath),
            )
            self._runner = SegmentationRunner(client, self._add)
        return self._runner

    @property
    def busy(self) -> bool:
        """Whether a segmentation is running."""
        return self._runner is not None and self._runner.busy

    @property
    def warm(self) -> bool:
        """Whether a worker process waits for the next run."""
        return self._runner is not None and self._runner.client.warm

    def cancel(self) -> None:
        """End a running segmentation at once; nothing of it is left."""
        if self._runner:
            self._runner.cancel()

    def release(self) -> None:
        """End the idle worker process and free its memory."""
        if self._runner:
            self._runner.client.release()

    def close(self) -> None:
        """Drop a running segmentation and end the worker process; nobody is told."""
        if self._runner:
            self._runner.close()
            self._runner = None

    @staticmethod
    def _add(volumeNode: vtkMRMLScalarVolumeNode, outcome: Outcome) -> "slicer.vtkMRMLSegmentationNode":
        """The nodes of a finished run."""
        result = result_nodes.add_result(volumeNode, outcome)
        if outcome.probability is not None:
            result_nodes.add_probability(volumeNode, outcome, result)
        if not all(component.get("likely", True) for component in outcome.summary["components"]):
            lesion_candidates.LesionCandidates(result).keep_likely()
        return result


class CMEDLSegmentTest(ScriptedLoadableModuleTest):
    """What Reload and Test checks inside Slicer; the last test needs the packages of a run and is left out without."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        for test in (
            self.test_a_bundled_model_is_found,
            self.test_a_run_without_a_volume_is_refused,
            self.test_the_phantom_is_segmented,
        ):
            self.setUp()
            self.delayDisplay(test.__doc__)
            test()

    def test_a_bundled_model_is_found(self) -> None:
        """The model that the panel proposes comes with the extension."""
        self.assertIn(registry.DEFAULT, [entry.name for entry in CMEDLSegmentLogic().models()])

    def test_a_run_without_a_volume_is_refused(self) -> None:
        """Logic says what is missing instead of starting a process."""
        with self.assertRaises(CMEDLError):
            CMEDLSegmentLogic().segment(None)

    def test_the_phantom_is_segmented(self) -> None:
        """A run leaves one segmentation with a tumor, beside its CT."""
        if requirements.missing("segment"):
            self.delayDisplay("Left out: the packages of a run are not installed")
            return
        logic = CMEDLSegmentLogic()
        try:
            result = logic.segment(samples.load()[0], device="cpu")
        finally:
            logic.close()
        assert result is not None
        self.assertEqual(result.GetSegmentation().GetNumberOfSegments(), 1)
        self.assertIn(registry.DEFAULT, result.GetName())
