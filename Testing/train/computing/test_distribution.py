"""Several processes train as one: the same loss and weights as one process with the whole batch, and one run folder.

The processes are real ones on this machine, on CPU with gloo.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib.cohort.sampling import Sampler
from CMEDLTrainLib.cohort.store import Store
from CMEDLTrainLib.computing.distribution import ALONE, Processes, joined
from CMEDLTrainLib.losses.features import load_features
from CMEDLTrainLib.methods import joint
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import Augmentation, Configuration
from CMEDLTrainLib.training.engine import Trainer
from train.cohort.stores import disc_store
from train.training import tiny_runs

HERE = Path(__file__).resolve()
NONE = Augmentation(flip=False, scale=(1.0, 1.0), rotation_degrees=0.0, shift_mm=0.0, elastic_mm=0.0)
STILL = ("translation.pool=0", "loss.cross_entropy=0.5", "loss.recall=0.7", "optimization.epochs=2")
"""Augmentation and pools draw for each process, so that with them no two ways of sharing a batch out see the same. DSC
is pooled over the batch, and no mean of the halves'."""
RESUMED = ("cmedl", "vae-cmedl")
LONGEST_S = 240


def settings(method: str, *changes: str) -> Configuration:
    return tiny_runs.settings(method, "translation.pool=4", "optimization.epochs=1", *changes)


def made(folder: Path, configuration: Configuration) -> Path:
    run_folder.create(folder, configuration)
    return folder


def train(folder: Path, processes: Processes = ALONE, stop_after: int = 0) -> list[dict[str, float]]:
    """Train the run in ``folder`` on the slices beside it; the losses of every step."""
    trainer = Trainer(run_folder.open_run(folder), Store(folder.parent / "store"), processes)
    losses = []
    step = trainer._step

    def kept(number):
        terms = step(number)
        losses.append(trainer._checked(terms))
        return terms

    trainer._step = kept
    # The wish of one process, here the last, is that of all.
    with trainer.run.held() if processes.first else contextlib.nullcontext():
        trainer.train(
            progress=Progress(cancelled=lambda: processes.rank == processes.count - 1 and len(losses) == stop_after)
        )
    return losses


def in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and patches in float64, so that rounding hides nothing; and without batch norm.

    What batch norm takes from a batch depends on how it is shared out, so that it passes its input on.
    """
    read = Store.read
    monkeypatch.setattr(
        Store, "read", lambda self, indices: (read(self, indices)[0].astype("f8"), read(self, indices)[1])
    )
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: x)
    monkeypatch.setattr(joint, "load_features", lambda source: load_features(source).double())
    torch.set_default_dtype(torch.float64)


def of_each_process(folder: Path) -> None:
    """What the two processes of the fixture below do."""
    with joined() as processes:
        for method in RESUMED:
            train(folder / f"{method}-whole", processes)
            train(folder / f"{method}-cut", processes, stop_after=3)
            processes.wait()
            if processes.first:
                shutil.copytree(folder / f"{method}-cut", folder / f"{method}-stopped")
            processes.wait()
            train(folder / f"{method}-cut", processes)
        in_double_precision(pytest.MonkeyPatch())
        losses = train(folder / "shared", processes)
        if processes.first:
            (folder / "losses.json").write_text(json.dumps(losses), "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs that two processes trained, and the slices that they were trained on."""
    folder = tmp_path_factory.mktemp("runs")
    disc_store(folder / "store", patients=6, slices=3, teachers=4)
    for method in RESUMED:
        for name in ("whole", "cut"):
            made(folder / f"{method}-{name}", settings(method, "optimization.batch=1"))
    made(folder / "shared", replace(settings("cmedl", *STILL, "optimization.batch=2"), augmentation=NONE))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        started([str(HERE), str(folder)], RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_PORT=port)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=LONGEST_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder


