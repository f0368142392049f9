"""Reading a DICOM series: which one, in which order, on which grid, with what missing.

pydicom reads the headers and GDCM (through SimpleITK) the pixels, because it knows the compressed transfer syntaxes.
The grid comes from Image Position and Orientation (Patient) of every slice, DICOM PS3.3 C.7.6.2.1.1, never from the
names or numbers of the files.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..base.errors import InputError
from .volume import Geometry, Volume, array_of, geometry_from, quiet_itk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality"),
    *("ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"),
]
_ONE_OF_A_KIND = {"PatientID": "patients", "StudyInstanceUID": "studies", "FrameOfReferenceUID": "frames of reference"}
"""What all slices of a series share; where two differ, contours would lie on another patient's or scan's slices."""
_SHOWN = 5
"""Names of files that a sentence lists."""
_NO_SCANS = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID", "PLAN"}
_PREAMBLE, _FIRST_GROUPS = 128, (b"\2\0", b"\x08\0")
"""Bytes before the letters DICM; and how a file without these begins: with group 2 or 8."""
_MOST_MISSING_IN_A_ROW = 3
_MOST_MISSING_SHARE = 0.2
# Of the slice distance: rounded positions and the table's jitter stay below it, a missing slice is a whole one.
_JITTER = 0.1
# 0.06 degree: less shear than this moves no voxel of a chest by a tenth of a pixel between two slices.
_TILT = 1e-3


def damage(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What pydicom raises for a damaged file, besides its end that comes too early; and ``others``."""
    from pydicom.errors import BytesLengthException

    known = (AttributeError, KeyError, IndexError, NotImplementedError, OverflowError, RecursionError)
    return (*known, TypeError, ValueError, BytesLengthException, *others)


@dataclass(frozen=True)
class _Slice:
    path: Path
    header: Dataset

    @cached_property
    def position(self) -> np.ndarray:
        """LPS of the first pixel, mm."""
        return self._numbers("ImagePositionPatient", 3)

    @cached_property
    def orientation(self) -> np.ndarray:
        """Directions of a row and of a column."""
        return self._numbers("ImageOrientationPatient", 6)

    @cached_property
    def spacing(self) -> np.ndarray:
        """Distance of rows and of columns, mm; one value is that of both."""
        return np.resize(self._numbers("PixelSpacing", 2, 1), 2)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = (int(self._numbers(keyword, 1)[0]) for keyword in ("Rows", "Columns"))
        return rows, columns

    def count(self, keyword: str) -> int:
        """A number of frames or samples; 1 where it is not said."""
        return int(self._numbers(keyword, 1)[0]) if self.text(keyword) else 1

    def text(self, keyword: str) -> str:
        """An attribute as text; empty where it is absent.

        Raises:
            InputError: it cannot be read.
        """
        return "\\".join(map(str, self._values(keyword)))

    def preface(self, keyword: str) -> str:
        """The same of what stands before the attributes, such as the transfer syntax."""
        return "\\".join(map(str, self._values(keyword, self.header.file_meta)))

    def _values(self, keyword: str, of: Dataset | None = None) -> list[object]:
        try:
            value = (self.header if of is None else of).get(keyword)
        except damage() as error:
            raise InputError(f"{self.path} has a damaged {keyword}; export the series again.") from error
        return [] if value is None or value == "" else list(value) if isinstance(value, MutableSequence) else [value]

    def _numbers(self, keyword: str, *counts: int) -> np.ndarray:
        """Finite numbers, as many as one of ``counts``.

        Raises:
            InputError: they are not.
        """
        values = self._values(keyword)
        if not values:
            raise InputError(f"{self.path} has no {keyword}, so its place is unknown; export the series again.")
        try:
            numbers = np.array([float(str(value)) for value in values])
        except ValueError:
            numbers = np.array([np.nan])
        if len(numbers) not in counts or not np.isfinite(numbers).all():
            raise InputError(f"{self.path} has a damaged {keyword}; export the series again.")
        return numbers


