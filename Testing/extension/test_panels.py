"""The two modules: what they import, what their panels hold, and the way from a click to a result.

The way is walked with stand-ins for Slicer, so it shows that the pieces fit, not that they work in the application.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

from extension.module_lists import MODULES, REPOSITORY

IN_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", *sys.stdlib_module_names}
OURS = {"CMEDLSegmentLib", "CMEDLTrainLib"}


def source(module: str) -> ast.Module:
    return ast.parse((REPOSITORY / module / f"{module}.py").read_text(encoding="utf-8"))


def panel(module: str) -> ElementTree.Element:
    return ElementTree.parse(REPOSITORY / module / "Resources" / "UI" / f"{module}.ui").getroot()


def imported(statements: list[ast.stmt]) -> set[str]:
    names = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(statement.module or ".")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_slicer_brings_along(module: str) -> None:
    assert imported(source(module).body) <= IN_SLICER | OURS


def test_what_the_modules_import_of_the_libraries_needs_no_package_that_slicer_lacks() -> None:
    program = (
        "import sys\n"
        f"sys.path[:0] = [{str(REPOSITORY / 'CMEDLSegment')!r}, {str(REPOSITORY / 'CMEDLTrain')!r}]\n"
        # None in sys.modules makes an import fail as if the package were not installed.
        "sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'skimage', 'highdicom', 'openvino']))\n"
        "import CMEDLSegmentLib.errors, CMEDLSegmentLib.models, CMEDLTrainLib.runs\n"
        "CMEDLSegmentLib.models.list_models()"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_four_classes_that_slicer_looks_for(module: str) -> None:
    classes = {node.name for node in source(module).body if isinstance(node, ast.ClassDef)}
    assert {module, f"{module}Widget", f"{module}Logic", f"{module}Test"} <= classes


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_the_code_names_is_in_the_panel(module: str) -> None:
    used = {
        node.attr
        for node in ast.walk(source(module))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.ui"
    }
    names = [widget.get("name") for widget in panel(module).iter("widget")]
    assert used
    assert used <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_declares_the_widgets_that_are_not_qt_s(module: str) -> None:
    used = {widget.get("class") for widget in panel(module).iter("widget")}
    declared = {widget.findtext("class") for widget in panel(module).iter("customwidget")}
    assert declared == {name for name in used if not name.startswith("Q")}


@pytest.mark.parametrize("module", MODULES)
def test_every_selector_of_nodes_follows_the_scene(module: str) -> None:
    selectors = {w.get("name") for w in panel(module).iter("widget") if w.get("class") == "qMRMLNodeComboBox"}
    connected = {c.findtext("receiver") for c in panel(module).iter("connection")}
    assert selectors == connected


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_binds_only_parameters_that_exist(module: str) -> None:
    bound = {
        prop.findtext("string") for prop in panel(module).iter("property") if prop.get("name") == "SlicerParameterName"
    }
    (parameters,) = (
        node for node in source(module).body if isinstance(node, ast.ClassDef) and node.name == f"{module}ParameterNode"
    )
    assert bound <= {line.target.id for line in parameters.body if isinstance(line, ast.AnnAssign)}


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_says_that_it_was_not_yet_run_in_the_application(module: str) -> None:
    texts = " ".join(string.text or "" for string in panel(module).iter("string"))
    assert "not yet run in the Slicer application" in texts


@pytest.mark.parametrize("module", MODULES)
def test_the_acknowledgement_cites_the_method(module: str) -> None:
    text = (REPOSITORY / module / f"{module}.py").read_text(encoding="utf-8")
    assert "Unpaired cross-modality educed" in text
    assert "IEEE Transactions on Medical Imaging" in text


@pytest.mark.parametrize("module", MODULES)
def test_the_requirements_are_among_the_project_s(module: str) -> None:
    text = (REPOSITORY / module / "Resources" / f"{module}Requirements.txt").read_text(encoding="utf-8")
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert wanted
    assert all(f'"{line}"' in project for line in wanted)
    # The PyTorch extension installs it, in the build that fits the graphics card.
    assert not any(line.startswith("torch") for line in wanted)


class Process:
    """Stands in for QProcess: runs to the end within ``waitForStarted``, which then emits ``finished``."""

    NotRunning, Running = 0, 2

    def __init__(self) -> None:
        self._state = self.NotRunning
        self._output = self._finished = None

    def __getattr__(self, name: str):
        if name in ("setProgram", "setArguments", "setWorkingDirectory", "setStandardErrorFile"):
            return lambda value: setattr(self, name[3:], value)
        raise AttributeError(name)

    @staticmethod
    def nullDevice() -> str:
        return "null"

    def setStandardOutputFile(self, path: str) -> None:
        self._output = path

    def connect(self, signal: str, slot) -> None:
        assert signal == "finished(int,QProcess::ExitStatus)"
        self._finished = slot

    def state(self) -> int:
        return self._state

    def start(self) -> None:
        self._state = self.Running

    def waitForStarted(self, milliseconds: int) -> bool:
        with Path(self._output).open("wb") as stream:
            done = subprocess.run([self.Program, *self.Arguments], stdout=stream, cwd=self.WorkingDirectory)
        self._state = self.NotRunning
        self._finished(done.returncode, 0)
        return True


class Node:
    """Stands in for a volume or segmentation node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.transform = None

    def GetName(self) -> str:
        return self.name

    def GetImageData(self) -> object:
        return object()

    def GetTransformNodeID(self) -> str:
        return "transform"

    def SetAndObserveTransformNodeID(self, transform: str) -> None:
        self.transform = transform

    def GetStorageNode(self) -> str:
        return "storage"


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A stand-in for ``slicer`` and its neighbours; ``loaded`` holds the segmentations that reached the scene."""
    names = ("slicer", "slicer.i18n", "slicer.parameterNodeWrapper", "slicer.ScriptedLoadableModule", "slicer.util")
    stand_ins = {name: types.ModuleType(name) for name in (*names, "qt", "vtk")}
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    root = stand_ins["slicer"]
    root.i18n, root.util = stand_ins["slicer.i18n"], stand_ins["slicer.util"]
    root.vtkMRMLScalarVolumeNode = Node
    root.app = types.SimpleNamespace(temporaryPath=str(tmp_path))
    root.loaded, root.removed = [], []
    root.mrmlScene = types.SimpleNamespace(RemoveNode=root.removed.append)
    root.i18n.tr = lambda text: text
    root.i18n.translate = lambda context, text: text
    root.util.VTKObservationMixin = type("VTKObservationMixin", (), {})
    stand_ins["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda cls: cls
    for base in ("", "Widget", "Logic", "Test"):
        name = f"ScriptedLoadableModule{base}"
        setattr(stand_ins["slicer.ScriptedLoadableModule"], name, type(name, (), {}))
    stand_ins["qt"].QProcess = Process

    def export(node: Node, path: str, properties: dict) -> None:
        Path(path).write_text(node.name, encoding="utf-8")

    def load(path: str, properties: dict) -> Node:
        assert Path(path).is_file()
        root.loaded.append(Node(properties["name"]))
        return root.loaded[-1]

    root.util.exportNode, root.util.loadSegmentation = export, load
    return root


def module_file(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / name / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segment(monkeypatch: pytest.MonkeyPatch, program: str) -> tuple[object, list[dict]]:
    """Click with a Python program in the place of the worker; what the panel is told, and the logic."""
    logic = module_file("CMEDLSegment").CMEDLSegmentLogic()
    monkeypatch.setattr(logic, "students", lambda: [types.SimpleNamespace(name="lung-ct")])
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    whole = type(logic).command

    def command(*arguments) -> list[str]:
        python, *rest = whole(logic, *arguments)
        assert rest[:2] == ["-m", "CMEDLSegmentLib"]
        return [python, "-c", program, *rest[2:]]

    monkeypatch.setattr(logic, "command", command)
    told: list[dict] = []
    logic.start(Node("CT"), "lung-ct", told.append)
    return logic, told


WORKER = """
import json, pathlib, sys
run, image, o, output, model, student, as_json = sys.argv[1:]
assert (run, o, model, student, as_json) == ("run", "-o", "--model", "lung-ct", "--json")
assert pathlib.Path(image).read_text() == "CT"
pathlib.Path(output).touch()
print(json.dumps({"tumor_volume_cc": 4.2, "warnings": []}))
"""


def test_a_finished_run_leaves_a_segmentation_beside_its_ct(
    slicer: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logic, told = segment(monkeypatch, WORKER)
    assert told == [{"tumor_volume_cc": 4.2, "warnings": []}]
    (node,) = slicer.loaded
    assert (node.name, node.transform) == ("CT lung-ct", "transform")
    # Not bound to the temporary file, which is gone.
    assert slicer.removed == ["storage"]
    assert list(tmp_path.iterdir()) == []
    assert not logic.running()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ('print("{\\"error\\": \\"No lungs were found.\\"}"); raise SystemExit(2)', "No lungs were found."),
        ('print("garbage")', "without a result"),
        ("import os; os.abort()", "without a result"),
    ],
)
def test_a_failed_run_leaves_a_sentence_and_nothing_else(
    program: str, sentence: str, slicer: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, (told,) = segment(monkeypatch, program)
    assert sentence in told["error"]
    assert slicer.loaded == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_volume_is_refused(slicer: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    logic = module_file("CMEDLSegment").CMEDLSegmentLogic()
    monkeypatch.setattr(logic, "students", lambda: [types.SimpleNamespace(name="lung-ct")])
    with pytest.raises(RuntimeError, match="Choose a CT volume"):
        logic.start(None, "lung-ct", finished=lambda result: None)


def test_missing_packages_are_named(slicer: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    logic = module_file("CMEDLSegment").CMEDLSegmentLogic()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "torch, safetensors, scikit-image" in logic.obstacle(Node("CT"), "lung-ct")


def test_the_status_of_a_run_is_shown_in_words(slicer: types.ModuleType, tmp_path: Path) -> None:
    from CMEDLTrainLib import configuration, runs

    logic = module_file("CMEDLTrain").CMEDLTrainLogic()
    assert "is not a run" in logic.describe(str(tmp_path))
    settings = configuration.PRESETS["tiny"]
    run = runs.create(tmp_path / "run", settings() if callable(settings) else settings)
    run.report("step", step=30, steps=120, epoch=2, losses={"segmentation": 0.4321})
    text = logic.describe(str(run.folder))
    assert "Step: 30 of 120" in text
    assert "segmentation: 0.4321" in text
    assert json.loads(json.dumps(logic.status(str(run.folder))))["epoch"] == 2
