"""t-SNE maps: which pixels enter, with which features, and that a map keeps apart what is apart."""

import importlib.util

import numpy as np
import pytest
import torch

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLTrainLib.figures import tsne_map


def masks() -> np.ndarray:
    """Three slices of 64 x 64: none, a tumor of 6 x 10 in a corner, one of 8 x 8 in the middle."""
    found = np.zeros((3, 64, 64), bool)
    found[1, 2:8, 1:11] = True
    found[2, 28:36, 30:38] = True
    return found


def test_as_many_pixels_of_the_tumor_as_of_the_background_none_twice():
    places, inside = tsne_map.balanced_pixels(masks(), 100, np.random.default_rng(0))
    assert (len(places), inside.sum()) == (100, 50)
    assert len({tuple(place) for place in places}) == 100
    assert (masks()[tuple(places.T)] == inside).all()
    assert (np.diff(places[:, 0]) >= 0).all()


def test_a_small_tumor_gives_all_its_pixels():
    inside = tsne_map.balanced_pixels(masks(), 35_000, np.random.default_rng(0))[1]
    assert inside.sum() == 60 + 64 == (~inside).sum()


def test_the_background_is_that_of_the_patch_around_the_tumor_moved_inside_the_slice():
    places, inside = tsne_map.balanced_pixels(masks(), 35_000, np.random.default_rng(0), side=16)
    for z, (top, left) in {1: (0, 0), 2: (24, 26)}.items():
        rows, columns = places[places[:, 0] == z, 1:].T
        assert top <= rows.min()
        assert rows.max() < top + 16
        assert left <= columns.min()
        assert columns.max() < left + 16
    # All of the two patches that is not tumor is needed here.
    assert (~inside).sum() == min(60 + 64, 2 * 256 - 124)


def test_a_pixel_has_the_features_of_both_layers_that_cover_it():
    coarse, fine = torch.randn(5, 4, 8), torch.randn(3, 8, 16)
    rows, columns = np.array([0, 7, 3]), np.array([15, 0, 9])
    found = tsne_map.features_at((coarse, fine), rows, columns)
    for row, column, features in zip(rows, columns, found, strict=True):
        assert features[:5] == pytest.approx(coarse[:, row // 2, column // 2].numpy())
        assert features[5:] == pytest.approx(fine[:, row, column].numpy())


def test_two_kinds_of_pixels_lie_apart_whatever_the_scale_of_the_channels(monkeypatch):
    monkeypatch.setattr(tsne_map, "ITERATIONS", 300)
    random = np.random.default_rng(0)
    features = random.normal(size=(240, 6))
    inside = np.arange(240) < 120
    features[inside, :3] += 6.0
    # The channels that tell nothing have the large numbers.
    features *= (1e-3, 1e-3, 1e-3, 50, 50, 50)
    told = []
    found = tsne_map.embed(
        features.astype(np.float32), inside, progress=Progress(lambda stage, fraction: told.append(fraction))
    )
    assert told == sorted(told)
    assert told[0] == 0
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (inside[distances.argmin(axis=1)] == inside).mean() > 0.98
    assert np.isfinite(found.divergence)


def test_too_few_pixels_are_said():
    with pytest.raises(InputError, match="more than 180 pixels"):
        tsne_map.embed(np.zeros((180, 4), np.float32), np.zeros(180, bool))


def test_a_map_tells_how_far_it_is_and_is_cancelled_at_once(monkeypatch):
    monkeypatch.setattr(tsne_map, "ITERATIONS", 100_000_000)
    random, told = np.random.default_rng(0), []
    features = random.normal(size=(400, 6)).astype(np.float32)

    def cancelled() -> bool:
        return bool(told) and told[-1] > 0

    with pytest.raises(Cancelled):
        tsne_map.embed(
            features, np.arange(400) < 200, progress=Progress(lambda _, done: told.append(done), cancelled=cancelled)
        )


def test_a_map_that_fails_says_so(monkeypatch):
    monkeypatch.setattr(tsne_map, "ITERATIONS", 1)  # fewer than scikit-learn takes
    with pytest.raises(InputError, match="could not be made"):
        tsne_map.embed(np.random.default_rng(0).normal(size=(400, 6)), np.arange(400) < 200)


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        tsne_map.embed(np.zeros((500, 4), np.float32), np.zeros(500, bool))


def test_maps_are_drawn_beside_each_other_in_both_colors():
    points = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    maps = [
        (name, tsne_map.Embedding(points, np.array(inside), 0.0))
        for name, inside in (("a", [True, False]), ("b", [False, True]))
    ]
    picture = np.asarray(tsne_map.picture(maps), int)
    square = picture[tsne_map.TITLE : tsne_map.TITLE + tsne_map.SIDE]
    for number, left_first in ((0, tsne_map.INSIDE), (1, tsne_map.OUTSIDE)):
        first = 12 + number * (tsne_map.SIDE + 12)
        half = square[: tsne_map.SIDE // 2, first : first + tsne_map.SIDE // 2]
        assert (np.abs(half - left_first).max(axis=2) < 60).any()
