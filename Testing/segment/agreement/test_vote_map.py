"""Who marked which voxel, against counting the masks themselves."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.vote_map import VoteMap, slice_rows, worst_first
from segment.agreement.rated import noisy_masks


def test_the_map_counts_the_raters_of_each_voxel_in_the_box_around_all_marks():
    masks = [np.pad(mask, ((1, 2), (3, 0), (0, 4))) for mask in noisy_masks(5, seed=1)]
    votes = VoteMap.of(masks)
    whole = np.zeros(masks[0].shape, int)
    whole[votes.box] = votes.count_map(slice(0, 5))
    assert np.array_equal(whole, np.sum(masks, axis=0))
    for axis, part in enumerate(votes.box):
        marked = np.flatnonzero(whole.any(axis=tuple(other for other in range(3) if other != axis)))
        assert (part.start, part.stop) == (marked[0], marked[-1] + 1)


def test_any_number_of_raters_is_counted():
    random = np.random.default_rng(0)
    masks = [random.random((3, 4, 5)) < 0.5 for _ in range(300)]
    votes = VoteMap.of(masks)
    counts = votes.count_map(slice(0, 300))
    assert counts.dtype == np.uint16
    assert np.array_equal(counts, np.sum(masks, axis=0)[votes.box])


def test_overlaps_and_counts_are_those_of_the_masks_on_every_slice():
    masks = noisy_masks(4, seed=2)
    votes = VoteMap.of(masks)
    inside = np.stack([mask[votes.box] for mask in masks]).astype(int)
    assert np.array_equal(votes.overlaps(), np.einsum("azyx,bzyx->zab", inside, inside))
    assert np.array_equal(votes.counts.sum(axis=1), inside.any(axis=0).sum(axis=(1, 2)))


def test_each_mask_can_be_had_back_from_the_patterns():
    masks = noisy_masks(3, seed=3)
    votes = VoteMap.of(masks)
    for mask, filled in zip(masks, votes.where(*votes.patterns.T), strict=True):
        assert np.array_equal(filled, mask[votes.box])


def test_nothing_marked_is_an_empty_box():
    votes = VoteMap.of([np.zeros((3, 4, 5), bool)] * 2)
    assert votes.count_map(slice(0, 2)).shape == (0, 0, 0)
    assert votes.boxes == (None, None)
    assert slice_rows(votes, ("A", "B"), 2, (1, 1, 1), {}) == ()


def slices_by_hand() -> tuple[tuple, VoteMap]:
    """Raters A and B and a model on six slices of 5 x 4 pixels; each line says which pixels of a row are marked."""
    masks = np.zeros((3, 6, 5, 4), bool)
    a, b, model = masks
    a[1, 0, :2], model[1, 0, :2] = True, True  # B marks nothing
    a[2, 0, :4], b[2, 0, :4], model[2, 0, :4] = True, True, True  # all agree
    a[3, 0, :4], b[3, 0, 1:4], model[3, 0, 2:4] = True, True, True
    model[5, 0, :3] = True  # the model alone
    votes = VoteMap.of(list(masks))
    return slice_rows(votes, ("A", "B", "candidate"), 2, (5.0, 2.0, 1.0), {3: {"dsc": 0.8}}), votes


def test_slices_say_who_marked_how_much_and_where_they_disagree():
    rows, _ = slices_by_hand()
    assert [row.index for row in rows] == [1, 2, 3, 5]
    first, second, third, last = rows
    assert first.areas_mm2 == {"A": 4.0, "B": 0.0, "candidate": 4.0}
    assert (first.count_any, first.count_all) == (2, 0)
    assert first.disagreement_cc == pytest.approx(2 * 10 / 1000)
    # A-B and B-candidate share nothing, A-candidate everything.
    assert first.dsc_mean == pytest.approx(1 / 3)
    assert (first.dsc_min, first.worst_pair) == (0.0, ("A", "B"))
    assert (second.dsc_mean, second.disagreement_cc, second.with_model_cc) == (1.0, 0.0, 0.0)
    assert third.dsc_mean == pytest.approx((6 / 7 + 4 / 6 + 4 / 5) / 3)
    assert third.dsc_min == pytest.approx(4 / 6)
    assert third.worst_pair == ("A", "candidate")
    assert third.disagreement_cc == pytest.approx(1 * 10 / 1000)
    assert third.with_model_cc == pytest.approx(2 * 10 / 1000)
    assert [row.model for row in rows] == [None, None, {"dsc": 0.8}, None]
    # Neither rater marks anything here: their own pair has no DSC, and they do not disagree.
    assert (last.dsc_mean, last.disagreement_cc) == (0.0, 0.0)
    assert last.with_model_cc == pytest.approx(3 * 10 / 1000)


def test_the_worst_slice_is_the_one_with_most_marked_by_some_but_not_all():
    rows, _ = slices_by_hand()
    # Slices 1 and 3 are equal in that, and slice 1 has the lower mean DSC.
    assert worst_first(rows) == [5, 1, 3, 2]


def test_of_a_lone_rater_slices_have_areas_but_nothing_to_compare():
    mask = np.zeros((3, 2, 2), bool)
    mask[1, 0, 0] = True
    (only,) = slice_rows(VoteMap.of([mask]), ("A",), 1, (1, 1, 1), {})
    assert np.isnan(only.dsc_mean)
    assert only.worst_pair is None
    assert (only.areas_mm2, only.disagreement_cc) == ({"A": 1.0}, 0.0)
    assert worst_first([only]) == [1]
