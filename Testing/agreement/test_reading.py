"""What our own writers write is read back as it was, in every kind of file and orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.reading import read_delineation
from CMEDLSegmentLib.card import TUMOR
from CMEDLSegmentLib.outputs import write_dicom_seg, write_labelmap, write_rtstruct, write_segmentation
from CMEDLSegmentLib.volume import Volume, read_volume
from dicom_samples import write_series
from volumes.conftest import ORGAN, grid, orientations, rotation
from volumes.test_dicom_series import tilted

LABELS = [TUMOR, ORGAN]


DIRECTIONS = {**orientations(), "tilted": tilted(15), "tilted-oblique": rotation(20) @ tilted(10)}


@pytest.fixture
def label() -> np.ndarray:
    """(12, 20, 24) uint8: a tumor with a hole and an island, one at the border, one in a corner; an organ."""
    label = np.zeros((12, 20, 24), dtype=np.uint8)
    label[3:8, 4:13, 5:15] = 1
    label[4:7, 7:10, 8:11] = 0
    label[5, 8, 9] = 1
    label[9:, 15:, 20:] = 1
    label[3, 13, 15] = 1
    label[2:6, 15:18, 2:9] = 7
    return label


def series(folder: Path, direction: np.ndarray, **options: object) -> Volume:
    array = np.random.default_rng(3).integers(-1000, 1500, (12, 20, 24)).astype(np.int16)
    write_series(folder, array, grid(direction), **options)
    return read_volume(folder)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_we_write_is_read_back_as_it_was_in_every_format_and_orientation(direction, label, tmp_path):
    volume = series(tmp_path / "ct", DIRECTIONS[direction])
    write_segmentation(tmp_path / "a.seg.nrrd", label, volume.geometry, LABELS, {})
    write_labelmap(tmp_path / "a.mha", label, volume.geometry)
    write_dicom_seg(tmp_path / "seg.dcm", label, volume, LABELS, {})
    write_rtstruct(tmp_path / "rt.dcm", label, volume, LABELS, {})
    sources = {"a.seg.nrrd": "segmentation", "a.mha": "labelmap", "seg.dcm": "DICOM SEG", "rt.dcm": "RTSTRUCT"}
    for file, source in sources.items():
        for segment in LABELS:
            asked = segment.name if source != "labelmap" else str(segment.value)
            found = read_delineation(tmp_path / file, "A", volume, asked)
            np.testing.assert_array_equal(found.mask, label == segment.value, err_msg=f"{file} {segment.name}")
            assert (found.name, found.segment, found.source) == ("A", asked, source)
            assert found.notes == ()
            assert found.mask.dtype == bool
