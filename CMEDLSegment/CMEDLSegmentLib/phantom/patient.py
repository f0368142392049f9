"""One patient's thorax as numbers: walls, bones, mediastinal organs and the surfaces that bound the lungs.

The walls are star-shaped in every axial plane: a table holds their radius (mm) per height and angle. The lungs
are what lies within the chest wall, outside the mediastinum, above the diaphragm and below the apex. All sizes
are those of adults (mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .shapes import Doubles, Ellipsoid, Floats, Grid, Point, Solid, distance_near, tube
from .slice_painter import ANGLES, DEGREES, FROM_SPINE, bump, step

ROW = 4.0
"""Distance (mm) between the heights that tables are kept for."""
ARCH = ((-52, -8, 3), (-36, -18, -8), (-10, -22, -14), (14, -18, -11), (30, -4, 0), (34, 14, 14))
DESCENDING = ((26, 30, 23), (8, 39, 25), (-40, 43, 23), (-90, 42, 16), (-140, 38, 7), (-330, 28, 2))
TUBES = (
    (
        "oesophagus",
        "muscle",
        (6, 6.5, 7, 7, 7.5, 8),
        ((120, 16, 6), (40, 26, 5), (0, 33, 7), (-60, 38, 9), (-100, 30, 14), (-128, 14, 22)),
    ),
    ("oesophageal air", "gas", (1, 2, 0.6), ((70, 22, 5.5), (40, 26, 5), (20, 29, 6))),
    ("azygos", "blood right", (3, 4, 4, 3), ((26, 12, -14), (16, 36, -10), (-20, 44, -6), (-120, 40, -5))),
    ("superior cava", "blood right", (8, 9.5, 9.5), ((62, -10, -20), (10, -12, -25), (-50, -18, -27))),
    ("left brachiocephalic vein", "blood right", (6.5, 6.5, 7), ((72, -22, 36), (54, -26, 8), (42, -14, -20))),
    (
        "inferior cava",
        "blood right",
        (12, 12, 11, 10),
        ((-96, 0, -22), (-120, 12, -22), (-200, 16, -20), (-330, 26, -16)),
    ),
    ("right veins", "blood left", (6, 5.5, 4.5), ((-54, 16, -24), (-50, 17, -40), (-52, 20, -56))),
    ("left veins", "blood left", (6, 5.5, 4.5), ((-50, 20, 30), (-46, 22, 42), (-50, 26, 56))),
    ("upper veins", "blood left", (5.5, 5, 4), ((-50, 10, -24), (-34, 0, -38), (-14, -4, -52))),
    ("upper left vein", "blood left", (5.5, 5, 4), ((-44, 10, 30), (-26, 0, 42), (-8, -6, 54))),
    (
        "pulmonary trunk",
        "blood right",
        (14, 13, 11.5, 8),
        ((-34, -32, 15), (-20, -18, 19), (-10, 4, 32), (-18, 22, 46)),
    ),
    (
        "right pulmonary artery",
        "blood right",
        (12, 11, 10, 7),
        ((-24, -16, 14), (-22, -1, -6), (-24, 8, -28), (-32, 16, -46)),
    ),
    # The hilar arteries go on beside the lower and upper bronchi, where the trees take over.
    (
        "right interlobar",
        "blood right",
        (7, 6.5, 5, 3),
        ((-32, 16, -46), (-44, 24, -53), (-60, 32, -56), (-78, 42, -60)),
    ),
    ("left interlobar", "blood right", (8, 7, 5.5, 3), ((-18, 22, 46), (-30, 32, 56), (-50, 42, 62), (-72, 52, 66))),
    ("right upper artery", "blood right", (7, 5, 2.5), ((-24, 6, -26), (-12, 6, -42), (6, 4, -56))),
    ("left upper artery", "blood right", (7, 5, 2.5), ((-13, 12, 38), (-2, 8, 50), (14, 2, 62))),
    ("aorta", "blood left", (14.5, 15, 15, 14.5, 13.5, 12.5, 12, 11.5, 11, 10.5, 10, 8.5), (*ARCH, *DESCENDING)),
    ("brachiocephalic artery", "blood left", (6.5, 6, 5), ((30, -8, -4), (58, -6, -14), (110, 0, -26))),
    ("left carotid", "blood left", (4.5, 4, 3.5), ((33, 4, 8), (60, -2, 12), (130, -4, 24))),
    ("left subclavian", "blood left", (5.5, 5.5, 5), ((33, 14, 15), (64, 10, 22), (100, 8, 46))),
)
"""Of each organ that is a tube: name, tissue, radii and the points that have them, in mm of the average patient: height
above the carina, y and x. The later ones cover the earlier ones."""
AIRWAYS = (
    ((8.6, 8.6, 8.4, 8.8, 8.2), ((120, -6, 0), (60, 2, 0), (30, 10, -1), (6, 18, -2), (-2, 20, -2))),
    ((7, 6.6, 5.8, 4.8, 3.2), ((-2, 20, -4), (-10, 21, -15), (-22, 23, -27), (-38, 27, -36), (-58, 36, -42))),
    ((7, 6, 5.2, 4.2, 3), ((-2, 20, 0), (-12, 24, 18), (-24, 29, 38), (-38, 34, 46), (-58, 42, 52))),
    ((4.2, 3.8, 2.6), ((-10, 21, -15), (-8, 20, -30), (-2, 18, -46))),
    ((4.2, 3.6, 2.4), ((-22, 28, 36), (-20, 18, 48), (-10, 8, 58))),
)
"""Radii and points, as in ``TUBES``, of the trachea, the main and the upper bronchi of either side."""
NODES = ((40, 8, -10), (24, 4, -16), (4, -6, 16), (20, -2, 6), (-30, 26, -2), (-6, 12, -4), (8, 2, -12))
"""Points of the lymph nodes."""
HILAR = {"right veins", "left veins", "upper veins", "upper left vein", "right interlobar", "left interlobar"}
HILAR |= {"right upper artery", "left upper artery", "airway wall", "airways"}
"""Organs that leave the mediastinum at the lungs' hila, and do not bound the lungs."""


