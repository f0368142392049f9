"""Reading a DICOM series: which one, in which order, on which grid, with what missing.

pydicom reads the headers and GDCM (through SimpleITK) the pixels, because it knows the compressed transfer syntaxes.
The grid comes from Image Position and Orientation (Patient) of every slice, DICOM PS3.3 C.7.6.2.1.1, never from the
names or numbers of the files.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
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
]
_NO_SCANS = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID", "PLAN"}
_MOST_MISSING_IN_A_ROW = 3
_MOST_MISSING_SHARE = 0.2
# Of the slice distance: rounded positions and the table's jitter stay below it, a missing slice is a whole one.
_JITTER = 0.1
# 0.06 degree: less shear than this moves no voxel of a chest by a tenth of a pixel between two slices.
_TILT = 1e-3


@dataclass(frozen=True)
class _Slice:
    path: Path
    header: Dataset

    @property
    def position(self) -> np.ndarray:
        return np.array(self.header.ImagePositionPatient, dtype=float)


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
    series = _find_series(folder)
    slices = _choose(folder, series, series_uid)
    first = slices[0].header
    for each in slices:
        _check_fits(folder, each, first)
    # An export may hold the same file twice.
    slices = list({str(each.header.SOPInstanceUID): each for each in slices}.values())
    geometry, slices, places, warnings = _grid(folder, slices)
    modality = str(first.get("Modality", "")) or None
    return Volume(
        array=_read_pixels(slices, places, geometry),
        geometry=geometry,
        modality=modality,
        series_uid=str(first.SeriesInstanceUID),
        files=tuple(each.path for each in slices),
        file_slices=tuple(places),
        name=f"{modality or 'DICOM'} series {first.get('SeriesNumber') or ''}".rstrip(),
        warnings=warnings,
    )


def modalities(folder: Path) -> dict[str, str]:
    """The modality of each image series in ``folder`` and its sub-folders, by Series Instance UID.

    Raises:
        InputError: a file is cut or cannot be read.
    """
    return {uid: str(slices[0].header.get("Modality", "")) for uid, slices in _find_series(folder).items()}


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
        return dcmread(file, stop_before_pixels=True, specific_tags=keywords)
    except OSError as error:
        raise InputError(f"{file} cannot be read again ({error.strerror}); keep the series where it is.") from error


def _find_series(folder: Path) -> dict[str, list[_Slice]]:
    """The image series below ``folder`` by their UID; scouts are left out of a series that has other images."""
    from pydicom import dcmread
    from pydicom.config import disable_value_validation
    from pydicom.errors import InvalidDicomError

    series: dict[str, list[_Slice]] = {}
    for path in dicom_files(folder):
        try:
            with disable_value_validation(), path.open("rb") as stream:
                header = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
                if str(header.get("Modality", "")) in _NO_SCANS or not _is_image(header):
                    continue
                _check_cut(path, stream, header)
        except InvalidDicomError:
            continue
        except (EOFError, struct.error) as error:
            raise _cut(path) from error
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        series.setdefault(str(header.SeriesInstanceUID), []).append(_Slice(path, header))
    for uid, slices in list(series.items()):
        scans = [each for each in slices if "LOCALIZER" not in (each.header.get("ImageType") or ())]
        if scans:
            series[uid] = scans
        elif len(series) > 1:
            del series[uid]
    return series


def _is_image(header: Dataset) -> bool:
    """Whether the file's preface, which is read even of a file cut in its header, promises an image."""
    storage = header.file_meta.get("MediaStorageSOPClassUID")
    return storage is None or "Image Storage" in storage.name


def _choose(folder: Path, series: dict[str, list[_Slice]], wanted: str | None) -> list[_Slice]:
    if not series:
        raise InputError(f"{folder} holds no DICOM images; give the folder of a CT or MR series.")
    shown = "; ".join(
        f"{uid} ({slices[0].header.get('Modality', 'unknown')}, {len(slices)} slices, "
        f"{str(slices[0].header.get('SeriesDescription', '')) or 'no description'})"
        for uid, slices in sorted(series.items())
    )
    if wanted is None and len(series) > 1:
        raise InputError(f"{folder} holds {len(series)} series, choose one with --series: {shown}.")
    if wanted is not None and wanted not in series:
        raise InputError(f"{folder} has no series {wanted}; it holds {shown}.")
    return series[wanted] if wanted is not None else next(iter(series.values()))


def _check_fits(folder: Path, each: _Slice, first: Dataset) -> None:
    """Refuse a slice that cannot be part of one grid with ``first``."""
    header = each.header
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{each.path} is a multi-frame DICOM object; export the series with one file per slice.")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError(f"{folder} holds color images (RGB); give a CT or MR series with one value per pixel.")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not header.get(keyword):
            raise InputError(f"{each.path} has no {keyword}, so its place is unknown; export the series again.")
    if not all(np.isfinite(step) and step > 0 for step in map(float, header.PixelSpacing)):
        raise InputError(f"{each.path} has a pixel spacing that is not positive; export the series again.")
    same_size = (header.Rows, header.Columns) == (first.Rows, first.Columns)
    same_spacing = np.allclose(header.PixelSpacing, first.PixelSpacing, rtol=1e-3)
    if not (same_size and same_spacing):
        raise InputError(f"{folder} mixes slices of different sizes in one series; export it again without the others.")
    if not np.allclose(header.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-3):
        raise InputError(f"{folder} mixes slices of different orientations in one series; export it again.")


def _grid(folder: Path, slices: list[_Slice]) -> tuple[Geometry, list[_Slice], list[int], list[str]]:
    """The even grid of the slices, the slices in its order, the place of each along z, and what to tell."""
    header = slices[0].header
    row, column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
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
    if np.abs(off_line @ np.array([row, column]).T).max() > 0.5 * min(map(float, header.PixelSpacing)):
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
        size=(header.Columns, header.Rows, places[-1] + 1),
        spacing=(header.PixelSpacing[1], header.PixelSpacing[0], distance),
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


def _check_cut(path: Path, stream: BinaryIO, header: Dataset) -> None:
    """Refuse a file with fewer pixels than its header says; ``stream`` stands at the pixel data element.

    GDCM fills what is missing without an error. Encapsulated data are followed fragment by fragment to their end.
    """
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or any(keyword not in header for keyword in ("SeriesInstanceUID", "Rows", "Columns")):
        raise _cut(path)
    if syntax.is_deflated:
        return
    start = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(start)
    if not syntax.is_compressed:
        pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
        expected = pixels * int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 16) // 8
        if size - start < expected:
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
