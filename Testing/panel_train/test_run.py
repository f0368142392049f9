"""The section "Run": real trainers started, stopped, killed and resumed; what is shown of runs in any state."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from CMEDLTrainLib import configuration, runs
from panel_train.conftest import settle

NAME, STATE, METHOD, PROGRESS = range(4)
TINY = ["images.field=32", "images.slices=all"]


def made(cohort: Path, name: str = "first", **changes) -> runs.Run:
    """A run that nobody trained yet."""
    settings = configuration.with_settings(configuration.PRESETS["tiny"], [f"cohort={cohort / 'cohort.csv'}"])
    return runs.create(cohort / "runs" / name, configuration.replace(settings, **changes))


def told(run: runs.Run, steps: int = 4, first: int = 0) -> None:
    """Let a run tell of training."""
    run.report("start", step=first, steps=40, device="cpu", processes=1)
    for step in range(first + 1, first + steps + 1):
        figures = {"steps": 40, "epoch": step // 10, "seconds_left": 90, "images_per_second": 12.5, "memory_gb": 1.5}
        run.report("step", step=step, losses={"segmentation": 1 / step, "cycle": 10 / step}, **figures)
    run.report("epoch", step=step, epoch=1, validation={"loss": 0.5, "dsc": 0.71, "false_pixels": 2.0})


def row(panel, name: str) -> list[str]:
    table = panel.ui.runsTable
    rows = [[table.item(at, column).text() for column in range(4)] for at in range(table.rowCount)]
    return next((texts for texts in rows if texts[NAME] == name), [""] * 4)


def select(panel, app, name: str) -> None:
    """Click a run of the list."""
    panel.run.refresh()
    table = panel.ui.runsTable
    at = next(at for at in range(table.rowCount) if table.item(at, NAME).text() == name)
    table.cellClicked.emit(at, NAME)
    settle(panel, app)


def start(panel, app, epochs: int, name: str = "mine") -> runs.Run:
    """Start a small real run by the panel, and wait until it trains."""
    panel.parameters.method, panel.parameters.preset, panel.parameters.device = "ct-only", "tiny", "cpu"
    panel.parameters.changes, panel.parameters.epochs = TINY, epochs
    settle(panel, app)
    panel.ui.runNameLineEdit.text = name
    panel.ui.startButton.click()
    run = runs.Run(Path(panel.parameters.cohort, "runs", name))
    assert not [message.text for message in app.messages]
    app.wait_until(lambda: row(panel, name)[STATE] == "running here", 60)
    app.wait_until(lambda: run.status()["step"], 90)
    return run


def test_a_run_is_started_stopped_resumed_killed_and_finished(filled, cohort: Path, slicer_app) -> None:
    run = start(filled, slicer_app, 4000)
    pid = json.loads(run.trainer.read_text())["pid"]
    slicer_app.wait_until(lambda: "on cpu" in filled.ui.runStatusLabel.text, 20)
    assert not filled.ui.deleteButton.enabled
    assert not filled.ui.resumeButton.enabled
    filled.ui.stopButton.click()
    asked = time.monotonic()
    slicer_app.wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10)
    print(f"stopped after {time.monotonic() - asked:.1f} s")
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "stopped", 10)
    assert run.last.is_file()
    step = run.status()["step"]
    filled.ui.resumeButton.click()
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "starting", 10)
    slicer_app.wait_until(lambda: run.status()["state"] == "running" and run.status()["step"] > step, 90)
    os.killpg(json.loads(run.trainer.read_text())["pid"], signal.SIGKILL)
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "crashed", 10)
    assert "killed" in filled.ui.runFaultLabel.text
    assert filled.ui.resumeButton.enabled
