"""DICOM structure sets and segmentations as other systems write them, well or badly, made with pydicom alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage, generate_uid

from CMEDLSegmentLib.io.dicom_writer import dataset, save_as
from CMEDLSegmentLib.io.volume import Geometry, Volume
from segment.io.dicom_samples import PATIENT_ID, PATIENT_NAME, change


@dataclass
class Contour:
    """Points (n, 3) in index coordinates (x, y, z) of the grid that a structure set is written on."""

    points: Sequence[Sequence[float]]
    kind: str | None = "CLOSED_PLANAR"
    image: str | None = None
    stated: int | None = None


def rectangle(x: tuple[float, float], y: tuple[float, float], z: float, kind: str | None = "CLOSED_PLANAR") -> Contour:
    """A rectangle on slice ``z``; with bounds half-way between pixels it marks those between."""
    return Contour([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], kind)


def write_structures(
    path: Path,
    geometry: Geometry,
    regions: Mapping[str, Sequence[Contour]] | Sequence[tuple[str, Sequence[Contour]]],
    *,
    series_uid: str | None = None,
    frame_uid: str | None = None,
    digits: int = 3,
    contour_items: bool = True,
    charset: str | None = "ISO_IR 192",
    preface: bool = True,
) -> Path:
    """Write a structure set without more in it than asked for.

    Args:
        path: of the file.
        geometry: the grid in whose index coordinates the contours are.
        regions: name and contours of each region; numbered from 1.
        series_uid: the series it refers to; None refers to no images at all.
        frame_uid: frame of reference; None names none.
        digits: decimals of the coordinates, mm.
        contour_items: whether a region without contours has an item all the same.
        charset: Specific Character Set; None leaves it out.
        preface: whether the file begins as a DICOM file does.
    """
    structures = _object(RTStructureSetStorage, "RTSTRUCT", charset)
    structures.StructureSetLabel = "Made up"
    if series_uid is not None:
        study = dataset(RTReferencedSeriesSequence=[dataset(SeriesInstanceUID=series_uid)])
        structures.ReferencedFrameOfReferenceSequence = [
            dataset(FrameOfReferenceUID=frame_uid or generate_uid(), RTReferencedStudySequence=[study])
        ]
    structures.StructureSetROISequence, structures.ROIContourSequence = [], []
    named = regions.items() if isinstance(regions, Mapping) else regions
    for number, (name, contours) in enumerate(named, start=1):
        region = dataset(ROINumber=number, ROIName=name)
        if frame_uid is not None:
            region.ReferencedFrameOfReferenceUID = frame_uid
        structures.StructureSetROISequence.append(region)
        drawn = dataset(ReferencedROINumber=number)
        if contours:
            drawn.ContourSequence = [_contour_item(contour, geometry, digits) for contour in contours]
        if contours or contour_items:
            structures.ROIContourSequence.append(drawn)
    structures.RTROIObservationsSequence = []
    if preface:
        save_as(structures, path)
    else:
        written = DicomBytesIO()
        written.is_little_endian, written.is_implicit_VR = True, True
        write_dataset(written, structures)
        path.write_bytes(written.getvalue())
    return path


def _contour_item(contour: Contour, geometry: Geometry, digits: int) -> Dataset:
    points = geometry.to_physical(np.array(contour.points, dtype=float).reshape(-1, 3))
    item = dataset(
        NumberOfContourPoints=len(points) if contour.stated is None else contour.stated,
        ContourData=[f"{value:.{digits}f}" for value in points.ravel() + 0.0],
    )
    if contour.image is not None:
        item.ContourImageSequence = [dataset(ReferencedSOPInstanceUID=contour.image)]
    if contour.kind is not None:
        item.ContourGeometricType = contour.kind
    return item


def write_seg(
    path: Path,
    geometry: Geometry,
    segments: Mapping[str, np.ndarray],
    *,
    kind: str = "BINARY",
    series_uid: str | None = None,
    frame_uid: str | None = None,
    empty_frames: bool = False,
    distance: float | None = None,
    highest: int = 255,
    shuffle: int | None = None,
    **changes: object,
) -> Path:
    """Write a SEG, one frame for each slice with something on it, of segments that may overlap.

    Args:
        path: of the file.
        geometry: grid of the arrays.
        segments: name and (z, y, x) array of each; bool, or 0..1 where ``kind`` is FRACTIONAL.
        kind: BINARY or FRACTIONAL.
        series_uid, frame_uid: what it refers to; None leaves it out.
        empty_frames: whether slices without anything have frames, too.
        distance: Spacing Between Slices; None leaves it out.
        highest: Maximum Fractional Value.
        shuffle: a seed that puts the frames in any order.
        changes: further attributes by keyword; None removes one.
    """
    seg = _object(SegmentationStorage, "SEG", "ISO_IR 192")
    seg.SegmentationType = kind
    if frame_uid is not None:
        seg.FrameOfReferenceUID = frame_uid
    if series_uid is not None:
        seg.ReferencedSeriesSequence = [dataset(SeriesInstanceUID=series_uid)]
    seg.SegmentSequence = [dataset(SegmentNumber=k, SegmentLabel=name) for k, name in enumerate(segments, start=1)]
    frames = []
    for number, array in enumerate(segments.values(), start=1):
        frames += [(number, z, part) for z, part in enumerate(array) if empty_frames or part.any()]
    if shuffle is not None:
        frames = [frames[k] for k in np.random.default_rng(shuffle).permutation(len(frames))]
    measures = dataset(PixelSpacing=[f"{geometry.spacing[1]:.8g}", f"{geometry.spacing[0]:.8g}"])
    if distance is not None:
        measures.SpacingBetweenSlices = f"{distance:.8g}"
    orientation = dataset(ImageOrientationPatient=[f"{value:.9f}" for value in geometry.axes[:, :2].T.ravel()])
    seg.SharedFunctionalGroupsSequence = [
        dataset(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    seg.PerFrameFunctionalGroupsSequence = [_frame_groups(geometry, number, z) for number, z, _ in frames]
    seg.NumberOfFrames, (seg.Rows, seg.Columns) = len(frames), geometry.shape[1:]
    seg.SamplesPerPixel, seg.PhotometricInterpretation, seg.PixelRepresentation = 1, "MONOCHROME2", 0
    pixels = np.array([part for _, _, part in frames]).reshape(-1, *geometry.shape[1:])
    if kind == "FRACTIONAL":
        seg.MaximumFractionalValue, seg.SegmentationFractionalType = highest, "PROBABILITY"
        seg.BitsAllocated, seg.BitsStored, seg.HighBit = 8, 8, 7
        data = np.rint(pixels * highest).astype(np.uint8).tobytes()
    else:
        seg.BitsAllocated, seg.BitsStored, seg.HighBit = 1, 1, 0
        data = np.packbits(pixels.astype(np.uint8).ravel(), bitorder="little").tobytes()
    seg.PixelData = data + b"\0" * (len(data) % 2)
    change(seg, changes)
    save_as(seg, path)
    return path


def _frame_groups(geometry: Geometry, segment: int, z: int) -> Dataset:
    place = geometry.to_physical(np.array([(0.0, 0.0, z)]))[0]
    return dataset(
        PlanePositionSequence=[dataset(ImagePositionPatient=[f"{value:.9g}" for value in place])],
        SegmentIdentificationSequence=[dataset(ReferencedSegmentNumber=segment)],
    )


def _object(storage: str, modality: str, charset: str | None) -> Dataset:
    made = dataset(
        SOPClassUID=storage,
        SOPInstanceUID=generate_uid(),
        Modality=modality,
        SeriesInstanceUID=generate_uid(),
        StudyInstanceUID=generate_uid(),
        PatientName=PATIENT_NAME,
        PatientID=PATIENT_ID,
    )
    if charset is not None:
        made.SpecificCharacterSet = charset
    return made


def frame_of(volume: Volume) -> str:
    """Frame of Reference UID of a volume read from DICOM."""
    return str(dcmread(volume.files[0], stop_before_pixels=True).FrameOfReferenceUID)
