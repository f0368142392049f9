"""The module a physicist opens in 3D Slicer: curate a cohort, train a student in the background, judge and install it.

The file puts things together and is thin: the sections of the panel are in ``CMEDLTrainPanel``, the work is in
``CMEDLTrainLib``, and training is ``cmedl-train`` in a process of its own. Logic is the face for scripts and needs no
window. Nothing is imported here that Slicer does not bundle.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.cli.console import Parser
from CMEDLSegmentLib.io.case_folders import TABLE
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.process.supervisor import Command, Program
from CMEDLSegmentPanel import interpreter, requirements
from CMEDLSegmentPanel.panel import Panel
from CMEDLTrainLib.cli import run_options
from CMEDLTrainLib.cohort.folder import RUNS
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.runs.trainers import Trainers
from CMEDLTrainLib.settings import configuration, settings_table
from CMEDLTrainPanel.cohort_section import CohortSection
from CMEDLTrainPanel.model_section import ModelSection
from CMEDLTrainPanel.outcome_section import OutcomeSection
from CMEDLTrainPanel.run_section import RunSection
from CMEDLTrainPanel.scene import run_views
from CMEDLTrainPanel.steps import PARTS, Steps
from CMEDLTrainPanel.training_section import TrainingSection


class CMEDLTrain(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.parent.title = _("CMEDL Train")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["CMEDLSegment"]
        self.parent.contributors = ["CMEDL contributors"]
        self.parent.helpText = _(
            "Trains students for CMEDL Segment, alone or with a teacher that sees MRI: collect cases in a cohort's "
            "folder, choose a method, start a run. Training is a process of its own, which goes on when this module or "
            "Slicer is closed. Research use, not a medical device."
        )
        self.parent.acknowledgementText = _(
            'The method: J. Jiang, A. Rimner, J. O. Deasy, H. Veeraraghavan, "Unpaired cross-modality educed '
            'distillation (CMEDL) for medical image segmentation", IEEE Transactions on Medical Imaging, 2022. '
            "Please cite it when you use this module."
        )
        slicer.app.connect("startupCompleted()", run_views.describe_layout)


@parameterNodeWrapper
class CMEDLTrainParameterNode:
    """What the panel remembers in the scene.

    cohort - the cohort's folder; empty when none was chosen
    method - what learns from what, see ``CMEDLTrainLib.settings.configuration.METHODS``
    preset - where all settings start from
    segmentor - the network that draws the contour
    translation - how images change their modality; empty takes the method's own
    labels - names of the masks' values 1, 2, ..., between commas
    device - where training runs: "auto", "cpu", "cuda:0", ...
    epochs - at most so many; 0 takes the preset's
    initial - the installed student that training starts from; empty starts from scratch
    changes - settings that differ from the preset's, as "optimization.batch=4"
    run - the name of the run that the panel shows, in the cohort's folder
    against - the student that the run's is compared with: an installed one's name or a run's folder; empty for none
    """

    cohort: str = ""
    method: str = "cmedl"
    preset: str = "fast"
    segmentor: str = "unet"
    translation: str = ""
    labels: str = "Tumor"
    device: str = "auto"
    epochs: Annotated[int, WithinRange(0, 100000)] = 0
    initial: str = ""
    changes: list[str]
    run: str = ""
    against: str = registry.DEFAULT


class CMEDLTrainWidget(Panel):
    """The panel: it owns the sections and gives them the scene's parameter node while the module is open."""

    Parameters = CMEDLTrainParameterNode

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        super().setup()
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/CMEDLTrain.ui"))
        self.layout.addWidget(self.uiWidget)
        sections = slicer.util.childWidgetVariables(self.uiWidget)
        for part in PARTS:
            widget = slicer.util.loadUI(self.resourcePath(f"UI/{part.capitalize()}.ui"))
            getattr(sections, f"{part}CollapsibleButton").layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CMEDLTrainLogic()
        self.cohort, self.training = CohortSection(self), TrainingSection(self)
        self.run, self.outcome = RunSection(self), OutcomeSection(self)
        self.student, self.steps = ModelSection(self), Steps(self)
        self.open([self.cohort, self.training, self.run, self.outcome, self.student, self.steps])


