"""The panel, and the process that hosts it, end while a run is trained; a fresh panel takes up where it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from CMEDLSegmentLib.process import lock
from CMEDLSegmentLib.process.supervisor import Program
from CMEDLTrainLib.runs import run_folder
from train.panel.conftest import SMALL_RUN, choose
from train.panel.test_run import STATE, row, select

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="processes are looked up in /proc")

TESTING = Path(__file__).resolve().parents[2]
CURVE = "segmentation"
HOST = """
import json, os, signal, sys
from pathlib import Path

import harness

cohort = Path(sys.argv[1])
with harness.application() as app:
    from train.panel.conftest import choose
    from train.panel.test_attach import curve
    from train.panel.test_run import start

    panel = app.open("CMEDLTrain")
    choose(panel, app, cohort)
    start(panel, app, 4000)
    app.wait_until(lambda: len(curve()) > 2)
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


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """Whatever happens in a test, no process that has its folder among its arguments stays behind."""
    yield
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{tmp_path}{os.sep}".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.fixture
def hosted(cohort: Path, python_slicer) -> tuple[run_folder.Run, list[list[float]]]:
    """A run that is being trained, and the curve that the panel showed whose process is dead."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTING), *sys.path])}
    host = subprocess.run(
        [sys.executable, "-c", HOST, str(cohort)], env=environment, capture_output=True, encoding="utf-8", timeout=240
    )
    assert host.returncode == -signal.SIGKILL, host.stderr
    return run_folder.Run(cohort / "runs" / "mine"), json.loads(host.stdout.splitlines()[-1])


def done(run: run_folder.Run) -> int:
    """Steps that the checkpoint has behind it, which is read whole."""
    from safetensors.torch import load_file

    from CMEDLTrainLib.training import checkpoints

    assert load_file(run.last)
    return checkpoints.progress(run.last)["step"]


def losses_by_step(run: run_folder.Run) -> dict[int, float]:
    """The loss by step, as the run's events tell it."""
    return {event["step"]: event["losses"][CURVE] for event in run.read_events() if "losses" in event}


def test_a_run_goes_on_without_its_panel_and_a_fresh_one_shows_the_same_curves(hosted, panel, slicer_app) -> None:
    run, shown = hosted
    trainer, step = run.holder()["pid"], run.status()["step"]
    cohort = run.folder.parents[1]
    choose(panel, slicer_app, cohort)
    select(panel, slicer_app, "mine")
    assert row(panel, "mine")[STATE] == "running here"
    slicer_app.wait_until(lambda: len(curve()) > len(shown))
    assert run.status()["step"] > step
    assert curve()[: len(shown)] == shown
    points = losses_by_step(run)
    assert [[at, points[at]] for at, _ in curve()] == curve()
    panel.ui.stopButton.click()
    slicer_app.wait_until(lambda: lock._mark(trainer) is None)  # an orphan may stay a zombie
    slicer_app.wait_until(lambda: row(panel, "mine")[STATE] == "stopped")
    stopped, points = run.status()["step"], [[at, value] for at, value in losses_by_step(run).items()]
    assert done(run) == stopped

    # The cohort's folder gets another name: the run is there, and goes on with the cases that lie beside it.
    moved = cohort.rename(cohort.with_name("renamed"))
    choose(panel, slicer_app, moved)
    select(panel, slicer_app, "mine")
    assert row(panel, "mine")[STATE] == "stopped"
    assert curve() == points
    panel.ui.resumeButton.click()
    run = run_folder.Run(moved / "runs" / "mine")
    slicer_app.wait_until(lambda: row(panel, "mine")[STATE] == "running here")
    slicer_app.wait_until(lambda: len(curve()) > len(points))
    assert curve()[: len(points)] == points
    assert run.configuration.cohort == str(moved / "cohort.csv")
    assert not cohort.exists()
    assert not slicer_app.messages


def test_a_trainer_that_was_killed_while_no_panel_was_open_is_resumed_to_the_end(
    panel, slicer_app, cohort: Path
) -> None:
    run = run_folder.Run(cohort / "runs" / "alone")
    options = ["--preset=tiny", "--method=ct-only", "--device=cpu", f"--output={run.folder}"]
    options += [f"--set={setting}" for setting in (*SMALL_RUN, "optimization.epochs=30")]
    command = ["run", *options, str(cohort / "cohort.csv")]
    trainer = Program([sys.executable], os.environ, "CMEDLTrainLib").detach(command, cohort / "log")
    slicer_app.wait_until(lambda: run.status()["epoch"] > 1 or trainer.poll() is not None)
    trainer.kill()
    slicer_app.wait_until(lambda: trainer.poll() is not None)
    choose(panel, slicer_app, cohort)
    select(panel, slicer_app, "alone")
    assert row(panel, "alone")[STATE] == "crashed"
    assert "killed" in panel.ui.runFaultLabel.text
    assert curve() == [[at, value] for at, value in losses_by_step(run).items()]
    kept = done(run)
    assert kept > 0
    panel.ui.resumeButton.click()
    slicer_app.wait_until(lambda: row(panel, "alone")[STATE] == "finished")
    assert run.student.is_file()
    assert [event["step"] for event in run.read_events() if event["event"] == "start"] == [0, kept]
    assert run.status()["epoch"] == 30
    slicer_app.wait_until(lambda: curve()[-1][0] == run.status()["steps"])
    steps = [at for at, _ in curve()]
    assert steps == sorted(set(steps))
