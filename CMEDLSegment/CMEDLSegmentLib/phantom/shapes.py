"""Solids and the voxel grid they are painted on.

Points are (z, y, x) in mm of the phantom's own frame: z to superior, y to posterior, x to the patient's left, so
that the axes are those of an axial array in LPS. Signed distances are negative inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..base.boxes import box_shape, box_within
from ..io.volume import triple

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Point = tuple[float, float, float]
Window = tuple[slice, slice, slice]
Open = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid centered on ``center`` (z, y, x mm); shape (z, y, x) and spacing (z, y, x) mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    center: Point = (0.0, 0.0, 0.0)

    @cached_property
    def axes(self) -> Open:
        """Voxel centers along z, y and x in mm, three 1-D arrays."""
        return triple(
            (center + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
            for count, step, center in zip(self.shape, self.spacing, self.center, strict=True)
        )

    @property
    def softness(self) -> float:
        """Width in mm over which an edge goes from empty to full: one voxel in the plane, a little of z."""
        return float(0.75 * (self.spacing[1] + self.spacing[2]) / 2 + 0.25 * min(self.spacing[0], 3.0))

    def window(self, low: Sequence[float] | Doubles, high: Sequence[float] | Doubles) -> Window | None:
        """Index box of the voxels whose centers lie between two corners (z, y, x mm), None when there are none."""
        first = np.array([axis[0] for axis in self.axes], dtype=float)
        start = np.maximum(np.ceil(np.subtract(low, first) / self.spacing).astype(int), 0)
        stop = np.minimum(np.floor(np.subtract(high, first) / self.spacing).astype(int) + 1, self.shape)
        return triple(map(slice, start.tolist(), stop.tolist())) if (start < stop).all() else None

    def around(self, solids: Sequence[Solid], margin: float) -> Window | None:
        """Index box of the voxels within ``margin`` mm of some solids' boxes, None when there are none."""
        low, high = zip(*(solid.bounds(margin) for solid in solids), strict=True)
        return self.window(np.min(low, axis=0), np.max(high, axis=0))

    def open(self, window: Window) -> Open:
        """The window's coordinates, shaped to broadcast to (z, y, x)."""
        z, y, x = self.axes
        return z[window[0], None, None], y[None, window[1], None], x[None, None, window[2]]


@dataclass(frozen=True)
class Cone:
    """A rounded cone: the tube between two points whose radius goes linearly from one end to the other."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float

    def bounds(self, margin: float) -> tuple[Doubles, Doubles]:
        """Two corners (z, y, x mm) of the axis-parallel box around the solid and a margin."""
        radius = max(self.start_radius, self.end_radius) + margin
        ends = np.array([self.start, self.end])
        return ends.min(axis=0) - radius, ends.max(axis=0) + radius

    def distance(self, z: Floats | np.float32, y: Floats, x: Floats) -> Floats:
        """Signed distance in mm at broadcastable coordinates."""
        dz, dy, dx = (np.float32(b - a) for a, b in zip(self.start, self.end, strict=True))
        pz, py, px = z - np.float32(self.start[0]), y - np.float32(self.start[1]), x - np.float32(self.start[2])
        square = max(float(dz * dz + dy * dy + dx * dx), 1e-6)
        along = pz * dz + py * dy + px * dx
        part = np.clip(along / np.float32(square), 0, 1)
        apart = pz * pz + py * py + px * px - 2 * part * along + part * part * np.float32(square)
        np.sqrt(np.maximum(apart, 0, out=apart), out=apart)
        apart -= np.float32(self.start_radius) + part * np.float32(self.end_radius - self.start_radius)
        return apart


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with radii (z, y, x) mm, turned by ``turn`` radians in the axial plane and bumpy at will.

    ``bumps`` is the relative height of a smooth undulation of the surface; ``phase`` sets where its bumps are.
    """

    center: Point
    radii: Point
    turn: float = 0.0
    tilt: float = 0.0
    bumps: float = 0.0
    phase: float = 0.0

    def bounds(self, margin: float) -> tuple[Doubles, Doubles]:
        """Two corners (z, y, x mm) of the axis-parallel box around the solid and a margin."""
        turned = self.turn != 0.0 or self.tilt != 0.0
        reach = np.full(3, max(self.radii)) if turned else np.array(self.radii)
        reach = reach * (1 + self.bumps) + margin
        return np.array(self.center) - reach, np.array(self.center) + reach

    def distance(self, z: Floats | np.float32, y: Floats, x: Floats) -> Floats:
        """Signed distance in mm, first order: exact on the surface, good near it."""
        pz, py, px = (c - np.float32(o) for c, o in zip((z, y, x), self.center, strict=True))
        if self.tilt:
            cosine, sine = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
            pz, px = cosine * pz - sine * px, sine * pz + cosine * px
        if self.turn:
            cosine, sine = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
            py, px = cosine * py - sine * px, sine * py + cosine * px
        rz, ry, rx = (np.float32(r) for r in self.radii)
        uz, uy, ux = pz / rz, py / ry, px / rx
        level = np.sqrt(uz * uz + uy * uy + ux * ux)
        slope = np.sqrt((uz / rz) ** 2 + (uy / ry) ** 2 + (ux / rx) ** 2)
        apart = (level - 1) * level / np.maximum(slope, np.float32(1e-4))
        if self.bumps:
            wave = np.sin(3.1 * uz + self.phase) + np.sin(2.7 * uy + 1.7 * self.phase + 1)
            wave = wave + np.sin(3.7 * ux + 2.3 * self.phase + 2) + np.sin(5 * (uz + uy) - self.phase)
            apart = apart - np.float32(self.bumps * min(self.radii) / 2.5) * wave
        return apart.astype(np.float32, copy=False)


