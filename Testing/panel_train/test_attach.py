"""The panel, and the process that hosts it, end while a run is trained; a fresh panel takes up where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from CMEDLTrainLib import runs, trainers
from panel_train.conftest import choose
from panel_train.test_run import row, select

TESTING = Path(__file__).resolve().parents[1]
CURVE = "segmentation"
HOST = """
import json, os, signal, sys
from pathlib import Path

import harness

cohort = Path(sys.argv[1])
with harness.application() as app:
    from panel_train.conftest import choose
    from panel_train.test_attach import curve
    from panel_train.test_run import start

    panel = app.open("CMEDLTrain")
    choose(panel, app, cohort)
    start(panel, app, 4000)
    app.wait_until(lambda: len(curve()) > 2, 90)
    print(json.dumps(curve()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""What hosts the first panel: it starts a run, tells the curve that it shows, and is killed."""


def curve() -> list[list[float]]:
    """The points (step, value) of the loss's curve in Slicer's plots."""
    import slicer

    for series in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode"):
        if series.GetName() == CURVE:
            table = series.GetTableNode().GetTable()
            columns = [table.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
            return [[column.GetValue(at) for column in columns] for at in range(table.GetNumberOfRows())]
    return []


@pytest.fixture
def hosted(cohort: Path, python_slicer) -> Iterator[tuple[runs.Run, list[list[float]]]]:
    """A run that is being trained, and the curve that the panel showed whose process is dead."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTING), *sys.path])}
    host = subprocess.run(
        [sys.executable, "-c", HOST, str(cohort)], env=environment, capture_output=True, text=True, timeout=240
    )
    run = runs.Run(cohort / "runs" / "mine")
    try:
        assert host.returncode == -signal.SIGKILL, host.stderr
        yield run, json.loads(host.stdout.splitlines()[-1])
    finally:
        if run.running():
            trainers.end(run)


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_run_goes_on_without_its_panel_and_a_fresh_one_shows_the_same_curves(hosted, panel, slicer_app) -> None:
    run, shown = hosted
    assert run.running()
    step = run.status()["step"]
    choose(panel, slicer_app, run.folder.parents[1])
    select(panel, slicer_app, "mine")
    assert row(panel, "mine")[1] == "running here"
    slicer_app.wait_until(lambda: len(curve()) > len(shown), 60)
    assert run.status()["step"] > step
    told = {event["step"]: event["losses"][CURVE] for event in run.read_events() if "losses" in event}
    points = curve()
    assert points[: len(shown)] == shown
    assert [told[at] for at, _ in points] == [value for _, value in points]
    panel.ui.stopButton.click()
    slicer_app.wait_until(lambda: row(panel, "mine")[1] == "stopped", 10)
    assert run.last.is_file()
