"""Prompts of training: what is asked can be answered from what is given, and any method learns from it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.options import Click, SegmentationOptions
from CMEDLSegmentLib.inference.propagation import deepest
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.model_file import load_model, save_model
from CMEDLTrainLib.settings.configuration import METHODS
from CMEDLTrainLib.training import prompts, train_run
from CMEDLTrainLib.training.prompts import SHARES, batch_with_prompts, central_prompts, disturbed
from CMEDLTrainLib.training.setup import check_settings
from train.cohort.stores import disc_store
from train.training import tiny_runs
from train.training.tiny_runs import assert_same_tensors

SIDE = 24
STILL = (
    "augmentation.scale=[1, 1]",
    "augmentation.rotation_degrees=0",
    "augmentation.shift_mm=0",
    "augmentation.elastic_mm=0",
    "augmentation.flip=false",
    "augmentation.intensity=0",
)
"""Augmentation off, so that what is drawn can be compared with the store."""


@pytest.fixture
def store(tmp_path):
    return disc_store(tmp_path / "store", patients=8, slices=8, field=48, teachers=3)


def settings(method: str = "ct-only", *changes: str):
    own = ("network.prompt=click", f"augmentation.window={SIDE}", "images.field=48", "images.spacing_mm=2")
    return tiny_runs.settings(method, *own, *changes)


def drawn(store, monkeypatch, kind: str | None, count: int = 24, seed: int = 3):
    """A batch of patches with the disc, all asked for in one way."""
    if kind is not None:
        monkeypatch.setattr(prompts, "SHARES", {kind: 1.0})
    train = store.select("train")
    indices = np.resize(train[store.patches.records["pixels"][train] > 0], count)
    return batch_with_prompts(store, indices, settings("ct-only", *STILL), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", list(SHARES))
def test_what_is_given_tells_what_is_meant(store, monkeypatch, kind):
    """A click lies in the answer, a mask overlaps it, and a stop has no answer and no click."""
    batch = drawn(store, monkeypatch, kind)
    assert batch.images.shape == (24, 1, SIDE, SIDE)
    assert batch.masks.shape == (24, SIDE, SIDE)
    assert batch.prompts.shape == (24, 3, SIDE, SIDE)
    answered = batch.masks.flatten(1).sum(dim=1) > 0
    add, _cut, given = batch.prompts.flatten(2).amax(dim=2).bool().T
    for mask, (inside, outside, _) in zip(batch.masks.numpy() > 0, batch.prompts.numpy(), strict=True):
        # A patch's pixels lie between those of the store here: a click on the rim may round outward.
        assert ndimage.binary_dilation(mask)[inside == 1].all()
        assert not ndimage.binary_erosion(mask)[outside == 1].any()
    if kind == "stop":
        assert given.all()
        assert not add.any()
        assert (~answered).float().mean() > 0.8  # a disc that leaves no room is asked for by its mask
    else:
        assert answered.all()
        assert add.all() == (kind == "click")
        assert given.all() == (kind in ("mask", "both"))


def test_shares_are_those_that_are_written(store, monkeypatch):
    """Of many draws, within the error of counting."""
    kinds = Counter()
    question = prompts._question
    monkeypatch.setattr(prompts, "_question", lambda *given: kinds.update([(q := question(*given)).kind]) or q)
    drawn(store, monkeypatch, None, count=1200)
    for kind, share in SHARES.items():
        assert kinds[kind] / 1200 == pytest.approx(share, abs=0.05)


def test_a_seed_draws_the_same_again_and_another_one_does_not(store, monkeypatch):
    """Of the whole batch."""
    first, again, other = (drawn(store, monkeypatch, None, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parts, again.parts, strict=True))
    assert not torch.equal(first.prompts, other.prompts)


def test_neighbors_are_of_the_same_case_and_near(store):
    """Against the records."""
    records = store.patches.records
    for index in range(len(store.patches)):
        near = prompts._near(store, index)
        expected = [
            other
            for other in range(len(records))
            if other != index
            and records["case"][other] == records["case"][index]
            and abs(int(records["slice"][other]) - int(records["slice"][index])) <= prompts.NEIGHBORS
        ]
        assert near == expected


@pytest.mark.parametrize("radius", [1, 3, 8, 14])
def test_a_disturbed_mask_stays_one_of_the_structure(radius):
    """It overlaps the mask in all but few draws, is neither empty nor all, and varies."""
    rows, columns = np.ogrid[:48, :48]
    mask = (rows - 24) ** 2 + (columns - 24) ** 2 <= radius**2
    random = np.random.default_rng(5)
    made = [disturbed(mask, random) for _ in range(60)]
    overlaps = [2 * (one * mask).sum() / (one.sum() + mask.sum()) for one in made]
    assert all(set(np.unique(one)) <= {0.0, 1.0} for one in made)
    assert all(0 < one.sum() < one.size for one in made)
    assert np.median(overlaps) > 0.6
    assert len({one.tobytes() for one in made}) > 10
    assert not disturbed(np.zeros((8, 8), bool), random).any()


def test_the_deepest_place_is_that_of_the_distance_transform():
    """In two and three axes."""
    random = np.random.default_rng(2)
    for shape in ((20, 31), (6, 20, 31)):
        mask = ndimage.binary_opening(random.random(shape) < 0.7)
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))
        assert depth[tuple(index + 1 for index in deepest(mask))] == depth.max()


def test_pictures_are_asked_for_by_a_central_click():
    """Of a slice with the structure one click, of another none."""
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[0, 4:9, 6:11] = 1
    given = central_prompts(masks)
    assert np.argwhere(given.numpy() == 1).tolist() == [[0, 0, 6, 8]]


@pytest.mark.parametrize("method", list(METHODS))
def test_any_method_trains_it_and_its_student_segments_a_click(tmp_path, store, method):
    """A step of each; the student is written with its card, loaded, and asked."""
    configuration = settings(method, "optimization.epochs=1", "optimization.batch=2", "translation.width=2")
    with tiny_runs.stopped_after_a_step():
        _, trainer = tiny_runs.trained(tmp_path / "run", store, configuration)
    card = train_run._card(trainer)
    assert card.prompt is not None
    assert card.field == SIDE
    assert card.channels == 4
    modules = {spec.name: trainer.average.networks[spec.name] for spec in trainer.method.student}
    save_model(tmp_path / "student.safetensors", card, modules)
    geometry = Geometry(size=(48, 48, 8), spacing=(2.0, 2.0, 3.0))
    volume = Volume(store.read(range(8))[0] * 1000, geometry)
    result = Segmenter(load_model(tmp_path / "student.safetensors"), "cpu", runtime="torch").segment(
        volume, SegmentationOptions(clicks=(Click((48.0, 48.0, 9.0)),))
    )
    assert result.label[3, 24, 24] == 1


@pytest.mark.parametrize("after", [1, 5])
def test_a_run_that_is_resumed_ends_with_the_weights_of_one_that_was_not(tmp_path, store, after):
    """Prompts are drawn anew from the seed and the step."""
    configuration = settings("ct-only", "optimization.epochs=2")
    whole, _ = tiny_runs.trained(tmp_path / "whole", store, configuration)
    steps = iter(range(100))
    tiny_runs.trained(tmp_path / "cut", store, configuration, cancelled=lambda: next(steps) + 1 >= after)
    cut, _ = tiny_runs.trained(tmp_path / "cut", store, configuration)
    assert_same_tensors(cut.last, whole.last)
    assert load_file(cut.last)


def test_it_learns_to_find_discs_by_clicks(tmp_path, store):
    """Validation by whole propagations gets better by far."""
    changes = ("optimization.epochs=40", "optimization.learning_rate=0.01", "network.arguments.width=8")
    run, trainer = tiny_runs.trained(tmp_path / "run", store, settings("ct-only", *changes))
    epochs = [event["validation"] for event in run.read_events() if event["event"] == "epoch"]
    assert trainer.progress.best_validation["dsc"] > 0.7
    assert trainer.progress.best_validation["dsc"] > 1.5 * epochs[0]["dsc"]


@pytest.mark.parametrize("change", [{"labels": ("Liver", "Spleen")}, {"augmentation.window": 0}])
def test_settings_that_cannot_be_are_refused_and_named(change):
    """Several labels, or no square to look at."""
    name, value = next(iter(change.items()))
    key = f"{name}={value}" if name != "labels" else 'labels=["Liver", "Spleen"]'
    with pytest.raises(InputError, match="Spleen" if name == "labels" else name):
        check_settings(settings("ct-only", key))
