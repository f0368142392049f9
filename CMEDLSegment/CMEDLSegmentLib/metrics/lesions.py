"""Agreement tumor by tumor: the pieces of two masks matched one to one, what was missed and what is extra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .connected_components import ConnectedComponents
from .measures import TOLERANCE_MM, PairMeasures, measure
from .surface_distance import check_masks, check_spacing, union_box


@dataclass(frozen=True)
class Lesion:
    """One connected piece of a mask.

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
        tolerance_mm: of the surface Dice.
        origin: where the part begins in the whole array (z, y, x).
        whole: the measures of the two masks where they are known: those of their tumors if each has one.

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    a, b = check_masks((a, b))
    spacing = check_spacing(spacing_zyx_mm)
    box = union_box((a, b))
    if box is None:
        return LesionMatch((), (), ())
    a, b = a[box] != 0, b[box] != 0
    pieces_a, pieces_b = ConnectedComponents(a), ConnectedComponents(b)
    matched = sorted(_matched(*pieces_a.shared(pieces_b, a & b)))
    corner = np.array([part.start for part in box]) + np.array(origin)
    tumors_a, tumors_b = (_tumors(pieces, corner, spacing) for pieces in (pieces_a, pieces_b))
    known = whole if pieces_a.count == pieces_b.count == 1 else None
    pairs = []
    for i, j in matched:
        found = known
        if found is None:
            corners = np.minimum(pieces_a.first[i], pieces_b.first[j]), np.maximum(pieces_a.last[i], pieces_b.last[j])
            found = measure(pieces_a.mask(i, *corners), pieces_b.mask(j, *corners), spacing, tolerance_mm)
        pairs.append(LesionPair(tumors_a[i], tumors_b[j], found))
    found_a, found_b = {i for i, _ in matched}, {j for _, j in matched}
    return LesionMatch(
        tuple(sorted(pairs, key=lambda pair: -pair.a.volume_cc)),
        _largest_first(tumor for i, tumor in enumerate(tumors_a) if i not in found_a),
        _largest_first(tumor for j, tumor in enumerate(tumors_b) if j not in found_b),
    )


def _matched(a: np.ndarray, b: np.ndarray, shared: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pairs of the one-to-one matching that shares most, of pairs (a, b) that share so many voxels.

    Pieces that are linked by no chain of overlaps do not compete, so each group is matched by itself: thousands of
    specks need no table of all against all.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(shared):
        return
    rows, row = np.unique(a, return_inverse=True)
    columns, column = np.unique(b, return_inverse=True)
    nodes = len(rows) + len(columns)
    graph = coo_matrix((np.ones(len(shared), np.int8), (row, column + len(rows))), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][row]
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        mine, i = np.unique(row[members], return_inverse=True)
        theirs, j = np.unique(column[members], return_inverse=True)
        table = np.zeros((len(mine), len(theirs)), np.int64)
        table[i, j] = shared[members]
        for i, j in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[i, j]:
                yield int(rows[mine[i]]), int(columns[theirs[j]])


def _largest_first(tumors: Iterable[Lesion]) -> tuple[Lesion, ...]:
    return tuple(sorted(tumors, key=lambda tumor: -tumor.volume_cc))


def _tumors(pieces: ConnectedComponents, corner: np.ndarray, spacing: Sequence[float]) -> list[Lesion]:
    """Every piece, in the order of their numbers; ``corner`` is where their array lies in the whole one."""
    voxel_cc = float(np.prod(spacing)) / 1000.0
    return [
        Lesion(float(voxels * voxel_cc), (int(first + corner[0]), int(last + corner[0])), tuple(centroid.tolist()))
        for voxels, first, last, centroid in zip(
            pieces.voxels, pieces.first[:, 0], pieces.last[:, 0], pieces.centroids + corner, strict=True
        )
    ]
