"""What a scanner adds to an anatomy: reconstruction noise of CT; coil shading and magnitude noise of MR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .shapes import Floats, Grid

AIR_HU = -1024.0
"""Least value a CT stores."""
KERNEL_MM = 2.2
"""Width of the reconstruction's kernel."""


class Texture:
    """A smooth random field, drawn on a coarse grid of fixed place and interpolated slice by slice."""

    def __init__(self, generator: np.random.Generator, grid: Grid, coarse: float, reach: float = 400.0) -> None:
        """Draw the field; it repeats every ``reach`` mm."""
        count = int(reach / coarse)
        self._field = generator.standard_normal((count, count, count), dtype=np.float32)
        self._count, self._coarse = count, coarse
        # Linear interpolation halves the variance about; 1.6 brings the spread back to about one.
        self._field *= np.float32(1.6)
        self._rows = self._weights(grid.axes[1])
        self._columns = self._weights(grid.axes[2]).T.copy()

    def _weights(self, at: Floats) -> Floats:
        """Interpolation matrix (positions, coarse grid), periodic."""
        low, part = self._split(at)
        matrix = np.zeros((len(at), self._count), dtype=np.float32)
        rows = np.arange(len(at))
        matrix[rows, low] = 1 - part
        matrix[rows, (low + 1) % self._count] = part
        return matrix

    def _split(self, at: Floats) -> tuple[np.ndarray, np.ndarray]:
        place = np.asarray(at, dtype=np.float64) / self._coarse + self._count / 2
        low = np.floor(place)
        return low.astype(int) % self._count, (place - low).astype(np.float32)

    def at(self, z: float) -> Floats:
        """The field over the slice at a height (mm)."""
        low, part = self._split(np.array([z]))
        plane = self._field[low[0]] * (1 - part[0]) + self._field[(low[0] + 1) % self._count] * part[0]
        return self._rows @ plane @ self._columns


def ct_image(
    values: Floats, grid: Grid, noise: float, streaks: Sequence[float], generator: np.random.Generator
) -> NDArray[np.int16]:
    """A CT of some HU, with the noise of a filtered back-projection: spectrum ramp times a soft kernel's fall-off.

    Args:
        values: HU (z, y, x).
        grid: where they lie.
        noise: its standard deviation in the middle of the body, HU.
        streaks: weight (0 to 1) of horizontal streaks in each slice: along a shoulder's long way projections starve.
        generator: source of the noise.
    """
    fy = np.fft.fftfreq(grid.shape[1], grid.spacing[1])[:, None]
    fx = np.fft.rfftfreq(grid.shape[2], grid.spacing[2])[None]
    radial = np.hypot(fy, fx)
    ramp = np.sqrt(radial + 0.004) * np.exp(-((radial * KERNEL_MM) ** 2))
    even = _unit(ramp, grid.shape[2])
    horizontal = _unit(ramp * np.exp(-((fx / (0.018 + 0.05 * np.abs(fy))) ** 2)), grid.shape[2])
    _, y, x = grid.axes
    fall = 0.45 + 0.75 * np.exp(-((y[:, None] / 120) ** 2) - (x[None] / 160) ** 2)
    spread = np.float32(noise) * fall.astype(np.float32)
    image = np.empty(grid.shape, dtype=np.int16)
    for index, streak in enumerate(streaks):
        white = fft.rfft2(generator.standard_normal(grid.shape[1:], dtype=np.float32))
        response = even + np.float32(1.5 * streak) * horizontal if streak > 0 else even
        plane = values[index] + spread * fft.irfft2(white * response, s=grid.shape[1:])
        image[index] = np.rint(np.clip(plane, AIR_HU, 3071))
    return image


def _unit(response: NDArray[np.float64], columns: int) -> Floats:
    """Scale a response, half of a spectrum, so that white noise comes out with unit spread."""
    weight = np.full(response.shape[1], 2.0)
    weight[0] = 1.0
    if columns % 2 == 0:
        weight[-1] = 1.0
    power = (response**2 * weight).sum() / (response.shape[0] * columns)
    return (response / max(np.sqrt(power), 1e-9)).astype(np.float32)


def magnitude_image(values: Floats, grid: Grid, noise: float, generator: np.random.Generator) -> NDArray[np.uint16]:
    """An MR magnitude image: coil shading, a gain of its own, the read-out's blur, Rician noise.

    ``noise`` is the standard deviation in the real and in the imaginary channel.
    """
    shading = Texture(generator, grid, 170.0, 1020.0)
    gain = float(generator.uniform(0.8, 1.3))
    image = np.empty(grid.shape, dtype=np.uint16)
    for index, z in enumerate(grid.axes[0]):
        field = gain * np.exp(np.float32(0.2) * shading.at(float(z)))
        plane = ndimage.gaussian_filter(values[index], 0.45) * field
        real, imaginary = (
            np.float32(noise) * generator.standard_normal(plane.shape, dtype=np.float32) for _ in range(2)
        )
        image[index] = np.rint(np.clip(np.hypot(plane + real, imaginary), 0, 4095))
    return image
