"""Majority by hand, STAPLE against SimpleITK's, and what happens at the edges of both."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.consensus import METHODS, consensus_mask, staple
from CMEDLSegmentLib.base.boxes import bounding_box
from CMEDLSegmentLib.base.errors import InputError
from segment.agreement.rated import noisy_masks, rated_case

pytestmark = pytest.mark.filterwarnings("error")


def row(*marked: int) -> np.ndarray:
    """A mask of one line of six voxels."""
    mask = np.zeros((1, 1, 6), bool)
    mask[0, 0, list(marked)] = True
    return mask


def filter_of(masks: list[np.ndarray]) -> np.ndarray:
    """SimpleITK's STAPLE probability of a voxel being inside."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))


def test_a_majority_is_more_than_half_and_a_tie_is_none():
    three = rated_case({"A": row(0, 1, 2), "B": row(1, 2, 3), "C": row(2, 3, 4)})
    assert np.array_equal(consensus_mask(three, "majority"), row(1, 2, 3))
    two = rated_case({"A": row(0, 1, 2), "B": row(1, 2, 3)})
    assert np.array_equal(consensus_mask(two, "majority"), row(1, 2))
    four = rated_case({"A": row(0, 1, 2), "B": row(1, 2, 3), "C": row(2, 3), "D": row(0, 3)})
    assert np.array_equal(consensus_mask(four, "majority"), row(2, 3))


def test_the_rater_left_out_and_the_model_have_no_vote():
    case = rated_case({"A": row(0, 1), "B": row(1, 2), "C": row(2, 3)}, model=row(0, 1, 2, 3, 4, 5))
    assert np.array_equal(consensus_mask(case, "majority"), row(1, 2))
    assert np.array_equal(consensus_mask(case, "majority", without="A"), row(2))
    assert np.array_equal(consensus_mask(case, "majority", without="B"), row())


@pytest.mark.parametrize("raters", [2, 3, 4, 5, 8])
def test_staple_has_the_probabilities_of_simpleitk(raters: int):
    masks = noisy_masks(raters, seed=raters)
    marks = np.stack([mask.ravel() for mask in masks], axis=1)
    patterns, which, counts = np.unique(marks, axis=0, return_inverse=True, return_counts=True)
    probability = staple(patterns, counts)[which.ravel()].reshape(masks[0].shape)
    # Both stop when sensitivity and specificity change by less than 1e-7.
    assert np.abs(probability - filter_of(masks)).max() < 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_the_staple_mask_is_simpleitks_in_the_box_around_the_marks_and_a_voxel(seed: int):
    masks = [np.pad(mask, 2) for mask in noisy_masks(3 + seed % 3, seed)]
    case = rated_case({f"R{number}": mask for number, mask in enumerate(masks)})
    expected = np.zeros(masks[0].shape, bool)
    box = bounding_box(np.logical_or.reduce(masks))
    expected[box] = filter_of([np.pad(mask[box], 1) for mask in masks])[1:-1, 1:-1, 1:-1] > 0.5
    assert np.array_equal(consensus_mask(case, "staple"), expected)


def test_staple_does_not_depend_on_how_much_air_the_image_shows():
    masks = noisy_masks(4, seed=11)
    close, wide = (
        consensus_mask(rated_case({f"R{number}": np.pad(mask, air) for number, mask in enumerate(masks)}), "staple")
        for air in (0, 25)
    )
    assert close.any()
    assert np.array_equal(np.pad(close, 25), wide)


@pytest.mark.parametrize("method", METHODS)
def test_a_consensus_does_not_depend_on_the_order_of_the_raters(method: str):
    masks = {f"R{number}": mask for number, mask in enumerate(noisy_masks(4, seed=5))}
    backwards = dict(reversed(masks.items()))
    assert np.array_equal(consensus_mask(rated_case(masks), method), consensus_mask(rated_case(backwards), method))


FULL, NOISY = np.ones((1, 1, 6), bool), noisy_masks(1, seed=3)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([NOISY], NOISY),
        ([NOISY, NOISY, NOISY], NOISY),
        ([FULL, FULL], FULL),
        ([FULL, FULL, row()], FULL),
        ([row(), row()], row()),
        ([row(1, 2), row()], row()),
        ([row(0), row(2), row(4)], row()),
    ],
)
def test_equal_full_and_empty_masks_and_those_that_share_nothing_have_a_consensus(method: str, masks, expected):
    case = rated_case({f"R{number}": mask for number, mask in enumerate(masks)})
    assert np.array_equal(consensus_mask(case, method), expected)


def test_thousands_of_raters_have_a_consensus():
    random = np.random.default_rng(0)
    truth = np.zeros((3, 6, 6), bool)
    truth[1:2, 2:5, 2:5] = True
    # Each marks 60 % of what is there and 10 % of what is not: products of 2000 such shares are 0 as numbers.
    shares = np.where(truth, 0.6, 0.1)
    case = rated_case({f"R{number}": random.random(truth.shape) < shares for number in range(2000)})
    for method in METHODS:
        assert np.array_equal(consensus_mask(case, method), truth)


def test_who_is_not_there_cannot_be_left_out_and_somebody_must_be_left():
    case = rated_case({"A": row(1)}, model=row(1))
    with pytest.raises(InputError, match="'B'"):
        consensus_mask(case, "majority", without="B")
    with pytest.raises(InputError):
        consensus_mask(case, "majority", without="A")
    with pytest.raises(InputError, match="average"):
        consensus_mask(case, "average")
