"""What a scanner adds to an anatomy: reconstruction noise of CT; coil shading and magnitude noise of MR."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .shapes import Floats, Grid

AIR_HU = -1024.0
"""Least value a CT stores."""


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


class CTNoise:
    """Noise of a filtered back-projection: spectrum ramp times a soft kernel's fall-off, unit spread."""

    def __init__(self, grid: Grid, generator: np.random.Generator, cut_mm: float = 2.2) -> None:
        """Prepare the filters of a slice; ``cut_mm`` is the width of the reconstruction kernel."""
        rows, columns = grid.shape[1:]
        fy = np.fft.fftfreq(rows, grid.spacing[1])[:, None]
        fx = np.fft.rfftfreq(columns, grid.spacing[2])[None]
        radial = np.hypot(fy, fx)
        ramp = np.sqrt(radial + 0.004) * np.exp(-((radial * cut_mm) ** 2))
        # Along a shoulder's long way the projections starve: the noise becomes horizontal streaks.
        streak = ramp * np.exp(-((fx / (0.018 + 0.05 * np.abs(fy))) ** 2))
        self._filters = [self._unit(ramp, columns), self._unit(streak, columns)]
        self._shape, self._generator = (rows, columns), generator

    @staticmethod
    def _unit(response: np.ndarray, columns: int) -> Floats:
        """Scale a response so that white noise comes out with unit spread."""
        weight = np.full(response.shape[1], 2.0)
        weight[0] = 1.0
        if columns % 2 == 0:
            weight[-1] = 1.0
        power = (response**2 * weight).sum() / (response.shape[0] * columns)
        return (response / max(np.sqrt(power), 1e-9)).astype(np.float32)

    def draw(self, streaks: float) -> Floats:
        """Noise of one slice; ``streaks`` 0..1 is the weight of the horizontal ones."""
        white = fft.rfft2(self._generator.standard_normal(self._shape, dtype=np.float32))
        response = self._filters[0]
        if streaks > 0:
            response = response + np.float32(1.5 * streaks) * self._filters[1]
        return fft.irfft2(white * response, s=self._shape)


def rician(values: Floats, spread: float, generator: np.random.Generator) -> Floats:
    """Magnitude of a signal with complex Gaussian noise of the given spread in either channel."""
    real = values + np.float32(spread) * generator.standard_normal(values.shape, dtype=np.float32)
    other = np.float32(spread) * generator.standard_normal(values.shape, dtype=np.float32)
    return np.hypot(real, other)


def magnitude_image(values: Floats, grid: Grid, noise: float, generator: np.random.Generator) -> NDArray[np.uint16]:
    """An MR magnitude image: coil shading, a gain of its own, the read-out's blur, Rician noise."""
    shading = Texture(generator, grid, 170.0, 1020.0)
    gain = float(generator.uniform(0.8, 1.3))
    image = np.empty(grid.shape, dtype=np.uint16)
    for index, z in enumerate(grid.axes[0]):
        field = gain * np.exp(np.float32(0.2) * shading.at(float(z)))
        plane = ndimage.gaussian_filter(values[index], 0.45) * field
        image[index] = np.rint(np.clip(rician(plane, noise, generator), 0, 4095))
    return image
