"""Surfaces of masks on one grid, and how far they are from each other.

Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy" (J Med Internet Res
2021), whose ``surface-distance`` package is their reference implementation, define what is measured:

- A surface element sits at each voxel corner whose eight voxels are neither all inside nor all outside; its
  weight is the area of the marching-cubes surface there (mm^2).
- An element's distance to the other mask is that to the other mask's nearest element (mm).

The package finds the distances with a distance transform of the whole box around both masks. Here only one axis of
that is worked out everywhere, once for each mask, and the other two just around the elements that are asked for. The
distances are the same, because they are worked out from the same steps between the corners.

Arrays and spacings are (z, y, x), or any other order of three axes if both keep to it.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..base.errors import InputError

Result = TypeVar("Result")

_CODES = 256
_ALL_INSIDE = _CODES - 1
_ROUNDING = 1e-12
"""Of a sum of areas: a share that is 95 % but for rounding is 95 %, in whatever order the areas were added."""
_CHUNK = 2**19
"""Voxels that are worked on at a time: as many bytes as stay in a core's cache, a few times over."""
_AT_ONCE = 2**16
"""Elements that are looked around together, for the same reason; they lie in the same part of the volume, too."""
_KEPT = 2**28
"""Bytes of what is known of the rows of a grid."""
_ROWS = 400
"""About as many rows as can be looked at in the time of one search in a k-d tree."""
_FIRST_ROWS = 40
"""After so many, surfaces of which nearly nothing was found near each other are taken to be far apart."""
_GAP = 32
"""The largest distance along a row that is told apart, in voxels; a power of two, for what finds it."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Every surface element's distance (mm) to the other surface, ascending, and its area (mm^2); of two surfaces."""

    a_to_b: np.ndarray
    a_areas: np.ndarray
    b_to_a: np.ndarray
    b_areas: np.ndarray

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within ``tolerance_mm`` of the other surface."""
        within = sum(
            areas[: np.searchsorted(distances, tolerance_mm, side="right")].sum() for distances, areas in self._directed
        )
        return float(within / (self.a_areas.sum() + self.b_areas.sum()))

    def hausdorff(self, percent: float = 100.0) -> float:
        """The larger of the two directed, area-weighted ``percent`` percentiles (mm)."""
        return max(_percentile(distances, areas, percent) for distances, areas in self._directed)

    def pooled(self, percent: float) -> float:
        """The area-weighted ``percent`` percentile (mm) of both directions' distances taken together."""
        distances, areas = np.concatenate([self.a_to_b, self.b_to_a]), np.concatenate([self.a_areas, self.b_areas])
        # Stable, because that one is fast with two ascending runs.
        order = np.argsort(distances, kind="stable")
        return _percentile(distances[order], areas[order], percent)

    def average(self) -> float:
        """Mean distance (mm) over the area of both surfaces together."""
        total = sum(distances @ areas for distances, areas in self._directed)
        return float(total / (self.a_areas.sum() + self.b_areas.sum()))

    def mean_of_averages(self) -> float:
        """Mean of the two directed mean distances (mm), each over one surface's area."""
        return float(sum(distances @ areas / areas.sum() for distances, areas in self._directed) / 2)

    @property
    def _directed(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        return (self.a_to_b, self.a_areas), (self.b_to_a, self.b_areas)


class Grid:
    """The box around all masks that are compared, with a margin of background, flattened: places are numbers in it.

    Attributes:
        box: slices (z, y, x) of the box in the whole array.
        margin: voxels of background on either side, along each axis.
        shape: of the box with its margins.
        spacing: (z, y, x) in mm.
        reach_mm: how far :attr:`rows` reach.
        rows, rows_in_slice: the nearby rows, along x, of a place; within :attr:`reach_mm` on any slice, and on its own.
    """

    def __init__(self, box: tuple[slice, ...] | None, spacing: tuple[float, float, float]) -> None:
        """Take the box around all masks, None if nothing is marked, and the spacing (z, y, x) in mm."""
        self.box, self.spacing = box or (slice(0, 0),) * 3, spacing
        self.reach_mm = min(math.sqrt(_ROWS * spacing[0] * spacing[1] / math.pi), _GAP * spacing[2])
        dz, dy = (int(self.reach_mm / step) for step in spacing[:2])
        # Two voxels for the corners before the first voxel and for the neighbors of those. Along y, two margins lie
        # between the rows of one slice and those of the next, so that a step off a slice's end meets background.
        self.margin = (2, max(2, dy // 2 + 1), 2)
        self.shape = tuple(axis.stop - axis.start + 2 * m for axis, m in zip(self.box, self.margin, strict=True))
        self.strides = (self.shape[1] * self.shape[2], self.shape[2], 1)
        steps = [(z, y) for z in range(-dz, dz + 1) for y in range(-dy, dy + 1)]
        self.rows = self._rows(steps)
        self.rows_in_slice = self._rows([step for step in steps if step[0] == 0])
        self._gaps: dict[Elements, np.ndarray] = {}
        self._lock = threading.Lock()

    def _rows(self, steps: list[tuple[int, int]]) -> list[tuple[float, list[int]]]:
        """Rows by their distance squared, ascending, each with the differences of numbers that lead there.

        The last entry says up to where that are all rows, and has none.
        """
        rows: dict[float, list[int]] = {}
        for z, y in steps:
            squared = (z * self.spacing[0]) ** 2 + (y * self.spacing[1]) ** 2
            if squared < self.reach_mm**2:
                rows.setdefault(squared, []).append(z * self.strides[0] + y * self.strides[1])
        return [*sorted(rows.items()), (self.reach_mm**2, [])]

    def with_margins(self, mask: np.ndarray) -> np.ndarray:
        """The box's part of a mask (z, y, x; non-zero is inside) with its margins: 0 and 1, uint8."""
        padded = np.zeros(self.shape, np.uint8)
        inner = tuple(slice(m, n - m) for m, n in zip(self.margin, self.shape, strict=True))
        np.not_equal(mask[self.box], 0, out=padded[inner].view(bool))
        return padded

    def gaps(self, elements: Elements) -> np.ndarray:
        """Of every place, how many places along its row the nearest of some elements is, at most _GAP; uint8.

        Those asked for last are kept, but not more than _KEPT bytes of them, however many masks there are.
        """
        with self._lock:
            gaps = self._gaps.pop(elements, None)
        if gaps is None:
            gaps = self._gaps_of(elements.places)
        with self._lock:
            self._gaps[elements] = gaps
            while len(self._gaps) * gaps.nbytes > max(_KEPT, gaps.nbytes):
                del self._gaps[next(iter(self._gaps))]
        return gaps

    def _gaps_of(self, places: np.ndarray) -> np.ndarray:
        gaps = np.full(self.shape, _GAP, np.uint8)
        gaps.reshape(-1)[places] = 0
        some = max(1, _CHUNK // self.strides[0])
        for start in range(0, len(gaps), some):
            part = gaps[start : start + some]
            # Twice as far each time: what is known of the place next to it, two, four, ... farther on.
            step = 1
            while step < _GAP:
                known = part + np.uint8(step)
                np.minimum(part[..., step:], known[..., :-step], out=part[..., step:])
                np.minimum(part[..., :-step], known[..., step:], out=part[..., :-step])
                step *= 2
        return gaps.reshape(-1)

    def coordinates(self, places: np.ndarray) -> np.ndarray:
        """The (z, y, x) of places, (n, 3)."""
        return np.stack(np.unravel_index(places, self.shape), axis=1)


class Elements:
    """Some places of a grid, such as the elements of a mask's surface, and how far they are from those of another.

    Every place of the grid is told how far along its row the nearest element is (:meth:`Grid.gaps`). The nearest of all
    is then found by looking at the row a place is on and at those around it, the nearest first, until they are farther
    away than what was found: few, where two masks outline the same thing. What is not within the reach of that is
    searched for in a k-d tree.

    Attributes:
        places: ascending.
    """

    def __init__(self, grid: Grid, places: np.ndarray, in_slices: bool = False) -> None:
        """Take the places of a grid; with ``in_slices`` an element's nearest is sought on its own slice only."""
        self.places = places
        self._grid, self._in_slices = grid, in_slices

    def __len__(self) -> int:
        return len(self.places)

    def on(self, places: np.ndarray) -> np.ndarray:
        """Which of these places are elements."""
        return np.isin(places, self.places, assume_unique=True)

    def distances_to(self, other: Elements) -> tuple[np.ndarray, np.ndarray]:
        """The elements, by their index, in the order of their distance to the other's nearest; and the distances (mm).

        They are infinite where there is none.
        """
        squares = np.full(len(self), np.inf)
        if len(self) and len(other):
            some = [slice(start, start + _AT_ONCE) for start in range(0, len(self), _AT_ONCE)]
            far = np.concatenate([self._look_around(other, squares, part) for part in some])
            if len(far):
                squares[far] = other._search(self.places[far])
        apart = np.flatnonzero(squares)
        order = np.concatenate([np.flatnonzero(squares == 0), apart[np.argsort(squares[apart])]])
        return order, np.sqrt(squares[order])

    def _look_around(self, other: Elements, squares: np.ndarray, part: slice) -> np.ndarray:
        """Put squared distances of some elements into ``squares``; but of those returned, which are farther away."""
        grid, gaps = self._grid, self._grid.gaps(other)
        along = np.square(np.arange(_GAP + 1) * grid.spacing[2])
        along[_GAP] = np.inf
        rows = grid.rows_in_slice if self._in_slices else grid.rows
        places, best = self.places[part], squares[part]
        left, count = np.arange(part.start, part.start + len(places)), len(places)
        looked = 0
        for (across, steps), (beyond, _) in itertools.pairwise(rows):
            reached = across + along
            for step in steps:
                # A step off the grid's ends is clipped to its first or last place, which is background.
                np.minimum(best, reached.take(gaps.take(places + step, mode="clip")), out=best)
            open_ = best > beyond
            if np.count_nonzero(open_) < 0.8 * len(left):
                squares[left] = best
                left, places, best = left[open_], places[open_], best[open_]
            looked += len(steps)
            if looked > _FIRST_ROWS and len(left) > 0.9 * count:
                break
        squares[left] = best
        return left[best > beyond]

    def _search(self, places: np.ndarray) -> np.ndarray:
        """Squared distance (mm^2) of places, wherever they are, to the nearest element; infinite if there is none."""
        tree, apart = self._tree
        spacing = self._grid.spacing
        there = self._grid.coordinates(places)
        nearest = tree.query(there * (apart, *spacing[1:]), workers=-1)[1]
        squares = np.square((there - self._grid.coordinates(self.places[nearest])) * spacing)
        total = squares[:, 0] + squares[:, 1] + squares[:, 2]
        if self._in_slices:
            total[squares[:, 0] > 0] = np.inf
        return total

    @functools.cached_property
    def _tree(self) -> tuple[Any, float]:
        """A tree of the elements, and how far apart its slices are (mm).

        Where slices are looked at one by one, they are so far apart that the nearest element is on the same slice if
        there is any.
        """
        from scipy.spatial import cKDTree

        spacing = self._grid.spacing
        apart = spacing[0]
        if self._in_slices:
            apart = 2.0 * math.hypot(*(n * step for n, step in zip(self._grid.shape[1:], spacing[1:], strict=True)))
        coordinates = self._grid.coordinates(self.places) * (apart, *spacing[1:])
        # Balanced and compact trees take longer to build, and no less time to search surfaces that are far apart.
        return cKDTree(coordinates, 32, False, balanced_tree=False), apart


class MaskSurface:
    """One mask on a grid, and all that is compared of it.

    Beyond the grid is outside, so a mask that touches the volume's edges is closed there as anywhere else.

    Attributes:
        inside: uint8 (z, y, x), 1 inside, with the grid's margins.
        voxels: how many are inside.
        surface: the surface elements; the one at a voxel corner is at the place of the voxel before it.
        areas: theirs (mm^2).
        boundary: voxels with one of their six neighbors outside.
        contours: voxels with one of the four neighbors in their axial slice outside.
    """

    def __init__(self, mask: np.ndarray, grid: Grid) -> None:
        """Take the grid's part of a mask (z, y, x; non-zero is inside)."""
        self._grid = grid
        self.inside = grid.with_margins(mask)
        self.voxels = int(np.count_nonzero(self.inside.view(bool)))

    @property
    def surface(self) -> Elements:
        return self._elements[0]

    @property
    def areas(self) -> np.ndarray:
        return self._elements[1]

    @property
    def boundary(self) -> Elements:
        return self._elements[2]

    @property
    def contours(self) -> Elements:
        return self._elements[3]

    @functools.cached_property
    def centroid_mm(self) -> tuple[float, ...]:
        """Center of mass (z, y, x) of a mask that is not empty, from the grid's first voxel."""
        in_slices = np.array([np.count_nonzero(plane) for plane in self.inside.view(bool)])
        # One pass over the volume for the other two.
        across = self.inside.sum(axis=0, dtype=np.uint32)
        counts = in_slices, across.sum(axis=1), across.sum(axis=0)
        return tuple(
            float(count @ np.arange(len(count))) / self.voxels * step
            for count, step in zip(counts, self._grid.spacing, strict=True)
        )

    @functools.cached_property
    def _elements(self) -> tuple[Elements, np.ndarray, Elements, Elements]:
        """All elements, found in one pass over some slices at a time, because those stay in the processor's cache."""
        grid, inside = self._grid, self.inside.reshape(-1)
        plane, row, _ = grid.strides
        places: tuple[list[np.ndarray], ...] = ([], [], [])
        codes = []
        # Nothing is in the first slice and the last two, whose neighbors would be off the array.
        some, end = max(1, _CHUNK // plane) * plane, len(inside) - 2 * plane
        for start in range(plane, end, some):
            stop = min(start + some, end)

            def moved(step: int, start: int = start, stop: int = stop) -> np.ndarray:
                return inside[start + step : stop + step]

            code = _codes(inside[start:], stop - start, row, plane)
            here = moved(0)
            in_slice = moved(1) & moved(-1) & moved(row) & moved(-row)
            contour = here & ~in_slice
            boundary = here & ~(in_slice & moved(plane) & moved(-plane))
            # All inside becomes 0 and all outside 1, so that one comparison does for both.
            surface = code + np.uint8(1) > 1
            for kept, which in zip(places, (surface, boundary.view(bool), contour.view(bool)), strict=True):
                kept.append(np.flatnonzero(which) + start)
            codes.append(code[places[0][-1] - start])
        on_surface, on_boundary, on_contours = (np.concatenate(kept) for kept in places)
        return (
            Elements(grid, on_surface),
            _element_areas(grid.spacing)[np.concatenate(codes)],
            Elements(grid, on_boundary),
            Elements(grid, on_contours, in_slices=True),
        )


def surface_distances(a: MaskSurface, b: MaskSurface) -> tuple[SurfaceDistances, list[np.ndarray]]:
    """The distances between the surfaces of two masks on one grid, neither of them empty.

    Returns:
        Those of the surface elements, and the ascending distances (mm) of the boundary voxels of ``a`` and of ``b``.
    """
    in_threads([partial(getattr, mask, "surface") for mask in (a, b)], a.inside.size)
    both_ways = [(a.surface, b.surface), (b.surface, a.surface), (a.boundary, b.boundary), (b.boundary, a.boundary)]
    jobs = [partial(here.distances_to, other) for here, other in both_ways]
    (order_a, to_b), (order_b, to_a), (_, voxels_to_b), (_, voxels_to_a) = in_threads(jobs, a.inside.size)
    return SurfaceDistances(to_b, a.areas[order_a], to_a, b.areas[order_b]), [voxels_to_b, voxels_to_a]


def in_threads(jobs: Sequence[Callable[[], Result]], voxels: int) -> list[Result]:
    """The results of jobs on arrays of so many voxels, worked on at once where that is worth the threads.

    numpy and scipy let go of the interpreter while they work on an array.
    """
    if voxels < _CHUNK:
        return [job() for job in jobs]
    with ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: job(), jobs))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice similarity coefficient 2 |a and b| / (|a| + |b|) of two masks of any dimension (non-zero is inside).

    NaN when both masks are empty, 0 when one is.

    Raises:
        InputError: the masks differ in shape.

    >>> float(dice(np.array([1, 1, 0]), np.array([0, 1, 1])))
    0.5
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise _different_shapes([a.shape, b.shape])
    a, b = a.astype(bool, copy=False), b.astype(bool, copy=False)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else math.nan


def check_masks(masks: Sequence[Any]) -> list[np.ndarray]:
    """The masks as arrays.

    Raises:
        InputError: they differ in shape or are not 3-D.
    """
    masks = [np.asarray(mask) for mask in masks]
    if len({mask.shape for mask in masks}) > 1:
        raise _different_shapes([mask.shape for mask in masks])
    if masks and masks[0].ndim != 3:
        raise InputError(f"Surface distances need 3-D masks, not {masks[0].ndim}-D ones; give the whole volume.")
    return masks


def check_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    """The spacing as three numbers.

    Raises:
        InputError: it is not three positive numbers (mm).
    """
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        raise InputError(f"The spacing must be three positive numbers in mm, not {tuple(spacing)}.")
    return values


def _different_shapes(shapes: Sequence[tuple[int, ...]]) -> InputError:
    different = " and ".join(str(shape) for shape in dict.fromkeys(shapes))
    return InputError(f"The masks to compare differ in shape ({different}); bring them onto one grid first.")


def _percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    """The least of the ascending distances within which ``percent`` of the area lies."""
    share = np.cumsum(areas) / areas.sum()
    return float(distances[min(int(np.searchsorted(share, percent / 100.0 - _ROUNDING)), len(distances) - 1)])


def _codes(inside: np.ndarray, count: int, row: int, plane: int) -> np.ndarray:
    """The codes of the first ``count`` voxel corners of a flat mask (0 and 1) with ``row`` and ``plane`` strides.

    Bit 4i + 2j + k of a code: whether voxel (i, j, k) of the corner's eight is inside.
    """
    pairs = inside[: count + plane + row] | inside[1 : count + plane + row + 1] << np.uint8(1)
    fours = pairs[: count + plane] | pairs[row : count + plane + row] << np.uint8(2)
    return fours[:count] | fours[plane : count + plane] << np.uint8(4)


@functools.lru_cache(maxsize=1)
def _area_vectors() -> tuple[np.ndarray, ...]:
    """The area vectors (n, 3) of each neighbor code's marching-cubes triangles, at unit spacing.

    Lorensen and Cline's triangles are taken for the side with fewer voxels, so that a mask and its complement
    have the same surface: codes of five and more voxels are given their complements' vectors. An area vector
    is the triangle's normal, as long as its area: each component times the product of the other two spacings
    gives the triangle's area vector on any grid.
    """
    from skimage.measure import marching_cubes

    vectors = [np.zeros((0, 3))] * _CODES
    for code in range(1, _ALL_INSIDE):
        bits = np.array([code >> bit & 1 for bit in range(8)], np.float64).reshape(2, 2, 2)
        if bits.sum() > 4:
            continue
        points, faces, *_ = marching_cubes(bits, 0.5, method="lorensen")
        triangles = points[faces].astype(np.float64)
        edges = triangles[:, 1:] - triangles[:, :1]
        vectors[code] = 0.5 * np.cross(edges[:, 0], edges[:, 1])
        if bits.sum() < 4:
            vectors[_ALL_INSIDE - code] = vectors[code]
    return tuple(vectors)


def _element_areas(spacing: tuple[float, float, float]) -> np.ndarray:
    """Area (mm^2) of the surface element of each of the 256 neighbor codes."""
    scale = np.prod(spacing) / np.array(spacing)
    return np.array([np.linalg.norm(vectors * scale, axis=1).sum() for vectors in _area_vectors()])
