"""``run`` on a DICOM series: results that refer to it, and the choice of a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from CMEDLSegmentLib.io.dicom_writer import save_as
from segment.cli.conftest import make_model


def write_series(folder: Path, slices: int = 4) -> str:
    """A CT series of noise, 2 x 2 x 5 mm; returns its UID."""
    folder.mkdir(exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    random = np.random.default_rng(0)
    for index in range(slices):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.PatientName, image.PatientID = "CT", "Doe^Jane", "4711"
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = image.StudyID = ""
        image.AccessionNumber = image.ReferringPhysicianName = ""
        image.SeriesNumber, image.InstanceNumber = 1, index + 1
        image.ImagePositionPatient = [0, 0, 5.0 * index]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [2, 2], 5
        image.Rows, image.Columns, image.SamplesPerPixel = 24, 20, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        image.PixelData = random.integers(-1000, 400, (24, 20)).astype(np.int16).tobytes()
        save_as(image, folder / f"{series[-8:]}-{index}.dcm")
    return str(series)


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
