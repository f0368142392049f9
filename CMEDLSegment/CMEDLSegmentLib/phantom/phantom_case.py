"""What a phantom is: a volume, its truth mask, and the words that say it is a phantom."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..base.errors import InputError
from ..io.volume import Geometry, Volume, triple
from .shapes import Grid, Point


@dataclass(frozen=True)
class Phantom:
    """A phantom's image and truth."""

    image: Volume
    mask: NDArray[np.uint8]
    """The expert's truth, (z, y, x), 0 where nothing is marked."""
    description: str
    labels: dict[int, str] = field(default_factory=lambda: {1: "Tumor"})
    """Name of every value in ``mask``."""


def checked_grid(
    size: tuple[int, int, int], spacing: tuple[float, float, float], noise: float, center: Point = (0.0, 0.0, 0.0)
) -> Grid:
    """The voxel grid of a phantom, from size (z, y, x), spacing (z, y, x) mm and center (z, y, x) mm.

    Raises:
        InputError: a size is not a positive whole number, a spacing or the noise is not a usable number.
    """
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise InputError(f"A phantom's size must be three positive whole numbers (z, y, x), not {tuple(size)}.")
    if len(spacing) != 3 or any(not np.isfinite(s) or s <= 0 for s in spacing):
        raise InputError(f"A phantom's spacing must be three positive lengths in mm (z, y, x), not {tuple(spacing)}.")
    if not np.isfinite(noise) or noise < 0:
        raise InputError(f"A phantom's noise must be zero or more, not {noise}.")
    return Grid(triple(map(int, size)), triple(map(float, spacing)), center)


def as_volume(array: NDArray[np.generic], grid: Grid, modality: str, name: str) -> Volume:
    """A phantom's array as a volume in LPS."""
    origin = triple(float(axis[0]) for axis in reversed(grid.axes))
    geometry = Geometry(triple(reversed(grid.shape)), triple(reversed(grid.spacing)), origin)
    return Volume(array, geometry, modality, name=name)