def read_series(folder: Path, series_uid: str | None = None) -> Volume:
    """Read the series in ``folder`` (and its sub-folders), rescaled (HU for CT), slices sorted along their normal.

    A few missing slices are filled in from their neighbors, so that every voxel stays where it is in the patient, and
    reported. A tilted gantry keeps its sheared grid. Whole-number images that fit are int16.

    Args:
        folder: holds the files of one or more series; other DICOM objects (SEG, RTSTRUCT, ...) are passed over.
        series_uid: which series to take.

    Raises:
        InputError: no series, several and none chosen, a damaged file, color, or slices that make no even grid.
    """
    series, unread = _find_series(folder)
    slices = _choose(folder, series, series_uid, unread)
    first = slices[0]
    for each in slices:
        _check_fits(folder, each, first)
    _check_one_of_a_kind(folder, slices)
    # An export may hold the same file twice.
    slices = list({each.text("SOPInstanceUID") or str(each.path): each for each in slices}.values())
    geometry, slices, places, warnings = _grid(folder, slices)
    modality, number = first.text("Modality") or None, first.text("SeriesNumber")
    if unread:
        warnings.append(
            f"{_listed(folder, unread)} could not be read as DICOM; without them the scan may lack slices, so check."
        )
    return Volume(
        array=_read_pixels(slices, places, geometry),
        geometry=geometry,
        modality=modality,
        series_uid=first.text("SeriesInstanceUID"),
        files=tuple(each.path for each in slices),
        file_slices=tuple(places),
        name=f"{modality or 'DICOM'} series {number}".rstrip(),
        warnings=warnings,
    )


def modalities(folder: Path) -> dict[str, str]:
    """The modality of each image series in ``folder`` and its sub-folders, by Series Instance UID.

    Raises:
        InputError: a file is cut or cannot be read.
    """
    return {uid: slices[0].text("Modality") for uid, slices in _find_series(folder)[0].items()}


def dicom_files(folder: Path) -> Iterator[Path]:
    """The files below ``folder`` that may be DICOM objects, in the order of their paths."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.upper() != "DICOMDIR")


def read_header(file: Path, keywords: list[str] | None = None) -> Dataset:
    """All of the header of a slice that was read before, or only some attributes.

    Raises:
        InputError: the file is gone.
    """
    from pydicom import dcmread

    try:
        return dcmread(file, stop_before_pixels=True, specific_tags=keywords, force=True)
    except OSError as error:
        raise InputError(f"{file} cannot be read again ({error.strerror}); keep the series where it is.") from error


def _find_series(folder: Path) -> tuple[dict[str, list[_Slice]], list[Path]]:
    """The image series below ``folder`` by their UID, without scouts beside other images; and files that nobody read.

    A file without the preamble of DICOM files is read too, where what follows is an image.
    """
    series: dict[str, list[_Slice]] = {}
    unread: list[Path] = []
    for path in dicom_files(folder):
        if path.name.startswith("."):
            continue
        try:
            with path.open("rb") as stream:
                head = stream.read(_PREAMBLE + 4)
                whole = head[_PREAMBLE:] == b"DICM"
                stream.seek(0)
                # Without the preamble a file begins with its first attributes, or it is something else.
                each = _read_slice(path, stream, whole) if whole or head[:2] in _FIRST_GROUPS else None
                if each is None:
                    unread.append(path)
                elif each.text("Modality") not in _NO_SCANS and _is_image(each):
                    _check_cut(each, stream, whole)
                    series.setdefault(each.text("SeriesInstanceUID"), []).append(each)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    for uid, slices in list(series.items()):
        scans = [each for each in slices if "LOCALIZER" not in each.text("ImageType").split("\\")]
        if scans:
            series[uid] = scans
        elif len(series) > 1:
            del series[uid]
    return series, unread


def _read_slice(path: Path, stream: BinaryIO, whole: bool) -> _Slice | None:
    """A file's header; None where there is none that can be read. ``stream`` is left at the pixels.

    Raises:
        InputError: the file ends within its header.
    """
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    try:
        with disable_value_validation():
            each = _Slice(path, dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS, force=True))
            known = [each.text(keyword) for keyword in ("SOPClassUID", "SeriesInstanceUID", "Modality", "ImageType")]
    except (EOFError, MemoryError, struct.error) as error:  # a length that is not there takes memory first
        if whole:
            raise _cut(path) from error
        return None
    except damage(InputError):
        return None
    return each if whole or all(known[:2]) else None


def _listed(folder: Path, files: list[Path]) -> str:
    """How many files, and the names of some."""
    names = ", ".join(path.relative_to(folder).as_posix() for path in files[:_SHOWN])
    noun = "file" if len(files) == 1 else "files"
    return f"{len(files)} {noun} of the folder ({names}{', ...' if len(files) > _SHOWN else ''})"


def _is_image(each: _Slice) -> bool:
    """Whether the file's preface, which is read even of a file cut in its header, promises an image."""
    from pydicom.uid import UID

    storage = each.preface("MediaStorageSOPClassUID")
    return not storage or "Image Storage" in UID(storage).name


