"""The panel has the size of Slicer's own: what is wider is cut, and what is higher has to be scrolled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.process import lock
from CMEDLTrainLib.training.previews import write_png
from train.panel.conftest import settle
from train.panel.test_run import made, select, tell

WIDEST, HIGHEST, MOST_WIDGETS = 420, 900, 25


@pytest.fixture
def running(filled, cohort: Path, slicer_app):
    """The panel with a run that is being trained, with curves and a preview."""
    run = made(cohort, "a-run-with-a-name-of-some-length")
    tell(run, 20)
    write_png(run.folder / "previews" / "step-5.png", np.zeros((128, 384, 3), np.uint8))
    run.report("preview", step=5, file="previews/step-5.png")
    run.trainer.write_text(json.dumps({**lock.this_process(), "device": "cpu"}), "utf-8")
    select(filled, slicer_app, run.folder.name)
    slicer_app.wait_until(lambda: filled.ui.previewButton.visible)
    settle(filled, slicer_app)
    return filled


@pytest.fixture
def evaluated(finished, slicer_app):
    """The panel with a model beside another one, and a case in the views."""
    from CMEDLTrainLib.cli import main

    run = finished.outcome.run.folder
    assert main(["evaluate", str(run), f"--against={run.with_name('short')}", "--device=cpu"]) == 0
    slicer_app.wait_until(lambda: finished.outcome.scored is not None)
    settle(finished, slicer_app)
    finished.ui.scoredTable.cellClicked.emit(0, 0)
    slicer_app.wait_until(lambda: not finished.outcome._contour._segmenting.busy)
    return finished


def shown(panel) -> list[str]:
    """What of the panel is seen, without what only holds others."""
    return [
        name
        for name, widget in vars(panel.ui).items()
        if getattr(widget, "visible", False)
        and widget.metaObject().className() != "QWidget"
        and not name.startswith("qt_")
    ]


@pytest.mark.parametrize("state", ["panel", "filled", "running", "finished", "evaluated"])
def test_the_panel_has_the_size_of_slicer_s_own(request, slicer_app, state: str) -> None:
    panel, window = request.getfixturevalue(state), slicer_app.main_window
    before = window._panels.width
    window._panels.setFixedWidth(WIDEST)
    slicer_app.process_events()
    names, bottom = shown(panel), panel.ui.noticeLabel.geometry.bottom()
    window._panels.setFixedWidth(before)
    print(f"{len(names)} widgets, {bottom} pixels high")
    assert len(names) <= MOST_WIDGETS, names
    assert bottom <= HIGHEST
    assert slicer_app.least_width(panel) <= WIDEST
    for part in ("cohort", "training", "run", "outcome"):
        getattr(panel.ui, f"{part}CollapsibleButton").collapsed = False
    for group in ("shares", "allSettings", "card"):
        getattr(panel.ui, f"{group}GroupBox").collapsed = False
    settle(panel, slicer_app)
    assert slicer_app.least_width(panel) <= WIDEST
