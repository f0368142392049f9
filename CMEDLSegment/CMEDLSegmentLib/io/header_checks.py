"""What an image file's own header promises, checked against its bytes before ITK believes it.

A negative voxel size becomes a flip in ITK, and a tumor volume from a file that was cut short would be wrong in
silence. Formats: NIfTI (see ``nifti.py``), NRRD (teem.sourceforge.net/nrrd/format.html), MetaImage.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..base.errors import InputError
from . import nifti

_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t", "ulonglong", "uint64", "uint64_t"), 8),
    **{"float": 4, "double": 8},
}
_META_BYTES = {
    **{"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4},
    **{"MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8},
}


LONGEST_FIELD = 1000
"""Bytes of a line of numbers in an NRRD header; ITK's reader writes beyond its memory from 1,020 on."""
MOST_AXES = 16
"""Of an NRRD file, by the format; MetaImage knows 10."""


def check_file(path: Path) -> None:
    """Check voxel size and completeness of a .nii, .nii.gz, .nrrd, .mha or .mhd file; unpacks it once in passing.

    Raises:
        InputError: not what its ending says, cut short, damaged, or without a positive voxel size.
    """
    with damage_as_error(path):
        if path.name.lower().endswith(nifti.ENDINGS):
            nifti.check_complete(path, check_nifti_header(path))
        elif path.name.lower().endswith(".nrrd"):
            _check_nrrd(path)
        else:
            _check_metaimage(path)


def check_nifti_header(path: Path) -> nifti.Header:
    """The header of a NIfTI file with positive voxel sizes.

    Raises:
        InputError: not a NIfTI file, a damaged header, or no positive voxel size.
    """
    with damage_as_error(path):
        header = nifti.read_header(path)
        _check_spacing(path, header.steps)
        nifti.check_size(path, header)
        return header