@dataclass(frozen=True)
class Organ:
    """Touching solids of one tissue; ``soft`` blurs its edge (mm), as motion does. Later organs cover earlier ones."""

    name: str
    tissue: str
    solids: list[Solid]
    soft: float = 0.0
    grow: float = 0.0
    blend: float = 0.0


class Patient:
    """The sizes of one patient, drawn from a generator: lengths in mm, and factors of the average person's."""

    def __init__(self, generator: np.random.Generator) -> None:
        draw = generator.uniform
        female = generator.random() < 0.45
        self.height = float(draw(215, 255) - 12 * female)  # of the lungs
        self.wide = float(draw(0.94, 1.06) - 0.04 * female)
        self.deep = float(draw(0.93, 1.08))
        self.fat = float(draw(7, 20) + 3 * female)
        self.muscle = float(draw(0.85, 1.2) - 0.12 * female)
        self.breast = float(draw(14, 30) if female else draw(0, 4))
        self.pitch = float(draw(23, 26.5))  # of a vertebra with its disc
        self.heart = float(draw(0.92, 1.1))
        # Opacity of the blood, 0 (none) to 1.
        self.contrast = float(draw(0.35, 1.0) if generator.random() < 0.6 else 0.0)
        # Amplitudes and phases of the wall's undulation.
        self.wobble: Doubles = draw(-1, 1, (4, 2))


