"""Surfaces of masks on one grid, and how far they are from each other.

Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy" (J Med Internet Res
2021), whose ``surface-distance`` package is their reference implementation, define what is measured:

- A surface element sits at each voxel corner whose eight voxels are neither all inside nor all outside; its
  weight is the area of the marching-cubes surface there (mm^2).
- An element's distance to the other mask is that to the other mask's nearest element (mm).

Arrays and spacings are (z, y, x), or any other order of three axes if both keep to it.
"""

from __future__ import annotations

import functools
import math
import os
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
_MARGIN = 2
"""Voxels of background around the box: for the corners before the first voxel and for the neighbors of those."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Of two surfaces each element's distance (mm) to the other surface, ascending, and its area (mm^2)."""

    directed: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

    @property
    def area(self) -> float:
        """Of both surfaces together (mm^2)."""
        return float(self.directed[0][1].sum() + self.directed[1][1].sum())

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within ``tolerance_mm`` of the other surface."""
        ends = (np.searchsorted(distances, tolerance_mm, side="right") for distances, _ in self.directed)
        return float(sum(areas[:end].sum() for (_, areas), end in zip(self.directed, ends, strict=True)) / self.area)

    def hausdorff(self, percent: float = 100.0) -> float:
        """The larger of the two directed, area-weighted ``percent`` percentiles (mm)."""
        return max(_percentile(distances, areas, percent) for distances, areas in self.directed)

    def pooled(self, percent: float) -> float:
        """The area-weighted ``percent`` percentile (mm) of both directions' distances taken together."""
        distances, areas = (np.concatenate(both) for both in zip(*self.directed, strict=True))
        # Stable, because that one is fast with two ascending runs.
        order = np.argsort(distances, kind="stable")
        return _percentile(distances[order], areas[order], percent)

    def average(self) -> float:
        """Mean distance (mm) over the area of both surfaces together."""
        return float(sum(distances @ areas for distances, areas in self.directed) / self.area)

    def mean_of_averages(self) -> float:
        """Mean of the two directed mean distances (mm), each over one surface's area."""
        return float(sum(distances @ areas / areas.sum() for distances, areas in self.directed) / 2)


class Grid:
    """The box around all masks that are compared, with a margin of background, flattened: places are numbers in it.

    Attributes:
        box: slices (z, y, x) of the box in the whole array.
        shape: of the box with its margins.
        strides: from a place to the next one along each axis.
        spacing: (z, y, x) in mm.
    """

    def __init__(self, box: tuple[slice, ...] | None, spacing: tuple[float, float, float]) -> None:
        """Take the box around all masks, None if nothing is marked, and the spacing (z, y, x) in mm."""
        self.box, self.spacing = box or (slice(0, 0),) * 3, spacing
        self.shape = tuple(axis.stop - axis.start + 2 * _MARGIN for axis in self.box)
        self.strides = (self.shape[1] * self.shape[2], self.shape[2], 1)

    @property
    def first_slice(self) -> int:
        """Where its first slice, which is margin, lies in the whole array."""
        return self.box[0].start - _MARGIN

    def with_margins(self, mask: np.ndarray) -> np.ndarray:
        """The box's part of a mask (z, y, x; non-zero is inside) with its margins: 0 and 1, uint8."""
        padded = np.zeros(self.shape, np.uint8)
        inner = tuple(slice(_MARGIN, size - _MARGIN) for size in self.shape)
        np.not_equal(mask[self.box], 0, out=padded[inner].view(bool))
        return padded

    def coordinates(self, places: np.ndarray) -> np.ndarray:
        """The (z, y, x) of places, (n, 3)."""
        return np.stack(np.unravel_index(places, self.shape), axis=1)