def _choose(folder: Path, series: dict[str, list[_Slice]], wanted: str | None, unread: list[Path]) -> list[_Slice]:
    if not series:
        others = f" ({_listed(folder, unread)} could not be read as DICOM)" if unread else ""
        raise InputError(f"{folder} holds no DICOM images{others}; give the folder of a CT or MR series.")
    shown = "; ".join(
        f"{uid} ({slices[0].text('Modality') or 'unknown'}, {len(slices)} slices, "
        f"{slices[0].text('SeriesDescription') or 'no description'})"
        for uid, slices in sorted(series.items())
    )
    if wanted is None and len(series) > 1:
        raise InputError(f"{folder} holds {len(series)} series, choose one with --series: {shown}.")
    if wanted is not None and wanted not in series:
        raise InputError(f"{folder} has no series {wanted}; it holds {shown}.")
    return series[wanted] if wanted is not None else next(iter(series.values()))


def _check_fits(folder: Path, each: _Slice, first: _Slice) -> None:
    """Refuse a slice that cannot be part of one grid with ``first``."""
    if each.count("NumberOfFrames") > 1:
        raise InputError(f"{each.path} is a multi-frame DICOM object; export the series with one file per slice.")
    if each.count("SamplesPerPixel") != 1:
        raise InputError(f"{folder} holds color images (RGB); give a CT or MR series with one value per pixel.")
    _ = each.position
    if not (each.spacing > 0).all():
        raise InputError(f"{each.path} has a pixel spacing that is not positive; export the series again.")
    if each.shape != first.shape or not np.allclose(each.spacing, first.spacing, rtol=1e-3):
        raise InputError(f"{folder} mixes slices of different sizes in one series; export it again without the others.")
    if not np.allclose(each.orientation, first.orientation, atol=1e-3):
        raise InputError(f"{folder} mixes slices of different orientations in one series; export it again.")


def _check_one_of_a_kind(folder: Path, slices: list[_Slice]) -> None:
    """Refuse one Series Instance UID with slices of two patients, studies or frames of reference."""
    for keyword, noun in _ONE_OF_A_KIND.items():
        known = {each.text(keyword) for each in slices} - {""}
        if len(known) > 1:
            raise InputError(f"{folder} mixes {len(known)} {noun} under one series; export each by itself.")


def _grid(folder: Path, slices: list[_Slice]) -> tuple[Geometry, list[_Slice], list[int], list[str]]:
    """The even grid of the slices, the slices in its order, the place of each along z, and what to tell."""
    first = slices[0]
    row, column = first.orientation.reshape(2, 3)
    normal = np.cross(row, column)
    if not 0.99 < np.linalg.norm(normal) < 1.01:
        raise InputError(f"{folder} has a damaged slice orientation; export the series again.")
    normal /= np.linalg.norm(normal)
    slices = sorted(slices, key=lambda each: float(each.position @ normal))
    if len(slices) == 1:
        raise InputError(f"{folder} holds a single slice; give a series of at least two.")
    positions = np.array([each.position for each in slices])
    places, warnings = _places(folder, positions @ normal)
    step = (positions[-1] - positions[0]) / places[-1]
    off_line = positions - positions[0] - np.outer(places, step)
    if np.abs(off_line @ np.array([row, column]).T).max() > 0.5 * first.spacing.min():
        raise InputError(f"{folder} has slices shifted sideways against each other; export the series again.")
    tilt = float(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1.0, 1.0)))
    if tilt > _TILT:
        warnings.append(
            f"The series was taken with the gantry tilted by {np.degrees(tilt):.1f} degrees; its sheared grid is kept."
        )
    else:
        step = normal * (step @ normal)
    distance = float(np.linalg.norm(step))
    geometry = geometry_from(
        size=(first.shape[1], first.shape[0], places[-1] + 1),
        spacing=(first.spacing[1], first.spacing[0], distance),
        origin=positions[0],
        axes=np.stack([row, column, step / distance], axis=1),
    )
    return geometry, slices, places, warnings


