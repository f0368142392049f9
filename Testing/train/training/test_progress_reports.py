"""What training tells while it runs: events with the figures that matter, TensorBoard's scalars, the bar's words."""

import io
import sys
from types import ModuleType

import pytest
import torch

from CMEDLSegmentLib.cli.console import Bar
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS
from CMEDLTrainLib.training import progress_reports
from CMEDLTrainLib.training.progress_reports import ProgressReports


@pytest.fixture
def run(tmp_path):
    return run_folder.create(tmp_path / "run", PRESETS["tiny"])


@pytest.fixture
def scalars(monkeypatch):
    """What a stand-in for TensorBoard's writer was given, and how it was made."""
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return written


@pytest.fixture
def clock(monkeypatch):
    """The time that the reports see, to be moved on."""
    now = [100.0]
    monkeypatch.setattr(progress_reports.time, "monotonic", lambda: now[0])
    return now


def reports(run, progress, device="cpu"):
    return ProgressReports(run, torch.device(device), images=4, steps=200, steps_per_epoch=20, progress=progress)


def test_a_report_has_losses_rates_memory_validation_and_time_left(run, clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    shown = []
    report = reports(run, lambda words, fraction: shown.append((words, fraction)))
    report.start(100, 1, {"dsc": 0.25, "loss": 0.7})
    report.show(101)
    clock[0] += 25
    report.losses(150, {"student": 0.5, "hint": 0.125}, 0.5)
    report.show(150)
    clock[0] += 5
    report.validated(160, {"dsc": 0.75, "loss": 0.2}, {"student": 0.4}, 8)
    report.show(160)
    start, step, epoch = run.read_events()
    assert (start["event"], start["steps"], start["tensorboard"]) == ("start", 200, False)
    expected = {
        "event": "step",
        "step": 150,
        "steps": 200,
        "epoch": 7,
        "losses": {"student": 0.5, "hint": 0.125},
        "validation": {"dsc": 0.25, "loss": 0.7},
        "learning_rate": 0.5,
        "images_per_second": 8.0,
        "seconds_left": 25,
    }
    assert step | expected == step
    assert step["memory_gb"] > 0.05
    assert (epoch["epoch"], epoch["best_epoch"], epoch["losses"]) == (8, 8, {"student": 0.4})
    assert epoch["seconds_left"] == 20
    assert shown == [
        ("Epoch 6 of 10: Training", 0.505),
        ("Epoch 8 of 10: 25 s left, validation DSC 0.250, student 0.500, hint 0.125", 0.75),
        ("Epoch 9 of 10: 20 s left, validation DSC 0.750, student 0.400", 0.8),
    ]
    assert run.status()["validation"] == {"dsc": 0.75, "loss": 0.2}
    assert not (run.folder / "tensorboard").exists()


def test_tensorboard_gets_every_figure_where_it_is_installed(run, clock, scalars):
    report = reports(run, lambda words, fraction: None)
    report.start(40, 1, {})
    clock[0] += 5
    report.losses(50, {"student": 0.5}, 1.0)
    report.validated(60, {"dsc": 0.75}, {"student": 0.4}, 3)
    assert scalars[0] == (str(run.folder / "tensorboard"), 40)
    by_step = {(name, step): value for name, value, step in scalars[1:]}
    assert by_step.pop(("memory_gb", 50)) > 0
    assert by_step == {
        ("losses/student", 50): 0.5,
        ("learning_rate", 50): 1.0,
        ("images_per_second", 50): 8.0,
        ("losses/student", 60): 0.4,
        ("validation/dsc", 60): 0.75,
    }
    assert run.read_events()[0]["tensorboard"] is True


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize("forecast", [True, False])
def test_a_bar_leaves_the_time_left_to_a_job_that_tells_it(forecast, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    seconds, stream = [0.0], Terminal()
    bar = Bar(stream, clock=lambda: seconds[0], forecast=forecast)
    seconds[0] = 10.0
    bar("Epoch 6 of 10: 5 min 00 s left", 0.5)
    assert "5 min 00 s left" in stream.getvalue()
    assert ("about 10 s left" in stream.getvalue()) is forecast
