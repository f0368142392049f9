"""Painting a body slice by slice from tables of radii: what the thorax and the abdomen have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .acquisition import Texture
from .shapes import Doubles, Floats, Grid, cover, mix
from .tissues import Palette

ANGLES = 1440
"""Directions in an axial plane; 0 is the patient's left, a quarter turn is posterior."""
DEGREES = np.arange(ANGLES) * (360 / ANGLES)
FROM_SPINE = np.abs((DEGREES - 90 + 180) % 360 - 180)
"""Degrees between each direction and the spine's."""


def bump(at: float, width: float) -> Doubles:
    """A smooth bump of height 1 around a direction (degrees), ``width`` degrees wide (one sigma), per angle."""
    apart = (DEGREES - at + 180) % 360 - 180
    return np.exp(-0.5 * (apart / width) ** 2)


def step(values: NDArray[np.floating] | float, low: float, high: float) -> Doubles:
    """A smooth step from 0 at ``low`` to 1 at ``high``."""
    part = np.clip((values - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def direction(y: Floats, x: Floats) -> NDArray[np.intp]:
    """Index of the angle nearest to the direction of points."""
    return np.rint(np.rad2deg(np.arctan2(y, x)) % 360 * (ANGLES / 360)).astype(np.intp) % ANGLES


class SlicePainter:
    """The coordinates of a grid's slices, and textures of two sizes (mm) for what lies on them."""

    def __init__(self, grid: Grid, palette: Palette, generator: np.random.Generator, mottle: float) -> None:
        self.grid, self.palette, self.soft = grid, palette, grid.softness
        self.y, self.x = grid.axes[1][:, None], grid.axes[2][None]
        self.radius, self.angle = np.hypot(self.y, self.x), direction(self.y, self.x)
        self.grain, self.mottle = Texture(generator, grid, 5.0), Texture(generator, grid, mottle)

    def at(self, table: Doubles) -> Floats:
        """A table of the angles spread over the slice."""
        return np.take(table.astype(np.float32), self.angle)

    def plate(
        self, values: Floats, middle: Floats, half: Doubles, wall: float, tissues: tuple[float | Floats, float | Floats]
    ) -> None:
        """Paint a plate of bone or cartilage in the body's wall.

        Args:
            values: the slice.
            middle: distance (mm) of each pixel from the plate's middle.
            half: half of the plate's thickness (mm) per angle; there is none where it is near 0.
            wall: thickness (mm) of its hard shell.
            tissues: values of the shell and of what it holds.
        """
        thick = self.at(half)
        for tissue, depth in zip(tissues, (0.0, wall), strict=True):
            mix(values, tissue, cover(middle - thick + depth, self.soft) * (thick > 0.3))