@contextlib.contextmanager
def damage_as_error(path: Path) -> Iterator[None]:
    """Turn what reading ``path`` raises for an unreadable or damaged file into one sentence.

    Raises:
        InputError: the file is empty, cannot be read, or cannot be unpacked.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is cut short or damaged; copy or export it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions.") from error


def _check_nrrd(path: Path) -> None:
    with path.open("rb") as stream:
        if not stream.readline(80).startswith(b"NRRD"):
            raise InputError(f"{path} is not an image, whatever its ending says; give an NRRD file.")
        fields: dict[str, str] = {}
        # The header ends with an empty line, or with the file where the data lie in another one.
        for line in iter(lambda: stream.readline(nifti.BLOCK).rstrip(b"\r\n"), b""):
            key, separator, value = line.decode("utf-8", "replace").partition(": ")
            if separator and not line.startswith(b"#") and ":=" not in key:
                fields[key.strip().lower()] = value.strip()
                if len(line) > LONGEST_FIELD and key.strip().lower() != "content":
                    raise InputError(
                        f"{path} has a damaged NRRD header (its '{key[:40]}' is too long); export it again."
                    )
        sizes = _nrrd_sizes(path, fields)
        _check_spacing(path, [s for s in map(_number, fields.get("spacings", "").split()) if not math.isnan(s)])
        _check_spacing(path, _nrrd_steps(fields.get("space directions", "")))
        bytes_each = _NRRD_BYTES.get(fields.get("type", ""))
        if "data file" in fields or "datafile" in fields or bytes_each is None:
            return
        expected = math.prod(sizes) * bytes_each
        if fields.get("encoding") == "raw":
            _check_short(path, path.stat().st_size - stream.tell(), expected)
        elif fields.get("encoding") in ("gzip", "gz"):
            left = path.stat().st_size - stream.tell()
            if left * nifti.DEFLATE < expected:
                raise nifti.short(path, left, expected)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                most = expected + expected // 100 + nifti.SPARE
                _check_short(path, nifti.count_bytes(unpacked, path, most), expected)


def _nrrd_sizes(path: Path, fields: dict[str, str]) -> list[int]:
    """The sizes of an NRRD's axes; they and other numbers that ITK takes as they are have to make sense.

    Raises:
        InputError: one is out of its range, or does not fit another.
    """
    dimension = _number(fields.get("dimension", ""))
    sizes = [_number(size) for size in fields.get("sizes", "").split()]
    skips = {
        name: _number(fields[name]) for name in ("byte skip", "byteskip", "line skip", "lineskip") if name in fields
    }
    wrong: list[str] = [
        name
        for name, value in skips.items()
        if not math.isfinite(value) or value != int(value) or value < (-1 if name.startswith("byte") else 0)
    ]
    if not 1 <= dimension <= MOST_AXES or dimension != int(dimension):
        wrong.append("dimension")
    elif len(sizes) != dimension or not all(map(_is_size, sizes)):
        wrong.append("sizes")
    numbers = [_number(value) for value in fields.get("space origin", "").strip("()").split(",") if value.strip()]
    if not all(map(math.isfinite, numbers)):
        wrong.append("space origin")
    if wrong:
        raise InputError(f"{path} has a damaged NRRD header (its '{wrong[0]}' makes no sense); export it again.")
    return list(map(int, sizes))


def _is_size(value: float) -> bool:
    return math.isfinite(value) and 1 <= value < 2**31 and value == int(value)


def _check_metaimage(path: Path) -> None:
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        # The data follow the line ElementDataFile; a file without it is no MetaImage: look at 200 lines.
        for _ in range(200):
            key, separator, value = stream.readline(nifti.BLOCK).decode("utf-8", "replace").partition("=")
            if separator:
                fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        if "ElementDataFile" not in fields or "DimSize" not in fields:
            raise InputError(f"{path} is not an image, whatever its ending says; give a MetaImage file.")
        values = _metaimage_values(path, fields)
        spacing = fields.get("ElementSpacing", fields.get("ElementSize", ""))
        _check_spacing(path, [_number(step) for step in spacing.split()])
        data = fields["ElementDataFile"]
        if data == "LIST" or "%" in data:
            raise InputError(f"{path} keeps its slices in several files; convert it to one .mha file.")
        local = data.lower() == "local"
        where = path if local else path.parent / data
        if not os.path.isfile(where):  # noqa: PTH113 (a name may be no name at all)
            raise InputError(f"{path} needs its data file {data}, which is not there; copy both.")
        there = where.stat().st_size - (stream.tell() if local else 0)
    expected = values * _META_BYTES.get(fields.get("ElementType", ""), 0)
    if fields.get("CompressedData", "False").lower() == "true":
        packed = _number(fields.get("CompressedDataSize", "0"))
        _check_short(path, there * nifti.DEFLATE, expected)
        expected = int(packed) if math.isfinite(packed) else 0
    _check_short(path, there, expected)


def _metaimage_values(path: Path, fields: dict[str, str]) -> int:
    """How many values a MetaImage holds; its sizes and other numbers that ITK takes as they are have to make sense.

    Raises:
        InputError: one is out of its range, or does not fit another.
    """
    axes, channels = _number(fields.get("NDims", "")), _number(fields.get("ElementNumberOfChannels", "1"))
    sizes = [_number(size) for size in fields["DimSize"].split()]
    wrong = []
    if axes not in range(1, 11):
        wrong.append("NDims")
    elif len(sizes) != axes or not all(map(_is_size, sizes)):
        wrong.append("DimSize")
    if not _is_size(channels):
        wrong.append("ElementNumberOfChannels")
    counts = dict.fromkeys(("Offset", "Position", "Origin"), axes)
    counts |= dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), axes * axes)
    for name, count in counts.items():
        numbers = [_number(value) for value in fields[name].split()] if name in fields else []
        if not all(map(math.isfinite, numbers)) or len(numbers) not in (0, count):
            wrong.append(name)
    if wrong:
        raise InputError(f"{path} has a damaged MetaImage header (its '{wrong[0]}' makes no sense); export it again.")
    return math.prod(map(int, (*sizes, channels)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _nrrd_steps(directions: str) -> list[float]:
    """Lengths of the vectors of an NRRD ``space directions`` field; ``none`` entries are left out."""
    vectors = [part.split(")")[0] for part in directions.split("(")[1:]]
    return [float(np.linalg.norm([_number(value) for value in vector.split(",")])) for vector in vectors]


def _check_spacing(path: Path, steps: list[float] | tuple[float, ...]) -> None:
    if not all(math.isfinite(step) and step > 0 for step in steps):
        shown = " x ".join(f"{step:g}" for step in steps)
        raise InputError(
            f"{path} has a voxel spacing of {shown} mm; write it again with its true, positive voxel size."
        )


def _check_short(path: Path, there: int, expected: int) -> None:
    if there < expected:
        raise nifti.short(path, there, expected)
