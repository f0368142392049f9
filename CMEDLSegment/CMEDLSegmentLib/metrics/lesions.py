"""Agreement lesion by lesion: the components of two masks matched one to one, what was missed and what is extra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.boxes import bounding_box, box_shape, enclosing_box
from .connected_components import ConnectedComponent, connected_components, group_linked
from .measures import TOLERANCE_MM, PairMeasures, measure
from .surface_distance import check_masks, check_spacing


@dataclass(frozen=True)
class Lesion:
    """One connected component of a mask.

    Attributes:
        volume_cc: its volume.
        slices: its first and last axial slice.
        centroid: its center of mass (z, y, x) in voxel coordinates of the whole array.
    """

    volume_cc: float
    slices: tuple[int, int]
    centroid: tuple[float, float, float]


@dataclass(frozen=True)
class LesionPair:
    """A tumor of the reference, the one of the tested mask it was matched with, and how far the two agree."""

    a: Lesion
    b: Lesion
    measures: PairMeasures


@dataclass(frozen=True)
class LesionMatch:
    """The tumors of two masks.

    Attributes:
        pairs: those matched, the reference's largest first.
        missed: tumors of the reference that no tumor of the tested mask was matched with, the largest first.
        extra: tumors of the tested mask that none of the reference was matched with, the largest first.
    """

    pairs: tuple[LesionPair, ...]
    missed: tuple[Lesion, ...]
    extra: tuple[Lesion, ...]


def match_lesions(
    a: np.ndarray,
    b: np.ndarray,
    spacing_zyx_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
    origin: Sequence[int] = (0, 0, 0),
    whole: PairMeasures | None = None,
) -> LesionMatch:
    """Match the tumors of the tested mask ``b`` with those of the reference ``a`` (z, y, x; non-zero is inside).

    Tumors are 26-connected components. They are matched one to one so that the volume that matched tumors share is
    the largest possible; tumors that share nothing are not matched.

    Args:
        a, b: the masks, or the same part of both.
        spacing_zyx_mm: in mm.
        tolerance_mm: of the surface DSC.
        origin: where the part begins in the whole array (z, y, x).
        whole: the measures of the two masks where they are known: those of their tumors if each has one.

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    a, b = check_masks((a, b))
    spacing = check_spacing(spacing_zyx_mm)
    box = enclosing_box(map(bounding_box, (a, b)))
    if box is None:
        return LesionMatch((), (), ())
    components_a, components_b = (connected_components(mask[box] != 0) for mask in (a, b))
    corner = np.array([part.start for part in box]) + np.array(origin)
    lesions_a, lesions_b = (
        [_lesion(component, corner, spacing) for component in components] for components in (components_a, components_b)
    )
    known = whole if len(components_a) == len(components_b) == 1 else None
    pairs = []
    matched = sorted(_matched(*_shared(components_a, components_b, box_shape(box))))
    for i, j in matched:
        lesion_a, lesion_b = components_a[i], components_b[j]
        around = enclosing_box((lesion_a.box, lesion_b.box))
        assert around is not None
        measures = known or measure(lesion_a.in_box(around), lesion_b.in_box(around), spacing, tolerance_mm)
        pairs.append(LesionPair(lesions_a[i], lesions_b[j], measures))
    matched_a, matched_b = {i for i, _ in matched}, {j for _, j in matched}
    return LesionMatch(
        tuple(sorted(pairs, key=lambda pair: -pair.a.volume_cc)),
        _largest_first(lesion for i, lesion in enumerate(lesions_a) if i not in matched_a),
        _largest_first(lesion for j, lesion in enumerate(lesions_b) if j not in matched_b),
    )


def _shared(
    a: Sequence[ConnectedComponent], b: Sequence[ConnectedComponent], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of components of two masks of one shape that share voxels: their numbers, and how many they share."""
    numbers = np.zeros(shape, np.int32)
    for j, component in enumerate(b, start=1):
        numbers[component.box][component.mask] = j
    shared: list[np.ndarray] = [np.zeros((3, 0), np.int64)]
    for i, component in enumerate(a):
        voxels = np.bincount(numbers[component.box][component.mask])[1:]
        others = np.flatnonzero(voxels)
        shared.append(np.stack([np.full(len(others), i), others, voxels[others]]))
    first, second, voxels = np.concatenate(shared, axis=1)
    return first, second, voxels


def _matched(a: np.ndarray, b: np.ndarray, shared: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pairs of the one-to-one matching that shares most, of pairs (a, b) that share so many voxels.

    Components that are linked by no chain of overlaps do not compete, so each group is matched by itself: thousands of
    specks need no table of all against all.
    """
    from scipy.optimize import linear_sum_assignment

    if not len(shared):
        return
    rows, row = np.unique(a, return_inverse=True)
    columns, column = np.unique(b, return_inverse=True)
    group = group_linked(np.stack([row, column + len(rows)]), len(rows) + len(columns))[1][row]
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        mine, i = np.unique(row[members], return_inverse=True)
        theirs, j = np.unique(column[members], return_inverse=True)
        table = np.zeros((len(mine), len(theirs)), np.int64)
        table[i, j] = shared[members]
        for i, j in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[i, j]:
                yield int(rows[mine[i]]), int(columns[theirs[j]])


def _largest_first(lesions: Iterable[Lesion]) -> tuple[Lesion, ...]:
    return tuple(sorted(lesions, key=lambda lesion: -lesion.volume_cc))


def _lesion(component: ConnectedComponent, corner: np.ndarray, spacing: Sequence[float]) -> Lesion:
    """A component as a lesion; ``corner`` is where its array lies in the whole one."""
    volume_cc = float(component.voxels * (float(np.prod(spacing)) / 1000.0))
    first, last = component.box[0].start + corner[0], component.box[0].stop - 1 + corner[0]
    return Lesion(volume_cc, (int(first), int(last)), tuple((component.center + corner).tolist()))
