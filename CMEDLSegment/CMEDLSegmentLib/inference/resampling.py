"""In-plane resampling between the native axial grid and the model's field, by two small matrices each way.

A slice ``X`` (rows, columns) becomes ``A_y X A_x^T`` on the model's grid. Towards the model the rows of
``A`` are anti-aliased linear kernels; back to the native grid they are plain linear interpolation. Matrix
products run at the speed of the device, need no dependency and are the same on every runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from ..models.normalization import IntensityMap


def antialiased_matrix(positions: np.ndarray, scale: float, size: int) -> np.ndarray:
    """Weights (len(positions), size) that sample a line of ``size`` voxels at ``positions`` (in voxels).

    The kernel is the triangle of half-width ``max(scale, 1)`` voxels, ``scale`` = output spacing / input
    spacing: a low-pass when the output is coarser, plain linear interpolation when it is not. Each row is
    corrected to first order (local linear regression), so that a linear ramp is reproduced exactly at any
    scale. Rows are normalized over an endless line and then cut to the image: what they lack of 1 is the
    share of the padding.
    """
    half_width = max(float(scale), 1.0)
    reach = int(np.ceil(half_width))
    taps = np.floor(positions)[:, None].astype(np.int64) + np.arange(-reach, reach + 2)
    offset = taps - positions[:, None]
    weight = np.clip(1.0 - np.abs(offset) / half_width, 0.0, None)
    moments = [(weight * offset**order).sum(axis=1, keepdims=True) for order in range(3)]
    # Weights w (a + b d) with sum 1 and first moment 0; where one tap alone has weight, b is free.
    determinant = moments[0] * moments[2] - moments[1] ** 2
    exact = np.abs(determinant) > 1e-12
    determinant = np.where(exact, determinant, 1.0)
    weight = np.where(exact, weight * (moments[2] - moments[1] * offset) / determinant, weight / moments[0])
    matrix = np.zeros((len(positions), size), dtype=np.float64)
    rows, columns = np.nonzero((taps >= 0) & (taps < size))
    matrix[rows, taps[rows, columns]] = weight[rows, columns]
    return matrix.astype(np.float32)


def interpolation_matrix(positions: np.ndarray, size: int) -> np.ndarray:
    """Weights (len(positions), size) of linear interpolation at ``positions``; rows outside the line are 0.

    The line reaches half a sample beyond its first and last sample, where the end sample's value holds.
    """
    inside = (positions >= -0.5) & (positions <= size - 0.5)
    clamped = np.clip(positions, 0.0, size - 1.0)
    low = np.minimum(np.floor(clamped).astype(np.int64), max(size - 2, 0))
    fraction = clamped - low
    matrix = np.zeros((len(positions), size), dtype=np.float64)
    rows = np.arange(len(positions))
    matrix[rows, low] = 1.0 - fraction
    matrix[rows, np.minimum(low + 1, size - 1)] += fraction
    matrix[~inside] = 0.0
    return matrix.astype(np.float32)


@dataclass(frozen=True)
class ModelField:
    """Where the model's square field of ``pixels`` x ``pixels`` lies on the native axial slices.

    Attributes:
        shape: rows and columns of a native slice.
        spacing: native in-plane spacing (y, x) in mm.
        center: center of the field in native voxel coordinates (y, x).
        pixels: side of the field, in pixels of the model.
        pixel_mm: the model's pixel spacing in mm.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    center: tuple[float, float]
    pixels: int
    pixel_mm: float

    def _native_positions(self, axis: int) -> np.ndarray:
        """Native voxel coordinates of the model's pixels along ``axis``."""
        steps = np.arange(self.pixels) - (self.pixels - 1) / 2
        return self.center[axis] + steps * (self.pixel_mm / self.spacing[axis])

    def of_native(self, place: tuple[float, float]) -> tuple[float, float]:
        """Pixel coordinates (y, x) on the field of a place in native voxels."""
        y, x = (
            (place[axis] - self.center[axis]) * (self.spacing[axis] / self.pixel_mm) + (self.pixels - 1) / 2
            for axis in (0, 1)
        )
        return y, x

    def _field_positions(self, axis: int) -> np.ndarray:
        """Model pixel coordinates of the native voxels along ``axis``."""
        steps = np.arange(self.shape[axis]) - self.center[axis]
        return steps * (self.spacing[axis] / self.pixel_mm) + (self.pixels - 1) / 2

    @cached_property
    def to_field(self) -> tuple[np.ndarray, np.ndarray]:
        """The two matrices (pixels, rows) and (pixels, columns) from a native slice to the field."""
        y, x = (
            antialiased_matrix(self._native_positions(axis), self.pixel_mm / self.spacing[axis], self.shape[axis])
            for axis in (0, 1)
        )
        return y, x

    @cached_property
    def to_native(self) -> tuple[np.ndarray, np.ndarray]:
        """The two matrices (rows, pixels) and (columns, pixels) from the field to a native slice."""
        y, x = (interpolation_matrix(self._field_positions(axis), self.pixels) for axis in (0, 1))
        return y, x


