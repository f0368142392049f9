"""The abdomen phantom: four organs in two MR contrasts. For demonstrations and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..base.errors import InputError
from ..io.volume import triple
from .acquisition import magnitude_image
from .phantom_case import Phantom, as_volume, checked_grid
from .shapes import Cone, Ellipsoid, Floats, Grid, Point, Solid, Window, cover, mix, tube, union_distance
from .slice_painter import ANGLES, DEGREES, FROM_SPINE, SlicePainter, bump, direction
from .tissues import ABDOMEN, Palette

ORGANS = {1: "Liver", 2: "Spleen", 3: "Left kidney", 4: "Right kidney"}
"""Name of every label."""


class Abdomen:
    """One patient's abdomen; (z, y, x) in mm, z = 0 at the upper pole of the kidneys about."""

    def __init__(self, generator: np.random.Generator) -> None:
        draw = generator.uniform
        self.wide, self.deep = float(draw(0.92, 1.08)), float(draw(0.92, 1.08))
        self.generator = generator
        radians = np.deg2rad(DEGREES)
        half, front, back = 128 * self.wide, 82 * self.deep, 80 * self.deep
        across = np.abs(np.cos(radians) / half) ** 2.4
        along = np.abs(np.sin(radians) / np.where(np.sin(radians) < 0, front, back)) ** 2.4
        inner = (across + along) ** (-1 / 2.4)
        for order in (2, 3, 4):
            inner = inner * (1 + 0.012 * draw(-1, 1) * np.cos(order * radians + draw(0, 6)))
        erector = bump(70, 15) + bump(110, 15)
        flank = bump(20, 25) + bump(160, 25)
        fat = float(draw(8, 26))
        muscle = inner + 11 + 17 * erector + 12 * bump(90, 22) + 5 * flank - 3 * bump(270, 12)
        rest = (muscle[ANGLES // 4] + 10) / np.maximum(np.sin(radians), 0.25)
        skin = muscle + fat * (0.7 + 0.5 * bump(270, 50) + 0.3 * flank)
        self.inner, self.muscle = inner, muscle
        self.skin = ndimage.gaussian_filter1d(-9 * np.logaddexp(-skin / 9, -rest / 9), 24, mode="wrap")
        self.muscle = np.minimum(self.muscle, self.skin - 3)
        self.dome = float(draw(78, 100))
        self.organs = self._organs()
        self.others = self._others()

    def _ball(
        self, center: Point, radii: Point, turn: float = 0.0, tilt: float = 0.0, bumps: float = 0.05, vary: float = 1.0
    ) -> Ellipsoid:
        """An ellipsoid in this patient, which ``vary`` (0 to 1) makes differ from that of the average one."""
        draw = self.generator.uniform
        z, y, x = center
        middle = np.array([z, y * self.deep, x * self.wide]) + [vary * draw(-reach, reach) for reach in (8, 3, 4)]
        grown = radii * draw(1 - 0.1 * vary, 1 + 0.1 * vary, 3)
        turned, tilted = turn + float(draw(-0.12, 0.12)) * vary, tilt + float(draw(-0.1, 0.1)) * vary
        return Ellipsoid(
            triple(map(float, middle)), triple(map(float, grown)), turned, tilted, bumps, phase=float(draw(0, 6))
        )

    def _organs(self) -> dict[int, list[Solid]]:
        """The labeled organs' solids."""
        ball = self._ball
        return {
            1: [
                ball((30, -2, -76), (78, 66, 58)),
                ball((42, -34, -20), (46, 34, 58), tilt=-0.25),
                ball((-24, 8, -92), (52, 46, 32), tilt=-0.1),
            ],
            2: [ball((34, 42, 90), (50, 40, 25), turn=0.5, tilt=0.25, bumps=0.08)],
            3: [ball((-28, 44, 58), (54, 24, 27), turn=0.45, tilt=0.2, bumps=0.06)],
            4: [ball((-42, 46, -60), (54, 24, 27), turn=-0.45, tilt=-0.2, bumps=0.06)],
        }

    def _others(self) -> list[tuple[str, list[Solid]]]:
        """Unlabeled organs in painting order, before the labeled ones: (tissue, solids)."""
        ball, draw = self._ball, self.generator.uniform
        loops: list[tuple[str, list[Solid]]] = []
        for number in range(30):
            points = [draw((-150, -66, -95), (-10, 10, 95))]
            for _ in range(3):
                points.append(points[-1] + draw(-26, 26, 3) * (0.6, 0.7, 1.3))
            path, radius = [triple(map(float, point)) for point in points], float(draw(8, 15))
            loops.append(("bowel wall", tube(path, [radius] * 4)))
            loops.append(("bowel" if number % 5 else "gas", tube(path, [radius - 3.0] * 4)))
        psoas: list[Solid] = [Cone((30, 52, 20.0 * s), (-160, 40, 46.0 * s), 7, 19) for s in (-1, 1)]
        return [
            *loops,
            ("bowel wall", [ball((34, -22, 56), (48, 36, 40), turn=0.5)]),
            ("fluid", [ball((32, -18, 56), (42, 30, 34), turn=0.5, vary=0.3)]),
            ("gas", [ball((42, -44, 54), (26, 12, 24), vary=0.3)]),
            ("pancreas", tube([(-14, 2, -24), (2, -4, 8), (14, 14, 46), (22, 26, 68)], [13, 9, 10, 7])),
            ("muscle", psoas),
            ("vessel", tube([(160, 34, 6), (0, 33, 5), (-90, 36, 2), (-180, 38, 2)], [11, 10, 9, 8])),
            ("vessel", tube([(160, 6, -22), (60, 16, -22), (0, 28, -20), (-180, 36, -16)], [13, 12, 11, 10])),
        ]

    def within(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Distance (mm) out of the peritoneal cavity, or above the diaphragm; negative inside."""
        wall = np.hypot(y, x) - np.take(self.inner.astype(np.float32), direction(y, x))
        return np.maximum(wall + 3, self.above(z, y, x)).astype(np.float32, copy=False)

    def above(self, z: Floats | np.float32, y: Floats, x: Floats) -> Floats:
        """Height (mm) above the diaphragm."""
        right = ((x + 66 * self.wide) / 78) ** 2 + (y / 88) ** 2
        left = ((x - 70 * self.wide) / 76) ** 2 + (y / 88) ** 2 + 0.12
        return (z - np.float32(self.dome) + np.float32(52) * np.minimum(np.minimum(right, left), 3)).astype(np.float32)


class AbdomenPainter(SlicePainter):
    """Paints an abdomen and its labels onto a grid."""

    def __init__(self, body: Abdomen, grid: Grid, palette: Palette, generator: np.random.Generator) -> None:
        super().__init__(grid, palette, generator, mottle=14.0)
        self.body = body

    def walls(self, z: float) -> Floats:
        """One slice's skin, fat, muscles, spine, and the lungs' bases over the diaphragm."""
        body, p, soft = self.body, self.palette, self.soft
        values = np.full(self.radius.shape, p["air"], dtype=np.float32)
        grain, mottle = self.grain.at(z), self.mottle.at(z)
        beyond = self.radius - self.at(body.skin)
        mix(values, p["skin"], cover(beyond, soft))
        fat = p["fat"] * (1 + np.float32(0.04) * mottle)
        mix(values, fat, cover(beyond + 1.8, soft))
        flesh = p["muscle"] * (1 + np.float32(0.06) * grain)
        mix(flesh, fat, np.clip((grain * 0.7 + mottle * 0.6 - 1.1) * 0.9, 0, 0.5))
        mix(values, flesh, cover(self.radius - self.at(body.muscle), soft))
        inward = self.radius - self.at(body.inner)
        mix(values, p["fat"] * (1 + np.float32(0.07) * grain), cover(inward, soft))
        high = body.above(np.float32(z), self.y, self.x)
        base = cover(np.maximum(inward + 2, -high), soft + np.float32(0.5 * min(self.grid.spacing[0], 5)))
        mix(values, p["lung"], base)
        self._mediastinum(values, z, base)
        self._ribs(values, z, inward)
        self._spine(values, z)
        return values

    def _mediastinum(self, values: Floats, z: float, base: Floats) -> None:
        """The heart in its fat, and what runs before the spine, between the lungs' bases."""
        heart = Ellipsoid((self.body.dome + 32, -26.0, 20.0), (52, 42, 54), turn=0.4, bumps=0.04)
        column = Ellipsoid((z, 52 * self.body.deep, 2.0), (50, 34, 30))
        height, soft = np.float32(z), 2 * self.soft
        outline, spine = (solid.distance(height, self.y, self.x) for solid in (heart, column))
        link = Ellipsoid((z, -8.0, 4.0), (50, 78, 34)).distance(height, self.y, self.x)
        mix(values, self.palette["fat"], base * cover(np.minimum(np.minimum(outline - 4, spine), link), soft))
        mix(values, self.palette["muscle"], base * cover(outline, soft))
        mix(values, self.palette["vessel"], base * cover(outline + 13, 2 * soft))

    def _ribs(self, values: Floats, z: float, inward: Floats) -> None:
        phase = (z + 0.75 * FROM_SPINE) / 25
        half = 4.0 * np.sqrt(np.clip(1 - ((phase - np.rint(phase)) * 25 / 6.5) ** 2, 0, 1))
        # The costal arch: in front the cage ends higher up.
        half = half * (z - 0.7 * FROM_SPINE > -95) * (FROM_SPINE > 14) * (FROM_SPINE < 150)
        self.plate(values, np.abs(inward - 6), half, 1.4, (self.palette["cortex"], self.palette["marrow"]))

    def _spine(self, values: Floats, z: float) -> None:
        p, soft = self.palette, self.soft
        y, x = self.y - np.float32(62 * self.body.deep), self.x
        phase = abs((z % 33) - 16.5)
        vertebra = (np.sqrt((x / 23) ** 2 + (y / 17) ** 2) - 1) * 19
        canal = np.hypot(1.1 * (y - 26), x) - 9
        process = np.maximum(np.abs(x) - 3, np.abs(y - 44) - 9)
        wing = np.maximum(np.abs(np.abs(x) - 22) - 13, np.abs(y - 24 - 0.2 * np.abs(x)) - 3.5)
        bone = np.minimum(vertebra, np.maximum(np.abs(canal - 2.5) - 2.5, 12 - y))
        if phase < 9:
            bone = np.minimum(np.minimum(bone, process), wing)
        mix(values, p["cortex"], cover(bone, soft))
        mix(values, p["disc"] if phase > 13 else p["marrow"], cover(bone + 1.5, soft))
        mix(values, p["canal"], cover(canal + 0.5, soft))
        mix(values, p["nerve"], cover(np.hypot(y - 26, x) - 4.5, soft))

    def solids(self, values: Floats, solids: Sequence[Solid], tissue: str) -> None:
        """Paint solids, as far as they lie in the cavity."""
        window = self.grid.around(solids, 2 * self.soft)
        if window is not None:
            distance = union_distance(solids, self.grid, window)
            distance = np.maximum(distance, self.body.within(*self.grid.open(window)) + 1.0)
            mix(values[window], self.palette[tissue], cover(distance, self.soft))

    def organ(self, values: Floats, mask: NDArray[np.uint8], label: int) -> None:
        """Paint a labeled organ with its inside, and its label where no other is."""
        body, p, soft = self.body, self.palette, self.soft
        solids = body.organs[label]
        window = self.grid.around(solids, 2 * soft)
        if window is None:
            return
        coordinates = self.grid.open(window)
        distance = np.maximum(union_distance(solids, self.grid, window), body.within(*coordinates) + 2)
        taken = mask[window] > 0
        distance[taken] = np.maximum(distance[taken], 1.0)
        view = values[window]
        if label >= 3 and isinstance(organ := solids[0], Ellipsoid):
            center, radii = organ.center, organ.radii
            side = np.sign(center[2])
            sinus = Ellipsoid((center[0], center[1] - 5, center[2] - side * 17), (0.4 * radii[0], 7, 14)).distance(
                *coordinates
            )
            np.maximum(distance, -sinus, out=distance)
            mix(view, p["kidney"], cover(distance, soft))
            # Pyramids: spots a cortex's width under the surface.
            spots = np.sin(coordinates[0] / 5.5) * np.sin(coordinates[1] / 4.6 + coordinates[2] / 5.3)
            mix(view, p["pyramid"], 0.8 * cover(distance + 8, 3.0) * np.clip(1.6 * spots, 0, 1))
        else:
            mix(view, p["liver" if label == 1 else "spleen"], cover(distance, soft))
            if label == 1:
                mix(view, p["vessel"], cover(_liver_veins(body, self.grid, window), 1.5 * soft) * (distance < -3))
                bladder = Ellipsoid((-24.0, -38 * body.deep, -48 * body.wide), (24, 13, 13)).distance(*coordinates)
                mix(view, p["fluid"], cover(bladder, soft))
                np.maximum(distance, -bladder, out=distance)
        mask[window][distance < 0] = label


def _liver_veins(body: Abdomen, grid: Grid, window: Window) -> Floats:
    """Signed distance (mm) of the hepatic veins and the portal vein's branches."""
    paths: list[tuple[list[Point], list[float]]] = [
        ([(62, 10, -24), (50, 6, -56), (28, 4, -100)], [6, 4.5, 2]),
        ([(62, 8, -24), (48, -20, -50), (30, -44, -74)], [5.5, 4, 2]),
        ([(62, 4, -20), (54, -22, -10), (44, -40, 14)], [5, 3.5, 1.5]),
        ([(2, 4, -24), (16, 4, -48), (10, 12, -92)], [7, 5, 2]),
        ([(16, 4, -48), (30, -26, -40), (38, -40, -2)], [5, 4, 2]),
    ]
    scaled = [([(z, y * body.deep, x * body.wide) for z, y, x in path], radii) for path, radii in paths]
    return union_distance([cone for path, radii in scaled for cone in tube(path, radii)], grid, window)


def abdomen(
    contrast: str = "T1",
    seed: int = 0,
    size: tuple[int, int, int] = (48, 256, 256),
    spacing: tuple[float, float, float] = (5.0, 1.5, 1.5),
    noise: float = 16.0,
) -> Phantom:
    """An MR of a procedural abdomen, arbitrary units (uint16), with four labeled organs.

    The seed is the patient, whatever the contrast: for unpaired sets give the two contrasts different seeds.

    Args:
        contrast: "T1" (in phase) or "T2" (fat suppressed, as SPIR).
        seed: the patient; the same seed gives the same voxels.
        size: voxels (z, y, x); a field smaller than the body shows its middle.
        spacing: mm (z, y, x); the anatomy keeps its size in mm.
        noise: standard deviation of either channel's noise; the spleen is at 300 (T1) or 430 (T2).

    Raises:
        InputError: contrast, size, spacing or noise makes no image.
    """
    if contrast not in ABDOMEN:
        raise InputError(f"An abdomen phantom's contrast cannot be {contrast!r}; give one of {', '.join(ABDOMEN)}.")
    grid = checked_grid(size, spacing, noise, center=(5.0, 8.0, 0.0))
    body = Abdomen(np.random.default_rng([seed, 3]))
    generator = np.random.default_rng([seed, 4, list(ABDOMEN).index(contrast)])
    painter = AbdomenPainter(body, grid, ABDOMEN[contrast], generator)
    values = np.empty(grid.shape, dtype=np.float32)
    for index, z in enumerate(grid.axes[0]):
        values[index] = painter.walls(float(z))
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for tissue, solids in body.others:
        painter.solids(values, solids, tissue)
    # The kidneys and the spleen dent the liver.
    for label in (2, 3, 4, 1):
        painter.organ(values, mask, label)
    image = magnitude_image(values, grid, noise, generator)
    name = {"T1": "T1-like in-phase MR", "T2": "T2-like fat-suppressed MR"}[contrast]
    return Phantom(
        image=as_volume(image, grid, "MR", f"abdomen phantom {contrast} {seed}"),
        mask=mask,
        description=f"Procedural abdomen phantom, {name}, seed {seed}. For demonstrations and tests only.",
        labels=dict(ORGANS),
    )
