"""The real modules in the stand-in for Slicer, and what the stand-in notes of what they do."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
MODULES = ["CMEDLSegment", "CMEDLTrain"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_its_real_panel_and_closes(slicer_app, module: str) -> None:
    import slicer

    widget = slicer_app.open(module)
    assert getattr(slicer.modules, module.lower()).title
    assert widget.parent.isEntered
    assert slicer.util.selectedModule() == module
    assert slicer.util.getModuleWidget(module) is widget
    slicer_app.close(widget)
    assert not hasattr(slicer.modules, module.lower())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_left_and_entered_with_the_module_selector(slicer_app, module: str) -> None:
    import slicer

    widget = slicer_app.open(module)
    slicer.util.selectModule("SegmentEditor")
    assert not widget.parent.isEntered
    slicer.util.selectModule(module)
    assert widget.parent.isEntered
    assert slicer_app.open(module) is widget


@pytest.mark.parametrize("module", MODULES)
def test_reload_builds_the_panel_anew(slicer_app, module: str) -> None:
    import slicer

    old = slicer_app.open(module)
    slicer.util.reloadScriptedModule(module)
    new = slicer.util.getModuleWidget(module)
    assert new is not old
    assert new.parent is old.parent


@pytest.fixture
def own_files() -> Iterator[None]:
    """What Reload makes Python forget is as before afterwards: other tests hold classes of the files that were read."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("CMEDL")}
    yield
    for name in [name for name in sys.modules if name.startswith("CMEDL")]:
        del sys.modules[name]
    sys.modules.update(before)


def test_reload_reads_every_file_of_the_extension_anew(slicer_app, own_files) -> None:
    import slicer

    train, segment = slicer_app.open("CMEDLTrain"), slicer_app.open("CMEDLSegment")
    for name in ("CMEDLSegmentLib.base.errors", "CMEDLSegmentPanel.section", "CMEDLTrainLib.runs.run_folder"):
        sys.modules[name].MARK = "read before"
    segment.onReload()
    for name in ("CMEDLSegmentLib.base.errors", "CMEDLSegmentPanel.section", "CMEDLTrainLib.runs.run_folder"):
        assert not hasattr(sys.modules[name], "MARK"), name
    for module, old in (("CMEDLSegment", segment), ("CMEDLTrain", train)):
        new = slicer.util.getModuleWidget(module)
        assert new is not old
        # One set of classes in both panels: an error of one is an error of the other.
        assert type(new).__mro__[1] is sys.modules["CMEDLSegmentPanel.panel"].Panel


@pytest.mark.parametrize("module", MODULES)
def test_the_self_test_runs_from_the_developer_s_button(slicer_app, monkeypatch, own_files, module: str) -> None:
    import qt

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    # Without packages the self-test leaves out the run, which Testing/segment/panel does with the real worker.
    monkeypatch.setattr(importlib.metadata, "version", absent)
    qt.QSettings().setValue("Developer/DeveloperMode", True)
    try:
        widget = slicer_app.open(module)
        button = widget.reloadTestButton
        assert button.text == "Reload and Test"
        button.click()
    finally:
        qt.QSettings().remove("Developer/DeveloperMode")
    assert slicer_app.messages == []


def test_panel_and_views_are_written_as_pictures(slicer_app, tmp_path: Path) -> None:
    import qt

    widget = slicer_app.open("CMEDLSegment")
    panel = qt.QImage(str(slicer_app.grab(widget, tmp_path / "panel.png")))
    assert panel.width() > 300
    colors = {panel.pixelColor(x, y).name() for x in range(0, panel.width(), 3) for y in range(0, panel.height(), 3)}
    assert len(colors) > 10, "nothing is to be seen in the picture"
    if not slicer_app.cannot_draw:
        window = qt.QImage(str(slicer_app.grab_window(tmp_path / "window.png")))
        assert window.width() > 2 * panel.width()


def test_what_is_not_translated_can_be_seen(slicer_app) -> None:
    import slicer
    from slicer.i18n import tr, translate

    slicer_app.translator = str.upper
    assert (tr("Segment"), translate("context", "tumor")) == ("SEGMENT", "TUMOR")
    assert slicer.app.translate("context", "cc") == "CC"


OWN_BASES = {
    "ScriptedLoadableModule.py": """
class ScriptedLoadableModule:
    def __init__(self, parent):
        parent.title = ""
class ScriptedLoadableModuleWidget:
    def __init__(self, parent):
        self.parent, self.layout = parent, parent.layout()
class ScriptedLoadableModuleLogic: pass
class ScriptedLoadableModuleTest: pass
""",
    "i18n.py": "tr = str\n",
    "parameterNodeWrapper/__init__.py": "parameterNodeWrapper = lambda cls: cls\n",
}
PROGRAM = """
import harness
with harness.application() as app:
    import slicer.i18n, slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule
    for module in (slicer.i18n, slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule):
        print(module.__file__)
"""


def start(own: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"CMEDL_SLICER_PYTHON": str(own), "PYTHONPATH": str(TESTING)}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, encoding="utf-8")


def test_slicer_s_own_base_classes_are_used_where_they_are(slicer_app, tmp_path: Path) -> None:
    for name, text in OWN_BASES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = start(tmp_path)
    assert sorted(done.stdout.split()) == sorted(str(tmp_path / name) for name in OWN_BASES), done.stderr


def test_a_folder_without_them_is_told(slicer_app, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.application import slicer_python

    monkeypatch.setenv("CMEDL_SLICER_PYTHON", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="CMEDL_SLICER_PYTHON"):
        slicer_python()
