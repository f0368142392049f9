"""The module a physicist opens in 3D Slicer to watch a training run: choose a run's folder, see how it is doing.

A run is a folder that ``cmedl-train`` makes and trains in; this panel reads it and never changes it. Nothing is
imported here that Slicer does not bring along.
"""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from CMEDLSegmentLib.errors import CMEDLError
from CMEDLTrainLib import runs


class CMEDLTrain(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.parent.title = _("CMEDL Train")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["CMEDLSegment"]
        self.parent.contributors = ["CMEDL contributors"]
        self.parent.helpText = _(
            "Shows how a training run of cmedl-train is doing: choose the run's folder. Runs are started on the "
            "command line for now. Research use, not a medical device."
        )
        self.parent.acknowledgementText = _(
            'The method: J. Jiang, A. Rimner, J. O. Deasy, H. Veeraraghavan, "Unpaired cross-modality educed '
            'distillation (CMEDL) for medical image segmentation", IEEE Transactions on Medical Imaging, 2022. '
            "Please cite it when you use this module."
        )


@parameterNodeWrapper
class CMEDLTrainParameterNode:
    """What the panel remembers in the scene.

    run - the run's folder; empty when none was chosen
    """

    run: str = ""


class CMEDLTrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: a folder, and what Logic says about it."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/CMEDLTrain.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CMEDLTrainLogic()

        self.ui.runPathLineEdit.connect("currentPathChanged(QString)", self.onRunChosen)
        self.ui.refreshButton.connect("clicked(bool)", self.refresh)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is unloaded or Slicer ends."""
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the module is opened: the run has gone on meanwhile."""
        self.initializeParameterNode()

    def onSceneStartClose(self, caller, event) -> None:
        """The scene is about to be closed, and the parameter node with it."""
        self._parameterNode = None

    def onSceneEndClose(self, caller, event) -> None:
        """The scene was closed; an open panel needs a parameter node in the new one."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node and show the run that it names."""
        self._parameterNode = self.logic.getParameterNode()
        self.ui.runPathLineEdit.currentPath = self._parameterNode.run
        self.refresh()

    def onRunChosen(self, path: str) -> None:
        """Remember the run in the scene and show it."""
        if self._parameterNode:
            self._parameterNode.run = path
            self.refresh()

    def refresh(self, checked: bool = False) -> None:
        """Read the run's folder again."""
        folder = self._parameterNode.run if self._parameterNode else ""
        self.ui.statusLabel.text = self.logic.describe(folder) if folder else _("Choose the folder of a run.")


class CMEDLTrainLogic(ScriptedLoadableModuleLogic):
    """The module's face for scripts."""

    def getParameterNode(self) -> CMEDLTrainParameterNode:
        """The scene's parameter node."""
        return CMEDLTrainParameterNode(super().getParameterNode())

    def status(self, folder: str) -> dict:
        """What ``cmedl-train status --json`` tells of the run in ``folder``.

        Raises:
            CMEDLSegmentLib.errors.InputError: it is no run.
        """
        return runs.open_run(Path(folder)).status()

    def describe(self, folder: str) -> str:
        """The status in lines for the panel; a sentence when ``folder`` is no run."""
        try:
            status = self.status(folder)
        except CMEDLError as error:
            return str(error)
        lines = [
            _("State: {state}").format(state=status["state"]),
            _("Step: {step} of {steps}").format(step=status["step"], steps=status["steps"] or "?"),
            _("Epoch: {epoch}").format(epoch=status["epoch"]),
        ]
        if status["seconds_left"] is not None:
            lines.append(_("Minutes left: {minutes:.0f}").format(minutes=status["seconds_left"] / 60))
        for title, figures in ((_("Loss"), status["losses"]), (_("Validation"), status["validation"])):
            lines += [f"{title}, {name}: {value:.4g}" for name, value in figures.items()]
        return "\n".join(lines)


class CMEDLTrainTest(ScriptedLoadableModuleTest):
    """What can be checked inside Slicer without training."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_a_folder_that_is_no_run_is_told_so()

    def test_a_folder_that_is_no_run_is_told_so(self) -> None:
        """The panel shows a sentence, not a traceback."""
        self.assertIn("is not a run", CMEDLTrainLogic().describe(slicer.app.temporaryPath))
