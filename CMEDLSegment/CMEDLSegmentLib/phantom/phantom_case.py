"""What a phantom is: a volume, its truth mask, and the words that say it is a phantom."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..base.errors import InputError
from ..io.volume import Geometry, Volume, triple
from .shapes import Grid
from .simulated_raters import raters as draw_raters


@dataclass(frozen=True)
class Phantom:
    """A phantom's image and truth."""

    image: Volume
    mask: NDArray[np.uint8]
    """The expert's truth, (z, y, x), 0 where nothing is marked."""
    description: str
    labels: dict[int, str] = field(default_factory=lambda: {1: "Tumor"})
    """Name of every value in ``mask``."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm, (z, y, x)."""
        x, y, z = self.image.geometry.spacing
        return z, y, x

    def raters(self, n: int = 4, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
        """Contours of ``n`` raters of this case's label 1; see ``raters.raters``."""
        return draw_raters((self.mask == 1).astype(np.uint8), self.spacing, n, seed)


def checked_field(size: tuple[int, int, int], spacing: tuple[float, float, float], noise: float) -> Grid:
    """The voxel grid of a phantom, from size (z, y, x) and spacing (z, y, x) mm.

    Raises:
        InputError: a size is not a positive whole number, a spacing or the noise is not a usable number.
    """
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise InputError(f"A phantom's size must be three positive whole numbers (z, y, x), not {tuple(size)}.")
    if len(spacing) != 3 or any(not np.isfinite(s) or s <= 0 for s in spacing):
        raise InputError(f"A phantom's spacing must be three positive lengths in mm (z, y, x), not {tuple(spacing)}.")
    if not np.isfinite(noise) or noise < 0:
        raise InputError(f"A phantom's noise must be zero or more, not {noise}.")
    nz, ny, nx = (int(n) for n in size)
    sz, sy, sx = (float(s) for s in spacing)
    return Grid((nz, ny, nx), (sz, sy, sx))


def as_volume(array: NDArray[np.generic], grid: Grid, modality: str, name: str) -> Volume:
    """A phantom's array as a volume in LPS."""
    origin = triple(float(axis[0]) for axis in reversed(grid.axes))
    geometry = Geometry(
        size=(grid.shape[2], grid.shape[1], grid.shape[0]),
        spacing=(grid.spacing[2], grid.spacing[1], grid.spacing[0]),
        origin=origin,
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    return Volume(array=array, geometry=geometry, modality=modality, series_uid=None, files=(), name=name, warnings=[])
