"""Surfaces of masks on one grid, and how far they are from each other.

Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy" (J Med Internet Res
2021), whose ``surface-distance`` package is their reference implementation, define what is measured:

- A surface element sits at each voxel corner whose eight voxels are neither all inside nor all outside; its
  weight is the area of the marching-cubes surface there (mm^2).
- An element's distance to the other mask is that to the other mask's nearest element (mm).

The package finds the distances with a distance transform of the whole box around both masks. Here a mask's surface
becomes a k-d tree of its elements, once, whatever it is compared with; elements that both masks have are 0 apart and
need no search. The distances are the same, to the last bit: they are worked out from the steps between the corners.

Arrays and spacings are (z, y, x), or any other order of three axes if both keep to it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError

_CODES = 256
_ALL_INSIDE = _CODES - 1
_ALL_INSIDE_SLICE = 15
_ROUNDING = 1e-12
"""Of a sum of areas: a share that is 95 % but for rounding is 95 %, in whatever order the areas were added."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Every surface element's distance (mm) to the other surface, ascending, and its area (mm^2).

    Of an absent surface there are none, and all distances to it are infinite.
    """

    a_to_b: np.ndarray
    a_areas: np.ndarray
    b_to_a: np.ndarray
    b_areas: np.ndarray

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within ``tolerance_mm`` of the other surface; NaN without any."""
        total = self.a_areas.sum() + self.b_areas.sum()
        if not total:
            return math.nan
        within = self.a_areas[self.a_to_b <= tolerance_mm].sum() + self.b_areas[self.b_to_a <= tolerance_mm].sum()
        return float(within / total)

    def hausdorff(self, percent: float = 100.0, weighted: bool = True) -> float:
        """The larger of the two directed ``percent`` percentiles (mm), by area or by number of elements.

        NaN without any surface, infinite with one absent; 100 is the Hausdorff distance.
        """
        if not len(self.a_to_b) and not len(self.b_to_a):
            return math.nan
        if not len(self.a_to_b) or not len(self.b_to_a):
            return math.inf
        if not weighted:
            return float(max(np.percentile(self.a_to_b, percent), np.percentile(self.b_to_a, percent)))
        return max(_percentile(self.a_to_b, self.a_areas, percent), _percentile(self.b_to_a, self.b_areas, percent))

    def pooled(self, percent: float) -> float:
        """The area-weighted ``percent`` percentile (mm) of both directions' distances taken together."""
        distances, areas = np.concatenate([self.a_to_b, self.b_to_a]), np.concatenate([self.a_areas, self.b_areas])
        if not len(distances):
            return math.nan
        order = np.argsort(distances, kind="stable")
        return _percentile(distances[order], areas[order], percent)

    def average(self, weighted: bool = True) -> float:
        """Mean distance (mm) over both surfaces together, by area or by number of elements."""
        distances, areas = np.concatenate([self.a_to_b, self.b_to_a]), np.concatenate([self.a_areas, self.b_areas])
        if not len(distances):
            return math.nan
        return float(np.average(distances, weights=areas if weighted else None))

    def mean_of_averages(self) -> float:
        """Mean of the two directed, area-weighted mean distances (mm)."""
        if not len(self.a_to_b) and not len(self.b_to_a):
            return math.nan
        if not len(self.a_to_b) or not len(self.b_to_a):
            return math.inf
        averages = np.average(self.a_to_b, weights=self.a_areas), np.average(self.b_to_a, weights=self.b_areas)
        return float(sum(averages) / 2)


class Elements:
    """Places in a grid of voxel corners, and how far they are from those of another mask on the same grid.

    Attributes:
        corners: each element's number in the grid of corners, ascending.
        grid: the grid's shape (z, y, x).
        spacing: (z, y, x) in mm.
    """

    def __init__(self, codes: np.ndarray, all_inside: int, spacing: Sequence[float]) -> None:
        """The elements at the corners whose neighbours are neither all outside (0) nor ``all_inside``."""
        self.grid = codes.shape
        self.spacing = tuple(spacing)
        codes = codes.ravel()
        # All inside becomes 0 and all outside 1, so that one comparison does for both.
        shifted = codes + np.uint8(1) if all_inside == _ALL_INSIDE else (codes + np.uint8(1)) & np.uint8(all_inside)
        self.corners = np.flatnonzero(shifted > 1)

    def __len__(self) -> int:
        return len(self.corners)

    def distances_to(self, other: Elements) -> np.ndarray:
        """Distance (mm) of each element to the other's nearest; infinite if it has none."""
        if not len(other):
            return np.full(len(self), np.inf)
        distances = np.zeros(len(self))
        apart = np.flatnonzero(~np.isin(self.corners, other.corners, assume_unique=True))
        if len(apart):
            places = self._places(self.corners[apart])
            nearest = other._tree.query(places * self.spacing, workers=-1)[1]
            steps = (places - other._places(other.corners[nearest])) * self.spacing
            distances[apart] = np.sqrt(np.add.reduce(steps * steps, axis=1))
        return distances

    @functools.cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self._places(self.corners) * self.spacing, balanced_tree=False, compact_nodes=False)

    def _places(self, corners: np.ndarray) -> np.ndarray:
        return np.stack(np.unravel_index(corners, self.grid), axis=1)


