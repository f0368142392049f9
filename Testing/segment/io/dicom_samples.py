"""DICOM series made up for tests: pydicom writes them, so that reading is tested against another library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from CMEDLSegmentLib.io.dicom_writer import dataset, save_as
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
        header = dataset(
            SOPClassUID=_STORAGE[modality],
            SOPInstanceUID=generate_uid(),
            ImageType=list(image_type),
            Modality=modality,
            Manufacturer="Made up",
            **{"PatientName": PATIENT_NAME, "PatientID": PATIENT_ID, "PatientBirthDate": "19500101", "PatientSex": "O"},
            **{"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid},
            **{"FrameOfReferenceUID": frame_of_reference, "PositionReferenceIndicator": ""},
            **{"StudyID": "1", "AccessionNumber": "", "ReferringPhysicianName": ""},
            **{"StudyDate": "20240102", "StudyTime": "101112"},
            **{"SeriesNumber": number, "SeriesDescription": description, "InstanceNumber": k + 1},
            ImagePositionPatient=[_decimal(value) for value in position],
            ImageOrientationPatient=[_decimal(value) for value in (*axes[:, 0], *axes[:, 1])],
            PixelSpacing=[_decimal(geometry.spacing[1]), _decimal(geometry.spacing[0])],
            SliceThickness=_decimal(geometry.spacing[2]),
            **{"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
            **{"Rows": pixels.shape[0], "Columns": pixels.shape[1]},
            **{"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
        )
        if modality == "CT":
            header.RescaleSlope, header.RescaleIntercept = _decimal(slope), _decimal(intercept)
            header.RescaleType = "HU"
        header.PixelData = pixels.tobytes()
        change(header, changes)
        files.append(folder / f"IM{order[k]:05d}")
        save_as(header, files[-1])
    return files


def change(header: Dataset, changes: Mapping[str, object]) -> None:
    """Set attributes by keyword; None removes one."""
    for keyword, value in changes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)


def _decimal(value: float) -> str:
    """A DICOM decimal string: 16 characters at most."""
    return f"{value:.10g}"[:16]
