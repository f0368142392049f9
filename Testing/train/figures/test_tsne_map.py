"""t-SNE maps: which pixels enter, with which features, and that a map keeps apart what is apart."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLTrainLib.figures import tsne_map
from CMEDLTrainLib.figures.evaluation_figures import Figures


def masks() -> np.ndarray:
    """Three slices of 64 x 64: none, a tumor of 6 x 10 in a corner, one of 8 x 8 in the middle."""
    marked = np.zeros((3, 64, 64), bool)
    marked[1, 2:8, 1:11] = True
    marked[2, 28:36, 30:38] = True
    return marked


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
    taken = tsne_map.features_at((coarse, fine), rows, columns)
    for row, column, features in zip(rows, columns, taken, strict=True):
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
    embedding = tsne_map.embed(features.astype(np.float32), inside)
    distances = np.linalg.norm(embedding.points[:, None] - embedding.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (inside[distances.argmin(axis=1)] == inside).mean() > 0.98
    assert np.isfinite(embedding.divergence)


def test_too_few_pixels_are_said():
    with pytest.raises(InputError, match="180"):
        tsne_map.embed(np.zeros((180, 4), np.float32), np.zeros(180, bool))


def test_cancel_is_asked_between_the_maps(monkeypatch):
    made = []
    monkeypatch.setattr(tsne_map, "embed", lambda features, inside: made.append(len(features)))
    student = SimpleNamespace(name="student", features=[np.zeros((4, 2))], inside=[np.zeros(4, bool)])
    figures = SimpleNamespace(_against=student, _own=student)
    with pytest.raises(Cancelled):
        Figures._embedding(figures, Progress(cancelled=lambda: bool(made)))
    assert made == [4]


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match="scikit-learn"):
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
