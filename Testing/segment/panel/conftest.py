"""The panel in the harness with a model that is quick and whose answer is known, and a PythonSlicer on the PATH."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segment.panel.bright import add_ct, install_card, outcome_of

TESTING = Path(__file__).resolve().parents[2]
QUICK, FAKE = TESTING / "segment" / "panel" / "quick_worker.py", TESTING / "segment" / "process" / "fake_python.py"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed models that holds one, "bright", as its card says; its weights are not needed."""
    folder = tmp_path_factory.mktemp("students")
    install_card(folder)
    return folder


@pytest.fixture
def python_slicer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a launcher named PythonSlicer on the PATH, which runs what it is called with; at first the quick worker."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))

    def install(*arguments: str) -> None:
        launcher = folder / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)

    install(str(QUICK))
    return install


@pytest.fixture
def place(tmp_path: Path, slicer_app) -> Iterator[Path]:
    """Slicer's temporary folder, empty at the beginning; to be empty again after every run."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    before, slicer_app.temporary_path = slicer_app.temporary_path, str(folder)
    yield folder
    slicer_app.temporary_path = before


@pytest.fixture
def panel(slicer_app, models: Path, python_slicer, place: Path, monkeypatch: pytest.MonkeyPatch):
    """The open module, the quick model chosen."""
    monkeypatch.setenv("CMEDL_MODELS", str(models))
    widget = slicer_app.open("CMEDLSegment")
    widget.parameters.model = "bright"
    settle(widget, slicer_app)
    return widget


@pytest.fixture
def with_result(panel, slicer_app):
    """The panel with a result and its probability, as after a run but without a worker."""
    from CMEDLSegmentLib.inference.options import SegmentationOptions
    from CMEDLSegmentPanel.scene.volume_nodes import volume_of

    ct = panel.parameters.ct = add_ct()
    outcome = outcome_of(volume_of(ct), SegmentationOptions("bright"), True)
    panel.showNewResult(panel.logic._add(ct, outcome))
    settle(panel, slicer_app)
    return panel


@pytest.fixture
def segmented(with_result, slicer_app):
    """The same, everything unfolded."""
    unfold(with_result, slicer_app)
    return with_result


@pytest.fixture
def rated(segmented, slicer_app):
    """The panel with the model's result and two experts, "Ann" and "Bob", and their figures."""
    from segment.panel.comparing import smaller, wait_for_figures
    from segment.panel.test_experts import EXPERT, add_rater, larger, tick

    add_rater("Ann", larger())
    add_rater("Bob", smaller())
    settle(segmented, slicer_app)
    for name in ("Ann", "Bob"):
        tick(segmented, slicer_app, name, EXPERT, True)
    wait_for_figures(segmented, slicer_app)
    return segmented


def click_segment(panel, app) -> None:
    """Click the large button and wait until the run is over and shown."""
    panel.ui.segmentButton.click()
    assert panel.logic.busy, panel.ui.messageLabel.text
    app.wait_until(lambda: not panel.logic.busy)
    settle(panel, app)


def unfold(panel, app) -> None:
    """Open every section and every group in them, and let them all be seen."""
    for name in vars(panel.ui):
        widget = getattr(panel.ui, name)
        if name.endswith(("CollapsibleButton", "GroupBox")):
            widget.collapsed = False
    settle(panel, app)


def settle(panel, app) -> None:
    """Wait until the panel shows what the scene is."""
    app.process_events()
    app.wait_until(lambda: not any(section._soon.active for section in panel.sections))
