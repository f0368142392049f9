"""What is asked for at a click: packages, from where, and what happens when they cannot be had."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from segment.panel.bright import add_ct
from segment.panel.conftest import TESTING, click_segment, settle

FAKE_PIP = TESTING / "segment" / "panel" / "fake_pip.py"


class Pip:
    """As if packages were not installed until pip was asked for them; nothing is installed in truth."""

    def __init__(self, folder: Path, absent: set[str]) -> None:
        self.folder, self._absent = folder, absent

    @property
    def asked(self) -> list[dict]:
        """What pip was called with, oldest first."""
        path = self.folder / "commands"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    @property
    def requirements(self) -> list[str]:
        """All that pip was asked for."""
        words = [word for entry in self.asked for word in entry["words"]]
        return [word for word in words if ">" in word]

    def absent(self, name: str) -> bool:
        """Whether a package is not there yet."""
        told = not (self.folder / "fails").exists() and any(word.startswith(name) for word in self.requirements)
        return name in self._absent and not told

    def will(self, what: str, do: bool = True) -> None:
        """Let it fail, or be slow."""
        path = self.folder / what
        path.touch() if do else path.unlink()


@pytest.fixture
def pip(slicer_app, panel, python_slicer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """The panel with a CT chosen, torch and highdicom not installed, and no PyTorch extension."""
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    folder = tmp_path / "pip"
    folder.mkdir()
    python_slicer(str(FAKE_PIP), str(folder))
    pip = Pip(folder, {"torch", "highdicom"})
    real = importlib.metadata.version

    def version(name: str) -> str:
        if pip.absent(name):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    return pip


def soon(action: Callable[[], object], ms: int = 400) -> None:
    """Do something while a dialog keeps the test waiting."""
    import qt

    qt.QTimer.singleShot(ms, action)


def test_nothing_is_asked_before_the_first_click(pip: Pip, slicer_app) -> None:
    assert slicer_app.messages == []
    assert pip.asked == []


def test_a_click_asks_for_what_it_needs_and_goes_on(pip: Pip, panel, slicer_app) -> None:
    slicer_app.answer("no")
    click_segment(panel, slicer_app)
    (entry,) = pip.asked
    assert pip.requirements == ["torch>=2.6,<2.14"], "highdicom is for DICOM SEG alone"
    assert "PyTorch extension" in slicer_app.messages[0].text
    assert " GB " in slicer_app.messages[0].text
    assert panel.parameters.result
    assert f"numpy=={importlib.metadata.version('numpy')}" in entry["constraints"]
    assert not Path(entry["temporary"]).exists(), "what was half downloaded is gone"


def test_pip_s_own_build_is_told_by_its_size_also_without_an_extensions_manager(
    pip: Pip, panel, slicer_app, monkeypatch
) -> None:
    from CMEDLSegmentPanel import dependencies

    monkeypatch.setattr(dependencies, "_extensionsManager", lambda: None)
    slicer_app.answer("cancel")
    panel.ui.segmentButton.click()
    assert " GB " in slicer_app.messages[0].text
    assert "safetensors" not in slicer_app.messages[0].text, "it is installed"
    assert pip.asked == []


def test_dicom_seg_asks_for_its_own(pip: Pip, segmented, slicer_app) -> None:
    slicer_app.answer("ok")
    segmented.ui.exportSegButton.click()
    assert [line.partition(">")[0] for line in pip.requirements] == ["highdicom"]


def test_a_no_installs_nothing_and_says_so(pip: Pip, panel, slicer_app) -> None:
    slicer_app.answer("cancel")
    panel.ui.segmentButton.click()
    assert pip.asked == []
    assert not panel.logic.busy
    assert "installed" in panel.ui.messageLabel.text
    assert panel.ui.segmentButton.enabled


def test_impatient_clicks_start_one_installation(pip: Pip, panel, slicer_app) -> None:
    pip.will("slow")
    shown = []

    def click_again() -> None:
        for _ in range(3):
            panel.ui.segmentButton.click()
        panel.run.refresh()
        shown.append(panel.ui.segmentButton.enabled)
        pip.will("slow", False)

    slicer_app.answer("no", "no")
    soon(click_again)
    click_segment(panel, slicer_app)
    assert len(pip.asked) == 1
    assert shown == [False]
    assert panel.ui.segmentButton.enabled


def test_an_installation_is_watched_and_cancelled(pip: Pip, panel, slicer_app, monkeypatch) -> None:
    import qt

    from CMEDLSegmentPanel import dependencies

    made, logs = [], []

    class Spied(dependencies.Installation):
        def __init__(self, commands) -> None:
            super().__init__(commands)
            made.append(self)

    def cancel() -> None:
        dialog = made[0].dialog
        logs.append((dialog.visible, dialog.findChild(qt.QPlainTextEdit).toPlainText()))
        dialog.findChild(qt.QDialogButtonBox).button(qt.QDialogButtonBox.Cancel).click()

    def when_it_prints() -> None:
        cancel() if pip.asked and made[0]._last else soon(when_it_prints, 100)

    monkeypatch.setattr(dependencies, "Installation", Spied)
    pip.will("slow")
    slicer_app.answer("no")
    soon(when_it_prints)
    # Something is shown anew meanwhile.
    soon(panel.refresh, 100)
    panel.ui.segmentButton.click()
    settle(panel, slicer_app)
    assert panel.ui.segmentButton.enabled
    assert logs == [(True, "Collecting torch>=2.6,<2.14")]
    assert made[0]._process.poll() is not None
    assert not Path(pip.asked[0]["temporary"]).exists()
    assert not panel.logic.busy
    assert not dependencies.installing()
    assert [message.kind for message in slicer_app.messages] == ["question"]


def test_a_failed_installation_is_told_with_the_way_without_a_network(pip: Pip, panel, slicer_app) -> None:
    pip.will("fails")
    slicer_app.answer("no")
    panel.ui.segmentButton.click()
    assert "no matching distribution" in slicer_app.messages[-1].text
    assert "PIP_FIND_LINKS" in slicer_app.messages[-1].text
    assert not panel.logic.busy
    assert panel.ui.segmentButton.enabled


def test_what_pip_did_not_install_after_all_is_told(pip: Pip, panel, slicer_app, monkeypatch) -> None:
    monkeypatch.setattr(pip, "absent", lambda name: name == "torch")
    slicer_app.answer("no")
    panel.ui.segmentButton.click()
    assert "torch" in slicer_app.messages[-1].text
    assert not panel.logic.busy


def test_the_extension_is_offered_and_the_module_opens_after_the_restart(pip: Pip, panel, slicer_app) -> None:
    import slicer

    slicer_app.answer("yes", "yes")
    panel.ui.segmentButton.click()
    assert slicer_app.extensions.installed == ["PyTorch"]
    assert slicer_app.restarts == 1
    assert pip.asked == []
    assert not panel.logic.busy
    slicer_app.close(panel)
    slicer.util.selectModule("SegmentEditor")
    slicer_app.load("CMEDLSegment")
    assert slicer.util.selectedModule() == "CMEDLSegment"
    # Once only.
    slicer.util.selectModule("SegmentEditor")
    slicer_app.load("CMEDLSegment")
    assert slicer.util.selectedModule() == "SegmentEditor"


def test_an_extension_that_is_installed_already_needs_the_restart_alone(pip: Pip, panel, slicer_app) -> None:
    slicer_app.extensions.installed.append("PyTorch")
    slicer_app.answer("yes", "no")
    panel.ui.segmentButton.click()
    assert slicer_app.extensions.installed == ["PyTorch"]
    assert slicer_app.restarts == 0
    slicer_app.answer("no")
    click_segment(panel, slicer_app)
    assert pip.requirements == ["torch>=2.6,<2.14"]


def test_an_extension_that_cannot_be_had_is_told(pip: Pip, panel, slicer_app) -> None:
    slicer_app.extensions.server = False
    slicer_app.answer("yes")
    panel.ui.segmentButton.click()
    assert "Extensions Manager" in slicer_app.messages[-1].text
    assert slicer_app.restarts == 0
    assert panel.ui.segmentButton.enabled


def test_with_the_extension_torch_comes_in_the_build_that_it_chooses(pip: Pip, panel, slicer_app, monkeypatch) -> None:
    there = types.ModuleType("PyTorchUtils")
    there.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", there)
    slicer_app.answer("ok")
    click_segment(panel, slicer_app)
    chooser, torch = (entry["words"] for entry in pip.asked)
    # Apart from Slicer's own packages, as it needs another pip than Slicer's.
    folder = chooser[chooser.index("--target") + 1]
    assert (chooser[0], chooser[-1].partition(">")[0]) == ("pip", "light-the-torch")
    assert "light_the_torch" in torch[0]
    assert (torch[1:3], torch[-1]) == ([folder, "install"], "torch>=2.6,<2.14")
    assert f"numpy=={importlib.metadata.version('numpy')}" in pip.asked[1]["constraints"]
    assert not Path(folder).exists()


def test_a_package_that_changes_while_it_is_in_use_asks_for_a_restart(pip: Pip, panel, slicer_app, monkeypatch) -> None:
    from CMEDLSegmentPanel import dependencies

    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"torch": ["torch"]})
    assert dependencies._in_use(["numpy>=3", "torch>=2.6,<2.14"]) == ["torch"]
    slicer_app.answer("no", "yes")
    panel.ui.segmentButton.click()
    assert "torch" in slicer_app.messages[-1].text
    assert slicer_app.restarts == 1


def test_scripts_are_told_what_is_missing_and_install_nothing(pip: Pip, panel) -> None:
    from CMEDLSegmentLib.base.errors import InputError

    with pytest.raises(InputError, match="torch"):
        panel.logic.segment(panel.parameters.ct)
    assert pip.asked == []
