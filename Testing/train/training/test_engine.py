"""The engine: it learns, it stops when it should, and a run continued from any checkpoint ends the same."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import Augmentation, Configuration
from CMEDLTrainLib.training import checkpoints, engine
from CMEDLTrainLib.training.engine import Trainer, TrainingFailed
from CMEDLTrainLib.training.validation import validate
from train.cohort.stores import disc_store
from train.training import tiny_runs
from train.training.tiny_runs import assert_same_tensors


@pytest.fixture
def store(tmp_path):
    return disc_store(tmp_path / "store")


def settings(*changes: str) -> Configuration:
    return tiny_runs.settings("ct-only", "network.arguments.width=4", "optimization.epochs=3", *changes)


def trained(folder, store, configuration=None, cancelled=lambda: False):
    return tiny_runs.trained(folder, store, configuration or settings(), cancelled)


def test_training_lowers_the_loss_and_finds_the_discs(tmp_path, store):
    configuration = settings("optimization.epochs=40", "optimization.learning_rate=0.01", "network.arguments.width=8")
    run, trainer = trained(tmp_path / "run", store, replace(configuration, augmentation=Augmentation(scale=(0.9, 1.1))))
    epochs = [event["validation"] for event in run.read_events() if event["event"] == "epoch"]
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert trainer.progress.validation["dsc"] > 0.8


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_run_stopped_and_resumed_ends_with_the_very_weights_of_one_that_was_not(tmp_path, store, after):
    whole, _ = trained(tmp_path / "whole", store)
    steps = iter(range(100))
    cut, _ = trained(tmp_path / "cut", store, cancelled=lambda: next(steps) + 1 >= after)
    assert cut.status()["state"] == "stopped"
    assert cut.status()["step"] == after
    trained(tmp_path / "cut", store)
    assert_same_tensors(cut.last, whole.last)
    assert cut.status()["state"] == "finished"


def test_two_runs_of_one_seed_are_the_same_and_of_another_seed_are_not(tmp_path, store):
    first, again, other = (
        load_file(trained(tmp_path / name, store, settings(f"seed={seed}"))[0].last)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_average_of_the_weights_is_the_recursion_by_half_life(tmp_path, store):
    run = run_folder.create(tmp_path / "run", settings("optimization.ema_half_life_steps=2"))
    trainer = Trainer(run, store)
    live, average = trainer.networks["segmentor"], trainer.average.networks["segmentor"]
    name = next(name for name, _ in live.named_parameters())
    expected = live.state_dict()[name].clone()
    for step in range(6):
        trainer._step(step)
        weight = max(1 - 0.5**0.5, 1 / (step + 1))
        expected = expected + weight * (live.state_dict()[name] - expected)
        torch.testing.assert_close(average.state_dict()[name], expected)


def test_validation_comes_every_so_many_epochs_and_at_the_end(tmp_path, store):
    run, _ = trained(tmp_path / "run", store, settings("optimization.epochs=5", "optimization.validate_every=2"))
    assert [event["epoch"] for event in run.read_events() if event["event"] == "epoch"] == [2, 4, 5]


def test_training_ends_early_when_the_validation_loss_no_longer_falls(tmp_path, store):
    configuration = settings(
        "optimization.epochs=50", "optimization.patience=2", "optimization.learning_rate=0", "optimization.batch=8"
    )
    run, trainer = trained(tmp_path / "run", store, replace(configuration, augmentation=Augmentation(flip=False)))
    assert trainer.progress.step < 50 * trainer.steps_per_epoch
    assert run.status()["state"] == "finished"
    epochs = [event for event in run.read_events() if event["event"] == "epoch"]
    assert epochs[-1]["epoch"] - epochs[-1]["best_epoch"] == 3


def test_a_loss_that_is_not_finite_stops_the_run_names_the_term_and_keeps_the_checkpoint(tmp_path, store):
    run, _ = trained(tmp_path / "run", store)
    before = run.last.read_bytes()
    trainer = Trainer(run, store)
    trainer.progress.step -= 1
    with torch.no_grad():
        next(trainer.networks["segmentor"].parameters()).fill_(math.nan)
    with pytest.raises(TrainingFailed, match="segmentation"):
        trainer.train()
    assert run.last.read_bytes() == before
    assert run.read_events()[-1]["event"] == "failed"


def test_a_validation_loss_that_is_not_finite_stops_the_run_too(tmp_path, store, monkeypatch):
    run, trainer = trained(tmp_path / "run", store)
    before = run.last.read_bytes(), run.best.read_bytes()
    monkeypatch.setattr(engine, "validate", lambda *arguments: {"loss": math.nan, "dsc": 0.0})
    trainer.progress.step -= 1
    with pytest.raises(TrainingFailed):
        trainer.train()
    assert (run.last.read_bytes(), run.best.read_bytes()) == before
    assert run.read_events()[-1]["term"] == "validation"


def test_a_cohort_without_validation_patients_is_refused_with_a_sentence(tmp_path):
    store = disc_store(tmp_path / "store", validation=0)
    run = run_folder.create(tmp_path / "run", settings())
    with pytest.raises(InputError, match="validation"):
        Trainer(run, store)


def test_a_finished_run_keeps_its_networks_and_no_optimizer_state(tmp_path, store):
    run, trainer = trained(tmp_path / "run", store)
    keys = load_file(run.last).keys()
    assert keys
    assert not any(key.startswith("optimizer") for key in keys)
    trainer.save()
    assert any(key.startswith("optimizer") for key in load_file(run.last))


def test_where_writing_takes_long_a_validation_is_followed_by_no_checkpoint(tmp_path, store, monkeypatch):
    whole, _ = trained(tmp_path / "whole", store)
    monkeypatch.setattr(engine, "WRITING_SHARE", -1.0)  # no checkpoint is worth its time
    run = run_folder.create(tmp_path / "run", settings())
    trainer = Trainer(run, store)

    def killed():
        if trainer.progress.step == 2 * trainer.steps_per_epoch + 1:
            raise KeyboardInterrupt
        return False

    with run.held(), pytest.raises(KeyboardInterrupt):
        trainer.train(progress=Progress(cancelled=killed))
    assert run.best.is_file()  # of a validation that is lost with its steps, and comes again
    assert not run.last.exists()
    trained(tmp_path / "run", store)
    assert_same_tensors(run.last, whole.last)
    assert checkpoints.progress(run.best) == checkpoints.progress(whole.best)


def test_a_cut_checkpoint_is_refused_with_a_sentence(tmp_path, store):
    run, _ = trained(tmp_path / "run", store)
    run.last.write_bytes(run.last.read_bytes()[:-100])
    with pytest.raises(InputError, match=run.last.name):
        Trainer(run, store)
    for metadata in (None, {}, {"progress": "3"}, {"progress": "{"}):
        save_file({"a": torch.zeros(1)}, run.last, metadata)
        with pytest.raises(InputError, match=run.last.name):
            checkpoints.progress(run.last)


def test_validation_counts_what_a_perfect_and_a_blind_student_deserve(tmp_path, store):
    trainer = Trainer(run_folder.create(tmp_path / "run", settings()), store)

    class Perfect(torch.nn.Module):
        def forward(self, images):
            return torch.where(images > -0.1, 20.0, -20.0)

    class Blind(torch.nn.Module):
        def forward(self, images):
            return torch.full_like(images, -20.0)

    good, bad = (
        validate({"segmentor": network}, trainer.method, store, torch.device("cpu")) for network in (Perfect(), Blind())
    )
    assert good["dsc"] > 0.98
    assert bad["dsc"] == 0
    assert bad["false_pixels"] == 0


def test_events_are_lines_of_json_with_what_a_panel_shows(tmp_path, store):
    run, _ = trained(tmp_path / "run", store, settings("optimization.epochs=20"))
    lines = [json.loads(line) for line in run.events.read_text("utf-8").splitlines()]
    step = next(line for line in lines if line["event"] == "step")
    assert {"step", "steps", "epoch", "losses", "images_per_second", "seconds_left"} <= step.keys()
    assert set(step["losses"]) == {"segmentation"}
