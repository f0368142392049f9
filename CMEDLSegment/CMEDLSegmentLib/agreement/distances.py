"""Volume overlap and surface distances between two masks on one grid.

The surface measures follow Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for
radiotherapy" (J Med Internet Res 2021), whose ``surface-distance`` package is their reference implementation:

- A surface element sits at each voxel corner whose eight voxels are neither all inside nor all outside; its
  weight is the area of the marching-cubes surface there (mm^2).
- An element's distance to the other mask is that to the other mask's nearest element (mm).
- Surface Dice = area of both surfaces within the tolerance / area of both surfaces.
- HD95 = the larger of the two directed 95th percentiles, each weighted by area.

Empty masks, everywhere in this module. With *both* empty there is nothing to agree on and each measure is
NaN, so that no mean is flattered unnoticed: callers leave such pairs out and state how many they were. With
*one* empty the overlap measures are 0 and HD95 is infinite: callers keep the zeros, and give HD95 as a median
or over the pairs where it is finite, stating the number of the others.

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


@dataclass(frozen=True)
class SurfaceDistances:
    """Every surface element's distance (mm) to the other surface, ascending, and its area (mm^2)."""

    a_to_b: np.ndarray
    a_areas: np.ndarray
    b_to_a: np.ndarray
    b_areas: np.ndarray

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within ``tolerance_mm`` of the other surface."""
        total = self.a_areas.sum() + self.b_areas.sum()
        if not total:
            return math.nan
        within = self.a_areas[self.a_to_b <= tolerance_mm].sum() + self.b_areas[self.b_to_a <= tolerance_mm].sum()
        return float(within / total)

    def hausdorff(self, percent: float) -> float:
        """The larger of the two directed, area-weighted ``percent`` percentiles (mm)."""
        if not len(self.a_to_b) and not len(self.b_to_a):
            return math.nan
        return max(_percentile(self.a_to_b, self.a_areas, percent), _percentile(self.b_to_a, self.b_areas, percent))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice similarity coefficient 2 |a and b| / (|a| + |b|) of two masks (non-zero is inside).

    NaN when both masks are empty, 0 when one is (see the module's note).

    Raises:
        InputError: the masks differ in shape.
    """
    a, b = _pair(a, b)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else math.nan


def surface_dice(a: np.ndarray, b: np.ndarray, spacing: Sequence[float], tolerance_mm: float) -> float:
    """Surface Dice of two 3-D masks at ``tolerance_mm``; NaN when both are empty, 0 when one is.

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    return surface_distances(a, b, spacing).surface_dice(tolerance_mm)


def hd95(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile Hausdorff distance (mm) of two 3-D masks; NaN if both are empty, infinite if one is.

    Raises:
        InputError: as :func:`surface_dice`.
    """
    return surface_distances(a, b, spacing).hausdorff(95.0)


def volume_cc(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of a mask (non-zero is inside) in cubic centimetres; ``spacing`` in mm."""
    return float(np.count_nonzero(mask) * np.prod(_spacing(spacing)) / 1000.0)


def compare(a: np.ndarray, b: np.ndarray, spacing: Sequence[float], tolerance_mm: float = 2.0) -> dict[str, float]:
    """All measures of a pair of 3-D masks in one go: the surfaces' distances are found once.

    Returns ``dsc``, ``surface_dice``, ``hd95_mm``, ``volume_a_cc``, ``volume_b_cc`` and the ``tolerance_mm``
    that the surface Dice is meaningless without. Values can be NaN or infinite (see the module's note on empty
    masks); JSON knows neither, so whoever writes JSON writes null for them.

    Raises:
        InputError: as :func:`surface_dice`.
    """
    distances = surface_distances(a, b, spacing)
    return {
        "dsc": dice(a, b),
        "surface_dice": distances.surface_dice(tolerance_mm),
        "hd95_mm": distances.hausdorff(95.0),
        "volume_a_cc": volume_cc(a, spacing),
        "volume_b_cc": volume_cc(b, spacing),
        "tolerance_mm": float(tolerance_mm),
    }


def surface_distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two 3-D masks (non-zero is inside), with one distance transform each.

    The work is done in the box around both masks with a voxel of background around it, so a mask that touches
    the volume's edge is closed there as anywhere else.

    Raises:
        InputError: the masks differ in shape, are not 3-D, or the spacing is not three positive numbers (mm).
    """
    from scipy.ndimage import distance_transform_edt

    a, b = _pair(a, b)
    spacing = _spacing(spacing)
    if a.ndim != 3:
        raise InputError(f"Surface distances need 3-D masks, not {a.ndim}-D ones; give the whole volume.")
    nothing = np.zeros(0)
    box = _box(a | b)
    if box is None:
        return SurfaceDistances(nothing, nothing, nothing, nothing)
    areas = _element_areas(spacing)
    codes = [_neighbour_codes(np.pad(mask[box], 1)) for mask in (a, b)]
    surfaces = [(code != 0) & (code != _ALL_INSIDE) for code in codes]
    found: list[np.ndarray] = []
    for here, other in ((0, 1), (1, 0)):
        surface = surfaces[here]
        if surfaces[other].any():
            distance = distance_transform_edt(~surfaces[other], sampling=spacing)[surface]
        else:
            distance = np.full(np.count_nonzero(surface), np.inf)
        order = np.argsort(distance, kind="stable")
        found += [distance[order], areas[codes[here][surface]][order]]
    return SurfaceDistances(*found)


def _percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    """The least distance within which ``percent`` of the area lies; infinite for an absent surface."""
    if not len(distances):
        return math.inf
    share = np.cumsum(areas) / areas.sum()
    return float(distances[min(np.searchsorted(share, percent / 100.0), len(distances) - 1)])


def _neighbour_codes(mask: np.ndarray) -> np.ndarray:
    """Bit 4i + 2j + k of a voxel corner's code: whether voxel (i, j, k) of its eight is inside the mask."""
    codes = np.zeros(tuple(n - 1 for n in mask.shape), np.uint8)
    for bit, (i, j, k) in enumerate(np.ndindex(2, 2, 2)):
        corner = mask[i : i + codes.shape[0], j : j + codes.shape[1], k : k + codes.shape[2]]
        codes |= corner.view(np.uint8) << np.uint8(bit)
    return codes


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


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Slices of the smallest box around a mask; None for an empty one."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(inside):
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise InputError(
            f"The masks to compare differ in shape ({a.shape} and {b.shape}); bring them onto one grid first."
        )
    return a.astype(bool, copy=False), b.astype(bool, copy=False)


def _spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        raise InputError(f"The spacing must be three positive numbers in mm, not {tuple(spacing)}.")
    return values
