"""Trainers in the background: from their start until they hold the run, how they are asked to end, what they said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.process import lock
from CMEDLSegmentLib.process.supervisor import Program
from CMEDLTrainLib.runs import run_folder, trainers
from CMEDLTrainLib.runs.history import TAIL_BYTES, latest
from CMEDLTrainLib.runs.run_list import Entry, RunList, rivals
from CMEDLTrainLib.settings.configuration import PRESETS
from segment.process.processes import soon
from train.training.tiny_runs import environment

MODULE = "CMEDLTrainLib"
HOLDING = """
import signal, sys, time
from pathlib import Path
from CMEDLSegmentLib.process import lock
from CMEDLSegmentLib.process.supervisor import Program
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
time.sleep(float(sys.argv[1]))
with lock.hold(Path(sys.argv[2])):
    while not ended:
        time.sleep(0.05)
"""


@pytest.fixture
def run(tmp_path: Path) -> run_folder.Run:
    return run_folder.create(tmp_path / "runs" / "first", PRESETS["tiny"])


def test_a_trainer_is_starting_until_it_holds_the_run_and_is_started_once(run, tmp_path: Path) -> None:
    script = tmp_path / "holding.py"
    script.write_text(HOLDING, "utf-8")
    here = environment()
    held = trainers.Trainers()
    held.start(Program([sys.executable, str(script), "1", str(run.trainer)], here, MODULE), run)
    assert held.starting(run)
    with pytest.raises(InputError, match=run.folder.name):
        held.start(Program([sys.executable], here, MODULE), run)
    assert soon(run.running)
    assert not held.starting(run)
    with pytest.raises(InputError, match=run.folder.name):
        trainers.Trainers().start(Program([sys.executable], here, MODULE), run)
    # It prepares slices, say, and looks at no file: the signal reaches it.
    trainers.stop(run)
    assert soon(lambda: not run.running())
    assert not run.trainer.exists()


def test_one_that_ends_at_once_is_not_starting_and_its_last_lines_are_kept(run) -> None:
    held = trainers.Trainers()
    command = [sys.executable, "-c", "print('x' * 100000); print('Preparing\\rNo cohort there.')"]
    held.start(Program(command, dict(os.environ), MODULE), run)
    assert soon(lambda: not held.starting(run))
    assert soon(lambda: trainers.log_end(run)[-2:] == ["Preparing", "No cohort there."])
    assert len(trainers.log_end(run)) == 2


def test_nobody_else_s_process_is_ended(run) -> None:
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        other = {**lock.this_process(), "pid": sleeping.pid}
        # Another machine's process of the same number, and one that had the number before.
        for owner in ({**other, "host": "node7"}, {**other, "mark": "another-boot 1"}):
            run.trainer.write_text(json.dumps(owner), "utf-8")
            trainers.stop(run)
            if owner["host"] == "node7":
                with pytest.raises(InputError, match=run.folder.name):
                    trainers.end(run)
            else:
                trainers.end(run)
            time.sleep(0.1)
            assert sleeping.poll() is None
        # This process holds it: it is not asked by a signal that would end it.
        lock.acquire(run.trainer)
        trainers.stop(run)
        assert run.stop_asked()
        run.trainer.write_text(json.dumps({**other, "mark": lock._mark(sleeping.pid)}), "utf-8")
        trainers.end(run)
        assert sleeping.wait() == -signal.SIGKILL
    finally:
        sleeping.kill()
        sleeping.wait()


@pytest.mark.parametrize(
    ("device", "trained_on", "asks"),
    [
        ("cpu", "cpu", True),
        ("cuda", "cuda:0", True),
        ("cuda:1", "cuda:0", False),
        ("auto", "cuda:1", True),
        ("cuda:1", "auto", True),
        ("cpu", "cuda:0", False),
    ],
)
def test_runs_on_the_same_device_are_rivals_on_this_machine_alone(
    run, device: str, trained_on: str, asks: bool
) -> None:
    here = Entry(run, "cmedl", {"state": "running"}, holder={**lock.this_process(), "device": trained_on})
    far = Entry(run, "cmedl", {"state": "running"}, holder={**here.holder, "host": "node7"})
    assert rivals([here, far, Entry(run, "cmedl", {"state": "stopped"})], device) == ([here] if asks else [])


def test_the_end_of_the_events_tells_where_a_run_is(run) -> None:
    run.report("start", step=0, steps=9000)
    for step in range(1, 1500):
        run.report("step", step=step, steps=9000, losses={"segmentation": 0.5}, images_per_second=step)
    assert run.events.stat().st_size > TAIL_BYTES
    history = latest(run.events)
    assert (history.state, history.figures["step"], history.rates["images_per_second"]) == ("running", 1499, 1499)
    (entry,) = (runs := RunList(run.folder.parents[1])).look()
    assert (entry.state, entry.status["step"]) == ("crashed", 1499)
    run.report("stopped", step=1500)
    (entry,) = runs.look()
    assert (entry.state, entry.status["step"]) == ("stopped", 1500)
