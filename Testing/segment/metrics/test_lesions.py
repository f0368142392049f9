"""Tumors matched one to one: what is a pair, what was missed and what is extra."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.metrics.lesions import Lesion, LesionMatch, match_lesions
from CMEDLSegmentLib.metrics.measures import measure
from segment.agreement.masks import blobs, nodules

SPACING = (2.0, 1.0, 0.5)


def boxes(*places: tuple[slice, slice, slice]) -> np.ndarray:
    mask = np.zeros((12, 30, 30), bool)
    for place in places:
        mask[place] = True
    return mask


BIG = np.s_[2:6, 3:9, 3:9]
SMALL = np.s_[4:6, 20:23, 20:22]
FAR = np.s_[9:10, 15:17, 2:6]


def test_tumors_of_either_mask_alone_are_missed_or_extra_with_their_size_and_place():
    match = match_lesions(boxes(BIG, SMALL), boxes(BIG, FAR), SPACING)
    assert len(match.pairs) == 1
    assert match.pairs[0].measures.values["dsc"] == 1.0
    # Twelve voxels of 1 mm^3; eight.
    assert match.missed == (Lesion(pytest.approx(0.012), (4, 5), pytest.approx((4.5, 21.0, 20.5))),)
    assert match.extra == (Lesion(pytest.approx(0.008), (9, 9), pytest.approx((9.0, 15.5, 3.5))),)


def test_exchanged_masks_exchange_missed_and_extra():
    first, second = (
        match_lesions(boxes(BIG, SMALL), boxes(BIG, FAR), SPACING),
        match_lesions(boxes(BIG, FAR), boxes(BIG, SMALL), SPACING),
    )
    assert (first.missed, first.extra) == (second.extra, second.missed)


def test_the_most_shared_in_all_is_matched_even_if_no_pair_is_the_best_of_its_own():
    # The first of a shares 11 with the first of b and 10 with the second, which shares with no other; the second of a
    # shares 8 with the first of b. Greedily 11 would be matched, and 10 and 8 lost.
    a = boxes(np.s_[3, 5, 0:22], np.s_[3, 8, 0:8])
    b = boxes(np.s_[3, 5:9, 0:1], np.s_[3, 5, 0:11], np.s_[3, 8, 0:8], np.s_[3, 5, 12:22])
    match = match_lesions(a, b, (1, 1, 1))
    shared = sorted(pair.measures.values["dsc"] * (pair.a.volume_cc + pair.b.volume_cc) * 500 for pair in match.pairs)
    assert shared == pytest.approx([8, 10])
    assert match.missed == match.extra == ()


def test_tumors_that_touch_nothing_of_each_other_are_not_matched():
    match = match_lesions(boxes(SMALL), boxes(FAR), SPACING)
    assert (len(match.pairs), len(match.missed), len(match.extra)) == (0, 1, 1)


def test_voxels_that_meet_at_a_corner_are_one_tumor():
    mask = boxes()
    mask[3, 3, 3] = mask[4, 4, 4] = mask[5, 3, 5] = True
    match = match_lesions(mask, mask, SPACING)
    assert len(match.pairs) == 1
    assert match.pairs[0].a.slices == (3, 5)


def test_a_pairs_measures_are_those_of_the_two_tumors_alone():
    a, b = boxes(BIG, SMALL), boxes(np.s_[2:7, 3:9, 4:9], np.s_[4:6, 20:24, 20:22])
    match = match_lesions(a, b, SPACING, 0.6)
    expected = [
        measure(boxes(BIG), boxes(np.s_[2:7, 3:9, 4:9]), SPACING, 0.6),
        measure(boxes(SMALL), boxes(np.s_[4:6, 20:24, 20:22]), SPACING, 0.6),
    ]
    for pair, alone in zip(match.pairs, expected, strict=True):
        assert pair.measures.tolerance_mm == 0.6
        assert pair.measures.values == pytest.approx(alone.values, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_all_that_is_marked_is_in_one_of_the_lists_the_largest_first(seed: int):
    a, b, spacing = blobs(seed)
    match = match_lesions(a, b, spacing)
    voxel_cc = np.prod(spacing) / 1000.0
    of_a = [pair.a.volume_cc for pair in match.pairs], [tumor.volume_cc for tumor in match.missed]
    of_b = [pair.b.volume_cc for pair in match.pairs], [tumor.volume_cc for tumor in match.extra]
    assert sum(map(sum, of_a)) == pytest.approx(a.sum() * voxel_cc)
    assert sum(map(sum, of_b)) == pytest.approx(b.sum() * voxel_cc)
    for volumes in (*of_a, of_b[1]):
        assert volumes == sorted(volumes, reverse=True)


def test_empty_masks_have_no_tumors():
    assert match_lesions(boxes(), boxes(), SPACING) == LesionMatch((), (), ())
    assert len(match_lesions(boxes(BIG, FAR), boxes(), SPACING).missed) == 2
    assert len(match_lesions(boxes(), boxes(BIG, FAR), SPACING).extra) == 2


def test_one_real_nodule_marked_by_two_is_one_pair_that_measures_as_the_whole(data_root):
    name, masks, spacing = next(nodules(data_root))
    match = match_lesions(masks[0], masks[1], spacing)
    assert len(match.pairs) == 1, name
    assert match.pairs[0].measures.values == pytest.approx(measure(masks[0], masks[1], spacing).values)
