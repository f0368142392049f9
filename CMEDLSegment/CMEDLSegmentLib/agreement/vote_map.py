"""Who marked which voxel: the few patterns of marks that occur, and what follows from counting them.

A voxel's pattern says who marked it. There are far fewer patterns than voxels, so the overlaps of all pairs, the
agreement map, every consensus and every slice's disagreement are read off one table of counts instead of being
worked out from the masks again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..base.boxes import bounding_box, enclosing_box
from ..metrics.surface_distance import check_masks, in_threads


@dataclass(frozen=True, eq=False)
class VoteMap:
    """Who marked what, of several masks on one grid.

    Attributes:
        box: slices (z, y, x) of the box around all marks in the whole array; empty ones where nothing is marked.
        patterns: bool (k, n): for each pattern that occurs, which of the n masks mark a voxel of it.
        counts: int (z, k): voxels of each pattern on each slice of the box.
        boxes: each mask's own box in the whole array; None if it is empty.
    """

    box: tuple[slice, ...]
    patterns: np.ndarray
    counts: np.ndarray
    boxes: tuple[tuple[slice, ...] | None, ...]
    _pattern: np.ndarray  # (z, y, x) of the box: 0 where nobody marked anything, else 1 more than the pattern's number

    @classmethod
    def of(cls, masks: Sequence[np.ndarray]) -> VoteMap:
        """Count the patterns of masks (z, y, x); non-zero is inside.

        Raises:
            InputError: the masks differ in shape or are not 3-D.

        >>> a, b = np.array([1, 1, 0, 0]).reshape(1, 1, 4), np.array([0, 1, 1, 0]).reshape(1, 1, 4)
        >>> votes = VoteMap.of([a, b])
        >>> votes.patterns.astype(int).tolist()  # the second mask alone, the first alone, both
        [[0, 1], [1, 0], [1, 1]]
        >>> votes.counts.tolist()  # one voxel of each, on the one slice
        [[1, 1, 1]]
        """
        masks = check_masks(masks)
        boxes = tuple(map(bounding_box, masks))
        box = enclosing_box(boxes) or (slice(0, 0),) * 3
        inside = [mask[box].astype(bool, copy=False) for mask in masks]
        marked = np.logical_or.reduce(inside)
        inside = in_threads([partial(mask.__getitem__, marked) for mask in inside], marked.size)
        pattern = np.zeros(np.count_nonzero(marked), np.int64)
        patterns: np.ndarray = np.zeros((1, 0), bool)
        for mask in inside:
            # Each mask splits every pattern in two; those that do not occur are left out at once.
            split = 2 * pattern + mask
            occurs = np.bincount(split, minlength=2 * len(patterns)) > 0
            pattern = (np.cumsum(occurs) - 1)[split]
            patterns = np.column_stack([np.repeat(patterns, 2, axis=0), np.tile([False, True], len(patterns))])[occurs]
        ends = np.cumsum(np.count_nonzero(marked, axis=(1, 2)))
        on_slices = [
            np.bincount(pattern[end - here : end], minlength=len(patterns))
            for here, end in zip(np.diff(ends, prepend=0), ends, strict=True)
        ]
        counts = np.array(on_slices, np.int64).reshape(len(marked), len(patterns))
        numbers = np.zeros(marked.shape, np.min_scalar_type(len(patterns)))
        numbers[marked] = pattern + 1
        return cls(box, patterns, counts, boxes, numbers)

    def where(self, *chosen: np.ndarray) -> list[np.ndarray]:
        """Masks, bool (z, y, x) of the box, of the voxels whose pattern is chosen; each choice is bool (k,)."""
        return in_threads([partial(self._filled, patterns, bool) for patterns in chosen], self._pattern.size)

    def count_map(self, masks: slice) -> np.ndarray:
        """How many of the masks ``masks`` mark each voxel of the box: uint8 (z, y, x), uint16 beyond 255 masks."""
        votes = self.patterns[:, masks]
        return self._filled(np.count_nonzero(votes, axis=1), np.uint8 if votes.shape[1] < 256 else np.uint16)

    def overlaps(self) -> np.ndarray:
        """Voxels that each pair of masks both mark on each slice of the box: (z, n, n), areas on the diagonal."""
        votes = self.patterns.astype(float)
        return np.array([(votes.T * counts) @ votes for counts in self.counts]).reshape(
            -1, votes.shape[1], votes.shape[1]
        )

    def _filled(self, values: np.ndarray, dtype: type[bool | np.unsignedinteger]) -> np.ndarray:
        table = np.append(0, values).astype(dtype)
        filled = np.empty(self._pattern.shape, dtype)
        # Slice by slice, because numpy makes big integers of the numbers first; clipping, which never happens here,
        # spares a copy of what is written.
        for pattern, out in zip(self._pattern, filled, strict=True):
            np.take(table, pattern, out=out, mode="clip")
        return filled


@dataclass(frozen=True)
class SliceRow:
    """One slice on which anybody marks something.

    Attributes:
        index: its index along the first axis of the whole array.
        areas_mm2: what each rater, and the model, marked on it.
        dsc_mean, dsc_min: mean and least DSC of all pairs of raters and model on this slice; a pair of which
            neither marks anything here has none. NaN if no pair has one.
        worst_pair: the names of the pair with the least DSC, or None.
        count_any: voxels that any rater marked.
        count_all: voxels that all raters marked.
        disagreement_cc: volume that some rater marked, but not all of them.
        with_model_cc: volume that some of raters and model marked, but not all of them; without a model
            the same as ``disagreement_cc``. The worst slices are those with most of it.
        model: the model (tested) against the majority of the raters on this slice, as
            :meth:`MaskPairs.slices` has it; None without a model, or where neither marks anything.
    """

    index: int
    areas_mm2: dict[str, float]
    dsc_mean: float
    dsc_min: float
    worst_pair: tuple[str, str] | None
    count_any: int
    count_all: int
    disagreement_cc: float
    with_model_cc: float
    model: dict[str, float] | None


def slice_rows(
    votes: VoteMap,
    names: Sequence[str],
    n_raters: int,
    spacing: Sequence[float],
    model: Mapping[int, dict[str, float]],
) -> tuple[SliceRow, ...]:
    """The slices of ``votes``, in rising order.

    Args:
        votes: of the raters, then of the model if there is one.
        names: in the same order.
        n_raters: how many of them are raters.
        spacing: (z, y, x) in mm.
        model: the model against the majority, by the slice's index.
    """
    pixel_mm2 = spacing[1] * spacing[2]
    voxel_cc = pixel_mm2 * spacing[0] / 1000.0
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    raters, everyone = (
        tuple(votes.counts[:, chosen].sum(axis=1) for chosen in (marks.any(axis=1), marks.all(axis=1)))
        for marks in (votes.patterns[:, :n_raters], votes.patterns)
    )
    rows = []
    for z, both in enumerate(votes.overlaps()):
        areas = np.diagonal(both)
        if not areas.any():
            continue
        dsc = {(i, j): 2.0 * both[i, j] / (areas[i] + areas[j]) for i, j in pairs if areas[i] + areas[j]}
        worst = min(dsc, key=dsc.__getitem__, default=None)
        index = votes.box[0].start + z
        rows.append(
            SliceRow(
                index=index,
                areas_mm2={name: float(area * pixel_mm2) for name, area in zip(names, areas, strict=True)},
                dsc_mean=float(np.mean(list(dsc.values()))) if dsc else np.nan,
                dsc_min=float(dsc[worst]) if worst else np.nan,
                worst_pair=(names[worst[0]], names[worst[1]]) if worst else None,
                count_any=int(raters[0][z]),
                count_all=int(raters[1][z]),
                disagreement_cc=float((raters[0][z] - raters[1][z]) * voxel_cc),
                with_model_cc=float((everyone[0][z] - everyone[1][z]) * voxel_cc),
                model=model.get(index),
            )
        )
    return tuple(rows)


def worst_first(rows: Sequence[SliceRow]) -> list[int]:
    """The slices' indices, most disagreement first; of equal ones that with the lower mean DSC, then the lower index.

    A slice on which no two can be compared (one rater, no model) has no DSC and stands behind those that have.
    """

    def order(row: SliceRow) -> tuple[float, float, int]:
        return -row.with_model_cc, 2.0 if np.isnan(row.dsc_mean) else row.dsc_mean, row.index

    return [row.index for row in sorted(rows, key=order)]
