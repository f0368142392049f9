"""The campaign rehearsed: every part with the least settings, where no package is but those of a rented GPU's image.

Quickly in this environment with all other packages hidden; slowly in an environment of exactly those packages, which is
made for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from CMEDLSegmentLib.base.files import BESIDE
from CMEDLSegmentLib.models.model_file import load_model

HERE = Path(__file__).resolve().parent
ABSENT = ("SimpleITK", "pydicom", "highdicom", "openvino", "sklearn", "pytest", "tensorboard", "vtk", "slicer")
HIDING = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in {ABSENT!r}
        return None if hidden else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
"""A sitecustomize.py: no finder finds these packages, as if they were not installed."""
PACKAGES = ("torch==2.11.*", "numpy", "scipy", "scikit-image", "safetensors")
MOST_FILES, LARGEST = 8, 16_000_000
"""What a command may bring back."""
COHORTS = {"sts": ("sts",), "lung": ("lung", "lung-final")}
CELLS = {"sts": 4, "lung": 1, "lung-final": 1}


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """The packs of phantoms by part, made in this environment."""
    folder = tmp_path_factory.mktemp("packs")
    for part, cohorts in COHORTS.items():
        subprocess.run(
            [sys.executable, HERE / "pack.py", *cohorts, "--tiny", "-o", folder / f"{part}.npz"],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    return {part: folder / f"{part}.npz" for part in COHORTS}


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """This interpreter, and an environment in which only the packages of the image are found."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "sitecustomize.py").write_text(HIDING, "utf-8")
    return sys.executable, {**os.environ, "PYTHONPATH": str(folder), "CMEDL_DATA": str(folder / "none")}


def command(interpreter, part, folder, packs, *more):
    """The command line of a part; in ``folder`` are what comes back and the work."""
    pack = ["--pack", str(packs[part])] if part in packs else []
    where = ["--out", str(folder / "out"), "--work", str(folder / "work"), "--device", "cpu"]
    return [interpreter, str(HERE / "campaign.py"), part, "--tiny", *where, *pack, *more]


def check_out(out):
    """What comes back is of the number, size and names that may come back."""
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(BESIDE)]
    assert len(files) <= MOST_FILES
    for path in files:
        assert path.stat().st_size < LARGEST
        parts = path.relative_to(out).parts
        assert len(parts) <= 3
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", part) for part in parts)


def results_in(out, name):
    with zipfile.ZipFile(out / f"{name}.zip") as file:
        return json.loads(file.read(f"{name}/results.json")), file.namelist()


def check_trained(out, part):
    """A part that trains is complete, and all of it came back."""
    check_out(out)
    for name in COHORTS[part]:
        results, names = results_in(out, name)
        assert results["complete"] is True
        assert len(results["cells"]) == CELLS[name]
        assert {Path(path).name for path in names} >= {"results.md", "panels.png", "events.jsonl", "evaluation.json"}
        assert sum(path.endswith("evaluation.json") for path in names) == CELLS[name]
        for row in results["methods"]:
            assert load_model(out / f"{name}-{row}.safetensors").card.training["method"] == row


def check_measured(out):
    """Every check and every bench told something, and nothing failed."""
    check_out(out)
    measured = json.loads((out / "steps.json").read_text("utf-8"))
    states = {name: result["state"] for name, result in measured.items() if name.startswith("check")}
    assert states == {
        "check graph": "skipped",
        "check bf16": "passed",
        "check resumed": "passed",
        "check ladder": "skipped",
    }
    (row,) = measured["step Unet, CMEDL"]["rows"].values()
    assert row["milliseconds"].keys() == {"ours", "naive"}
    assert row["share_of_ceiling"] > 0
    (inference,) = (result for name, result in measured.items() if name.startswith("inference"))
    assert inference["candidates"]