def started(arguments: list[str], **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=tiny_runs.environment(OMP_NUM_THREADS=1, MASTER_ADDR="127.0.0.1", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def test_two_processes_reach_the_losses_and_weights_of_one_with_the_doubled_batch(folder, monkeypatch):
    in_double_precision(monkeypatch)
    alone = made(folder / "alone", replace(settings("cmedl", *STILL, "optimization.batch=4"), augmentation=NONE))
    try:
        expected = train(alone)
    finally:
        torch.set_default_dtype(torch.float32)
    shared_losses = json.loads((folder / "losses.json").read_text("utf-8"))
    assert len(shared_losses) == len(expected) == 6
    for ours, theirs in zip(shared_losses, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    ours, theirs = load_file(folder / "shared" / "last.safetensors"), load_file(alone / "last.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        # Not a generator's biases, which its norms take away again: Adam makes full steps of their rounding.
        if any(network in name for network in (".segmentor.", ".teacher.")):
            torch.testing.assert_close(ours[name], tensor, rtol=1e-6, atol=1e-9, msg=name)
    figures = [run_folder.open_run(run).status()["validation"] for run in (folder / "shared", alone)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


@pytest.mark.parametrize("method", ["cmedl", "vae-cmedl"])
def test_processes_stopped_and_resumed_end_as_if_they_had_not_been(folder, method):
    assert run_folder.open_run(folder / f"{method}-stopped").status()["state"] == "stopped"
    assert run_folder.open_run(folder / f"{method}-stopped").status()["step"] == 3
    run = run_folder.open_run(folder / f"{method}-cut")
    assert run.status()["state"] == "finished"
    tiny_runs.assert_same_tensors(run.last, folder / f"{method}-whole" / "last.safetensors")
    # One log, one line for each event, by the first process alone.
    assert [event["event"] for event in run.read_events()].count("start") == 2


def test_every_process_keeps_its_own_image_pool_and_the_checkpoint_all_of_them(folder):
    kept = load_file(folder / "cmedl-whole" / "last.safetensors")
    pools = [kept[f"module.{owner}pool_teacher.images"] for owner in ("", "process1.")]
    assert [int(kept[f"module.{owner}pool_teacher.count"]) for owner in ("", "process1.")] == [4, 4]
    assert not torch.equal(*pools)


def test_a_run_of_two_processes_is_not_resumed_by_one(folder):
    with pytest.raises(InputError, match="2"):
        Trainer(run_folder.open_run(folder / "cmedl-whole"), Store(folder / "store"))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_run_can_be_resumed(tmp_path):
    """Through torchrun and the command line, as users start it."""
    cohort = write_cohort_phantoms(tmp_path / "cohort", cases=4, seed=3, size=(24, 64, 64), spacing=(12.0, 6.0, 6.0))
    run = run_folder.Run(tmp_path / "run")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "CMEDLTrainLib"]
    options = ["--preset", "tiny", "--device", "cpu", "--set", "network.arguments.width=2"]
    launcher = started([*launch, "run", str(cohort), "-o", str(run.folder), *options, "--set", "optimization.epochs=9"])
    until = time.monotonic() + LONGEST_S
    while not run.last.is_file() and time.monotonic() < until and launcher.poll() is None:
        time.sleep(0.02)
    os.kill(_children(launcher.pid)[-1], signal.SIGKILL)
    said = launcher.communicate(timeout=LONGEST_S)[0]
    assert launcher.returncode not in (0, None), said
    assert run.status()["state"] == "crashed", said
    launcher = started([*launch, "resume", str(run.folder)])
    said = launcher.communicate(timeout=LONGEST_S)[0]
    assert launcher.returncode == 0, said
    assert run.status()["state"] == "finished"
    assert run.student.is_file()
    assert said.count("The student is") == 1


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def test_samplers_share_one_global_batch_out(tmp_path):
    store = disc_store(tmp_path / "store")
    whole = Sampler(store, "train", "student", 4, "patient", seed=1)
    parts = [Sampler(store, "train", "student", 2, "patient", 1, rank, processes=2) for rank in range(2)]
    for step in range(2 * whole.steps_per_epoch):
        assert [i for part in parts for i in part(step)] == list(whole(step))
    # More processes than a small split has patches for: everybody has work, and as much of it as the others.
    many = [Sampler(store, "train", "student", 5, "uniform", 1, rank, processes=4) for rank in range(4)]
    drawn = [part(0) for part in many]
    assert {len(indices) for indices in drawn} == {5}
    assert {i for indices in drawn for i in indices} == set(store.select("train"))


if __name__ == "__main__":
    of_each_process(Path(sys.argv[1]))
