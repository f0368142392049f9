"""Raters keep their habits: near, generous, tight, careless; each told in mm."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.phantom import PANEL, Rater, panel, raters, thorax_ct

SPACING = (3.0, 1.0, 1.0)


def ball(radius: float) -> np.ndarray:
    """A ball's mask (z, y, x) at ``SPACING``."""
    z, y, x = np.meshgrid(
        *[(np.arange(n) - n // 2) * s for n, s in zip((31, 81, 81), SPACING, strict=True)], indexing="ij"
    )
    return (z**2 + y**2 + x**2 <= radius**2).astype(np.uint8)


def rater(**habits) -> Rater:
    """A rater who draws the truth but for these habits."""
    none = dict.fromkeys(("margin", "smooth", "jitter", "wander", "superior", "inferior"), 0.0)
    return Rater("r", **{**none, "shift": (0.0, 0.0, 0.0), **habits})


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


@cache
def cases() -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Truths of three patients with four raters' contours."""
    phantoms = [
        thorax_ct(seed, (64, 170, 170), (3.0, 2.0, 2.0), place)
        for seed, place in enumerate(("lung", "chest-wall", "lung"))
    ]
    return [(phantom.mask, raters(phantom.mask, (3.0, 2.0, 2.0), 4, seed)) for seed, phantom in enumerate(phantoms)]


def test_they_are_numbered_and_reproducible() -> None:
    truth = ball(14)
    first, again, other = (raters(truth, SPACING, 6, seed) for seed in (1, 1, 2))
    assert list(first) == [f"Rater {n}" for n in range(1, 7)]
    for name, mask in first.items():
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, again[name])
        assert not np.array_equal(mask, other[name])
    assert [drawing.name for drawing in panel(2)] == ["Rater 1", "Rater 2"]


def test_agreement_with_the_truth_is_as_between_clinicians() -> None:
    scores = [[dice(truth, mask) for mask in drawn.values()] for truth, drawn in cases()]
    means = np.mean(scores, axis=0)
    assert np.all((means > 0.75) & (means < 0.98))
    assert means.min() < 0.92
    assert means[0] == means.max()


def test_the_generous_one_draws_larger_and_the_tight_one_smaller_in_every_case() -> None:
    for truth, drawn in cases():
        volume = {name: np.count_nonzero(mask) / np.count_nonzero(truth) for name, mask in drawn.items()}
        assert volume["Rater 2"] > 1.1
        assert volume["Rater 3"] < 0.9
        assert volume["Rater 1"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("margin", [-2.0, 0.0, 2.0])
def test_a_margin_is_in_mm(margin: float) -> None:
    drawn = rater(margin=margin).contour(ball(15), SPACING, np.random.default_rng(0))
    area = np.count_nonzero(drawn[15]) * SPACING[1] * SPACING[2]
    assert np.sqrt(area / np.pi) == pytest.approx(15 + margin, abs=0.6)


def test_a_shift_is_in_mm() -> None:
    truth = ball(15)
    moved = rater(shift=(0.0, 2.0, -1.0)).contour(truth, SPACING, np.random.default_rng(0))
    offset = np.subtract(ndimage.center_of_mass(moved), ndimage.center_of_mass(truth)) * SPACING
    np.testing.assert_allclose(offset, (0, 2, -1), atol=0.3)


@pytest.mark.parametrize(("superior", "inferior"), [(3.0, 0.0), (-3.0, 6.0), (0.0, -6.0)])
def test_the_extent_is_disputed_by_whole_slices(superior: float, inferior: float) -> None:
    truth = np.zeros((31, 81, 81), np.uint8)
    truth[10:21, 25:55, 25:55] = 1
    drawn = np.flatnonzero(
        rater(superior=superior, inferior=inferior).contour(truth, SPACING, np.random.default_rng(0)).any(axis=(1, 2))
    )
    assert drawn[0] == 10 - inferior / 3
    assert drawn[-1] == 20 + superior / 3


def test_an_empty_truth_gives_empty_contours_and_a_tiny_one_a_contour() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    assert not any(mask.any() for mask in raters(empty, SPACING, 3).values())
    tiny = empty.copy()
    tiny[2, 2, 3] = 1
    assert all(mask.any() for mask in raters(tiny, SPACING, len(PANEL)).values())
