"""Voxels through files: every layout in memory and every type arrives as it left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.process.protocol import Outcome
from CMEDLSegmentLib.process.voxel_transfer import read_outcome, read_volume, write_outcome, write_volume


def never() -> bool:
    return False


@pytest.mark.parametrize("dtype", ["int16", ">i2", "uint8", "float32", "float64", "bool"])
@pytest.mark.parametrize("layout", ["plain", "flipped", "permuted", "fortran"])
def test_a_volume_arrives_as_it_left(dtype: str, layout: str, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(-900, 900, (5, 7, 9)).astype(dtype)
    array = {
        "plain": array,
        "flipped": array[::-1, :, ::-1],
        "permuted": array.transpose(2, 0, 1),
        "fortran": np.asfortranarray(array),
    }[layout]
    geometry = Geometry(array.shape[::-1], (0.7, 0.7, 2.5), (-10.0, 4.0, 300.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
    volume = Volume(array, geometry, "CT", "1.2.3", warnings=["Mind the gap."])
    description = write_volume(tmp_path, volume, never)
    arrived = read_volume(tmp_path, description)
    assert arrived.array.dtype == array.dtype
    assert np.array_equal(arrived.array, array)
    assert isinstance(arrived.array, np.memmap)
    assert (arrived.geometry, arrived.modality, arrived.series_uid) == (geometry, "CT", "1.2.3")
    assert arrived.warnings == volume.warnings


def test_a_name_does_not_travel(tmp_path: Path) -> None:
    """It may be a patient's, and the worker has no use for it."""
    volume = Volume(np.zeros((2, 2, 2), np.int16), Geometry((2, 2, 2)), name="Doe^John", files=(Path("doe.dcm"),))
    assert "doe" not in str(write_volume(tmp_path, volume, never)).lower()


def test_writing_ends_when_nobody_waits_any_more(tmp_path: Path) -> None:
    write_volume(tmp_path, Volume(np.ones((2, 3, 4), np.int16), Geometry((4, 3, 2))), lambda: True)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


@pytest.mark.parametrize("used", [slice(0, 0), slice(0, 1), slice(3, 6), slice(9, 10), slice(0, 10)])
def test_an_outcome_arrives_as_it_left_and_empty_slices_cost_nothing(used: slice, tmp_path: Path) -> None:
    label = np.zeros((10, 20, 30), np.uint8)
    label[used, 3:6, 4] = 2
    probability = label.astype(np.float32) / 3
    write_outcome(tmp_path, Outcome(label, probability, {"student": "é"}))
    arrived = read_outcome(tmp_path)
    assert arrived.label.dtype == np.uint8
    assert np.array_equal(arrived.label, label)
    assert arrived.probability.dtype == np.float32
    assert np.array_equal(arrived.probability, probability)
    assert arrived.summary == {"student": "é"}
    assert arrived.label.flags.writeable
    assert (tmp_path / "label.raw").stat().st_size == label[used].nbytes


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_others_cannot_read_the_files(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_volume(tmp_path, Volume(np.zeros((2, 2, 2), np.int16), Geometry((2, 2, 2))), never)
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
