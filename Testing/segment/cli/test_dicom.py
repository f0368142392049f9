"""``run`` on a DICOM series: results that refer to it, and the choice of a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from CMEDLSegmentLib.io.volume import Geometry
from segment.cli.conftest import make_model
from segment.io import dicom_samples


def write_series(folder: Path, slices: int = 4) -> str:
    """A CT series of noise, 2 x 2 x 5 mm, beside what is in the folder; returns its UID."""
    uid = str(generate_uid())
    array = np.random.default_rng(0).integers(-1000, 400, (slices, 24, 20))
    geometry = Geometry((20, 24, slices), (2.0, 2.0, 5.0))
    for path in dicom_samples.write_series(folder, array, geometry, series_uid=uid, PatientName="Doe^Jane"):
        path.rename(folder / f"{uid[-8:]}-{path.name}")
    return uid


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, str]:
    """A folder with one series, and the series' UID."""
    return tmp_path / "dicom", write_series(tmp_path / "dicom")


def test_seg_and_rtstruct_refer_to_the_series(command, series, everything, tmp_path):
    folder, uid = series
    output, structures = tmp_path / "o.dcm", tmp_path / "r.dcm"
    ended = command("run", folder, "-o", output, "--rtstruct", structures, "--model", everything, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["rtstruct"] == str(structures)
    seg = pydicom.dcmread(output)
    assert (seg.Modality, seg.ReferencedSeriesSequence[0].SeriesInstanceUID) == ("SEG", uid)
    assert seg.SegmentSequence[0].SegmentLabel == "Tumor"
    rt = pydicom.dcmread(structures)
    study = rt.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    assert study.RTReferencedSeriesSequence[0].SeriesInstanceUID == uid
    assert len(rt.ROIContourSequence[0].ContourSequence) == 4


def test_two_series_ask_which_and_the_uid_answers(command, series, everything, tmp_path):
    folder, uid = series
    write_series(folder, slices=3)
    common = ("run", folder, "-o", tmp_path / "o.nii.gz", "--model", everything, "--json")
    ended = command(*common)
    assert ended.code == 2
    assert uid in ended.json["error"]
    assert "Doe" not in ended.err
    assert command(*common, "--series", uid).json["components"][0]["n_slices"] == 4


def test_a_dicom_result_does_not_go_among_the_scans_files(command, series, everything):
    folder, _ = series
    ended = command("run", folder, "-o", folder / "sub" / "o.dcm", "--model", everything, "--json")
    assert ended.code == 2
    assert str(folder) in ended.json["error"]
    assert not (folder / "sub").exists()


def test_a_scan_of_another_modality_is_refused_without_a_file(command, series, tmp_path):
    model = make_model(tmp_path / "mr.safetensors", 1.0, modality="MR")
    ended = command("run", series[0], "-o", tmp_path / "o.nii.gz", "--model", model, "--json")
    assert ended.code == 2
    assert "MR" in ended.json["error"]
    assert not (tmp_path / "o.nii.gz").exists()
