"""Compiled networks learn as plain ones; a step leaves out what a CUDA graph could not repeat; failures stop a run.

A CUDA graph itself needs a GPU. What is checked here is what capturing asks of a step: that nothing in it is read back
from the device and nothing comes from the host.
"""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from CMEDLSegmentLib.base.errors import InputError
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import Configuration
from CMEDLTrainLib.training import engine
from CMEDLTrainLib.training.divergence_guard import DivergenceGuard, TrainingFailed
from CMEDLTrainLib.training.engine import Trainer
from train.cohort.stores import disc_store
from train.training import tiny_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return disc_store(tmp_path_factory.mktemp("slices") / "store", patients=4, slices=2, teachers=2)


def settings(method: str, *changes: str) -> Configuration:
    return tiny_runs.settings(method, "optimization.batch=2", *changes)


def trainer_of(folder, store, configuration: Configuration) -> Trainer:
    return Trainer(run_folder.create(folder, configuration), store)


@pytest.mark.parametrize("method", ["ct-only", pytest.param("cmedl", marks=pytest.mark.slow)])
def test_compiled_networks_learn_as_plain_ones(tmp_path, store, monkeypatch, method):
    monkeypatch.setattr(engine, "COMPILER", "aot_eager")  # all of it but the code generator
    plain = trainer_of(tmp_path / "plain", store, settings(method))
    compiled = trainer_of(tmp_path / "compiled", store, settings(method, "optimization.compile=true"))
    for step in range(2):
        expected, ours = plain._step(step), compiled._step(step)
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    for trainer in (plain, compiled):
        trainer.save()
    assert load_file(plain.run.last).keys() == load_file(compiled.run.last).keys()
    torch._dynamo.reset()


def test_a_graph_is_refused_where_there_is_none(tmp_path, store):
    with pytest.raises(InputError, match=r"optimization\.graph"):
        trainer_of(tmp_path / "run", store, settings("ct-only", "optimization.graph=true"))


class NothingWaits(TorchDispatchMode):
    """Refuses operations that read a tensor's values on the host, or make a tensor of the host's numbers."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        indices = arguments[1] if name in ("index", "index_put", "index_put_") else ()
        assert name not in self.REFUSED, name
        assert not any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices), name
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("method", ["ct-only", "cmedl", "vae-cmedl", "weighted", "output-distillation"])
def test_the_device_s_part_of_a_step_waits_for_nothing(tmp_path, store, method):
    trainer = trainer_of(tmp_path / "run", store, settings(method))
    trainer._step(0)  # optimizer states and image pools exist from now on
    update = trainer._update
    watched_terms = []

    def watched(batches):
        with NothingWaits():
            watched_terms.append(update(batches))
        return watched_terms[-1]

    trainer._update = watched
    trainer._step(1)
    assert watched_terms


def test_learning_rates_as_tensors_which_a_graph_needs_teach_the_same(tmp_path, store):
    plain, tensors = (trainer_of(tmp_path / name, store, settings("ct-only")) for name in ("plain", "tensors"))
    for group in tensors.optimizers["segmentation"].param_groups:
        group["lr"] = torch.tensor(0.0)
    for step in range(4):
        expected, ours = plain._step(step), tensors._step(step)
        torch.testing.assert_close(ours["segmentation"], expected["segmentation"], rtol=1e-5, atol=1e-6)
    rate = tensors.optimizers["segmentation"].param_groups[0]["lr"]
    assert float(rate) == pytest.approx(plain.optimizers["segmentation"].param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("before", "value", "fails"),
    [
        ([], 9e5, False),
        ([], 1.1e6, True),
        ([], -math.inf, True),
        ([], math.nan, True),
        ([2.0, 3.0, 4.0], 2900.0, False),
        ([2.0, 3.0, 4.0], 3100.0, True),
        ([1e-4] * 5, 900.0, False),
        ([1e-4] * 5, 1100.0, True),
        ([1000.0, 1.0, 1.0, 1.0], 1100.0, True),
    ],
)
def test_losses_explode_above_a_thousand_times_their_median(before, value, fails):
    watch = DivergenceGuard()
    for number, usual in enumerate(before):
        watch.losses({"hint": usual, "cycle": 1.0}, number)
    if not fails:
        watch.losses({"hint": value, "cycle": 1.0}, 9)
        return
    with pytest.raises(TrainingFailed, match="step 9") as caught:
        watch.losses({"cycle": 1.0, "hint": value}, 9)
    assert caught.value.term == "hint"


def test_an_exploding_loss_stops_the_run_before_anything_is_saved(tmp_path, store):
    trainer = trainer_of(tmp_path / "run", store, settings("cmedl", "distillation.hint=1e9"))
    with pytest.raises(TrainingFailed, match="hint"), trainer.run.held():
        trainer.train()
    assert not trainer.run.last.exists()
    assert trainer.run.read_events()[-1]["term"] == "hint"


def test_weights_that_are_no_numbers_are_not_saved_though_the_losses_were(tmp_path, store):
    trainer = trainer_of(tmp_path / "run", store, settings("cmedl"))
    trainer._step(0)
    trainer.save()
    before = trainer.run.last.read_bytes()
    with torch.no_grad():
        next(trainer.networks["to_student"].parameters()).flatten()[3] = math.inf
    with pytest.raises(TrainingFailed, match="to_student"):
        trainer.save()
    assert trainer.run.last.read_bytes() == before


def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint_and_says_so(tmp_path, store):
    """The system itself refuses to write beyond half of the file."""
    resource = pytest.importorskip("resource")
    trainer = trainer_of(tmp_path / "run", store, settings("ct-only"))
    trainer._step(0)
    trainer.save()
    before = trainer.run.last.read_bytes()
    trainer._step(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(InputError, match=trainer.run.last.name):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert trainer.run.last.read_bytes() == before
    assert not list(trainer.run.folder.glob(".cmedl-*"))
    trainer.save()
    assert trainer.run.last.read_bytes() != before
