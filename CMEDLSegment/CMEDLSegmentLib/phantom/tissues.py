"""What every tissue looks like: CT in HU, T2-like MR in arbitrary units. One place for each number."""

from __future__ import annotations

CT = {
    "air": -1000.0,
    "gas": -985.0,
    "lung": -858.0,
    "fat": -98.0,
    "skin": 5.0,
    "muscle": 54.0,
    "heart": 48.0,
    "blood right": 42.0,
    "blood left": 42.0,
    "vessel": 42.0,
    "airway wall": 10.0,
    "node": 36.0,
    "cartilage": 95.0,
    "cortex": 640.0,
    "marrow": 170.0,
    "disc": 82.0,
    "canal": 28.0,
    "liver": 58.0,
    "spleen": 48.0,
    "stomach": 22.0,
    "kidney": 32.0,
    "bowel": 30.0,
    "tumor": 36.0,
    "infiltrate": 20.0,
    "table shell": -420.0,
    "table core": -930.0,
}

ENHANCEMENT = {
    "blood right": 150.0,
    "blood left": 120.0,
    "vessel": 110.0,
    "heart": 55.0,
    "liver": 45.0,
    "spleen": 70.0,
    "kidney": 130.0,
    "node": 18.0,
    "tumor": 14.0,
    "airway wall": 15.0,
    "muscle": 6.0,
}
"""HU that a full dose of contrast agent adds, in the early phase."""

MR_T2 = {
    "air": 0.0,
    "gas": 12.0,
    "lung": 48.0,
    "fat": 640.0,
    "skin": 260.0,
    "muscle": 175.0,
    "heart": 240.0,
    "blood right": 90.0,
    "blood left": 55.0,
    "vessel": 190.0,
    "airway wall": 200.0,
    "node": 380.0,
    "cartilage": 210.0,
    "cortex": 35.0,
    "marrow": 400.0,
    "disc": 330.0,
    "canal": 900.0,
    "liver": 230.0,
    "spleen": 430.0,
    "stomach": 700.0,
    "kidney": 520.0,
    "bowel": 420.0,
    "tumor": 470.0,
    "infiltrate": 260.0,
    "table shell": 0.0,
    "table core": 0.0,
}
"""Fast spin echo, T2 weighted, without fat suppression: flow voids, bright fat and fluid, tumor above muscle."""


def computed_tomography(contrast: float) -> dict[str, float]:
    """HU of the tissues with a share (0..1) of a full dose of contrast agent."""
    return {tissue: hu + contrast * ENHANCEMENT.get(tissue, 0.0) for tissue, hu in CT.items()}


ABDOMEN = {
    "T1": {
        "air": 0.0,
        "gas": 12.0,
        "lung": 25.0,
        "fat": 640.0,
        "skin": 330.0,
        "muscle": 270.0,
        "liver": 420.0,
        "spleen": 300.0,
        "kidney": 345.0,
        "pyramid": 265.0,
        "pancreas": 400.0,
        "bowel": 220.0,
        "bowel wall": 290.0,
        "fluid": 140.0,
        "vessel": 170.0,
        "marrow": 390.0,
        "cortex": 50.0,
        "disc": 250.0,
        "canal": 130.0,
        "nerve": 290.0,
    },
    "T2": {
        "air": 0.0,
        "gas": 10.0,
        "lung": 20.0,
        "fat": 95.0,
        "skin": 170.0,
        "muscle": 125.0,
        "liver": 185.0,
        "spleen": 430.0,
        "kidney": 500.0,
        "pyramid": 640.0,
        "pancreas": 280.0,
        "bowel": 620.0,
        "bowel wall": 240.0,
        "fluid": 950.0,
        "vessel": 55.0,
        "marrow": 120.0,
        "cortex": 25.0,
        "disc": 160.0,
        "canal": 900.0,
        "nerve": 320.0,
    },
}
"""T1 weighted in phase (fat and liver bright), and T2 weighted with fat suppression (fluid, kidney, spleen bright)."""