class FieldSampler:
    """Takes batches of native slices, normalized, onto the model's field, on one device.

    Intensities are mapped before they are resampled, as in training: clipped metal or air does not bleed
    into its neighbors. What lies outside the image is the darkest value.

    Args:
        field: the placement of the field.
        intensities: the volume's fitted normalization.
        device: torch device of the result.
    """

    def __init__(self, field: ModelField, intensities: IntensityMap, device: str) -> None:
        import torch

        # The field may cover a part of the slice only: rows and columns without any weight are never touched.
        self._crop = tuple(used_columns(matrix) for matrix in field.to_field)
        self._rows, self._columns = (
            torch.from_numpy(np.ascontiguousarray(matrix[:, used])).to(device)
            for matrix, used in zip(field.to_field, self._crop, strict=True)
        )
        self._source = torch.tensor(intensities.source, dtype=torch.float32, device=device)
        self._target = torch.tensor(intensities.target, dtype=torch.float32, device=device)
        self._ends = (float(intensities.source[0]), float(intensities.source[-1]))
        self._darkest = float(intensities.minimum)
        self._device = device

    def __call__(self, slices: np.ndarray) -> torch.Tensor:
        """Native slices (n, rows, columns) of any real type -> (n, 1, pixels, pixels) float32."""
        import torch

        cut = slices[:, self._crop[0], self._crop[1]]
        # int16 crosses to a GPU in half the bytes of float32; other types are made float32 here, because
        # torch lacks some of numpy's (unsigned, other byte order).
        kept = np.int16 if cut.dtype == np.int16 else np.float32
        images = torch.from_numpy(np.ascontiguousarray(cut, dtype=kept)).to(self._device).float()
        # Relative to the darkest value, so that the weight missing outside the image is padding.
        above = self._mapped(images).sub_(self._darkest)
        return (self._rows @ (above @ self._columns.T)).add_(self._darkest)[:, None]

    def _mapped(self, images: torch.Tensor) -> torch.Tensor:
        """The normalization's piecewise linear map."""
        import torch

        inside = images.clamp(*self._ends)  # a copy: the slices may be the caller's own memory
        piece = torch.zeros((), dtype=torch.int64, device=self._device)
        if len(self._source) > 2:
            piece = torch.searchsorted(self._source, inside).sub_(1).clamp_(0, len(self._source) - 2)
        slope = (self._target[1:] - self._target[:-1]) / (self._source[1:] - self._source[:-1])
        return (inside - self._source[piece]) * slope[piece] + self._target[piece]


def used_columns(matrix: np.ndarray) -> slice:
    """The range of columns of ``matrix`` that carry any weight (at least one column)."""
    columns = np.flatnonzero(matrix.any(axis=0))
    return slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 1)
