"""The module a clinician opens in 3D Slicer: choose a CT and a student, press one button, see the tumor's contour.

Widget wires the panel, Logic is the face for scripts, and both are thin: the work is ``cmedl-segment run`` in a
process of its own, so that Slicer stays responsive. Nothing is imported here that Slicer does not bring along.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
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

from CMEDLSegmentLib import models

PACKAGES = {"torch": "torch", "safetensors": "safetensors", "skimage": "scikit-image", "highdicom": "highdicom"}
"""What the work imports and Slicer does not bundle: import name to package name."""
START_MS = 10_000
"""A process that has not started after this long will not."""


class CMEDLSegment(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.parent.title = _("CMEDL Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["CMEDL contributors"]
        self.parent.helpText = _(
            "Segments lung tumors on CT with a student network, which needs nothing but the CT; how a student was "
            "trained, with the help of MRI or without, is in its model card. Choose a CT and a student, then press "
            "Segment tumor; the result is a new segmentation node. Research use, not a medical device."
        )
        self.parent.acknowledgementText = _(
            'The method: J. Jiang, A. Rimner, J. O. Deasy, H. Veeraraghavan, "Unpaired cross-modality educed '
            'distillation (CMEDL) for medical image segmentation", IEEE Transactions on Medical Imaging, 2022. '
            "Please cite it when you use this module. What a student was trained on, with its licence and "
            "attribution, is in the student's model card."
        )


@parameterNodeWrapper
class CMEDLSegmentParameterNode:
    """What the panel remembers in the scene.

    ct - the CT volume to segment
    student - the name of the student
    """

    ct: vtkMRMLScalarVolumeNode
    student: str = models.DEFAULT


class CMEDLSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: it shows what Logic knows and passes clicks on."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.students = []
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/CMEDLSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.progressBar.visible = False

        self.logic = CMEDLSegmentLogic()
        self.students = self.logic.students()
        for student in self.students:
            self.ui.studentComboBox.addItem(student.card.title)

        self.ui.studentComboBox.connect("currentIndexChanged(int)", self.onStudentChosen)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegment)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is unloaded or Slicer ends; the result of an unfinished run is dropped."""
        self.logic.forget()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the module is opened."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time another module is opened: the panel need not follow the scene then."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The scene is about to be closed, and the parameter node with it."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """The scene was closed; an open panel needs a parameter node in the new one."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node; propose the first volume if none was chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.ct:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.ct = first

    def setParameterNode(self, parameterNode: CMEDLSegmentParameterNode | None) -> None:
        """Show ``parameterNode`` in the panel and follow its changes; None lets go of the current one."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
            self.refresh()

    def onStudentChosen(self, index: int) -> None:
        """Remember the chosen student in the scene."""
        if self._parameterNode and index >= 0:
            self._parameterNode.student = self.students[index].name

    def refresh(self, caller=None, event=None) -> None:
        """Show the chosen student's card, and whether a run can start."""
        if not self._parameterNode:
            return
        names = [student.name for student in self.students]
        chosen = names.index(self._parameterNode.student) if self._parameterNode.student in names else -1
        self.ui.studentComboBox.currentIndex = chosen
        self.ui.cardLabel.text = self.students[chosen].card.summary if chosen >= 0 else ""
        obstacle = self.logic.obstacle(self._parameterNode.ct, self._parameterNode.student)
        self.ui.segmentButton.enabled = not obstacle
        self.ui.segmentButton.toolTip = obstacle or _("Segment the tumor into a new segmentation node.")

    def onSegment(self, checked: bool = False) -> None:
        """Start the work; the panel can be used meanwhile."""
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started.")):
            self.logic.start(self._parameterNode.ct, self._parameterNode.student, self.onFinished)
            self.ui.progressBar.visible = True
            self.ui.resultLabel.text = _("Segmenting ...")
            self.refresh()

    def onFinished(self, result: dict) -> None:
        """Say how it went; the segmentation is in the scene by now."""
        self.ui.progressBar.visible = False
        if "error" in result:
            self.ui.resultLabel.text = result["error"]
        else:
            volume = _("Tumor volume: {volume:.1f} cc").format(volume=result["tumor_volume_cc"])
            self.ui.resultLabel.text = "\n".join([volume, *result["warnings"]])
        self.refresh()


