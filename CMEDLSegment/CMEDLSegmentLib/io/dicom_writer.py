"""The result as DICOM: Segmentation (SEG) and RT Structure Set, in the patient, study and frame of the read series.

SEG is made by highdicom. The structure set is written with pydicom from contours of scikit-image: the library at hand
for it (rt-utils) brings OpenCV along and draws through the centers of the border pixels, half a pixel inside.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..base.errors import InputError
from ..base.files import atomic_path
from .dicom_series import read_header
from .volume import Volume

if TYPE_CHECKING:
    import highdicom as hd
    from pydicom.dataset import Dataset

    from .labels import Label

_MANUFACTURER = "CMEDL"
_MORPHOLOGICALLY_ABNORMAL = ["SCT", "49755003"]
_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_POINT_DIGITS = 4
_DESCRIPTIONS = {
    "AUTOMATIC": "Automatic segmentation, research use",
    "SEMIAUTOMATIC": "Automatic segmentation, edited by a person, research use",
    "MANUAL": "Segmentation by a person",
}


def write_dicom_seg(
    path: Path | str, label: np.ndarray, volume: Volume, labels: Sequence[Label], provenance: Mapping[str, str]
) -> None:
    """Write a binary DICOM Segmentation, PS3.3 A.51, that refers to the slices of ``volume``.

    Only slices with something on them get a frame; a segmentation without any gets one empty frame of each segment,
    as a SEG must have frames. Slices that were filled in have no image to refer to and are left out.

    Args:
        path: ends with .dcm.
        label: (z, y, x) unsigned values on the volume's grid.
        volume: read from a DICOM series.
        labels: value, name, color and terminology of each segment.
        provenance: what made it; goes to the algorithm's parameters. Without a ``model`` a person made it, and with
            ``edited`` a person changed it. Holds no patient identifier.

    Raises:
        InputError: ``volume`` is not from DICOM, its series lacks what a SEG needs, or the folder is not writable.
    """
    _write(_segmentation, Path(path), label, volume, labels, provenance)


def _segmentation(
    label: np.ndarray, volume: Volume, labels: Sequence[Label], provenance: Mapping[str, str]
) -> hd.seg.Segmentation:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    values = [segment.value for segment in labels]
    marked = [k for k, place in enumerate(volume.file_slices) if np.isin(label[place], values).any()]
    kept = marked or [0]
    headers = [_header(volume.files[k]) for k in kept]
    for header in headers:
        # The attribute may be empty in a CT, but not in the pixel measures of a SEG.
        header.SliceThickness = header.get("SliceThickness") or f"{volume.geometry.spacing[2]:.6g}"
        # What was read as one grid is written as one: slices that differ by rounding are no reason to refuse.
        header.ImageOrientationPatient = headers[0].ImageOrientationPatient
    shown = label[[volume.file_slices[k] for k in kept]]
    # A SEG numbers its segments from 1, whatever their values in the labelmap.
    frames = np.zeros(shown.shape, dtype=np.uint8)
    for number, segment in enumerate(labels, start=1):
        frames[shown == segment.value] = number
    generation = _generation(provenance)
    algorithm = None
    if generation != "MANUAL":
        algorithm = hd.AlgorithmIdentificationSequence(
            name=provenance["student"],
            family=codes.DCM.ArtificialIntelligence,
            version=__version__,
            parameters=dict(provenance),
        )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.name,
            segmented_property_category=_code(segment, "category"),
            segmented_property_type=_code(segment, "type"),
            algorithm_type=generation,
            algorithm_identification=algorithm,
            anatomic_regions=[_code(segment, "region")] if "region" in segment.terminology else None,
            **_color(segment),
        )
        for number, segment in enumerate(labels, start=1)
    ]
    with _float_named():
        return hd.seg.Segmentation(
            source_images=headers,
            pixel_array=frames,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            series_instance_uid=hd.UID(),
            series_number=_series_number(headers[0], 1),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=_MANUFACTURER,
            manufacturer_model_name=_MANUFACTURER,
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            content_description=_DESCRIPTIONS[generation],
            omit_empty_frames=bool(marked),
            series_description="CMEDL segmentation",
        )


@contextlib.contextmanager
def _float_named() -> Iterator[None]:
    """Give numpy 2 its former name of float64: highdicom 0.22, the last one for pydicom 2.4, asks for it."""
    if not _pydicom_2() or hasattr(np, "float_"):
        yield
        return
    names = vars(np)
    names["float_"] = np.float64
    try:
        yield
    finally:
        del names["float_"]


def write_rtstruct(
    path: Path | str, label: np.ndarray, volume: Volume, labels: Sequence[Label], provenance: Mapping[str, str]
) -> None:
    """Write an RT Structure Set, PS3.3 A.19, with one region of interest for each of ``labels``.

    Every contour is a closed polygon in the plane of one slice, half-way between the centers of the pixels inside and
    outside; a hole is joined to its outer contour by a channel without width (keyhole, PS3.3 C.8.8.6.3). An empty
    segment is a region without contours. Slices that were filled in have no image to refer to and are left out.

    Args, raises: as :func:`write_dicom_seg`.
    """
    _write(_structures, Path(path), label, volume, labels, provenance)


def dataset(**values: object) -> Dataset:
    """A DICOM data set, or an item of a sequence, of values by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _write(
    make: Callable[[np.ndarray, Volume, Sequence[Label], Mapping[str, str]], Dataset],
    path: Path,
    label: np.ndarray,
    volume: Volume,
    labels: Sequence[Label],
    provenance: Mapping[str, str],
) -> None:
    """Write what ``make`` makes of the rest, where that can be made and written."""
    from pydicom.config import disable_value_validation

    if path.suffix.lower() != ".dcm":
        raise InputError(f"{path} does not end with .dcm, which a DICOM file needs.")
    if not volume.files:
        raise InputError(f"{path} can only be made from a DICOM series; give a DICOM folder or choose .seg.nrrd.")
    volume.geometry.check_fits(label)
    # Values that were copied as they are must not stop the writing, nor appear in a warning: they name the patient.
    with disable_value_validation():
        made = make(label, volume, labels, provenance)
        with atomic_path(path) as beside:
            save_as(made, beside)


