"""The tumor: where it may sit, its lobulated and spiculated shape, and its truth mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..io.volume import triple
from .patient import Thorax
from .shapes import Cone, Doubles, Floats, Grid, Point, Solid, Window, cover, mix, union_distance
from .slice_painter import ANGLES
from .tissues import Palette

LOCATIONS = ("lung", "chest-wall", "mediastinum")
CANDIDATES = 16000
"""Places drawn; of some anatomies few fit the mediastinum."""
SPARED = {"heart muscle", "aorta", "pulmonary trunk", "right pulmonary artery", "superior cava", "inferior cava"}
SPARED |= {"oesophagus", "airway wall"}
"""Organs that stay out of the truth; smaller vessels and nodes are encased."""


@dataclass(frozen=True)
class Tumor:
    """A solid tumor; points (z, y, x) and lengths in mm."""

    location: str
    center: Point
    radius: float
    radii: Point
    waves: Doubles
    """(n, 5): direction (z, y, x), phase and height (share of the radius) of the surface's lobes."""
    spicules: Sequence[Cone]

    def distance(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Signed distance (mm, first order) of the lobulated body without its spicules."""
        pz, py, px = (c - np.float32(o) for c, o in zip((z, y, x), self.center, strict=True))
        uz, uy, ux = (p / np.float32(r) for p, r in zip((pz, py, px), self.radii, strict=True))
        level = np.sqrt(uz * uz + uy * uy + ux * ux) + np.float32(1e-6)
        lobes = np.zeros_like(level)
        for dz, dy, dx, phase, height in self.waves.astype(np.float32):
            lobes += height * np.sin((uz * dz + uy * dy + ux * dx) / level + phase)
        return (level - 1 - lobes) * np.float32(self.radius)


def draw_tumor(thorax: Thorax, grid: Grid, location: str, generator: np.random.Generator) -> Tumor:
    """Draw a tumor at a location, within the field where the anatomy lets it.

    Args:
        thorax: the patient.
        grid: the field; of the places that fit the anatomy the first one inside the field is taken.
        location: one of ``LOCATIONS``.
        generator: source of place, size and shape.
    """
    radius = float(generator.uniform(11.5, 18.0))
    stretch = generator.uniform(0.88, 1.18, 3)
    radii = triple(float(radius * s) for s in stretch / np.cbrt(stretch.prod()))
    waves = _waves(generator)
    center = _place(thorax, grid, location, radius, generator)
    return Tumor(location, center, radius, radii, waves, _spicules(center, radii, generator))


def _waves(generator: np.random.Generator) -> Doubles:
    orders = np.array([2.0, 2.6, 3.4, 4.5, 6.0, 8.0, 11.0])
    directions = generator.normal(size=(len(orders), 3))
    directions *= (orders / np.linalg.norm(directions, axis=1))[:, None]
    heights = generator.uniform(0.6, 1.2, len(orders)) * 0.16 / np.sqrt(orders)
    return np.column_stack([directions, generator.uniform(0, 2 * np.pi, len(orders)), heights])


def _spicules(center: Point, radii: Point, generator: np.random.Generator) -> list[Cone]:
    """Fine strands from the surface outward, and a few blunt ones."""
    strands = []
    for _ in range(int(generator.integers(12, 26))):
        way = generator.normal(size=3)
        way /= np.linalg.norm(way)
        start = center + way * np.array(radii) * 0.85
        bend = way + generator.normal(0, 0.18, 3)
        length = float(generator.gamma(3.0, 2.6)) + 3
        end = start + bend / np.linalg.norm(bend) * length
        thick = float(generator.uniform(0.8, 1.9))
        strands.append(Cone(triple(map(float, start)), triple(map(float, end)), thick, 0.25))
    return strands


def _place(thorax: Thorax, grid: Grid, location: str, radius: float, generator: np.random.Generator) -> Point:
    """The center: the first of many drawn points that fits the location and lies in the field."""
    low = np.array([thorax.base, -95.0, -140.0])
    high = np.array([thorax.top, 95.0, 140.0])
    points = generator.uniform(low, high, (CANDIDATES, 3))
    wall, border, ends = thorax.lung_depth(points)
    hilum = np.min([np.linalg.norm(points - np.array(h), axis=1) for h in thorax.hila], axis=0)
    middle = (points[:, 0] > thorax.base + 0.28 * thorax.patient.height) & (points[:, 0] < thorax.top - 40)
    if location == "lung":
        inside = np.minimum(np.minimum(wall, border), ends)
        fits = (inside > 1.25 * radius + 4) & (hilum > radius + 22) & (hilum < radius + 62)
    elif location == "chest-wall":
        fits = (np.abs(wall - 0.62 * radius) < 2) & (border > 1.4 * radius) & (ends > radius)
        # Beside the sternum the wall is cartilage; a wall tumor sits at the ribs.
        fits &= points[:, 1] > -45
    else:
        # Half in the mediastinum: at the arch, the hilum or beside the trachea.
        middle = np.abs(points[:, 0] - thorax.carina) < 40
        fits = (np.abs(border + 0.3 * radius) < 4) & (wall > 1.2 * radius) & (ends > -radius)
        fits &= (points[:, 1] > -35) & (points[:, 1] < 34)
    chosen = points[fits & middle]
    if location == "mediastinum":
        z, y, x = (axis.astype(np.float32) for axis in chosen.T)
        free = np.min([solid.distance(z, y, x) for solid in _spared(thorax)], axis=0)
        chosen = chosen[free > min(0.35 * radius, float(free.max()) - 0.5)]
    elif location == "lung":
        chosen = _clear(thorax, chosen, 1.3 * radius + 4)
    half = (np.array(grid.shape) - 1) / 2 * np.array(grid.spacing)
    in_field = (np.abs(chosen - np.array(grid.center)) < np.maximum(half - 1.3 * radius, 0.5 * half)).all(axis=1)
    return triple(map(float, (chosen[in_field] if in_field.any() else chosen)[0]))


def _clear(thorax: Thorax, points: Doubles, reach: float) -> Doubles:
    """Those of some points (n, 3) around which a ball (mm) lies in the lung and off all large vessels; else all."""
    ways = np.delete(np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3), 13, axis=0)
    ways *= reach / np.linalg.norm(ways, axis=1, keepdims=True)
    around = (points[:, None] + ways).reshape(-1, 3)
    inside = np.min(thorax.lung_depth(around), axis=0).reshape(len(points), -1).min(axis=1)
    z, y, x = (axis.astype(np.float32) for axis in points.T)
    vessels = np.min([s.distance(z, y, x) for organ in thorax.organs for s in organ.solids], axis=0)
    free = (inside > 0) & (vessels > reach)
    return points[free] if free.any() else points


def _spared(thorax: Thorax) -> list[Solid]:
    """What a tumor pushes aside and does not grow through."""
    return [solid for organ in thorax.organs if organ.name in SPARED for solid in organ.solids]


def _wall_distance(thorax: Thorax, grid: Grid, window: Window) -> Floats:
    """Distance (mm) beyond the chest wall's inner side, over a window; negative within the cavity."""
    z, y, x = grid.open(window)
    angle = (np.rad2deg(np.arctan2(y, x)) % 360 * (ANGLES / 360)).astype(int) % ANGLES
    radius = np.hypot(y, x)
    return np.concatenate([radius - thorax.wall(thorax.cavity, float(h))[angle].astype(np.float32) for h in z[:, 0, 0]])


def tumor_distance(tumor: Tumor, thorax: Thorax, grid: Grid, window: Window) -> Floats:
    """Signed distance (mm) of the tumor as it is in the body: not in vessels, heart or airways, nor past the ribs."""
    distance = tumor.distance(*grid.open(window))
    if tumor.location != "lung":
        invasion = 4.0 if tumor.location == "chest-wall" else 0.0
        np.maximum(distance, _wall_distance(thorax, grid, window) - np.float32(invasion), out=distance)
        low, high = ([axis[part][end] for axis, part in zip(grid.axes, window, strict=True)] for end in (0, -1))
        boxes = [(solid, *solid.bounds(2.0)) for solid in _spared(thorax)]
        spared = [solid for solid, first, last in boxes if (first < high).all() and (last > low).all()]
        if spared:
            np.maximum(distance, 0.6 - union_distance(spared, grid, window), out=distance)
    return distance


def paint_tumor(
    values: Floats, mask: NDArray[np.uint8], tumor: Tumor, thorax: Thorax, grid: Grid, palette: Palette
) -> None:
    """Paint a tumor into an image (in place) and its body into a mask.

    Around a tumor at the mediastinum the fat is infiltrated. On CT that is nearly soft tissue, which makes the
    tumor's edge hard to see; on T2 weighted MR fibrous tissue is dark, and the tumor stands out.
    """
    reach = 1.6 * max(tumor.radii) + 24
    window = grid.window([c - reach for c in tumor.center], [c + reach for c in tumor.center])
    if window is None:
        return
    distance = tumor_distance(tumor, thorax, grid, window)
    parts, count = ndimage.label(distance < 0)
    if count > 1:
        # Crumbs beyond a vessel are no part of it.
        largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        distance[(parts > 0) & (parts != largest)] = 0.5 * grid.softness
    view = values[window]
    value = palette["tumor"]
    if tumor.location == "mediastinum":
        fat, soft = palette["fat"], value
        # Only fat takes it up: between fat and soft tissue, by how near the voxel's value is to fat.
        fatty = np.clip(1 - np.abs(view - fat) / (0.8 * abs(soft - fat)), 0, 1)
        mix(view, palette["infiltrate"], fatty * cover(distance - 11, 8.0))
    airy = np.abs(view - palette["lung"]) < 0.35 * abs(value - palette["lung"])
    halo = np.exp(-np.maximum(distance, 0) / np.float32(1.6)) * np.float32(0.16)
    mix(view, value, halo * airy)
    strands = union_distance(tumor.spicules, grid, window)
    fade = np.float32(0.7) * cover(strands, 1.3 * grid.softness)
    mix(view, value, fade * airy)
    core = value - np.float32(0.015 * abs(value - palette["lung"])) * np.clip(-distance / tumor.radius, 0, 1)
    mix(view, core, cover(distance, 1.15 * grid.softness))
    mask[window] = distance < 0
