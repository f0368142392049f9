"""The image that delineations are brought to: its grid and its place in DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.boxes import bounding_box, box_corners
from ..base.errors import InputError
from .dicom_series import read_header
from .volume import Geometry, Volume, grid_text

COINCIDE = 0.1
"""Of a voxel: centers nearer than this are one; the same limit as for a mask on its image's grid."""
_PARALLEL = 1e-3
"""Of a voxel: axes that drift apart by less than this over the whole grid are parallel."""
_TIE = 1e-6
"""Of a voxel: a center half-way between two others goes one way, whatever the rounding."""


@dataclass(frozen=True)
class ReferenceImage:
    """What a delineation is brought to: a grid, and for an image from DICOM its UIDs and the files of its slices."""

    geometry: Geometry
    series_uid: str | None = None
    frame_uid: str | None = None
    files: tuple[Path, ...] = ()


def reference_of(image: Volume | Geometry, series_uid: str | None = None) -> ReferenceImage:
    """The target that is ``image``, or a bare grid of the series ``series_uid``."""
    if isinstance(image, Geometry):
        return ReferenceImage(image, series_uid)
    frame = read_header(image.files[0], ["FrameOfReferenceUID"]).get("FrameOfReferenceUID") if image.files else None
    return ReferenceImage(image.geometry, series_uid or image.series_uid, str(frame or "") or None, image.files)


def regrid(path: Path, mask: np.ndarray, own: Geometry, target: Geometry) -> tuple[np.ndarray, tuple[str, ...]]:
    """A mask on the target's grid: each voxel takes the value of the nearest voxel center; nothing beyond the grid.

    Args:
        path: for messages.
        mask: (z, y, x) bool on the grid ``own``, of any size, spacing, order and direction of axes.

    Returns:
        The mask (z, y, x) bool on ``target``, and sentences on what was done and what lies outside; none where the
        voxels coincide, as in a crop.

    Raises:
        InputError: something is marked, but nothing within the target.
    """
    if own.is_close(target, COINCIDE * min(target.spacing)):
        return mask, ()
    notes = [] if _same_grid(own, target) else [f"It was brought from its own grid ({grid_text(own)}) to the image's."]
    marked, outside = _count(mask, own, target)
    if marked and marked == outside:
        raise InputError(f"{path} marks nothing within the image, only beside it; give the image it was drawn on.")
    if outside:
        notes.append(
            f"{outside * own.voxel_cc:.2f} of {marked * own.voxel_cc:.2f} cc lie outside the image and were left out."
        )
    return resample_nearest(mask, own, target), tuple(notes)


def _same_grid(own: Geometry, target: Geometry) -> bool:
    """Whether the grids share their voxel centers: cropped, flipped or turned by right angles, no more."""
    step = np.linalg.inv(target.matrix) @ own.matrix
    drift = np.abs(np.abs(step).sum(axis=0) - 1) * own.size
    corners = target.to_index(own.corners())
    off = np.abs(corners - np.rint(corners))
    return _own_axes(own, target, COINCIDE) is not None and bool(max(drift.max(), off.max()) <= COINCIDE)


def _own_axes(own: Geometry, target: Geometry, limit: float) -> tuple[int, ...] | None:
    """The own index axis along each of the target's (x, y, z); None where they drift apart by ``limit`` voxels."""
    step = np.abs(np.linalg.inv(own.matrix) @ target.matrix)
    axes = step.argmax(axis=0)
    aside = step * (np.arange(3)[:, None] != axes) @ target.size
    return tuple(axes.tolist()) if aside.max() < limit else None


def _count(mask: np.ndarray, own: Geometry, target: Geometry) -> tuple[int, int]:
    """How many voxels are marked, and how many of them have their center outside the target."""
    low, high = np.full(3, -0.5 - _TIE), np.array(target.size) - 0.5 + _TIE
    axes = _own_axes(own, target, _PARALLEL)
    if axes is not None:
        step = np.linalg.inv(target.matrix) @ own.matrix
        start = target.to_index(np.array([own.origin]))[0]
        part = [slice(0)] * 3
        for along, axis in enumerate(axes):
            places = start[along] + step[along, axis] * np.arange(own.size[axis])
            inside = np.flatnonzero((places >= low[along]) & (places <= high[along]))
            part[2 - axis] = slice(inside[0], inside[-1] + 1) if len(inside) else slice(0)
        marked = int(np.count_nonzero(mask))
        return marked, marked - int(np.count_nonzero(mask[tuple(part)]))
    marked = outside = 0
    for z, plane in enumerate(mask):
        y, x = np.nonzero(plane)
        places = target.to_index(own.to_physical(np.stack([x, y, np.full(len(x), z)], axis=1)))
        marked += len(x)
        outside += int(np.any((places < low) | (places > high), axis=1).sum())
    return marked, outside


def resample_nearest(mask: np.ndarray, own: Geometry, target: Geometry) -> np.ndarray:
    """``mask`` (z, y, x) of the grid ``own`` at the target's voxel centers: the nearest voxel's value, or False."""
    result = np.zeros(target.shape, dtype=bool)
    axes = _own_axes(own, target, _PARALLEL)
    if not mask.any():
        return result
    step = np.linalg.inv(own.matrix) @ target.matrix
    start = own.to_index(np.array([target.origin]))[0] + 0.5 + _TIE
    if axes is None:
        _nearest_at_an_angle(result, mask, own, target, start, step)
        return result
    marked, taken = [], []
    for along in (2, 1, 0):
        axis = axes[along]
        index = np.floor(start[axis] + step[axis, along] * np.arange(target.size[along])).astype(np.intp)
        inside = np.flatnonzero((index >= 0) & (index < own.size[axis]))
        marked.append(inside)
        taken.append(index[inside])
    turned = mask.transpose([2 - axes[along] for along in (2, 1, 0)])
    result[np.ix_(*marked)] = turned[np.ix_(*taken)]
    return result


def _nearest_at_an_angle(
    result: np.ndarray, mask: np.ndarray, own: Geometry, target: Geometry, start: np.ndarray, step: np.ndarray
) -> None:
    """Mark in ``result``, in place; only the target's box around what is marked in ``mask``, not empty, is looked at.

    The own index of the target's first voxel is ``start`` (3,), half a voxel up, to be rounded down; ``step`` (3, 3) is
    how it changes with the target's index.
    """
    box = bounding_box(mask)
    assert box is not None
    corners = box_corners([part.start - 1.0 for part in box[::-1]], [float(part.stop) for part in box[::-1]])
    reach = target.to_index(own.to_physical(corners))
    low = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, target.size)
    high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, 0, target.size)
    x, y = (np.arange(low[a], high[a])[:, None] * step[:, a] for a in (0, 1))
    plane = start + y[:, None] + x[None]
    size = np.array(own.size)
    for z in range(low[2], high[2]):
        index = np.floor(plane + z * step[:, 2]).astype(np.intp)
        inside = ((index >= 0) & (index < size)).all(axis=-1)
        index[~inside] = 0
        values = mask[index[..., 2], index[..., 1], index[..., 0]] & inside
        result[z, low[1] : high[1], low[0] : high[0]] = values
