"""The connected pieces of a mask, worked out from its runs of voxels: no volume of piece numbers is ever held.

A structure as large as the lungs has some hundred thousand runs along x and millions of voxels; linking runs is
several times faster than labeling voxels, and sizes, places and shared voxels of all pieces follow from the runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .surface_distance import check_masks


class ConnectedComponents:
    """The 26-connected pieces of a mask, numbered in the order in which their first voxels lie in the array.

    Attributes:
        shape: of the mask (z, y, x).
        count: how many pieces there are.
        voxels: (count,) how many voxels each has.
        centroids: (count, 3) centers of mass (z, y, x) in voxels of the mask.
        first, last: (count, 3) the corners (z, y, x) of each one's box, both inside it.
    """

    def __init__(self, mask: np.ndarray) -> None:
        """Find the pieces of a mask (z, y, x); non-zero is inside.

        Raises:
            InputError: it is not 3-D.
        """
        (mask,) = check_masks([mask])
        self.shape = mask.shape
        self._starts, self._stops = _runs(mask)
        self._piece, self.count = self._linked()
        z, y, x = self._places(self._starts)
        ends = x + self._stops - self._starts - 1
        lengths = (self._stops - self._starts).astype(float)
        self.voxels = self._summed(lengths).astype(np.int64)
        totals = [self._summed(along * lengths) for along in (z, y, (x + ends) / 2.0)]
        self.centroids = np.stack(totals, axis=1) / self.voxels[:, None]
        self.first = np.stack([self._extreme(np.minimum, along) for along in (z, y, x)], axis=1)
        self.last = np.stack([self._extreme(np.maximum, along) for along in (z, y, ends)], axis=1)

    def shared(self, other: ConnectedComponents, both: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs of a piece of this mask and one of another on the same grid that share voxels.

        Args:
            other: the other mask's pieces.
            both: what the two masks share (z, y, x).

        Returns:
            The numbers of this mask's pieces, of the other's, and how many voxels they share.
        """
        starts, stops = _runs(both)
        # What both mark on one row without a gap is part of one run of either.
        mine, theirs = (one._piece[np.searchsorted(one._starts, starts, side="right") - 1] for one in (self, other))
        pairs, which = np.unique(mine * np.int64(max(other.count, 1)) + theirs, return_inverse=True)
        voxels = np.bincount(which, weights=stops - starts, minlength=len(pairs)).astype(np.int64)
        return *np.divmod(pairs, max(other.count, 1)), voxels

    def mask(self, number: int, first: Sequence[int], last: Sequence[int]) -> np.ndarray:
        """One piece alone, bool (z, y, x), of the box between two corners, both inside, that holds all of it."""
        shape = tuple(int(end - start + 1) for start, end in zip(first, last, strict=True))
        mine = self._piece == number
        places = tuple(along - start for along, start in zip(self._places(self._starts[mine]), first, strict=True))
        starts = np.ravel_multi_index(places, shape)
        changes = np.zeros(int(np.prod(shape)) + 1, np.int8)
        changes[starts] += 1
        changes[starts + (self._stops - self._starts)[mine]] -= 1
        return np.cumsum(changes[:-1], dtype=np.int8).view(bool).reshape(shape)

    def _linked(self) -> tuple[np.ndarray, int]:
        """The number of each run's piece, and how many pieces there are."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        runs = np.arange(len(self._starts))
        row, plane = self.shape[2] + 1, (self.shape[1] + 1) * (self.shape[2] + 1)
        links = [np.zeros((2, 0), np.int64)]
        for step in (row, plane + row, plane, plane - row):
            # Of the row so far before, the runs that reach from one voxel before this run to one behind it.
            since = np.searchsorted(self._stops, self._starts - step, side="left")
            until = np.searchsorted(self._starts, self._stops - step, side="right")
            touched = np.maximum(until - since, 0)
            here = np.repeat(runs, touched)
            within = np.arange(len(here)) - np.repeat(np.cumsum(touched) - touched, touched)
            links.append(np.stack([here, np.repeat(since, touched) + within]))
        pairs = np.concatenate(links, axis=1)
        graph = coo_matrix((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(len(runs), len(runs)))
        count, piece = connected_components(graph, directed=False) if len(runs) else (0, runs)
        # Numbered in the order of their first runs, whatever order they were found in.
        order = np.argsort(np.unique(piece, return_index=True)[1])
        renumbered = np.empty(count, np.int64)
        renumbered[order] = np.arange(count)
        return renumbered[piece], count

    def _places(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The (z, y, x) of places numbered as :func:`_runs` does."""
        z, y, x = np.unravel_index(numbers, (self.shape[0], self.shape[1] + 1, self.shape[2] + 1))
        return z, y - 1, x - 1

    def _summed(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._piece, weights=values, minlength=self.count)

    def _extreme(self, choose: np.ufunc, values: np.ndarray) -> np.ndarray:
        found = np.full(self.count, values.max(initial=0) if choose is np.minimum else 0)
        choose.at(found, self._piece, values)
        return found


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of marked voxels along x starts, and where it has stopped, ascending.

    Places are numbered in a grid with an empty row before each slice and an empty voxel before each row, so that
    neighbors of the array's edges are empty places and not the other edge's voxels.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 1, mask.shape[2] + 1), bool)
    np.not_equal(mask, 0, out=padded[:, 1:, 1:])
    flat = np.append(padded.ravel(), False)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return changes[::2], changes[1::2]
