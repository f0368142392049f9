"""The connected components of a mask and the matching of lesions, against scipy's labels of the whole mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.metrics.connected_components import connected_components
from CMEDLSegmentLib.metrics.lesions import match_lesions
from CMEDLSegmentLib.metrics.measures import measure
from segment.agreement.rated import noisy_masks

NEIGHBORS = np.ones((3, 3, 3), bool)


def masks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = ((6, 7, 8), (1, 9, 5), (4, 1, 1), (40, 41, 39))
    noise = [random.random(shape) < share for shape in shapes for share in (0.02, 0.1, 0.6)]
    return [*noise, *noisy_masks(3, seed=1), np.ones((2, 3, 4), bool), np.zeros((2, 3, 4), bool)]


@pytest.mark.parametrize("number", range(len(masks())))
def test_components_are_scipys_in_its_order_with_their_sizes_centers_and_boxes(number: int):
    mask = masks()[number]
    labels, count = ndimage.label(mask, structure=NEIGHBORS)
    components = connected_components(mask)
    assert len(components) == count
    for number, (component, box) in enumerate(zip(components, ndimage.find_objects(labels), strict=True), start=1):
        expected = labels == number
        assert component.box == box
        assert np.array_equal(component.mask, expected[box])
        assert component.voxels == expected.sum()
        assert component.center == pytest.approx(np.argwhere(expected).mean(axis=0))
        assert np.array_equal(component.in_box(tuple(map(slice, (0, 0, 0), mask.shape))), expected)


def test_what_has_no_voxels_has_no_components():
    assert connected_components(np.zeros((0, 4, 4), bool)) == []


@pytest.mark.parametrize("seed", range(8))
def test_the_matching_shares_as_much_as_the_best_of_all(seed: int):
    random = np.random.default_rng(seed)
    a, b = (ndimage.binary_dilation(random.random((1, 12, 12)) < 0.04) for _ in range(2))
    (in_a, count_a), (in_b, count_b) = (ndimage.label(mask, structure=NEIGHBORS) for mask in (a, b))
    shared = np.array([[((in_a == i + 1) & (in_b == j + 1)).sum() for j in range(count_b)] for i in range(count_a)])
    if count_a > count_b:
        shared = shared.T
    best = max(
        sum(shared[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(range(shared.shape[1]), len(shared))
    )
    match = match_lesions(a, b, (1, 1, 1))
    # 2 |a and b| = dsc (|a| + |b|), in voxels of 1 mm^3.
    matched = sum(
        pair.measures.values["dsc"] * (pair.a.volume_cc + pair.b.volume_cc) * 1000 / 2 for pair in match.pairs
    )
    assert matched == pytest.approx(best)
    assert len(match.pairs) + len(match.missed) == count_a
    assert len(match.pairs) + len(match.extra) == count_b


def test_a_part_of_the_array_and_known_measures_change_nothing():
    mask, other = noisy_masks(2, seed=4)
    a, b = (ndimage.label(each, structure=NEIGHBORS)[0] == 1 for each in (mask, other))
    inside = np.pad(a, 3), np.pad(b, 3)
    whole = match_lesions(*inside, (2, 1, 1), 1.0)
    assert match_lesions(a, b, (2, 1, 1), 1.0, origin=(3, 3, 3), whole=measure(a, b, (2, 1, 1), 1.0)) == whole
    assert len(whole.pairs) == 1


def test_known_measures_of_the_whole_are_not_taken_for_one_tumor_of_several():
    a = np.zeros((3, 5, 9), bool)
    a[1, 1:4, 1:3] = a[1, 1:4, 6:8] = True
    b = a.copy()
    b[1, 1, 1] = False
    match = match_lesions(a, b, (1, 1, 1), whole=measure(a, b, (1, 1, 1)))
    assert sorted(pair.measures.values["dsc"] for pair in match.pairs) == pytest.approx([10 / 11, 1.0])