class Surface(Elements):
    """The surface elements of a mask.

    Voxel (z, y, x) is between the corners (z, y, x) and (z + 1, y + 1, x + 1). Beyond the array's edges is outside,
    so a mask that touches them is closed there as anywhere else.

    Attributes:
        areas: each element's area (mm^2).
    """

    def __init__(self, mask: np.ndarray, spacing: Sequence[float]) -> None:
        """Find the surface of a mask, bool (z, y, x); ``spacing`` (z, y, x) in mm."""
        codes = _codes_in_slices(mask)
        codes = codes[:-1] | codes[1:] << np.uint8(4)
        super().__init__(codes, _ALL_INSIDE, spacing)
        self.areas = _element_areas(self.spacing)[codes.ravel()[self.corners]]


class Outlines(Elements):
    """The corners of pixels that a mask's contours pass through on each axial slice."""

    def __init__(self, mask: np.ndarray, spacing: Sequence[float]) -> None:
        """Find the contours of a mask, bool (z, y, x); ``spacing`` (z, y, x) in mm."""
        codes = _codes_in_slices(mask)[1:-1]
        # Slices so far apart that the nearest element is on the same slice if there is any.
        self._apart = 2.0 * math.hypot(codes.shape[1] * spacing[1], codes.shape[2] * spacing[2])
        super().__init__(codes, _ALL_INSIDE_SLICE, (self._apart, *spacing[1:]))

    def farthest(self, other: Outlines) -> np.ndarray:
        """Each slice's largest distance (mm) to the other's contours; 0 without contours, infinite if it has none."""
        distances = self.distances_to(other)
        distances[distances >= self._apart] = np.inf
        farthest = np.zeros(self.grid[0])
        np.maximum.at(farthest, self.corners // (self.grid[1] * self.grid[2]), distances)
        return farthest


def between(a: Surface, b: Surface) -> SurfaceDistances:
    """The distances between two surfaces on one grid."""
    found: list[np.ndarray] = []
    for here, other in ((a, b), (b, a)):
        distances = here.distances_to(other)
        order = np.argsort(distances, kind="stable")
        found += [distances[order], here.areas[order]]
    return SurfaceDistances(*found)


def surface_distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two 3-D masks (non-zero is inside).

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    a, b = checked_masks((a, b))
    spacing = checked_spacing(spacing)
    box = union_box((a, b))
    if box is None:
        nothing = np.zeros(0)
        return SurfaceDistances(nothing, nothing, nothing, nothing)
    return between(Surface(a[box] != 0, spacing), Surface(b[box] != 0, spacing))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice similarity coefficient 2 |a and b| / (|a| + |b|) of two masks of any dimension (non-zero is inside).

    NaN when both masks are empty, 0 when one is.

    Raises:
        InputError: the masks differ in shape.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise _different_shapes([a.shape, b.shape])
    a, b = a.astype(bool, copy=False), b.astype(bool, copy=False)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else math.nan


def checked_masks(masks: Sequence[Any]) -> list[np.ndarray]:
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


def checked_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    """The spacing as three numbers.

    Raises:
        InputError: it is not three positive numbers (mm).
    """
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        raise InputError(f"The spacing must be three positive numbers in mm, not {tuple(spacing)}.")
    return values


def union_box(masks: Sequence[np.ndarray]) -> tuple[slice, ...] | None:
    """Slices of the smallest box around all masks (non-zero is inside); None if nothing is marked."""
    boxes = [box for box in map(_box, masks) if box is not None]
    if not boxes:
        return None
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Slices of the smallest box around a mask; None for an empty one."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # What the axes before leave over is all that the next one has to look at.
        part = mask[tuple(box)]
        inside = np.flatnonzero(part.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(inside):
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _different_shapes(shapes: Sequence[tuple[int, ...]]) -> InputError:
    different = " and ".join(str(shape) for shape in dict.fromkeys(shapes))
    return InputError(f"The masks to compare differ in shape ({different}); bring them onto one grid first.")


def _percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    """The least of the ascending distances within which ``percent`` of the area lies."""
    share = np.cumsum(areas) / areas.sum()
    return float(distances[min(np.searchsorted(share, percent / 100.0 - _ROUNDING), len(distances) - 1)])


def _codes_in_slices(mask: np.ndarray) -> np.ndarray:
    """Bit 2j + k of a pixel corner's code: whether pixel (j, k) of its four is inside the mask (z, y, x).

    One corner more than pixels along y and x, because beyond the edges is outside, and a slice of zeros at each end.
    Codes of two slices one after the other make those of voxel corners: bit 4i + 2j + k is for voxel (i, j, k).
    """
    padded = np.zeros(tuple(n + 2 for n in mask.shape), np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask
    rows = padded[:, :, :-1] | padded[:, :, 1:] << np.uint8(1)
    return rows[:, :-1] | rows[:, 1:] << np.uint8(2)


@functools.lru_cache(maxsize=1)
def _area_vectors() -> tuple[np.ndarray, ...]:
    """The area vectors (n, 3) of each neighbour code's marching-cubes triangles, at unit spacing.

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
    """Area (mm^2) of the surface element of each of the 256 neighbour codes."""
    scale = np.prod(spacing) / np.array(spacing)
    return np.array([np.linalg.norm(vectors * scale, axis=1).sum() for vectors in _area_vectors()])