class CMEDLTrainLogic(ScriptedLoadableModuleLogic):
    """The module's face for scripts: runs are started, stopped, resumed and looked at without a window.

    Attributes:
        trainers: those that were started here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trainers = Trainers()

    def parameterNode(self):
        """The scene's parameter node as it is in the scene."""
        return super().getParameterNode()

    def getParameterNode(self) -> CMEDLTrainParameterNode:
        """The scene's parameter node with typed parameters."""
        return CMEDLTrainParameterNode(self.parameterNode())  # type: ignore[call-arg]  # the decorator gives it the node

    @property
    def program(self) -> Program:
        """``cmedl-train`` in Slicer's own interpreter.

        Raises:
            InputError: a package is missing, or the interpreter is not found.
        """
        return self._program()

    def arguments(self, parameters: CMEDLTrainParameterNode) -> list[str]:
        """What a person would type after ``cmedl-train run`` or ``estimate`` for these parameters."""
        chosen = {
            "--method": parameters.method,
            "--preset": parameters.preset,
            "--segmentor": parameters.segmentor,
            "--translation": parameters.translation,
            "--labels": parameters.labels,
            "--device": parameters.device,
            "--init": parameters.initial,
        }
        # The words of an option that is joined to it may begin with a dash.
        arguments = [f"{option}={value}" for option, value in chosen.items() if value]
        changes = [f"optimization.epochs={parameters.epochs}"] if parameters.epochs else []
        arguments += [f"--set={change}" for change in (*changes, *parameters.changes)]
        return [*arguments, "--", str(Path(parameters.cohort, TABLE).resolve())]

    def settings(self, parameters: CMEDLTrainParameterNode) -> configuration.Configuration:
        """The configuration that the parameters ask for.

        Raises:
            InputError: one of them is bad.
        """
        parser = Parser(prog="cmedl-train run")
        run_options.add_options(parser)
        return run_options.chosen(parser.parse_args(self.arguments(parameters)))

    def estimate(self, parameters: CMEDLTrainParameterNode) -> Command:
        """Begin to find out what a run would take; the command's result is that of ``cmedl-train estimate --json``.

        Raises:
            InputError: a parameter is bad, or the program cannot be started.
        """
        self.settings(parameters)
        run = (self._folder(parameters.cohort) / RUNS / "estimate").resolve()
        return self._begin(["estimate", f"--output={run}", *self.arguments(parameters)])

    def evaluate(self, run: run_folder.Run, against: str = "", device: str = "auto") -> Command:
        """Begin to score a run's student on its cohort's test cases; the result is written in the run's folder.

        Args:
            run: a finished run.
            against: the student to compare with: an installed one's name, a file, or a run's folder.
            device: where to compute.

        Raises:
            InputError: the program cannot be started.
        """
        options = [f"--device={device}", *([f"--against={against}"] if against else ())]
        return self._begin(["evaluate", *options, "--", str(run.folder)])

    def export(
        self, run: run_folder.Run, path: Path, card: Path, int8: bool = False, overwrite: bool = False
    ) -> Command:
        """Begin to write a run's student to one file with the entries of the file ``card`` on its card.

        Raises:
            InputError: the program cannot be started.
        """
        options = [f"--output={path}", f"--card={card}"]
        options += [option for option, wanted in (("--int8", int8), ("--overwrite", overwrite)) if wanted]
        return self._begin(["export", *options, "--", str(run.folder)])

    def install(self, student: Path) -> Command:
        """Begin to verify a student's file and to install it for CMEDLSegment.

        Raises:
            InputError: the program cannot be started.
        """
        return self._begin(["models", "install", "--", str(student)], module="CMEDLSegmentLib")

    def rollback(self, name: str, version: str) -> Command:
        """Begin to verify an earlier version of an installed student and to use it again.

        Raises:
            InputError: the program cannot be started.
        """
        return self._begin(["models", "rollback", "--", name, version], module="CMEDLSegmentLib")

    def segment(self, image: Path, student: Path, output: Path, device: str = "auto") -> Command:
        """Begin to segment the image of one case with a student's file into the label map ``output``.

        Raises:
            InputError: the program cannot be started.
        """
        options = [f"--model={student}", f"--output={output}", f"--device={device}", "--overwrite"]
        return self._begin(["run", *options, "--", str(image)], module="CMEDLSegmentLib")

    def start(self, cohort: Path | str, settings: configuration.Configuration, name: str = "") -> run_folder.Run:
        """Train in a new run of a cohort's folder, in a process that goes on when Slicer is closed.

        Args:
            cohort: the cohort's folder.
            settings: of the run.
            name: the run's; empty takes the method's and a number.

        Raises:
            InputError: the cohort cannot be trained with, the run exists, or it cannot be started.
        """
        runs_folder = self._folder(cohort) / RUNS
        table = Path(cohort, TABLE).resolve()
        read_cohort(table, required=("mask", "role", "split"))
        folder = runs_folder / name if name else self._free(runs_folder, settings.method)
        run = run_folder.create(folder, replace(settings, cohort=str(table)))
        self.resume(run)
        return run

    def resume(self, run: run_folder.Run) -> None:
        """Go on with a run that is not being trained; the first start is that too.

        A run that was moved together with its cohort goes on with the cohort that it lies in.

        Raises:
            InputError: it is being trained, or the trainer cannot be started.
        """
        table = run.folder.parents[1] / TABLE
        lost = not Path(run.configuration.cohort).is_file() and table.is_file()
        self.trainers.start(self.program, run, [f"--cohort={table}"] if lost else [])

    def take(self, parameters: CMEDLTrainParameterNode, settings: configuration.Configuration) -> None:
        """Let the parameters ask for the settings of a run, to start another one with them or with changed ones.

        Raises:
            InputError: this program cannot ask for them.
        """
        preset = settings.preset if settings.preset in configuration.PRESETS else "paper"
        usual = configuration.PRESETS[preset]
        kind, epochs = settings.translation.kind, settings.optimization.epochs
        parameters.method, parameters.preset, parameters.segmentor = settings.method, preset, settings.network.kind
        parameters.translation = kind if kind != usual.translation.kind else ""
        parameters.labels, parameters.device = ",".join(settings.labels), settings.device
        parameters.epochs = epochs if epochs != usual.optimization.epochs else 0
        parameters.initial, parameters.changes = settings.initial, []
        parameters.changes = settings_table.changes(settings, self.settings(parameters))

    @staticmethod
    def _folder(cohort: Path | str) -> Path:
        """The cohort's folder; an empty path would be the folder that Slicer was started in."""
        if not str(cohort).strip():
            raise InputError(_("No cohort is chosen; choose its folder under Cohort."))
        return Path(cohort)

    @staticmethod
    def _program(module: str = "CMEDLTrainLib") -> Program:
        missing = requirements.missing("train")
        if missing:
            raise InputError(
                _("Not installed: {packages}. Press Start in the panel to install them.").format(
                    packages=", ".join(missing)
                )
            )
        return Program([interpreter.python()], interpreter.environment(), module)

    def _begin(self, arguments: list[str], module: str = "CMEDLTrainLib") -> Command:
        try:
            return self._program(module).start(arguments)
        except OSError as error:
            raise InputError(
                _("The program could not be started ({reason}).").format(reason=error.strerror or error)
            ) from error

    @staticmethod
    def _free(folder: Path, method: str) -> Path:
        """A folder for a run that does not exist yet."""
        number = 1
        while (folder / f"{method}-{number}").exists():
            number += 1
        return folder / f"{method}-{number}"


class CMEDLTrainTest(ScriptedLoadableModuleTest):
    """What Reload and Test checks inside Slicer, without training."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_a_folder_without_a_cohort_is_refused()

    def test_a_folder_without_a_cohort_is_refused(self) -> None:
        """Logic says what is missing instead of starting a process."""
        logic = CMEDLTrainLogic()
        with self.assertRaises(CMEDLError):
            logic.start(slicer.app.temporaryPath, logic.settings(logic.getParameterNode()))