Solid = Cone | Ellipsoid


def tube(points: Sequence[Point], radii: Sequence[float]) -> list[Solid]:
    """A tube through points (z, y, x mm) with a radius at each: the smooth curve through them, as short cones."""
    path, widths = np.asarray(points, dtype=float), np.asarray(radii, dtype=float)
    if len(path) > 2:
        from scipy.interpolate import PchipInterpolator

        at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        fine = np.linspace(0, at[-1], max(2, int(at[-1] / 8)) + 1)
        path, widths = PchipInterpolator(at, path)(fine), np.interp(fine, at, widths)
    ends = [(triple(map(float, point)), float(width)) for point, width in zip(path, widths, strict=True)]
    return [Cone(start, end, first, last) for (start, first), (end, last) in itertools.pairwise(ends)]


def cover(distance: Floats, softness: float | np.float32) -> Floats:
    """Share of a voxel that a solid fills, from its signed distance and the width of an edge (mm)."""
    share = distance * np.float32(-1 / softness)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def mix(values: Floats, value: float | Floats, share: Floats | Doubles) -> None:
    """Replace, in place, a share of what each voxel holds by ``value``."""
    values += (value - values) * share


def union_distance(solids: Sequence[Solid], grid: Grid, window: Window) -> Floats:
    """Signed distance (mm) to the nearest of some solids over a window; far away where there is none."""
    nearest = np.full(box_shape(window), 1e3, dtype=np.float32)
    coordinates = grid.open(window)
    for solid in solids:
        np.minimum(nearest, solid.distance(*coordinates), out=nearest)
    return nearest


def distance_near(solids: Sequence[Solid], grid: Grid, window: Window, margin: float, blend: float = 0.0) -> Floats:
    """As ``union_distance``, looking at each solid only within ``margin`` mm of its box.

    ``blend`` (mm) fills the grooves where two solids meet.
    """
    nearest = np.full(box_shape(window), 1e3, dtype=np.float32)
    for solid in solids:
        part = grid.around([solid], margin)
        if part is None:
            continue
        view = nearest[box_within(part, window)]
        apart = solid.distance(*grid.open(part))
        if blend:
            # The polynomial smooth minimum.
            meet = np.maximum(np.float32(blend) - np.abs(view - apart), 0)
            apart = np.minimum(view, apart) - meet * meet * np.float32(0.25 / blend)
        np.minimum(view, apart, out=view)
    return nearest


def paint_union(
    array: Floats,
    grid: Grid,
    solids: Sequence[Solid],
    value: float,
    grow: float = 0.0,
    soft: float = 0.0,
    blend: float = 0.0,
) -> None:
    """Paint touching solids as one body, ``grow`` mm larger, with edges blurred by ``soft`` mm more.

    ``blend`` (mm) fills the grooves where two solids meet.
    """
    margin = max(grow, 0.0) + grid.softness + soft + blend
    window = grid.around(solids, margin)
    if window is not None:
        nearest = distance_near(solids, grid, window, margin, blend) - np.float32(grow)
        mix(array[window], value, cover(nearest, grid.softness + soft))
