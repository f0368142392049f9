"""Agreement tumour by tumour: the pieces of two masks matched one to one, what was missed and what is extra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .distances import checked_masks, checked_spacing, union_box
from .measures import TOLERANCE_MM, PairMeasures, measure

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity, as in the components of a result."""


@dataclass(frozen=True)
class Tumor:
    """One connected piece of a mask.

    Attributes:
        volume_cc: its volume.
        slices: its first and last axial slice.
        centroid: its centre of mass (z, y, x) in voxel coordinates of the whole array.
    """

    volume_cc: float
    slices: tuple[int, int]
    centroid: tuple[float, float, float]


@dataclass(frozen=True)
class TumorPair:
    """A tumour of the reference, the one of the tested mask it was matched with, and how far the two agree."""

    a: Tumor
    b: Tumor
    measures: PairMeasures


@dataclass(frozen=True)
class TumorMatch:
    """The tumours of two masks.

    Attributes:
        pairs: those matched, the reference's largest first.
        missed: tumours of the reference that no tumour of the tested mask was matched with, the largest first.
        extra: tumours of the tested mask that none of the reference was matched with, the largest first.
    """

    pairs: tuple[TumorPair, ...]
    missed: tuple[Tumor, ...]
    extra: tuple[Tumor, ...]


def match(
    a: np.ndarray, b: np.ndarray, spacing_zyx_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> TumorMatch:
    """Match the tumours of the tested mask ``b`` with those of the reference ``a`` (z, y, x; non-zero is inside).

    Tumours are 26-connected components. They are matched one to one so that the volume that matched tumours share is
    the largest possible; tumours that share nothing are not matched.

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    from scipy import ndimage
    from scipy.optimize import linear_sum_assignment

    a, b = checked_masks((a, b))
    spacing = checked_spacing(spacing_zyx_mm)
    box = union_box((a, b))
    if box is None:
        return TumorMatch((), (), ())
    (in_a, count_a), (in_b, count_b) = (ndimage.label(mask[box], structure=_NEIGHBOURS) for mask in (a, b))
    both = (in_a > 0) & (in_b > 0)
    shared = np.zeros((count_a, count_b), np.int64)
    np.add.at(shared, (in_a[both] - 1, in_b[both] - 1), 1)
    matched = [(i, j) for i, j in zip(*linear_sum_assignment(shared, maximize=True), strict=True) if shared[i, j]]
    tumors_a, tumors_b = (_tumors(labels, box, spacing) for labels in (in_a, in_b))
    pairs = [
        TumorPair(tumors_a[i], tumors_b[j], measure(in_a == i + 1, in_b == j + 1, spacing, tolerance_mm))
        for i, j in matched
    ]
    found_a, found_b = {i for i, _ in matched}, {j for _, j in matched}
    return TumorMatch(
        tuple(sorted(pairs, key=lambda pair: -pair.a.volume_cc)),
        _largest_first(tumor for i, tumor in enumerate(tumors_a) if i not in found_a),
        _largest_first(tumor for j, tumor in enumerate(tumors_b) if j not in found_b),
    )


def _largest_first(tumors: Iterable[Tumor]) -> tuple[Tumor, ...]:
    return tuple(sorted(tumors, key=lambda tumor: -tumor.volume_cc))


def _tumors(labels: np.ndarray, box: tuple[slice, ...], spacing: Sequence[float]) -> list[Tumor]:
    """Every numbered piece, in the order of the numbers; ``box`` is where ``labels`` lie in the whole array."""
    from scipy import ndimage

    found = []
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        places = np.nonzero(labels[part] == number)
        start = [inside.start + whole.start for inside, whole in zip(part, box, strict=True)]
        centroid = tuple(float(along.mean() + first) for along, first in zip(places, start, strict=True))
        volume = len(places[0]) * float(np.prod(spacing)) / 1000.0
        found.append(Tumor(volume, (start[0], start[0] + part[0].stop - part[0].start - 1), centroid))
    return found
