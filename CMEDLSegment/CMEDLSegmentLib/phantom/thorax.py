"""The thorax phantom: CT and T2-like MR. For demonstrations and tests, not for training clinical models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base.errors import InputError
from .acquisition import ct_image, magnitude_image
from .patient import Patient, Thorax
from .phantom_case import Phantom, as_volume, checked_grid
from .shapes import Cone, Doubles, Ellipsoid, Floats, Grid, Solid, cover, mix, paint_union
from .slice_painter import ANGLES, DEGREES, FROM_SPINE, SlicePainter, step
from .tissues import MR_T2, Palette, computed_tomography
from .tumor import LOCATIONS, draw_tumor, paint_tumor
from .vessel_trees import beside, grow_tree, paint_branches

TWIGS = 560
"""Ends of a lung's arterial tree."""


class ThoraxPainter(SlicePainter):
    """Paints a patient's walls, bones and lungs slice by slice, with the values of a palette."""

    def __init__(self, thorax: Thorax, grid: Grid, palette: Palette, generator: np.random.Generator) -> None:
        super().__init__(grid, palette, generator, mottle=13.0)
        self.thorax = thorax
        self.back = float((thorax.skin[:, ANGLES // 4]).max())
        self.abdomen = _upper_abdomen(thorax)

    def slice(self, z: float, branches: Floats) -> Floats:
        """One slice's values without mediastinal organs; ``branches`` are the lungs' shares of vessel (-: air)."""
        thorax, p, soft = self.thorax, self.palette, self.soft
        values = np.full(self.radius.shape, p["air"], dtype=np.float32)
        self._table(values)
        grain, mottle = self.grain.at(z), self.mottle.at(z)
        cavity_row = thorax.wall(thorax.cavity, z)
        muscle_row, skin_row = thorax.wall(thorax.muscle, z), thorax.wall(thorax.skin, z)
        beyond = self.radius - self.at(skin_row)
        mix(values, p["skin"], cover(beyond, soft))
        span = abs(p["muscle"] - p["fat"])
        fat = p["fat"] + np.float32(0.035 * span) * mottle
        # Fine septa run through the fat.
        fat += np.float32(0.30 * (p["muscle"] - p["fat"])) * np.exp(-((grain * 1.2) ** 2) * 9) * (mottle > 0.6)
        mix(values, fat, cover(beyond + 1.8, soft))
        self._muscles(values, z, cavity_row, muscle_row, grain, mottle, fat)
        self._ribs(values, z, cavity_row)
        self._scapulae(values, z, cavity_row, muscle_row)
        inward = self.radius - self.at(cavity_row)
        inside = cover(inward, soft)
        loose = p["fat"] + np.float32(0.06 * span) * grain
        # Above the lungs the strap and scalene muscles fill the inlet, and beside their apices the wall thickens.
        above = float(step(z, thorax.top - 45, thorax.top - 5))
        if above > 0:
            bundles = np.clip(0.75 + 0.5 * mottle + 0.3 * grain, 0, 1) * above
            mix(loose, p["muscle"], bundles.astype(np.float32))
        if z > thorax.top - 90:
            capped = cover(thorax.apex(self.y, self.x) - np.float32(z - 2.5), 5.0)
            share = capped * step(np.abs(self.x), 20, 36).astype(np.float32)
            mix(loose, p["muscle"] * (1 + np.float32(0.05) * grain), share)
        mix(values, loose, inside)
        share = np.minimum(self.radius / self.at(cavity_row), 1.5)
        floor = thorax.diaphragm(self.y, self.x, share)
        self._below(values, z, floor, inward, mottle)
        self._spine(values, z, beyond)
        self._sternum(values, z, float(cavity_row[3 * ANGLES // 4]))
        if thorax.base - 40 < z < thorax.top + 10:
            self._lungs(values, z, inside, floor, branches, grain, mottle)
        return values

    def _table(self, values: Floats) -> None:
        """A curved couch under the patient."""
        top = self.back + 5 - np.float32(0.0007) * self.x**2
        below = top - self.y
        side = np.abs(self.x) - 215
        outer = np.maximum(np.maximum(below, self.y - (self.back + 36 - np.float32(0.0006) * self.x**2)), side)
        mix(values, self.palette["table shell"], cover(outer, self.soft))
        mix(values, self.palette["table core"], cover(outer + 2.2, self.soft))

    def _muscles(
        self, values: Floats, z: float, cavity: Doubles, muscle: Doubles, grain: Floats, mottle: Floats, fat: Floats
    ) -> None:
        p, soft = self.palette, self.soft
        body = cover(self.radius - self.at(muscle), soft)
        flesh = p["muscle"] + np.float32(0.05 * abs(p["muscle"] - p["fat"])) * grain
        # Fat between the fibers, and planes of fat between the muscles.
        streak = np.clip((grain * 0.7 + mottle * 0.6 - 1.1) * 0.9, 0, 0.55)
        mix(flesh, fat, streak)
        thick = muscle - cavity - 11
        radians = np.deg2rad(DEGREES)
        for place, phase in ((0.3, 0.4), (0.62, 2.1)):
            plane = cavity + 11 + thick * (place + 0.10 * np.sin(5 * radians + phase + z / 37))
            width = np.clip((thick - 9) / 12, 0, 1) * (0.9 + 0.9 * np.sin(7 * radians + 2 * phase + z / 23) ** 2)
            mix(flesh, fat, cover(np.abs(self.radius - self.at(plane)) - self.at(width), soft) * (self.at(width) > 0.1))
        mix(values, flesh, body)

    def _ribs(self, values: Floats, z: float, cavity: Doubles) -> None:
        """Ribs come down from the spine to the front, where they are cartilage."""
        thorax, p = self.thorax, self.palette
        pitch = thorax.patient.pitch
        at = (thorax.top - 6 - thorax.rib_drop - z) / pitch
        number = np.rint(at)
        apart = (at - number) * pitch
        # The last two do not come round to the front; the first is the top one.
        present = (number >= 0) & (number <= 11) & ((number < 10) | (FROM_SPINE < 105))
        half = np.where(present, 4.4 * np.sqrt(np.clip(1 - (apart / 6.6) ** 2, 0, 1)), 0.0)
        half = half * step(-FROM_SPINE, -172.0, -166.0)
        middle = self.at(cavity + 6.2 + 0.8 * np.sin(np.arange(ANGLES) * 0.05))
        front = step(FROM_SPINE, 128, 142)
        bone, spongy = (self.at(p[tissue] * (1 - front) + p["cartilage"] * front) for tissue in ("cortex", "marrow"))
        self.plate(values, np.abs(self.radius - middle), half, 1.5, (bone, spongy))

    def _scapulae(self, values: Floats, z: float, cavity: Doubles, muscle: Doubles) -> None:
        """Shoulder blades: thin curved plates in the muscles behind, thick at their outer border."""
        thorax, p = self.thorax, self.palette
        share = (z - thorax.base) / thorax.patient.height
        grown = float(step(share, 0.5, 0.62) * (1 - step(share, 1.0, 1.06)))
        if grown <= 0:
            return
        inner, outer = 60 - 32 * grown, 62 + 22 * grown
        plate = step(FROM_SPINE, inner, inner + 4) * (1 - step(FROM_SPINE, outer, outer + 4))
        edge = np.exp(-0.5 * ((FROM_SPINE - outer + 4) / 5) ** 2)
        ridge = np.exp(-0.5 * ((FROM_SPINE - (inner + outer) / 2) / 4) ** 2) * float(share > 0.8)
        half = plate * (1.7 + 4.0 * edge + 3.0 * ridge)
        bend = 0.40 + 0.12 * np.sin(np.deg2rad(FROM_SPINE * 3))
        middle = cavity + 11 + (muscle - cavity - 11) * bend
        self.plate(values, np.abs(self.radius - self.at(middle)), half, 1.7, (p["cortex"], p["marrow"]))

    def _spine(self, values: Floats, z: float, beyond: Floats) -> None:
        """A vertebra or a disc, with arch, processes and canal."""
        thorax, p, soft = self.thorax, self.palette, self.soft
        center_y, center_x = thorax.spine(z)
        window = self.grid.window((-1e9, center_y - 30, center_x - 50), (1e9, center_y + 75, center_x + 50))
        if window is None:
            return
        view = values[window[1:]]
        y, x = self.y[window[1]] - np.float32(center_y), self.x[:, window[2]] - np.float32(center_x)
        pitch = thorax.patient.pitch
        phase = (z - thorax.top) % pitch - pitch / 2
        low = float(np.clip((thorax.top - z) / 300, 0, 1.3))
        wide, deep = 13.5 + 6 * low, 12.5 + 4.5 * low
        waist = 1 - 0.07 * np.cos(2 * np.pi * phase / pitch)
        oval = np.sqrt((np.abs(x) / (wide * waist)) ** 2 + (np.abs(y) / (deep * waist)) ** 2)
        body = (oval - 1) * np.float32(0.5 * (wide + deep))
        canal = np.hypot((y - (deep + 8)) * 1.1, x) - 8
        body = np.maximum(body, 1.0 - canal)
        # Endplates are hollow: the rim stays bone at the height of a disc, the middle does not.
        off_disc = pitch / 2 - abs(phase) - (0.3 + 2.6 * np.clip(1 - oval**2, 0, 1))
        disc = cover(off_disc, max(1.2, 0.6 * self.grid.spacing[0]))
        endplate = np.exp(-(((off_disc - 0.8) / 1.2) ** 2))
        arch = np.maximum(np.abs(canal - 2.6) - 2.4, deep - 4 - y)
        blade = float(np.exp(-0.5 * (phase / (0.28 * pitch)) ** 2))
        process = np.maximum(np.abs(x) - (1.2 + 1.6 * blade), np.maximum(deep + 14 - y, y - (deep + 26 + 14 * blade)))
        facets = (np.hypot((np.abs(x) - 15) / 6, (y - deep - 14) / 4.5) - 1) * 5
        bones = [body, process, facets]
        if blade > 0.35:
            bones.append(arch)
            for sign in (-1, 1):
                wing = Cone((0, deep + 8, 9.0 * sign), (0, deep + 17, (20 + 14 * blade) * sign), 4.6, 3.6 * blade + 0.6)
                bones.append(wing.distance(np.float32(0), y, x))
        bone = np.maximum(np.minimum.reduce(bones), beyond[window[1:]] + 5)
        mix(view, p["cortex"] * 0.85, cover(bone, soft))
        inner = p["marrow"] + np.float32(0.45 * (p["cortex"] - p["marrow"])) * endplate
        speckle = 1 + 0.12 * self.grain.at(1.7 * z)[window[1:]]
        mix(view, inner * speckle, cover(bone + np.float32(1.5), soft))
        mix(view, p["disc"], disc * cover(body + 0.8, soft))
        mix(view, p["canal"], cover(canal + 0.5, soft))

    def _sternum(self, values: Floats, z: float, front: float) -> None:
        thorax, p, soft = self.thorax, self.palette, self.soft
        above = z - thorax.carina
        if not -112 < above < 52:
            return
        wide = 15 + 11 * float(step(above, 12.0, 34.0)) - 7 * float(step(-above, 80.0, 110.0))
        power = 4
        level = (np.abs(self.x / wide) ** power + np.abs((self.y + front + 6.5) / 6.2) ** power) ** (1 / power)
        bone = (level - 1) * np.float32(6.2)
        mix(values, 0.62 * p["cortex"], cover(bone, soft))
        mix(values, 0.8 * p["marrow"], cover(bone + 1.5, soft))

    def _below(self, values: Floats, z: float, floor: Floats, inward: Floats, mottle: Floats) -> None:
        """Diaphragm, liver and the other organs under it."""
        thorax, p, soft = self.thorax, self.palette, self.soft
        if z > thorax.base + 90:
            return
        under = z - floor
        slope = soft + np.float32(0.5 * min(self.grid.spacing[0], 4))
        depth = np.maximum(inward + 2.5, under)
        muscle = cover(depth, slope) * cover(np.abs(depth + 1.5) - 1.6, slope)
        flat = Grid((1, *self.grid.shape[1:]), self.grid.spacing, (z, *self.grid.center[1:]))
        domain = cover(depth + 2.5, slope)
        canvas = values[None].copy()
        low = thorax.base - z
        edge = 18 + 40 * step(-self.y.astype(float), 5, 60) - 0.35 * np.clip(low, -60, 140)
        edge = (edge - 45 * step(self.y.astype(float), 20, 55)).astype(np.float32)
        liver = np.maximum(self.x - edge + 4 * mottle * 0.4, (low - 110) * 1.0)
        mix(canvas[0], p["liver"] * (1 + 0.02 * mottle), cover(liver, soft))
        for tissue, solids in self.abdomen:
            paint_union(canvas, flat, solids, p[tissue])
        mix(values, canvas[0], domain)
        mix(values, p["muscle"], muscle * 0.9)

    def _lungs(
        self, values: Floats, z: float, inside: Floats, floor: Floats, branches: Floats, grain: Floats, mottle: Floats
    ) -> None:
        thorax, p, soft = self.thorax, self.palette, self.soft
        right, left = thorax.borders(z, self.y[:, 0])
        outside = np.minimum(self.x - right[:, None], left[:, None] - self.x)
        ends = np.maximum(floor - z, z - thorax.apex(self.y, self.x))
        share = inside * cover(outside, soft) * cover(ends, soft + np.float32(0.4 * min(self.grid.spacing[0], 4)))
        # Denser below (gravity), mottled, crossed by the oblique fissures.
        tone = 0.018 * mottle + 0.006 * grain + np.float32(0.00028) * self.y
        bow = 8 * np.sin(np.abs(self.x) / 31 + thorax.patient.wobble[0, 1])
        fissure = np.abs(self.y - 12 + 0.62 * (z - thorax.carina + 22) + bow)
        tone += np.float32(0.09) * np.exp(-((fissure / np.float32(0.5 * soft + 0.4)) ** 2))
        tone += branches * (1 - np.clip(tone, 0, 1))
        mix(values, p["lung"] + (p["vessel"] - p["lung"]) * tone, share)


def _upper_abdomen(thorax: Thorax) -> list[tuple[str, list[Solid]]]:
    """Organs under the diaphragm, those of the left first (tissue, solids)."""
    base, wide, deep = thorax.base, thorax.patient.wide, thorax.patient.deep

    def ball(dz: float, y: float, x: float, radii: tuple[float, float, float], turn: float = 0.0) -> Ellipsoid:
        return Ellipsoid((base + dz, y * deep, x * wide), radii, turn, bumps=0.05, phase=x)

    return [
        ("bowel", [ball(-70, -30, 40, (30, 30, 45)), ball(-95, -30, -20, (30, 30, 50))]),
        ("stomach", [ball(8, -18, 62, (42, 40, 42), 0.4), ball(-25, -40, 35, (30, 25, 40))]),
        ("gas", [ball(14, -44, 60, (24, 13, 26))]),
        ("spleen", [ball(2, 48, 92, (48, 30, 24), -0.7)]),
        ("kidney", [ball(-72, 48, 58, (50, 26, 24), 0.4), ball(-84, 48, -58, (50, 26, 24), -0.4)]),
        ("fat", [ball(-72, 44, 48, (20, 9, 12)), ball(-84, 44, -48, (20, 9, 12))]),
        ("muscle", [Cone((base + 20, 44, 12.0 * side), (base - 60, 44, 16.0 * side), 5, 7) for side in (1, -1)]),
    ]


def _shoulder_bones(thorax: Thorax) -> list[tuple[str, list[Solid], float]]:
    """Clavicles and humeral heads: (tissue, solids, growth in mm)."""
    front = -float(thorax.wall(thorax.cavity, thorax.top - 30)[3 * ANGLES // 4]) - 6
    bones: list[Solid] = []
    for side in (-1, 1):
        bones += [
            Cone((thorax.carina + 56, front, 24.0 * side), (thorax.top - 4, front + 16, 84.0 * side), 7.5, 5.5),
            Cone((thorax.top - 4, front + 16, 84.0 * side), (thorax.top + 16, 8.0, 122.0 * side), 5.5, 6.5),
            Ellipsoid((thorax.top + 6, 8.0, 152.0 * side), (24, 22, 22)),
        ]
    return [("cortex", bones, 0.0), ("marrow", bones, -2.0)]


def _branches(thorax: Thorax, shares: Floats, grid: Grid, generator: np.random.Generator) -> None:
    """Paint the lungs' vessels (share 1) and airways (share below 0) into a field of zeros."""
    low, high = (thorax.base - 30, -100.0, -145.0), (thorax.top, 100.0, 145.0)
    points = generator.uniform(low, high, (16 * TWIGS, 3))
    wall, border, ends = thorax.lung_depth(points)
    inner = points[(wall > 3) & (border > 2) & (ends > 4)]
    for side, hilum in zip((-1, 1), thorax.hila, strict=True):
        cloud = inner[np.sign(inner[:, 2]) == side]
        arteries = grow_tree(hilum, cloud[:TWIGS], 0.62, generator)
        root = (hilum[0] - 20, hilum[1] + 3, hilum[2])
        veins = grow_tree(root, cloud[TWIGS : 2 * TWIGS - 100], 0.6, generator)
        airways = beside(arteries, (0.35, 0.75, 0.35 * side), 0.68, 0.9)
        paint_branches(shares, grid, np.concatenate([veins, arteries]), 0.97)
        walls = airways.copy()
        walls[:, 6:] = 1.06 * walls[:, 6:] + 0.45
        paint_branches(shares, grid, walls, 0.7)
        paint_branches(shares, grid, airways, -0.14, ground=0.97)


def _thorax(
    modality: str,
    seed: int,
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    tumor: str | None,
    noise: float,
) -> Phantom:
    if tumor is not None and tumor not in LOCATIONS:
        places = ", ".join(LOCATIONS)
        raise InputError(f"A phantom's tumor cannot be at {tumor!r}; give one of {places}, or none.")
    grid, is_ct = checked_grid(size, spacing, noise), modality == "CT"
    generator = np.random.default_rng([seed, 1 if is_ct else 2])
    patient = Patient(generator)
    palette = computed_tomography(0.0 if tumor == "mediastinum" else patient.contrast) if is_ct else MR_T2
    thorax = Thorax(patient)
    lesion = draw_tumor(thorax, grid, tumor, generator) if tumor else None
    values = np.zeros(grid.shape, dtype=np.float32)
    _branches(thorax, values, grid, generator)
    painter = ThoraxPainter(thorax, grid, palette, generator)
    heights = [float(z) for z in grid.axes[0]]
    for index, z in enumerate(heights):
        values[index] = painter.slice(z, values[index])
    for organ in thorax.organs:
        paint_union(values, grid, organ.solids, palette[organ.tissue], organ.grow, organ.soft, organ.blend)
    for tissue, solids, grow in _shoulder_bones(thorax):
        paint_union(values, grid, solids, palette[tissue], grow)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    if lesion:
        paint_tumor(values, mask, lesion, thorax, grid, palette)
    image: NDArray[np.generic]
    if is_ct:
        streaks = [float(step((z - thorax.base) / patient.height, 0.84, 1.0)) for z in heights]
        image = ct_image(values, grid, noise, streaks, generator)
    else:
        image = magnitude_image(values, grid, noise, generator)
    kind = "CT in HU" if is_ct else "T2-like MR"
    where = f"with a tumor ({tumor})" if tumor else "without a tumor"
    return Phantom(
        image=as_volume(image, grid, modality, f"thorax phantom {modality} {seed}"),
        mask=mask,
        description=f"Procedural thorax phantom, {kind}, {where}, seed {seed}. For demonstrations and tests only.",
    )


def thorax_ct(
    seed: int = 0,
    size: tuple[int, int, int] = (96, 256, 256),
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    tumor: str | None = "lung",
    noise: float = 16.0,
) -> Phantom:
    """A CT of a procedural thorax, in HU (int16). For demonstrations and tests.

    Args:
        seed: the patient; the same seed gives the same voxels.
        size: voxels (z, y, x); a field smaller than the body shows its middle.
        spacing: mm (z, y, x); the anatomy keeps its size in mm.
        tumor: "lung", "chest-wall", "mediastinum" (little contrast, no contrast agent) or None.
        noise: standard deviation of the noise in soft tissue, HU.

    Raises:
        InputError: size, spacing, tumor or noise makes no image.
    """
    return _thorax("CT", seed, size, spacing, tumor, noise)


def thorax_mr(
    seed: int = 0,
    size: tuple[int, int, int] = (96, 256, 256),
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    tumor: str | None = "lung",
    noise: float = 18.0,
) -> Phantom:
    """A T2-like MR of a procedural thorax, arbitrary units (uint16). Arguments and errors are those of ``thorax_ct``.

    Its patient is another one than ``thorax_ct``'s of the same seed: the two are unpaired. ``noise`` is the standard
    deviation of either channel's; muscle is at 175, fat at 640.
    """
    return _thorax("MR", seed, size, spacing, tumor, noise)