class CMEDLSegmentLogic(ScriptedLoadableModuleLogic):
    """The module's face for scripts: ``start`` segments a volume node and calls back when that is done."""

    def __init__(self) -> None:
        super().__init__()
        self._process = None
        self._finished = None

    def getParameterNode(self) -> CMEDLSegmentParameterNode:
        """The scene's parameter node."""
        return CMEDLSegmentParameterNode(super().getParameterNode())

    def students(self) -> list[models.Entry]:
        """The students that can be used: bundled ones and those that the user installed."""
        return [entry for entry in models.list_models() if entry.current and entry.card]

    def missingPackages(self) -> list[str]:
        """The packages that have to be installed before a run."""
        return [package for name, package in PACKAGES.items() if importlib.util.find_spec(name) is None]

    def obstacle(self, ct: vtkMRMLScalarVolumeNode | None, student: str) -> str:
        """Why a run cannot start now and what to do about it; empty when it can."""
        if self.running():
            return _("A segmentation is running; wait for its end.")
        missing = self.missingPackages()
        if missing:
            return _(
                "Not installed yet: {packages}. Install torch with the PyTorch extension and the others with "
                "slicer.util.pip_install, then restart Slicer."
            ).format(packages=", ".join(missing))
        if student not in [entry.name for entry in self.students()]:
            return _("Choose a student.")
        if not ct or not ct.GetImageData():
            return _("Choose a CT volume.")
        return ""

    def command(self, image: Path, output: Path, student: str) -> list[str]:
        """The program and its arguments that segment the file ``image`` into the file ``output``.

        Raises:
            RuntimeError: Slicer's own Python is not found.
        """
        python = shutil.which("PythonSlicer")
        if python is None:
            raise RuntimeError(_("PythonSlicer was not found on the PATH; start Slicer by its launcher."))
        run = ["run", str(image), "-o", str(output), "--model", student, "--json"]
        return [python, "-m", "CMEDLSegmentLib", *run]

    def start(self, ct: vtkMRMLScalarVolumeNode, student: str, finished: Callable[[dict], None]) -> None:
        """Segment ``ct`` in a process of its own; the result becomes a new segmentation node.

        Args:
            ct: the volume; it is not changed.
            student: the name of the student.
            finished: called at the end with what ``cmedl-segment run --json`` printed: the result, or only
                ``error``, a sentence.

        Raises:
            RuntimeError: the work cannot start; the message says why.
        """
        obstacle = self.obstacle(ct, student)
        if obstacle:
            raise RuntimeError(obstacle)
        folder = tempfile.TemporaryDirectory(prefix="cmedl-", dir=slicer.app.temporaryPath)
        image, output, printed = (Path(folder.name, name) for name in ("ct.nrrd", "tumor.seg.nrrd", "printed"))
        program, *arguments = self.command(image, output, student)
        # Properties of our own: exportNode remembers what it found out in its default for the next caller.
        slicer.util.exportNode(ct, str(image), {"useCompression": 0})

        process = qt.QProcess()
        process.setProgram(program)
        process.setArguments(arguments)
        # "-m" looks in the working folder first, and there lies this extension's own copy of the library.
        process.setWorkingDirectory(str(Path(models.__file__).parents[1]))
        # A file, not a pipe: nobody has to read while it runs, so it cannot stall.
        process.setStandardOutputFile(str(printed))
        process.setStandardErrorFile(qt.QProcess.nullDevice())
        name, transform = f"{ct.GetName()} {student}", ct.GetTransformNodeID()

        def ended(code: int, status: int) -> None:
            result = self._result(printed)
            if self._finished and "error" not in result:
                try:
                    self._load(output, name, transform)
                except RuntimeError as error:
                    result = {"error": str(error)}
            folder.cleanup()
            if self._finished:
                self._finished(result)

        process.connect("finished(int,QProcess::ExitStatus)", ended)
        # Kept until the next run takes its place: a process must not be destroyed while it emits its own signal.
        self._process, self._finished = process, finished
        process.start()
        if not process.waitForStarted(START_MS):
            raise RuntimeError(_("{program} could not be started.").format(program=program))

    def forget(self) -> None:
        """Nobody waits for a running segmentation any more: let it end, and drop its result."""
        self._finished = None

    def running(self) -> bool:
        """Whether a segmentation is running."""
        return self._process is not None and self._process.state() != qt.QProcess.NotRunning

    @staticmethod
    def _load(path: Path, name: str, transform: str | None) -> None:
        node = slicer.util.loadSegmentation(str(path), {"name": name})
        node.SetAndObserveTransformNodeID(transform)
        # The file is temporary: without its storage node, Slicer knows that the segmentation is yet to be saved.
        slicer.mrmlScene.RemoveNode(node.GetStorageNode())

    @staticmethod
    def _result(printed: Path) -> dict:
        try:
            return json.loads(printed.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"error": _("The segmentation ended without a result; try again with more free memory.")}


class CMEDLSegmentTest(ScriptedLoadableModuleTest):
    """What can be checked inside Slicer without the packages that a run needs."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_a_bundled_student_is_found()
        self.setUp()
        self.test_a_run_without_a_volume_is_refused()

    def test_a_bundled_student_is_found(self) -> None:
        """The student that the panel proposes comes with the extension."""
        self.assertIn(models.DEFAULT, [entry.name for entry in CMEDLSegmentLogic().students()])

    def test_a_run_without_a_volume_is_refused(self) -> None:
        """Logic says what is missing instead of starting a process."""
        with self.assertRaises(RuntimeError):
            CMEDLSegmentLogic().start(None, models.DEFAULT, finished=lambda result: None)
