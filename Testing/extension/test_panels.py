"""The two modules as Slicer finds them: what they import, what their panels hold, what they say about themselves.

They are opened in the stand-in for Slicer (``Testing/harness``), which refuses unknown widgets, properties and signals;
what a panel does at a click is in ``Testing/segment/panel``.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from extension.module_lists import MODULES, REPOSITORY

IN_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy", "packaging", "SimpleITK", *sys.stdlib_module_names}
OURS = {"CMEDLSegmentLib", "CMEDLTrainLib"}
PANELS = {"CMEDLSegment": {"CMEDLSegmentPanel"}, "CMEDLTrain": {"CMEDLSegmentPanel", "CMEDLTrainPanel"}}
"""Whose sections a module may use: as with the libraries, never the other way."""


def sources(module: str) -> dict[str, ast.Module]:
    """What runs in Slicer's own process: the module file, and the files of its panel's sections if it has any."""
    files = [REPOSITORY / module / f"{module}.py", *sorted((REPOSITORY / module / f"{module}Panel").glob("*.py"))]
    return {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in files}


def panels(module: str) -> list[ElementTree.Element]:
    """Every ``.ui`` file of the module."""
    return [ElementTree.parse(path).getroot() for path in sorted((REPOSITORY / module / "Resources/UI").glob("*.ui"))]


def imported(statements: list[ast.stmt]) -> set[str]:
    names = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            names.add(statement.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_slicer_brings_along(module: str) -> None:
    for name, tree in sources(module).items():
        foreign = imported(tree.body) - IN_SLICER - OURS - PANELS[module]
        assert not foreign, f"{name} imports {foreign} at file scope"


@pytest.mark.parametrize("module", MODULES)
def test_enumerators_are_named_as_pythonqt_names_them(module: str) -> None:
    """``qt.Qt.Checked``; ``qt.Qt.CheckState.Checked`` is PySide6's way, which the harness cannot refuse."""
    for name, tree in sources(module).items():
        dotted = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        scoped = {text for text in dotted if re.fullmatch(r"qt\.Q\w+\.[A-Z]\w+\.[A-Z]\w+", text)}
        assert not scoped, f"{name}: {scoped}"


OPENING = """
import sys
# None in sys.modules makes an import fail as if the package were not installed.
sys.modules.update(dict.fromkeys(["torch", "safetensors", "skimage", "highdicom", "openvino"]))
import harness
with harness.application() as app:
    for name in sys.argv[1:]:
        app.open(name)
    for error in app.take_errors():
        print(error)
"""


def test_the_panels_open_without_any_package_that_slicer_lacks(slicer_app) -> None:
    paths = [REPOSITORY / "Testing", *(REPOSITORY / module for module in MODULES)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path) for path in paths)}
    command = [sys.executable, "-c", OPENING, *MODULES]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_four_classes_that_slicer_looks_for(module: str) -> None:
    tree = sources(module)[f"{module}.py"]
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {module, f"{module}Widget", f"{module}Logic", f"{module}Test"} <= classes


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_the_code_names_is_in_the_panel(module: str) -> None:
    names = {widget.get("name") for panel in panels(module) for widget in panel.iter("widget")}
    for file, tree in sources(module).items():
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.ui"
        }
        assert used <= names, f"{file} names what is not there: {used - names}"


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_declares_the_widgets_that_are_not_qt_s(module: str) -> None:
    for panel in panels(module):
        used = {widget.get("class") for widget in panel.iter("widget")}
        declared = {widget.findtext("class") for widget in panel.iter("customwidget")}
        assert declared == {name for name in used if not name.startswith("Q") and name != "Line"}


@pytest.mark.parametrize("module", MODULES)
def test_every_selector_of_nodes_follows_the_scene(module: str, slicer_app) -> None:
    import slicer

    widget = slicer_app.open(module)
    for selector in widget.parent.findChildren(slicer.qMRMLNodeComboBox):
        assert selector.mrmlScene() is slicer.mrmlScene, selector.objectName


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_binds_only_parameters_that_exist(module: str) -> None:
    bound = {
        prop.findtext("string")
        for panel in panels(module)
        for prop in panel.iter("property")
        if prop.get("name") == "SlicerParameterName"
    }
    known = {
        line.target.id
        for tree in sources(module).values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("parameterNodeWrapper" in ast.unparse(d) for d in node.decorator_list)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
    }
    assert bound <= known


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_whom_to_cite_and_that_it_is_for_research(module: str, slicer_app) -> None:
    import slicer

    slicer_app.open(module)
    about = getattr(slicer.modules, module.lower())
    assert about.title.startswith("CMEDL")
    assert about.categories
    assert about.contributors
    assert not about.icon.isNull()
    assert "Research use, not a medical device" in about.helpText
    assert "Unpaired cross-modality educed" in about.acknowledgementText
    assert "IEEE Transactions on Medical Imaging" in about.acknowledgementText


@pytest.mark.parametrize("module", MODULES)
def test_the_panel_says_that_it_was_not_yet_run_in_the_application(module: str, slicer_app) -> None:
    import qt
    import slicer

    widget = slicer_app.open(module)
    texts = [label.text for label in widget.parent.findChildren(qt.QLabel)]
    about = getattr(slicer.modules, module.lower()).helpText
    assert "not yet run in the Slicer application" in " ".join([*texts, about])
