"""DICOM structure sets and segmentations as other systems write them, well or badly, made with pydicom alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage, generate_uid

from CMEDLSegmentLib.io.dicom_writer import save_as
from CMEDLSegmentLib.io.volume import Geometry, Volume
from segment.io.dicom_samples import write_series


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


def write_ct(folder: Path, geometry: Geometry, **options: object) -> None:
    """A series of noise."""
    noise = np.random.default_rng(3).integers(-1000, 1500, geometry.shape)
    write_series(folder, noise.astype(np.int16), geometry, **options)


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
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        study = Dataset()
        study.RTReferencedSeriesSequence = [series]
        frame = Dataset()
        frame.FrameOfReferenceUID = frame_uid or generate_uid()
        frame.RTReferencedStudySequence = [study]
        structures.ReferencedFrameOfReferenceSequence = [frame]
    structures.StructureSetROISequence, structures.ROIContourSequence = [], []
    named = regions.items() if isinstance(regions, Mapping) else regions
    for number, (name, contours) in enumerate(named, start=1):
        region = Dataset()
        region.ROINumber, region.ROIName = number, name
        if frame_uid is not None:
            region.ReferencedFrameOfReferenceUID = frame_uid
        structures.StructureSetROISequence.append(region)
        shown = Dataset()
        shown.ReferencedROINumber = number
        if contours:
            shown.ContourSequence = [_contour_item(contour, geometry, digits) for contour in contours]
        if contours or contour_items:
            structures.ROIContourSequence.append(shown)
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
    item = Dataset()
    points = geometry.to_physical(np.array(contour.points, dtype=float).reshape(-1, 3))
    if contour.image is not None:
        image = Dataset()
        image.ReferencedSOPInstanceUID = contour.image
        item.ContourImageSequence = [image]
    if contour.kind is not None:
        item.ContourGeometricType = contour.kind
    item.NumberOfContourPoints = len(points) if contour.stated is None else contour.stated
    item.ContourData = [f"{value:.{digits}f}" for value in points.ravel() + 0.0]
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
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        seg.ReferencedSeriesSequence = [series]
    seg.SegmentSequence = []
    frames = []
    for number, (name, array) in enumerate(segments.items(), start=1):
        described = Dataset()
        described.SegmentNumber, described.SegmentLabel = number, name
        seg.SegmentSequence.append(described)
        frames += [(number, z, part) for z, part in enumerate(array) if empty_frames or part.any()]
    if shuffle is not None:
        frames = [frames[k] for k in np.random.default_rng(shuffle).permutation(len(frames))]
    axes = np.array(geometry.direction).reshape(3, 3)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [f"{geometry.spacing[1]:.8g}", f"{geometry.spacing[0]:.8g}"]
    if distance is not None:
        measures.SpacingBetweenSlices = f"{distance:.8g}"
    orientation.ImageOrientationPatient = [f"{value:.9f}" for value in (*axes[:, 0], *axes[:, 1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    seg.SharedFunctionalGroupsSequence = [shared]
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
    for keyword, value in changes.items():
        if value is None:
            delattr(seg, keyword)
        else:
            setattr(seg, keyword, value)
    save_as(seg, path)
    return path


def _frame_groups(geometry: Geometry, segment: int, z: int) -> Dataset:
    groups, position, identification = Dataset(), Dataset(), Dataset()
    place = geometry.to_physical(np.array([(0.0, 0.0, z)]))[0]
    position.ImagePositionPatient = [f"{value:.9g}" for value in place]
    identification.ReferencedSegmentNumber = segment
    groups.PlanePositionSequence, groups.SegmentIdentificationSequence = [position], [identification]
    return groups


def _object(storage: str, modality: str, charset: str | None) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if charset is not None:
        made.SpecificCharacterSet = charset
    made.SOPClassUID, made.SOPInstanceUID = storage, generate_uid()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Modality, made.SeriesInstanceUID, made.StudyInstanceUID = modality, generate_uid(), generate_uid()
    made.PatientName, made.PatientID = "Secret^Name", "SECRET-4711"
    return made


def frame_of(volume: Volume) -> str:
    """Frame of Reference UID of a volume read from DICOM."""
    from pydicom import dcmread

    return str(dcmread(volume.files[0], stop_before_pixels=True).FrameOfReferenceUID)
