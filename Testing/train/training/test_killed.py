"""kill -9 at any moment: the run resumes and ends with the weights of one that nobody disturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS
from train.training import killing
from train.training.tiny_runs import assert_same_tensors, environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")
SETTINGS = ["--preset=tiny", "--method=cmedl", "--device=cpu", "--set=images.field=32", "--set=optimization.epochs=3"]
QUICK, SLOW = 3, 30


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(
        [sys.executable, killing.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(OMP_NUM_THREADS=1),
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def command(server):
    """Runs ``cmedl-train`` in a fresh process; kills it after some seconds if asked; its wait status."""

    def run(*arguments, after=None, **aim):
        server.stdin.write(json.dumps({"arguments": [str(a) for a in arguments], **aim}) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        server.stdin.write("\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    return run


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return write_cohort_phantoms(folder, cases=3, seed=9, size=(10, 48, 48), spacing=(30.0, 8.0, 8.0))


@pytest.fixture(scope="module")
def undisturbed(command, cohort, tmp_path_factory):
    """A run that nobody disturbs, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    started = time.monotonic()
    assert command("run", cohort, "-o", folder, *SETTINGS) == 0
    return folder, time.monotonic() - started


def metadata(checkpoint):
    with safe_open(checkpoint, "pt") as file:
        return file.metadata()


def ends_as_undisturbed(folder, cohort, command, undisturbed):
    """Resume what is left of a run and compare everything that it leaves with the run that was not disturbed."""
    if not (folder / "configuration.json").is_file():  # killed before anything was written: nothing to resume
        shutil.rmtree(folder, ignore_errors=True)
        assert command("run", cohort, "-o", folder, *SETTINGS) == 0
    else:
        assert run_folder.open_run(folder).status()["state"] != "running"
        assert command("resume", folder) == 0
    assert run_folder.open_run(folder).status()["state"] == "finished"
    for name in ("last", "best"):
        ours, theirs = (metadata(run / f"{name}.safetensors") for run in (folder, undisturbed))
        assert ours == theirs
    for name in ("last", "best", "student"):
        assert_same_tensors(folder / f"{name}.safetensors", undisturbed / f"{name}.safetensors")


def moments(count):
    """Random ones, one in each of so many equal parts of a run, and a little beyond its end."""
    drawn = random.Random(count)
    return [pytest.param((part + drawn.random()) / count, id=f"{part + 1}-of-{count}") for part in range(count)]


@pytest.mark.parametrize("moment", moments(QUICK))
def test_a_run_killed_at_a_random_moment_ends_as_if_nothing_had_happened(
    moment, command, cohort, undisturbed, tmp_path
):
    whole, seconds = undisturbed
    command("run", cohort, "-o", tmp_path / "run", *SETTINGS, after=moment * seconds)
    ends_as_undisturbed(tmp_path / "run", cohort, command, whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", moments(SLOW))
def test_a_run_killed_at_any_of_many_moments_does_so_too(moment, command, cohort, undisturbed, tmp_path):
    whole, seconds = undisturbed
    command("run", cohort, "-o", tmp_path / "run", *SETTINGS, after=moment * seconds)
    ends_as_undisturbed(tmp_path / "run", cohort, command, whole)


@pytest.mark.parametrize(
    ("aim", "count"),
    [("checkpoint", 3), pytest.param("slices", 2, marks=pytest.mark.slow)]
    + [pytest.param("event", count, marks=pytest.mark.slow) for count in (2, 4)]
    + [pytest.param("renaming", count, marks=pytest.mark.slow) for count in (3, 4, 7)],
)
def test_a_run_killed_while_it_writes_does_so_too(aim, count, command, cohort, undisturbed, tmp_path):
    ended = command("run", cohort, "-o", tmp_path / "run", *SETTINGS, aim=aim, count=count)
    assert os.WTERMSIG(ended) == signal.SIGKILL
    assert run_folder.open_run(tmp_path / "run").status()["state"] == "crashed"
    ends_as_undisturbed(tmp_path / "run", cohort, command, undisturbed[0])


def test_a_run_killed_before_torch_was_imported_can_be_resumed(cohort, tmp_path):
    folder = tmp_path / "run"
    arguments = [sys.executable, "-m", "CMEDLTrainLib", "run", str(cohort), "-o", str(folder), *SETTINGS]
    with subprocess.Popen(arguments, env=environment(OMP_NUM_THREADS=1), stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 240
        while not (folder / "trainer.json").is_file() and time.monotonic() < end:
            time.sleep(0.001)
        maps = Path(f"/proc/{process.pid}/maps")
        libraries = maps.read_text("utf-8") if maps.exists() else ""
        process.kill()
    assert "libtorch" not in libraries
    run = run_folder.open_run(folder)
    assert run.status() | {"state": "crashed", "step": 0} == run.status()
    assert run.configuration.translation == PRESETS["tiny"].translation
