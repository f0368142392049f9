"""Connected components of a label, found slice by slice: no volume of component numbers is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

EIGHT = np.ones((3, 3), dtype=bool)
"""In-plane neighbors; with the same reach to the next slice this is 26-connectivity."""


@dataclass(frozen=True, slots=True)
class Component:
    """One connected piece of one label.

    Attributes:
        label: the label's value.
        volume_cc: volume in cubic centimeters.
        mean, peak: mean and largest probability of the label over the piece, 0 to 1.
        slices: first and last axial slice, as indices of the volume as it is stored.
        n_slices: how many axial slices it is on.
        center_mm: center of mass, LPS, mm.
    """

    label: int
    volume_cc: float
    mean: float
    peak: float
    slices: tuple[int, int]
    n_slices: int
    center_mm: tuple[float, float, float]


@dataclass
class ComponentFigures:
    """Groups of voxels by component; all arrays have one entry a component.

    Attributes:
        voxels: number of voxels.
        total, peak: sum and largest of the probabilities.
        center: mean (z, y, x) in voxel coordinates.
        first, last, n_slices: first and last slice, and how many.
    """

    voxels: np.ndarray
    total: np.ndarray
    peak: np.ndarray
    center: np.ndarray
    first: np.ndarray
    last: np.ndarray
    n_slices: np.ndarray


@dataclass
class ComponentFinder:
    """26-connected components of one label, fed slice by slice.

    Every slice's 8-connected regions get consecutive numbers; overlaps with the slice before are remembered
    as pairs; at the end the pairs' graph says which regions are one component. Memory grows with the number
    of regions, not with the volume.
    """

    _regions: int = 0
    _numbers: list[tuple[int, int, int]] = field(default_factory=list)  # (slice, first region, one past the last)
    _statistics: list[np.ndarray] = field(default_factory=list)
    _pairs: list[np.ndarray] = field(default_factory=list)
    _before: tuple[int, int, int, np.ndarray] | None = None

    def add(self, z: int, top: int, left: int, mask: np.ndarray, probability: np.ndarray) -> None:
        """Take the label's pixels on slice ``z``; slices must come in rising order.

        Args:
            z: the slice.
            top, left: first row and column of the box that ``mask`` covers.
            mask: bool (rows, columns) of the box.
            probability: the label's probability on the box.
        """
        from scipy import ndimage

        regions, count = ndimage.label(mask, structure=EIGHT)
        if count == 0:
            return
        y, x = np.nonzero(regions)
        number = regions[y, x] - 1
        values = probability[y, x].astype(np.float64)
        peak = np.zeros(count)
        np.maximum.at(peak, number, values)
        sums = [np.bincount(number, weights=w, minlength=count) for w in (values, y + top, x + left)]
        voxels = np.bincount(number, minlength=count)
        self._statistics.append(np.stack([voxels, *sums, peak], axis=1))
        numbered = np.where(regions > 0, regions + self._regions, 0)  # from 1; 0 is background
        self._link(z, top, left, numbered)
        self._before = (z, top, left, numbered)
        self._numbers.append((z, self._regions, self._regions + count))
        self._regions += count

    def _link(self, z: int, top: int, left: int, numbered: np.ndarray) -> None:
        """Remember which regions touch which of the slice before, with a reach of one pixel to every side."""
        if self._before is None or self._before[0] != z - 1:
            return
        _, top_before, left_before, before = self._before
        rows = np.arange(max(top - 1, top_before), min(top + len(numbered), top_before + len(before) - 1) + 1)
        columns = np.arange(
            max(left - 1, left_before),
            min(left + numbered.shape[1], left_before + before.shape[1] - 1) + 1,
        )
        if len(rows) == 0 or len(columns) == 0:
            return
        # The part of the slice before that can touch, against this slice's box padded by the reach.
        old = before[rows[0] - top_before : rows[-1] + 1 - top_before]
        old = old[:, columns[0] - left_before : columns[-1] + 1 - left_before]
        padded = np.pad(numbered, 2)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                y, x = rows[0] - top + 2 + dy, columns[0] - left + 2 + dx
                new = padded[y : y + old.shape[0], x : x + old.shape[1]]
                touching = (old > 0) & (new > 0)
                if touching.any():
                    # One number for a pair; along a row they repeat, so that few are left to be sorted.
                    pair = old[touching].astype(np.int64) << 32 | new[touching]
                    pair = np.unique(pair[np.diff(pair, prepend=-1) != 0])
                    self._pairs.append((np.stack([pair >> 32, pair & 0xFFFFFFFF]) - 1).astype(np.int32))

    def finish(self) -> tuple[ComponentFigures, np.ndarray]:
        """The components, and for every region the number of its component; called once, after the last slice."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        if not self._regions:
            return ComponentFigures(*(np.zeros(shape, int) for shape in (0, 0, 0, (0, 3), 0, 0, 0))), np.zeros(0, int)
        pairs = np.concatenate([np.zeros((2, 0), dtype=np.int32), *self._pairs], axis=1)
        self._pairs.clear()
        touching = coo_matrix((np.ones(pairs.shape[1], dtype=np.int8), pairs), shape=(self._regions, self._regions))
        count, group = connected_components(touching, directed=False)
        table = np.concatenate(self._statistics)
        self._statistics.clear()
        slices, sizes = np.array([(z, stop - start) for z, start, stop in self._numbers]).T
        slices = np.repeat(slices, sizes)
        voxels, total, y, x = (np.bincount(group, weights=table[:, column], minlength=count) for column in range(4))
        z = np.bincount(group, weights=slices * table[:, 0], minlength=count)
        peak, first, last = np.zeros(count), np.full(count, np.inf), np.full(count, -np.inf)
        np.maximum.at(peak, group, table[:, 4])
        np.minimum.at(first, group, slices)
        np.maximum.at(last, group, slices)
        # A connected component misses no slice between its first and its last.
        pieces = ComponentFigures(
            voxels=voxels.astype(np.int64),
            total=total,
            peak=peak,
            center=np.stack([z, y, x], axis=1) / np.maximum(voxels, 1)[:, None],
            first=first.astype(np.int64),
            last=last.astype(np.int64),
            n_slices=(last - first + 1).astype(np.int64),
        )
        return pieces, group

    def slices_with(self, dropped_regions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """For every slice with a dropped region: the slice, and which of its regions are dropped."""
        for z, start, stop in self._numbers:
            if dropped_regions[start:stop].any():
                yield z, dropped_regions[start:stop]
