"""Small volumes whose grid has no symmetry that could hide a mistake."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentLib.io.volume import Geometry, Volume

ORGAN = Label(7, "Left atrium é", (0.1, 0.5, 0.9), {k: TUMOR.terminology[k] for k in ("category", "type")})
"""A second label: its value is not the next number, its name not ASCII, and it has no region."""
LABELS = [TUMOR, ORGAN]


def rotation(degrees: float, axis: tuple[float, float, float] = (0.3, -0.5, 0.8)) -> np.ndarray:
    """Rotation matrix (3, 3) about ``axis`` (Rodrigues' formula)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def grid(direction: np.ndarray, size: tuple[int, int, int] = (24, 20, 12)) -> Geometry:
    """An anisotropic grid off the origin with the given direction matrix."""
    return Geometry(size, (0.7, 0.85, 2.5), (-12.3, 45.6, -789.1), tuple(np.asarray(direction, float).ravel().tolist()))


def orientations() -> dict[str, np.ndarray]:
    """Direction matrices: plain, flipped, sagittal, coronal, oblique, doubly oblique."""
    flipped = np.diag([-1.0, 1.0, -1.0])
    sagittal = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)
    coronal = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    return {
        "axial": np.eye(3),
        "flipped": flipped,
        "sagittal": sagittal,
        "coronal": coronal,
        "oblique": rotation(17.0),
        "oblique-coronal": rotation(25.0) @ coronal,
    }


def tilted(degrees: float) -> np.ndarray:
    """The direction matrix of a CT whose gantry was tilted: sheared."""
    direction = np.eye(3)
    direction[:, 2] = (0.0, np.sin(np.radians(degrees)), np.cos(np.radians(degrees)))
    return direction


def all_axis_orders() -> list[np.ndarray]:
    """The 48 direction matrices that permute and flip the axes."""
    return [
        np.eye(3)[:, list(order)] * np.array(signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


DIRECTIONS = {**orientations(), "tilted": tilted(15), "tilted-oblique": rotation(20) @ tilted(10)}


def a_ct() -> np.ndarray:
    """(12, 20, 24) int16 noise in HU, so that every voxel tells where it is."""
    return np.random.default_rng(3).integers(-1000, 1500, (12, 20, 24)).astype(np.int16)


@pytest.fixture
def ct() -> np.ndarray:
    return a_ct()


def series(folder: Path, direction: np.ndarray, **options: object) -> Volume:
    """:func:`a_ct` as read from the DICOM series that it is written as."""
    from segment.io.dicom_samples import write_series

    write_series(folder, a_ct(), grid(direction), **options)
    return read_volume(folder)


@pytest.fixture
def ct_volume(tmp_path) -> Volume:
    """:func:`a_ct` as a DICOM series on :func:`grid`."""
    return series(tmp_path / "ct", np.eye(3))


def block(z: slice, y: slice, x: slice, shape: tuple[int, int, int] = (12, 20, 24)) -> np.ndarray:
    """A mask of one box."""
    mask = np.zeros(shape, bool)
    mask[z, y, x] = True
    return mask


def a_label() -> np.ndarray:
    """(12, 20, 24) uint8: a tumor with a hole, one that touches the border, and an organ of value 7."""
    label = np.zeros((12, 20, 24), dtype=np.uint8)
    label[3:8, 4:13, 5:15] = 1
    label[4:7, 7:10, 8:11] = 0
    label[5, 8, 9] = 1
    label[9:, 15:, 20:] = 1
    label[2:6, 15:18, 2:9] = 7
    return label


@pytest.fixture
def label() -> np.ndarray:
    return a_label()