class Elements:
    """Some places of a grid, such as the elements of a mask's surface, and how far they are from those of another.

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
        # Two outlines of one thing share many elements, for which nothing has to be searched.
        shared = other.on(self.places)
        apart = np.flatnonzero(~shared)
        squares = other._squares_from(self.places[apart])
        order = np.argsort(squares)
        distances = np.concatenate([np.zeros(len(self) - len(apart)), np.sqrt(squares[order])])
        return np.concatenate([np.flatnonzero(shared), apart[order]]), distances

    def _squares_from(self, places: np.ndarray) -> np.ndarray:
        """Squared distance (mm^2) of places to the nearest element; infinite if there is none."""
        if not len(self) or not len(places):
            return np.full(len(places), np.inf)
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
        self._find_elements()

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

    def _find_elements(self) -> None:
        grid, inside = self._grid, self.inside.reshape(-1)
        plane, row, _ = grid.strides
        # Nothing is in the first slice and the last two, whose neighbors would be off the array.
        count = len(inside) - 3 * plane

        def moved(step: int) -> np.ndarray:
            return inside[plane + step : plane + step + count]

        # Bit 4i + 2j + k of a corner's code: whether voxel (i, j, k) of its eight is inside.
        pairs = inside[plane:-1] | inside[plane + 1 :] << np.uint8(1)
        fours = pairs[:-row] | pairs[row:] << np.uint8(2)
        code = fours[:count] | fours[plane : plane + count] << np.uint8(4)
        in_slice = moved(1) & moved(-1) & moved(row) & moved(-row)
        contours = moved(0) & ~in_slice
        boundary = moved(0) & ~(in_slice & moved(plane) & moved(-plane))
        # All inside becomes 0 and all outside 1, so that one comparison does for both.
        on_surface = np.flatnonzero(code + np.uint8(1) > 1)
        self.areas = _element_areas(grid.spacing)[code[on_surface]]
        self.surface = Elements(grid, on_surface + plane)
        self.boundary = Elements(grid, np.flatnonzero(boundary.view(bool)) + plane)
        self.contours = Elements(grid, np.flatnonzero(contours.view(bool)) + plane, in_slices=True)


def surface_distances(a: MaskSurface, b: MaskSurface) -> tuple[SurfaceDistances, list[np.ndarray]]:
    """The distances between the surfaces of two masks on one grid, neither of them empty.

    Returns:
        Those of the surface elements, and the ascending distances (mm) of the boundary voxels of ``a`` and of ``b``.
    """
    both_ways = [(a.surface, b.surface), (b.surface, a.surface), (a.boundary, b.boundary), (b.boundary, a.boundary)]
    jobs = [partial(here.distances_to, other) for here, other in both_ways]
    (order_a, to_b), (order_b, to_a), (_, voxels_to_b), (_, voxels_to_a) = in_threads(jobs, a.inside.size)
    return SurfaceDistances(((to_b, a.areas[order_a]), (to_a, b.areas[order_b]))), [voxels_to_b, voxels_to_a]


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


@functools.lru_cache(maxsize=8)
def _element_areas(spacing: tuple[float, float, float]) -> np.ndarray:
    """Area (mm^2) of the marching-cubes triangles of each of the 256 neighbor codes.

    Lorensen and Cline's triangles are taken for the side with fewer voxels, so that a mask and its complement have the
    same surface: codes of five and more voxels have their complements' areas.
    """
    from skimage.measure import marching_cubes

    # Times the product of the other two spacings, each component of a triangle's normal is that on the grid.
    scale = np.prod(spacing) / np.array(spacing)
    areas = np.zeros(_CODES)
    for code in range(1, _ALL_INSIDE):
        bits = np.array([code >> bit & 1 for bit in range(8)], np.float64).reshape(2, 2, 2)
        if bits.sum() <= 4:
            points, faces, *_ = marching_cubes(bits, 0.5, method="lorensen")
            triangles = points[faces].astype(np.float64)
            edges = triangles[:, 1:] - triangles[:, :1]
            normals = 0.5 * np.cross(edges[:, 0], edges[:, 1])
            areas[code] = np.linalg.norm(normals * scale, axis=1).sum()
            if bits.sum() < 4:
                areas[_ALL_INSIDE - code] = areas[code]
    return areas
