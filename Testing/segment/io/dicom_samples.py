"""DICOM series made up for tests: pydicom writes them, so that reading is tested against another library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from CMEDLSegmentLib.io.dicom_writer import save_as
from CMEDLSegmentLib.io.volume import Geometry

PATIENT_NAME = "Secret^Name"
PATIENT_ID = "SECRET-4711"
_STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}


def write_series(
    folder: Path,
    array: np.ndarray,
    geometry: Geometry,
    *,
    modality: str = "CT",
    missing: Iterable[int] = (),
    slope: float = 1.0,
    intercept: float = -1024.0,
    description: str = "Chest",
    number: int = 3,
    series_uid: str | None = None,
    study_uid: str | None = None,
    frame_of_reference: str | None = None,
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    **changes: object,
) -> list[Path]:
    """Write one file per slice and return them in the order of the array's slices.

    The files' names do not tell the order of the slices. A sheared geometry makes a series with a tilted gantry.

    Args:
        folder: made if it is not there.
        array: (z, y, x) values after rescaling, e.g. HU.
        geometry: grid of ``array``.
        modality: "CT" or "MR".
        missing: slices that get no file.
        slope, intercept: how stored values become those of ``array``.
        description, number, series_uid, study_uid, frame_of_reference, image_type: DICOM attributes.
        changes: further attributes by keyword; None removes one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = series_uid or generate_uid()
    study_uid = study_uid or generate_uid()
    frame_of_reference = frame_of_reference or generate_uid()
    stored = np.rint((array - intercept) / slope).astype(np.int16)
    axes = np.array(geometry.direction).reshape(3, 3)
    positions = geometry.to_physical(np.array([(0, 0, k) for k in range(len(array))], dtype=float))
    left_out = set(missing)
    order = np.random.default_rng(0).permutation(len(array))
    files = []
    for k, (pixels, position) in enumerate(zip(stored, positions, strict=True)):
        if k in left_out:
            continue
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = _STORAGE[modality]
        header.SOPInstanceUID = generate_uid()
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.ImageType = list(image_type)
        header.Modality = modality
        header.Manufacturer = "Made up"
        header.PatientName, header.PatientID = PATIENT_NAME, PATIENT_ID
        header.PatientBirthDate, header.PatientSex = "19500101", "O"
        header.StudyInstanceUID, header.SeriesInstanceUID = study_uid, series_uid
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = frame_of_reference, ""
        header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = "1", "", ""
        header.StudyDate, header.StudyTime = "20240102", "101112"
        header.SeriesNumber, header.SeriesDescription, header.InstanceNumber = number, description, k + 1
        header.ImagePositionPatient = [_decimal(value) for value in position]
        header.ImageOrientationPatient = [_decimal(value) for value in (*axes[:, 0], *axes[:, 1])]
        header.PixelSpacing = [_decimal(geometry.spacing[1]), _decimal(geometry.spacing[0])]
        header.SliceThickness = _decimal(geometry.spacing[2])
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.Rows, header.Columns = pixels.shape[:2]
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            header.RescaleSlope, header.RescaleIntercept = _decimal(slope), _decimal(intercept)
            header.RescaleType = "HU"
        header.PixelData = pixels.tobytes()
        for keyword, value in changes.items():
            if value is None:
                delattr(header, keyword)
            else:
                setattr(header, keyword, value)
        files.append(folder / f"IM{order[k]:05d}")
        save_as(header, files[-1])
    return files


def _decimal(value: float) -> str:
    """A DICOM decimal string: 16 characters at most."""
    return f"{value:.10g}"[:16]