def _places(folder: Path, along: np.ndarray) -> tuple[list[int], list[str]]:
    """Index of each slice on an even grid, from positions ``along`` the normal (n,), mm; what is missing."""
    steps = np.diff(along)
    usual = float(np.median(steps))
    if steps.min() < 0.01 or usual < 0.01:
        raise InputError(
            f"{folder} has several images at one position (time points or phases); give a series with one each."
        )
    counts = np.rint(steps / usual).astype(int)
    places = np.concatenate([[0], np.cumsum(counts)])
    even = np.polyval(np.polyfit(places, along, 1), places)
    if counts.min() < 1 or np.abs(along - even).max() > _JITTER * usual:
        raise InputError(
            f"{folder} has unevenly spaced slices ({steps.min():.2f} to {steps.max():.2f} mm); "
            "give a series with even spacing."
        )
    gaps = [float(along[k] + usual * extra) for k, count in enumerate(counts) for extra in range(1, int(count))]
    if not gaps:
        return places.tolist(), []
    where = ", ".join(f"{gap:.1f}" for gap in gaps[:10]) + (" ..." if len(gaps) > 10 else "")
    missing = f"{len(gaps)} of {len(along) + len(gaps)} slices, at {where} mm"
    if counts.max() - 1 > _MOST_MISSING_IN_A_ROW or len(gaps) > _MOST_MISSING_SHARE * len(along):
        raise InputError(f"{folder} lacks {missing}; export the complete series.")
    warning = f"The series lacks {missing}; they were filled in from their neighbors, so check the result there."
    return places.tolist(), [warning]


def _read_pixels(slices: list[_Slice], places: list[int], geometry: Geometry) -> np.ndarray:
    """The array (z, y, x) of the series, rescaled; slices without a file are interpolated."""
    import SimpleITK as sitk

    array = np.zeros(geometry.shape, dtype=np.int16)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for each, place in zip(slices, places, strict=True):
        reader.SetFileName(str(each.path))
        try:
            with quiet_itk():
                pixels = array_of(reader.Execute())[0]
        except RuntimeError as error:
            raise _cut(each.path) from error
        needed = _smallest_type(pixels)
        if not np.can_cast(needed, array.dtype):
            array = array.astype(np.promote_types(needed, array.dtype))
        array[place] = pixels
    for before, after in itertools.pairwise(places):
        for place in range(before + 1, after):
            share = (place - before) / (after - before)
            between = (1 - share) * array[before].astype(np.float32) + share * array[after].astype(np.float32)
            array[place] = between if array.dtype.kind == "f" else np.rint(between)
    return array


def _smallest_type(pixels: np.ndarray) -> np.dtype:
    """int16 where the values are whole and fit (GDCM widens to int32 for a negative intercept), else their own."""
    if pixels.dtype.kind == "f":
        return np.dtype(np.float32)
    if pixels.min() >= -(1 << 15) and pixels.max() < 1 << 15:
        return np.dtype(np.int16)
    return pixels.dtype


def _check_cut(each: _Slice, stream: BinaryIO, whole: bool) -> None:
    """Refuse a file with fewer pixels than its header says; ``stream`` stands at the pixel data element.

    GDCM fills what is missing without an error. Encapsulated data are followed fragment by fragment to their end.
    A file that is not ``whole``, without preamble, need not say its transfer syntax: it is the usual one.
    """
    from pydicom.uid import UID, ImplicitVRLittleEndian

    path, header = each.path, each.header
    stated = each.preface("TransferSyntaxUID")
    syntax = UID(stated) if stated or whole else ImplicitVRLittleEndian
    if (not stated and whole) or any(keyword not in header for keyword in ("SeriesInstanceUID", "Rows", "Columns")):
        raise _cut(path)
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise InputError(
            f"{path} has pixels in a transfer syntax that is not known ({stated}); export the series again."
        )
    if syntax.is_deflated:
        return
    start = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(start)
    if not syntax.is_compressed:
        bits = each.count("BitsAllocated") if each.text("BitsAllocated") else 16
        pixels = each.shape[0] * each.shape[1] * each.count("NumberOfFrames") * each.count("SamplesPerPixel")
        if size - start < pixels * bits // 8:
            raise _cut(path)
        return
    stream.seek(start + 12)
    while True:
        item = stream.read(8)
        if len(item) < 8:
            raise _cut(path)
        group, element, length = struct.unpack("<HHI", item)
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if stream.seek(length, 1) > size or (group, element) != (0xFFFE, 0xE000):
            raise _cut(path)


def _cut(path: Path) -> InputError:
    return InputError(f"{path} is damaged or cut short; copy or export the series again.")