class Thorax:
    """Surfaces and organs of a patient; coordinates (z, y, x) in mm, z = 0 at the middle of the lungs' height."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.base, self.top = -patient.height / 2, patient.height / 2
        self.carina = self.base + 0.61 * patient.height
        # Heights (mm) of the tables' rows.
        self.rows: NDArray[np.floating] = np.arange(self.base - 260, self.top + 200, ROW)
        self.hila: tuple[Point, Point] = (
            (self.carina - 24, 18 * patient.deep, -42 * patient.wide),
            (self.carina - 18, 24 * patient.deep, 44 * patient.wide),
        )
        self._walls()
        self.organs = self._organs()
        self._borders()

    def _walls(self) -> None:
        """Tables (row, angle) of the cavity, the muscles' outer side and the skin: radius in mm."""
        patient = self.patient
        radians = np.deg2rad(DEGREES)
        cosine, sine = np.cos(radians), np.sin(radians)
        share = (self.rows - self.base) / patient.height
        knots = [-1.0, -0.4, 0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15]
        half = np.interp(share, knots, [128, 134, 137, 136, 131, 121, 102, 66, 50]) * patient.wide
        front = np.interp(share, knots, [84, 88, 88, 86, 80, 69, 54, 36, 30]) * patient.deep
        back = np.interp(share, knots, [84, 86, 88, 91, 93, 90, 80, 62, 54]) * patient.deep
        half, front, back = (ndimage.gaussian_filter1d(v, 18 / ROW) for v in (half, front, back))
        power = 2.35
        across = (np.abs(cosine)[None] / half[:, None]) ** power
        along = (np.abs(sine)[None] / np.where(sine < 0, front[:, None], back[:, None])) ** power
        cavity = (across + along) ** (-1 / power)
        # The gutters beside the spine, and the sternum's flat front.
        gutters = bump(58, 14) + bump(122, 14)
        cavity = cavity * (1 + 0.06 * gutters - 0.05 * bump(270, 16) - 0.04 * bump(90, 12))
        for order, (size, phase) in enumerate(patient.wobble, start=2):
            cavity = cavity * (1 + 0.010 * size * np.cos(order * radians + np.pi * phase))
        self.cavity = cavity

        upper = step(share, 0.42, 0.75)[:, None]
        scapular = bump(40, 24) + bump(140, 24)
        pectoral = bump(305, 20) + bump(235, 20)
        erector = bump(76, 11) + bump(104, 11)
        side = bump(0, 26) + bump(180, 26)
        muscle = 7 + 12 * side * step(share, 0.05, 0.5)[:, None] + 21 * erector
        muscle = muscle + upper * (30 * scapular + 15 * pectoral)
        muscle = muscle + 26 * (bump(350, 22) + bump(190, 22)) * step(share, 0.66, 0.98)[:, None]
        self.muscle = cavity + 11 + muscle * patient.muscle

        below = 1 + 0.5 * step(-share, -0.3, 0.5)[:, None]
        layer = 0.75 + 0.5 * bump(270, 45) + 0.35 * side - 0.35 * bump(90, 22)
        fat = patient.fat * layer * below
        breasts = bump(304, 17) + bump(236, 17)
        lift = np.exp(-0.5 * ((share - 0.42) / 0.13) ** 2)[:, None]
        skin = self.muscle + fat + patient.breast * breasts * lift
        # The shoulders, then the neck.
        shoulders = np.exp(-0.5 * ((share - 1.02) / 0.11) ** 2)[:, None]
        deltoid = shoulders * 62 * (bump(2, 26) + bump(178, 26))
        skin = skin + deltoid
        self.muscle = self.muscle + 0.93 * deltoid
        # Lying on the couch flattens the back.
        rest = (skin[:, ANGLES // 4, None] - 1.0) / np.maximum(sine, 0.2)[None]
        skin = -9 * np.logaddexp(-skin / 9, -rest / 9)
        # Above the shoulders the body narrows to the neck.
        neck = step(share, 1.1, 1.36)[:, None]
        skin = skin * (1 - neck) + neck * (66 + 22 * np.abs(sine))
        self.muscle = np.minimum(self.muscle, skin - 3)
        # The outside is smooth where the muscles below it are not.
        self.skin = ndimage.gaussian_filter(skin, (12 / ROW, 30), mode=("nearest", "wrap"))
        self.muscle = np.minimum(
            ndimage.gaussian_filter(self.muscle, (8 / ROW, 8), mode=("nearest", "wrap")), self.skin - 3
        )
        # How far a rib has come down at some angles from the spine.
        drop = np.interp(FROM_SPINE, [0, 20, 60, 100, 140, 160, 180], [0, 8, 44, 78, 104, 98, 84])
        self.rib_drop = ndimage.gaussian_filter1d(drop, 20, mode="wrap")

    def wall(self, table: Doubles, z: float) -> Doubles:
        """The row of a table at a height, linearly interpolated: radius (mm) per angle."""
        at = float(np.clip((z - self.rows[0]) / ROW, 0, len(self.rows) - 1.001))
        low = int(at)
        return table[low] * (1 - (at - low)) + table[low + 1] * (at - low)

    def spine(self, z: float) -> tuple[float, float]:
        """Center (y, x) of the vertebral bodies at a height, mm: a kyphosis and a slight scoliosis."""
        part = (z - self.carina) / 150
        return float((64 - 9 * part * part) * self.patient.deep), float(3 * self.patient.wobble[0, 0] * part)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        """Points given as (mm above the carina, y, x) of the average patient, in this patient."""
        wide, deep = self.patient.wide, self.patient.deep
        return [(self.carina + z * self.patient.height / 240, y * deep, x * wide) for z, y, x in points]

    def _tube(self, radii: Sequence[float], points: Sequence[Point]) -> list[Solid]:
        return [*tube(self._place(points), radii)]

    def _ellipsoid(
        self, center: Point, radii: Point, turn: float = 0.0, tilt: float = 0.0, bumps: float = 0.0
    ) -> Ellipsoid:
        z, y, x = (self.patient.heart * radius for radius in radii)
        phase = float(3 * self.patient.wobble[1, 1])
        return Ellipsoid(self._place([center])[0], (z, y, x), turn, tilt, bumps, phase)

    def _organs(self) -> list[Organ]:
        """Mediastinal organs, the later over the earlier."""
        ball = self._ellipsoid
        lv_wall = ball((-82, -14, 42), (40, 34, 36), turn=-0.5, tilt=0.35, bumps=0.04)
        lv = ball((-80, -12, 41), (28, 21, 23), turn=-0.5, tilt=0.35, bumps=0.06)
        rv = ball((-84, -40, 12), (36, 25, 38), turn=0.35, tilt=0.2, bumps=0.06)
        outflow = self._tube([17, 15, 14], ((-70, -42, 16), (-50, -40, 16), (-34, -32, 15)))
        ra = ball((-70, -22, -28), (34, 27, 22), bumps=0.06)
        la = ball((-56, 14, 4), (24, 17, 33), bumps=0.05)
        pericardium = [*outflow, lv_wall, rv, ra, la]
        heart = [
            Organ("pericardium", "muscle", pericardium, grow=2.4, blend=15.0),
            Organ("pericardial fat", "fat", pericardium, grow=1.5, blend=15.0),
            Organ("heart muscle", "heart", [lv_wall, rv, ra, la]),
            Organ("right ventricle", "blood right", [ball((-84, -41, 12), (32, 21, 34), 0.35, 0.2)], 2.0),
            Organ("right atrium", "blood right", [ball((-70, -22, -28), (32, 25, 20))], 1.5),
            Organ("left atrium", "blood left", [ball((-56, 14, 4), (22, 15, 31))], 1.5),
            Organ("left ventricle", "blood left", [lv], 2.5),
        ]
        sizes = np.random.default_rng(int(abs(self.patient.wobble[2, 0]) * 1e6)).uniform(2.0, 4.2, len(NODES))[::-1]
        nodes = [
            Organ("lymph node", "node", [ball(center, (1.4 * float(r), float(r), 1.2 * float(r)))])
            for center, r in zip(NODES, sizes, strict=True)
        ]
        tubes = [
            Organ(name, tissue, (outflow if name == "pulmonary trunk" else []) + self._tube(radii, points))
            for name, tissue, radii, points in TUBES
        ]
        walls = [solid for radii, points in AIRWAYS for solid in self._tube([r + 1.3 for r in radii], points)]
        lumen = [solid for radii, points in AIRWAYS for solid in self._tube(radii, points)]
        airways = [Organ("airway wall", "airway wall", walls), Organ("airways", "gas", lumen)]
        return [*heart, *nodes, *tubes, *airways]

    def _borders(self) -> None:
        """Tables (row, y) of the lungs' mediastinal borders: x (mm) of the right and of the left one."""
        self.columns = np.arange(-130.0, 131.0, 2.0)
        inside = (self.rows > self.base - 20) & (self.rows < self.top + 20)
        rows = self.rows[inside]
        grid = Grid((len(rows), 131, 121), (ROW, 2.0, 2.0), (float(rows.mean()), 0.0, 0.0))
        nearest = np.full(grid.shape, 1e3, dtype=np.float32)
        for organ in self.organs:
            margin = 4 + organ.grow
            window = grid.around(organ.solids, margin)
            if window is not None and organ.name not in HILAR:
                view = nearest[window]
                np.minimum(view, distance_near(organ.solids, grid, window, margin) - organ.grow, out=view)
        occupied = nearest < 2.5
        x = grid.axes[2]
        any_here = occupied.any(axis=2)
        right = np.where(any_here, x[occupied.argmax(axis=2)], 0.0)
        left = np.where(any_here, x[120 - occupied[:, :, ::-1].argmax(axis=2)], 0.0)
        y = self.columns
        for row, z in enumerate(rows):
            center, shift = self.spine(float(z))
            # Behind, the vertebrae; in front, the two lungs come close but for the thymus' fat.
            half = 21 * np.sqrt(np.clip(1 - ((y - center) / 20) ** 2, 0, 1)) + 3 * step(y, center, center + 26)
            right[row] = np.minimum(right[row], shift - half)
            left[row] = np.maximum(left[row], shift + half)
            gap = 3 + 14 * step(-y, 45.0, 90.0)
            right[row], left[row] = np.minimum(right[row], 2 - gap), np.maximum(left[row], 2 + gap)
        right = ndimage.gaussian_filter(right, (4 / ROW, 2.2), mode="nearest")
        left = ndimage.gaussian_filter(left, (4 / ROW, 2.2), mode="nearest")
        whole = (len(self.rows), len(self.columns))
        self.border_right, self.border_left = np.full(whole, -12.0), np.full(whole, 12.0)
        self.border_right[inside], self.border_left[inside] = right, left

    def borders(self, z: float, y: Floats) -> tuple[Floats, Floats]:
        """The mediastinal borders' x (right lung's, left lung's; mm) at a height for each of some y (mm)."""
        right = np.interp(y, self.columns, self.wall(self.border_right, z))
        left = np.interp(y, self.columns, self.wall(self.border_left, z))
        return right.astype(np.float32), left.astype(np.float32)

    def diaphragm(self, y: Floats, x: Floats, share: Floats) -> Floats:
        """Height z (mm) of the diaphragm at (y, x) where the wall is at ``share`` 1 and the center line at 0."""
        wide, deep = self.patient.wide, self.patient.deep
        right = 66 * np.exp(-0.5 * (((x + 66 * wide) / 62) ** 2 + ((y + 8 * deep) / 66) ** 2))
        left = 54 * np.exp(-0.5 * (((x - 72 * wide) / 58) ** 2 + ((y + 4 * deep) / 64) ** 2))
        dome = np.maximum(right, left) + 0.12 * np.minimum(right, left)
        rim = np.clip(1 - share**4, 0, 1)
        wave = 1.5 * np.sin(x / 17 + 4 * self.patient.wobble[3, 0]) * np.cos(y / 21)
        return (self.base - 8 - 0.22 * y + (dome + 10 + wave) * rim).astype(np.float32)

    def apex(self, y: Floats, x: Floats) -> Floats:
        """Height z (mm) of the lungs' apex at (y, x)."""
        bow = np.where(y < 12, 0.013, 0.007)
        return (self.top - 0.011 * (np.abs(x) - 42) ** 2 - bow * (y - 12) ** 2).astype(np.float32)

    def lung_depth(self, points: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Distances (mm) of points (n, 3; z, y, x) inward from the chest wall, the mediastinum and the ends.

        All three are positive inside a lung.
        """
        z, y, x = np.asarray(points, dtype=float).T
        row = (z - self.rows[0]) / ROW
        angle = np.rad2deg(np.arctan2(y, x)) % 360 * (ANGLES / 360)
        radius = np.hypot(y, x)
        edge = ndimage.map_coordinates(self.cavity, [row, angle], order=1, mode="nearest")
        at = [row, (y - self.columns[0]) / 2]
        right = ndimage.map_coordinates(self.border_right, at, order=1, mode="nearest")
        left = ndimage.map_coordinates(self.border_left, at, order=1, mode="nearest")
        share = (radius / edge).astype(np.float32)
        floor = self.diaphragm(y.astype(np.float32), x.astype(np.float32), share)
        ends = np.minimum(z - floor, self.apex(y, x) - z)
        return edge - radius, np.maximum(right - x, x - left), ends