def save_as(made: Dataset, path: Path) -> None:
    """Write a :func:`dataset` as a whole DICOM file, its values explicit and little endian."""
    from pydicom.uid import ExplicitVRLittleEndian

    made.ensure_file_meta()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if _pydicom_2():
        made.is_little_endian, made.is_implicit_VR = True, False
        made.save_as(path, write_like_original=False)
    else:
        made.save_as(path, enforce_file_format=True)


def _pydicom_2() -> bool:
    """Whether this is pydicom 2.4, which Slicer 5.10 ships, and not 3."""
    import pydicom

    return int(pydicom.__version_info__[0]) < 3


def _generation(provenance: Mapping[str, str]) -> str:
    """Who drew, in DICOM's words: the model, the model and then a person, or a person alone."""
    if "student" not in provenance:
        return "MANUAL"
    return "SEMIAUTOMATIC" if provenance.get("edited") == "yes" or "clicks" in provenance else "AUTOMATIC"


def _structures(label: np.ndarray, volume: Volume, labels: Sequence[Label], provenance: Mapping[str, str]) -> Dataset:
    headers = [_header(file) for file in volume.files]
    structures = _structure_set(headers[0], provenance)
    structures.ReferencedFrameOfReferenceSequence = [_referenced_frame(headers)]
    for keyword in ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence"):
        setattr(structures, keyword, [])
    for number, segment in enumerate(labels, start=1):
        contours = [
            _contour_item(polygon, header)
            for place, header in zip(volume.file_slices, headers, strict=True)
            for polygon in outlines(label[place] == segment.value)
        ]
        _add_region(structures, number, segment, contours, _generation(provenance))
    return structures


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outlines of a 2-D mask, one closed polygon (n, 2) of (row, column) for each 4-connected component.

    The polygons run through the middle between the centers of an inner and an outer pixel, so filling them gives the
    mask back. The holes of a component are part of its polygon, by keyhole.
    """
    from scipy.ndimage import find_objects, label
    from skimage.measure import find_contours

    components, _ = label(mask)
    polygons = []
    for number, box in enumerate(find_objects(components), start=1):
        # A margin closes the contours of what touches the border.
        part = np.pad(components[box] == number, 1).astype(np.uint8)
        corner = np.array([box[0].start - 1, box[1].start - 1])
        rings = [ring[:-1] + corner for ring in find_contours(part, 0.5)]
        outer, *holes = sorted(rings, key=lambda ring: np.prod(np.ptp(ring, axis=0)), reverse=True)
        polygon = outer
        while holes:
            distances = [((polygon[:, None] - hole[None]) ** 2).sum(axis=2) for hole in holes]
            nearest = int(np.argmin([distance.min() for distance in distances]))
            at, of_hole = np.unravel_index(distances[nearest].argmin(), distances[nearest].shape)
            hole = np.roll(holes.pop(nearest), -of_hole, axis=0)
            polygon = np.concatenate([polygon[: at + 1], hole, hole[:1], polygon[at:]])
        polygons.append(_without_straight(polygon))
    return polygons


def _without_straight(polygon: np.ndarray) -> np.ndarray:
    """The polygon without the points that lie on a straight line between their neighbors."""
    before = polygon - np.roll(polygon, 1, axis=0)
    after = np.roll(polygon, -1, axis=0) - polygon
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) <= 0
    return polygon[(np.abs(turn) > 1e-9) | back]


def _header(file: Path) -> Dataset:
    """All of a slice's header; what DICOM wants in every study, and exports often strip, is there, empty at least.

    Raises:
        InputError: the file is gone, or lacks its frame of reference or its study.
    """
    from pydicom.valuerep import DA, TM

    header = read_header(file)
    if not isinstance(header.PixelSpacing, MutableSequence):
        header.PixelSpacing = [header.PixelSpacing] * 2  # one value is that of rows and columns
    for keyword in ("FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"):
        if not header.get(keyword):
            raise InputError(f"{file} has no {keyword}, so DICOM results cannot refer to it; choose .seg.nrrd.")
    # As text, names keep their alphabet when they are written in UTF-8.
    for keyword in (*_PATIENT_AND_STUDY, "PositionReferenceIndicator"):
        setattr(header, keyword, str(header.get(keyword) or ""))
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(header[keyword].value)
        except ValueError:
            setattr(header, keyword, "")
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def _code(segment: Label, part: str) -> hd.sr.CodedConcept:
    from highdicom.sr import CodedConcept

    scheme, value, meaning = segment.terminology[part]
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _color(segment: Label) -> dict[str, Any]:
    """The argument for a segment's color; highdicom 0.22, the last one for pydicom 2.4, takes none."""
    from highdicom.color import CIELabColor

    if not hasattr(CIELabColor, "from_rgb"):
        return {}
    return {"display_color": CIELabColor.from_rgb(*(round(255 * part) for part in segment.color))}


