"""The connected pieces of a mask, against scipy's labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.metrics.connected_components import ConnectedComponents
from CMEDLSegmentLib.metrics.lesions import match_lesions
from CMEDLSegmentLib.metrics.measures import measure
from segment.agreement.rated import noisy_masks

NEIGHBORS = np.ones((3, 3, 3), bool)


def masks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    found = [random.random(shape) < share for shape in ((6, 7, 8), (1, 9, 5), (4, 1, 1)) for share in (0.02, 0.1, 0.6)]
    return [*found, *noisy_masks(3, seed=1), np.ones((2, 3, 4), bool), np.zeros((2, 3, 4), bool)]


@pytest.mark.parametrize("number", range(len(masks())))
def test_pieces_are_scipys_with_their_sizes_places_and_boxes(number: int):
    mask = masks()[number]
    labels, count = ndimage.label(mask, structure=NEIGHBORS)
    found = ConnectedComponents(mask)
    assert found.count == count
    for piece, box in enumerate(ndimage.find_objects(labels)):
        expected = labels == piece + 1
        assert found.voxels[piece] == expected.sum()
        assert found.centroids[piece] == pytest.approx(np.argwhere(expected).mean(axis=0))
        assert found.first[piece].tolist() == [part.start for part in box]
        assert found.last[piece].tolist() == [part.stop - 1 for part in box]
        assert np.array_equal(found.mask(piece, found.first[piece], found.last[piece]), expected[box])
        assert np.array_equal(found.mask(piece, (0, 0, 0), np.array(mask.shape) - 1), expected)


def test_every_one_of_the_26_neighbors_links_and_none_across_an_edge_does():
    for step in itertools.product((-1, 0, 1), repeat=3):
        mask = np.zeros((3, 3, 3), bool)
        mask[1, 1, 1] = mask[1 + step[0], 1 + step[1], 1 + step[2]] = True
        assert ConnectedComponents(mask).count == 1
    for ends in itertools.combinations(itertools.product((0, 3), repeat=3), 2):
        mask = np.zeros((4, 4, 4), bool)
        for end in ends:
            mask[end] = True
        assert ConnectedComponents(mask).count == 2


def test_shared_voxels_are_those_of_the_labels():
    random = np.random.default_rng(2)
    a, b = random.random((2, 6, 9, 9)) < 0.12
    (in_a, _), (in_b, _) = (ndimage.label(mask, structure=NEIGHBORS) for mask in (a, b))
    both = a & b
    expected = {}
    for pair in zip((in_a[both] - 1).tolist(), (in_b[both] - 1).tolist(), strict=True):
        expected[pair] = expected.get(pair, 0) + 1
    mine, theirs, voxels = ConnectedComponents(a).shared(ConnectedComponents(b), both)
    found = zip(mine.tolist(), theirs.tolist(), strict=True)
    assert dict(zip(found, voxels.tolist(), strict=True)) == expected


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
    found = match_lesions(a, b, (1, 1, 1))
    # 2 |a and b| = dsc (|a| + |b|), in voxels of 1 mm^3.
    got = sum(pair.measures.values["dsc"] * (pair.a.volume_cc + pair.b.volume_cc) * 1000 / 2 for pair in found.pairs)
    assert got == pytest.approx(best)
    assert len(found.pairs) + len(found.missed) == count_a
    assert len(found.pairs) + len(found.extra) == count_b


def test_a_part_of_the_array_and_known_measures_change_nothing():
    mask, other = noisy_masks(2, seed=4)
    a, b = (ndimage.label(one, structure=NEIGHBORS)[0] == 1 for one in (mask, other))
    inside = np.pad(a, 3), np.pad(b, 3)
    whole = match_lesions(*inside, (2, 1, 1), 1.0)
    assert match_lesions(a, b, (2, 1, 1), 1.0, origin=(3, 3, 3), whole=measure(a, b, (2, 1, 1), 1.0)) == whole
    assert len(whole.pairs) == 1


def test_known_measures_of_the_whole_are_not_taken_for_one_tumor_of_several():
    a = np.zeros((3, 5, 9), bool)
    a[1, 1:4, 1:3] = a[1, 1:4, 6:8] = True
    b = a.copy()
    b[1, 1, 1] = False
    found = match_lesions(a, b, (1, 1, 1), whole=measure(a, b, (1, 1, 1)))
    assert sorted(pair.measures.values["dsc"] for pair in found.pairs) == pytest.approx([10 / 11, 1.0])