def rehearse(interpreter, environment, packs, folder, parts=("steps", *COHORTS)):
    """Parts, one command each."""
    for part in parts:
        done = subprocess.run(
            command(interpreter, part, folder / part, packs), env=environment, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if part == "steps":
            check_measured(folder / part / "out")
        else:
            check_trained(folder / part / "out", part)


def test_every_part_runs_where_only_the_packages_of_the_image_are_and_another_machine_goes_on(hidden, packs, tmp_path):
    rehearse(*hidden, packs, tmp_path, ("steps", "lung"))  # sts is that which is killed, below
    out, work = tmp_path / "lung" / "out", tmp_path / "lung" / "work"
    before, _ = results_in(out, "lung")
    shutil.rmtree(work)
    interpreter, environment = hidden
    again = subprocess.run(command(interpreter, "lung", out.parent, packs), env=environment, stdout=subprocess.DEVNULL)
    assert again.returncode == 0
    assert not list((work / "runs").glob("*/events.jsonl"))
    assert results_in(out, "lung")[0] == before
    check_out(out)


def test_a_part_that_is_killed_has_told_what_is_finished_and_goes_on(hidden, packs, tmp_path):
    interpreter, environment = hidden
    arguments = command(interpreter, "sts", tmp_path, packs)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as first:
        line = first.stdout.readline()
        while "safetensors" not in line:
            assert line, "it ended before a cell was finished"
            line = first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    results, _ = results_in(tmp_path / "out", "sts")
    assert [cell["state"] for cell in results["cells"]].count("finished") >= 1
    assert len(list((tmp_path / "out").glob("*.safetensors"))) >= 1
    before = trained_events(tmp_path / "work")
    done = subprocess.run(arguments, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    check_trained(tmp_path / "out", "sts")
    after = trained_events(tmp_path / "work")
    assert all(after[run] == events for run, events in before.items())


def trained_events(work):
    """The events of the runs that are finished."""
    events = {path.parent.name: path.read_text("utf-8") for path in (work / "runs").glob("*/events.jsonl")}
    return {run: text for run, text in events.items() if '"finished"' in text}


def test_where_a_graph_fails_the_part_starts_itself_again_without(packs, tmp_path, monkeypatch):
    """The device is one that cannot be had here, so what stands for it only says its name."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("CMEDL_DATA", "")
    import campaign

    from CMEDLTrainLib.computing import distribution
    from CMEDLTrainLib.experiments.runner import ExperimentRunner

    class StartedAgain(Exception):
        pass

    graphs = []

    def work_off(bench, *arguments, **named):
        graphs.append(bench.graph)
        if bench.graph:
            raise RuntimeError("operation not permitted when stream is capturing")
        return True

    def execv(program, arguments):
        assert float(arguments[-1]) < 1.0
        raise StartedAgain(arguments)

    monkeypatch.setattr(distribution, "choose_device", lambda name: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(ExperimentRunner, "work_off", work_off)
    monkeypatch.setattr(campaign.os, "execv", execv)
    arguments = command("", "lung", tmp_path, packs, "--minutes", "1")[2:]
    with pytest.raises(StartedAgain):
        campaign.main(arguments, lambda: False)
    assert "capturing" in (tmp_path / "work" / "no-graph.txt").read_text("utf-8")
    assert campaign.main(arguments, lambda: False) == 0
    assert graphs == [True, False, False]


def test_without_time_a_part_says_that_there_is_more_to_do(hidden, packs, tmp_path):
    interpreter, environment = hidden
    for part in ("steps", "sts"):
        arguments = command(interpreter, part, tmp_path / part, packs, "--minutes", "0")
        assert subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL).returncode == 3
        check_out(tmp_path / part / "out")


@pytest.mark.slow
def test_a_part_that_is_killed_again_and_again_ends_all_the_same(hidden, packs, tmp_path):
    interpreter, environment = hidden
    arguments = command(interpreter, "sts", tmp_path, packs)
    random = np.random.default_rng(11)
    for _ in range(12):
        with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as program:
            time.sleep(random.uniform(1.0, 15.0))
            program.kill()
        check_out(tmp_path / "out")
    done = subprocess.run(arguments, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    check_trained(tmp_path / "out", "sts")


@pytest.mark.slow
def test_every_part_runs_in_an_environment_of_exactly_the_packages_of_the_image(packs, tmp_path):
    """Takes minutes and gigabytes: the environment is made with pip, by Python 3.12 where it is there."""
    python = shutil.which("python3.12") or sys.executable
    if subprocess.run([python, "-V"], capture_output=True).returncode:  # a launcher without its version
        python = sys.executable
    environment = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    interpreter = str(environment / "bin" / "python")
    subprocess.run([interpreter, "-m", "pip", "install", "-q", "--no-compile", *PACKAGES], check=True)
    hidden = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CMEDL_DATA")}
    rehearse(interpreter, hidden, packs, tmp_path)
