"""The 26-connected components of a mask: of a whole one, or slice by slice where a volume of numbers is too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..base.boxes import Box, bounding_box, box_shape, box_within, enclosing_box, moved_box

NEIGHBORS = np.ones((3, 3, 3), bool)
"""26-connectivity; in a slice it is 8-connectivity."""


@dataclass(frozen=True, eq=False)
class ConnectedComponent:
    """One component of a mask.

    Attributes:
        box: slices (z, y, x) around it in the mask's array.
        mask: bool (z, y, x) of the box.
    """

    box: Box
    mask: np.ndarray

    @cached_property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def center(self) -> np.ndarray:
        """Its center of mass (z, y, x) in voxels of the mask's array."""
        counts = (np.count_nonzero(self.mask, axis=others) for others in ((1, 2), (0, 2), (0, 1)))
        sums = [count @ np.arange(part.start, part.stop) for count, part in zip(counts, self.box, strict=True)]
        return np.array(sums) / self.voxels

    def holds(self, places: np.ndarray) -> bool:
        """Whether it holds one of ``places`` (n, 3), indices (z, y, x) of the mask's array; any may lie outside."""
        inner = places - [part.start for part in self.box]
        inner = inner[((inner >= 0) & (inner < self.mask.shape)).all(axis=1)]
        return bool(self.mask[tuple(inner.T)].any())

    def in_box(self, box: Box) -> np.ndarray:
        """The component alone, bool (z, y, x), in another box that holds all of it."""
        alone = np.zeros(box_shape(box), bool)
        alone[box_within(self.box, box)] = self.mask
        return alone


def connected_components(mask: np.ndarray) -> list[ConnectedComponent]:
    """The components of a mask (z, y, x; bool), in the order in which their first voxels lie in it."""
    from scipy import ndimage

    box = bounding_box(mask)
    if box is None:
        return []
    labels, _ = ndimage.label(mask[box], NEIGHBORS)
    corner = [part.start for part in box]
    return [
        ConnectedComponent(moved_box(around, corner), labels[around] == number)
        for number, around in enumerate(ndimage.find_objects(labels), start=1)
    ]


def group_linked(links: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """Groups of things that are linked, directly or through others.

    Args:
        links: (2, m) the numbers of both things of each link.
        count: how many things there are.

    Returns:
        How many groups there are, and the group (count,) of each thing.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(links.shape[1], np.int8), tuple(links)), shape=(count, count))
    return connected_components(graph, directed=False) if count else (0, np.zeros(0, np.int32))


@dataclass(frozen=True, eq=False)
class ComponentStatistics:
    """What is known of components that were found slice by slice; each array has one entry a component.

    Attributes:
        voxels: number of voxels.
        total, peak: sum and largest of the values.
        center: mean (z, y, x) in voxels.
        first, last: first and last slice; a component misses none between.
    """

    voxels: np.ndarray
    total: np.ndarray
    peak: np.ndarray
    center: np.ndarray
    first: np.ndarray
    last: np.ndarray


class SliceWiseComponents:
    """The components of a mask that is fed slice by slice.

    Every slice's 8-connected regions are numbered on; which of them touch regions of the slice before is kept as links.
    Memory grows with the number of regions, not with the volume.
    """

    def __init__(self) -> None:
        self._regions = 0
        # A row for each region of a slice: slice, voxels, sums of y, x and the values, peak.
        self._tables: list[np.ndarray] = [np.zeros((0, 6))]
        self._links: list[np.ndarray] = [np.zeros((2, 0), np.int32)]
        self._before: tuple[int, Box, np.ndarray] | None = None

    def add(self, z: int, box: Box, mask: np.ndarray, values: np.ndarray) -> None:
        """Take slice ``z``; slices come in rising order.

        Args:
            z: the slice.
            box: slices (y, x) around all that is marked on it.
            mask: bool (y, x) of the box.
            values: (y, x) of the box, such as probabilities.
        """
        from scipy import ndimage

        regions, count = ndimage.label(mask, NEIGHBORS[1])
        if count == 0:
            return
        y, x = np.nonzero(regions)
        number, inside = regions[y, x] - 1, values[y, x].astype(np.float64)
        peak = np.zeros(count)
        np.maximum.at(peak, number, inside)
        sums = [np.bincount(number, weights, count) for weights in (None, y + box[0].start, x + box[1].start, inside)]
        self._tables.append(np.stack([np.full(count, z), *sums, peak], axis=1))
        numbered = np.where(regions > 0, regions + self._regions, 0)  # from 1; 0 is background
        if self._before is not None and self._before[0] == z - 1:
            self._link(*self._before[1:], box, numbered)
        self._before = z, box, numbered
        self._regions += count

    def _link(self, box_before: Box, before: np.ndarray, box: Box, numbered: np.ndarray) -> None:
        """Link the regions of two neighboring slices that are of one component of the two together."""
        from scipy import ndimage

        around = enclosing_box([box_before, box])
        assert around is not None
        both = np.zeros((2, *box_shape(around)), np.int32)
        both[0][box_within(box_before, around)] = before
        both[1][box_within(box, around)] = numbered
        joint, _ = ndimage.label(both, NEIGHBORS)
        # One number for a pair; along a row they repeat, so that few are left to be sorted.
        pair = (joint.astype(np.int64) << 32 | both)[both > 0]
        pair = np.unique(pair[np.diff(pair, prepend=-1) != 0])
        same = pair[1:] >> 32 == pair[:-1] >> 32
        region = ((pair & 0xFFFFFFFF) - 1).astype(np.int32)
        self._links.append(np.stack([region[:-1][same], region[1:][same]]))

    def finish(self) -> ComponentStatistics:
        """What is known of the components; called once, after the last slice."""
        count, self._group = group_linked(np.concatenate(self._links, axis=1), self._regions)
        self._links.clear()
        slices, *columns, peaks = np.concatenate(self._tables).T
        self._tables.clear()
        self._slices = slices.astype(np.int64)
        sums = (np.bincount(self._group, column, count) for column in (*columns, slices * columns[0]))
        voxels, y, x, total, z = sums
        peak, first, last = np.zeros(count), np.full(count, np.inf), np.full(count, -np.inf)
        np.maximum.at(peak, self._group, peaks)
        np.minimum.at(first, self._group, slices)
        np.maximum.at(last, self._group, slices)
        center = np.stack([z, y, x], axis=1) / voxels[:, None]
        whole = (array.astype(np.int64) for array in (first, last))
        return ComponentStatistics(voxels.astype(np.int64), total, peak, center, *whole)

    def regions_of(self, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """For every slice with a chosen component: the slice, and which of its regions are of one.

        Args:
            chosen: bool, one entry a component.
        """
        marked = chosen[self._group]
        for z in np.unique(self._slices[marked]):
            start, stop = np.searchsorted(self._slices, [z, z + 1])
            yield int(z), marked[start:stop]