def _series_number(header: Dataset, offset: int) -> int:
    """A number after the source series', so that viewers list the result beside it."""
    # An integer string has no more than 31 bits.
    return int(header.get("SeriesNumber") or 0) % 10_000_000 * 100 + offset


def _structure_set(source: Dataset, provenance: Mapping[str, str]) -> Dataset:
    """A structure set without regions, in the patient and study of ``source``."""
    from pydicom.uid import RTStructureSetStorage, generate_uid

    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return dataset(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=generate_uid(),
        SpecificCharacterSet="ISO_IR 192",
        **{keyword: source.get(keyword) for keyword in _PATIENT_AND_STUDY},
        Modality="RTSTRUCT",
        SeriesInstanceUID=generate_uid(),
        SeriesNumber=_series_number(source, 2),
        SeriesDescription="CMEDL contours",
        OperatorsName="",
        Manufacturer=_MANUFACTURER,
        ManufacturerModelName=_MANUFACTURER,
        SoftwareVersions=__version__,
        InstanceNumber=1,
        StructureSetLabel="CMEDL",
        StructureSetDescription=_within("; ".join(f"{k}={v}" for k, v in provenance.items()), 1024),
        StructureSetDate=date,
        StructureSetTime=time,
        InstanceCreationDate=date,
        InstanceCreationTime=time,
        FrameOfReferenceUID=source.FrameOfReferenceUID,
        PositionReferenceIndicator="",
        ApprovalStatus="UNAPPROVED",
    )


def _referenced_frame(headers: Sequence[Dataset]) -> Dataset:
    """The frame of reference, study, series and images that the contours lie on, PS3.3 C.8.8.5."""
    series = dataset(
        SeriesInstanceUID=headers[0].SeriesInstanceUID,
        ContourImageSequence=[_image_reference(header) for header in headers],
    )
    study = dataset(
        # Detached Study Management, retired, but what this attribute is defined to hold.
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=headers[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return dataset(FrameOfReferenceUID=headers[0].FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image_reference(header: Dataset) -> Dataset:
    return dataset(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)


def _contour_item(polygon: np.ndarray, header: Dataset) -> Dataset:
    """A contour on the slice ``header`` from pixel coordinates (n, 2) of (row, column), PS3.3 C.7.6.2.1.1."""
    row, column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, right = map(float, header.PixelSpacing)
    origin = np.array(header.ImagePositionPatient, dtype=float)
    points = origin + polygon[:, 1:] * right * row + polygon[:, :1] * down * column
    return dataset(
        ContourImageSequence=[_image_reference(header)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.{_POINT_DIGITS}f}" for value in points.ravel() + 0.0],
    )


def _add_region(structures: Dataset, number: int, segment: Label, contours: list[Dataset], generation: str) -> None:
    """Add a region of interest with its contours and observation to the structure set."""
    structures.StructureSetROISequence.append(
        dataset(
            ROINumber=number,
            ROIName=_within(segment.name, 64),
            ReferencedFrameOfReferenceUID=structures.FrameOfReferenceUID,
            ROIGenerationAlgorithm=generation,
        )
    )
    drawn = dataset(ReferencedROINumber=number, ROIDisplayColor=[round(255 * part) for part in segment.color])
    if contours:
        drawn.ContourSequence = contours
    structures.ROIContourSequence.append(drawn)
    scheme, code, meaning = segment.terminology["type"]
    abnormal = list(segment.terminology["category"][:2]) == _MORPHOLOGICALLY_ABNORMAL
    structures.RTROIObservationsSequence.append(
        dataset(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIInterpretedType="GTV" if abnormal else "ORGAN",
            ROIInterpreter="",
            RTROIIdentificationCodeSequence=[
                dataset(CodingSchemeDesignator=scheme, CodeValue=code, CodeMeaning=meaning)
            ],
        )
    )


def _within(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 3] + "..."
