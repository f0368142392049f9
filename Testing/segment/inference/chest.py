"""Chests drawn from ellipses, part by part, with the truth about their lungs, for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPACING = (5.0, 2.0, 2.0)
SHAPE = (64, 200, 200)
APEX, BASE = 48, 14
"""The highest and the lowest slice with lung."""


@dataclass
class Chest:
    """A CT (z from the feet up) being drawn; ``lung`` is the truth. Lengths are mm from the image's center."""

    hu: np.ndarray = field(default_factory=lambda: np.full(SHAPE, -1000.0, np.float32))
    lung: np.ndarray = field(default_factory=lambda: np.zeros(SHAPE, bool))

    def ellipse(self, z: int, y: float, x: float, radius_y: float, radius_x: float) -> np.ndarray:
        """Mask (rows, columns) of an ellipse in slice ``z``."""
        rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
        down = (rows - (SHAPE[1] - 1) / 2) * SPACING[1] - y
        right = (columns - (SHAPE[2] - 1) / 2) * SPACING[2] - x
        return (down / radius_y) ** 2 + (right / radius_x) ** 2 < 1

    def tube(self, first: int, last: int, value: float, y: float, x: float, ry: float, rx: float) -> None:
        """An elliptic cylinder of ``value`` HU in slices ``first`` to ``last``."""
        for z in range(first, last + 1):
            self.hu[z, self.ellipse(z, y, x, ry, rx)] = value

    def body(self) -> None:
        """Trunk up to the shoulders, then neck."""
        self.tube(0, 51, 40, 0, 0, 110, 165)
        self.tube(52, SHAPE[0] - 1, 40, 0, 0, 65, 65)

    def one_lung(self, side: int, hu: float = -850.0, shift: float = 0.0) -> None:
        """A lung on ``side`` (-1 or 1 in x), widest in its lower half, with vessels."""
        random = np.random.default_rng(3 + side)
        for z in range(BASE, APEX + 1):
            height = (z - BASE + 1) / (APEX - BASE + 2)
            wide = np.sin(np.pi * height**0.7) ** 0.6
            inside = self.ellipse(z, 0, side * 72 + shift, 85 * wide, 55 * wide)
            self.hu[z, inside] = hu
            self.lung[z] |= inside
            rows, columns = np.nonzero(inside)
            for vessel in random.integers(0, len(rows), len(rows) // 60):
                self.hu[z, rows[vessel], columns[vessel]] = 30

    def trachea(self) -> None:
        """Up through the neck, where partial volume brightens it; its bronchi open into both lungs."""
        self.tube(34, 35, -1000, 0, 0, 7, 60)
        self.tube(34, 50, -1000, 0, 0, 9, 9)
        self.tube(51, SHAPE[0] - 1, -890, 0, 0, 9, 9)

    def bowel(self) -> None:
        """Gas in the colon and a stomach bubble under a thin diaphragm, below the lungs."""
        self.tube(0, 8, -1000, -60, -40, 22, 60)
        self.tube(0, BASE - 1, -1000, -50, 72, 28, 32)

    def stool(self) -> None:
        """Stool in the colon: gas and solids mixed, as dense as lung."""
        self.tube(2, 5, -700, 0, -110, 9, 11)

    def table(self) -> None:
        """A shell filled with foam below the back."""
        self.tube(0, SHAPE[0] - 1, 100, 155, 0, 30, 170)
        self.tube(0, SHAPE[0] - 1, -900, 155, 0, 26, 166)

    def arms(self) -> None:
        """Arms that touch the trunk above and below, so that they enclose air."""
        for side in (-1, 1):
            for z in range(0, 40):
                ring = self.ellipse(z, 0, side * 165, 60, 30) & ~self.ellipse(z, 0, side * 165, 45, 16)
                self.hu[z, ring & (self.hu[z] < -300)] = 40

    def image(self, noise: float = 20.0) -> np.ndarray:
        """The CT as a scanner stores it: noisy int16."""
        random = np.random.default_rng(0)
        return np.rint(self.hu + random.normal(0, noise, SHAPE)).astype(np.int16)

    def lung_slices(self) -> set[int]:
        """Slices with at least a square centimeter of lung."""
        return set(np.flatnonzero(self.lung.sum(axis=(1, 2)) * SPACING[1] * SPACING[2] >= 100))


def chest(*parts: str, lungs: tuple[int, ...] = (-1, 1)) -> Chest:
    """A chest with body, the lungs of the given sides, and further ``parts`` by their methods' names."""
    drawn = Chest()
    drawn.body()
    for side in lungs:
        drawn.one_lung(side)
    for part in parts:
        getattr(drawn, part)()
    return drawn
