"""What every tissue looks like: CT in HU, MR in arbitrary units. One place for each number."""

from __future__ import annotations

_THORAX = {
    "air": (-1000, 0, 0),
    "gas": (-985, 0, 12),
    "lung": (-858, 0, 48),
    "fat": (-98, 0, 640),
    "skin": (5, 0, 260),
    "muscle": (54, 6, 175),
    "heart": (48, 55, 240),
    "blood right": (42, 150, 90),
    "blood left": (42, 120, 55),
    "vessel": (42, 110, 190),
    "airway wall": (10, 15, 200),
    "node": (36, 18, 380),
    "cartilage": (95, 0, 210),
    "cortex": (640, 0, 35),
    "marrow": (170, 0, 400),
    "disc": (82, 0, 330),
    "canal": (28, 0, 900),
    "liver": (58, 45, 230),
    "spleen": (48, 70, 430),
    "stomach": (22, 0, 700),
    "kidney": (32, 130, 520),
    "bowel": (30, 0, 420),
    "tumor": (36, 14, 470),
    "infiltrate": (20, 0, 260),
    "table shell": (-420, 0, 0),
    "table core": (-930, 0, 0),
}
"""HU; HU that a full dose of contrast agent adds in the early phase; signal of a T2 weighted fast spin echo without fat
suppression: flow voids, bright fat and fluid, tumor above muscle."""

_ABDOMEN = {
    "air": (0, 0),
    "gas": (12, 10),
    "lung": (25, 20),
    "fat": (640, 95),
    "skin": (330, 170),
    "muscle": (270, 125),
    "liver": (420, 185),
    "spleen": (300, 430),
    "kidney": (345, 500),
    "pyramid": (265, 640),
    "pancreas": (400, 280),
    "bowel": (220, 620),
    "bowel wall": (290, 240),
    "fluid": (140, 950),
    "vessel": (170, 55),
    "marrow": (390, 120),
    "cortex": (50, 25),
    "disc": (250, 160),
    "canal": (130, 900),
    "nerve": (290, 320),
}
"""Signal, T1 weighted in phase (fat and liver bright) and T2 weighted with fat suppression (fluid, kidney, spleen)."""

Palette = dict[str, float]
"""Value of each tissue."""

MR_T2: Palette = {tissue: signal for tissue, (_, _, signal) in _THORAX.items()}
ABDOMEN: dict[str, Palette] = {
    contrast: {tissue: signals[column] for tissue, signals in _ABDOMEN.items()}
    for column, contrast in enumerate(("T1", "T2"))
}


def computed_tomography(contrast: float) -> Palette:
    """HU of the thorax' tissues with a share (0..1) of a full dose of contrast agent."""
    return {tissue: hu + contrast * enhancement for tissue, (hu, enhancement, _) in _THORAX.items()}
