"""What ``cmedl-train evaluate`` says of runs that are not what it needs, and of how fast a run trained."""

import json

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.evaluation.evaluation_file import read_evaluation
from CMEDLTrainLib.evaluation.evaluation_output import training_speed
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings import configuration


@pytest.fixture
def run(tmp_path):
    """A run that has not begun."""
    return run_folder.create(tmp_path / "run", configuration.PRESETS["tiny"])


def events(run, *later) -> None:
    lines = [{"time": 100.0, "event": "start", "device": "cuda:0", "step": 0}, *later]
    run.events.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def step(time: float, number: int) -> dict:
    return {"time": time, "event": "step", "step": number}


def test_a_run_without_a_student_cannot_be_evaluated(run, capsys):
    assert main(["evaluate", str(run.folder)]) == 2
    assert str(run.folder) in capsys.readouterr().err


def epoch(time: float, number: int) -> dict:
    return {"time": time, "event": "epoch", "step": number}


def test_a_step_s_time_is_that_between_reports_without_a_validation_between(run):
    validated = (epoch(109, 120), step(109.9, 150))
    events(run, step(101, 50), step(102, 100), *validated, step(111.5, 200), epoch(119, 240), step(119.1, 250))
    # 20, 30 and 32 ms; the last stretch is too short to count.
    assert training_speed(run) == {"milliseconds_per_step": pytest.approx(30.0), "device": "cuda:0"}


def test_epochs_shorter_than_a_report_tell_the_time_too(run):
    events(run, epoch(103, 30), step(103.4, 50), epoch(120, 60), epoch(130, 90), step(130.1, 100), epoch(135, 120))
    assert training_speed(run)["milliseconds_per_step"] == pytest.approx(15.0)


def test_a_run_too_short_to_tell_has_no_time_of_a_step(run):
    events(run, step(101, 50))
    assert training_speed(run)["milliseconds_per_step"] is None


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": []}', '{"tumors": 3}'])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text, "utf-8")
    with pytest.raises(InputError):
        read_evaluation(tmp_path / "evaluation.json")
