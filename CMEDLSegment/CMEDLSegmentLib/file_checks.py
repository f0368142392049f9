"""What an image file's own header promises, checked against its bytes.

ITK reads a NIfTI file that was cut short without an error, makes 1 mm of a voxel size of zero, and turns a
negative one into a flip. A tumour volume from such a file would be wrong in silence: the header is read here.

Formats: NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov), NRRD (teem.sourceforge.net/nrrd/format.html), MetaImage.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError

_BLOCK = 1 << 20
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


def check_file(path: Path) -> None:
    """Check voxel size and completeness of a .nii, .nii.gz, .nrrd, .mha or .mhd file.

    A compressed file is unpacked once in passing, checksum included (about 0.3 s for 512 x 512 x 150).

    Raises:
        InputError: not what its ending says, cut short, damaged, or without a positive voxel size.
    """
    name = path.name.lower()
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
        if name.endswith((".nii", ".nii.gz")):
            _check_nifti(path)
        elif name.endswith(".nrrd"):
            _check_nrrd(path)
        else:
            _check_metaimage(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is cut short or damaged; copy or export it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions.") from error


def _check_nifti(path: Path) -> None:
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        header = stream.read(540)
        order = next((o for o in "<>" if header[:4] in (struct.pack(o + "i", 348), struct.pack(o + "i", 540))), None)
        if order is None or len(header) < 348:
            raise InputError(f"{path} is not an image, whatever its ending says; give a NIfTI file.")
        if struct.unpack_from(order + "i", header)[0] == 348:
            dim, bits = (
                struct.unpack_from(order + "8h", header, 40),
                struct.unpack_from(order + "h", header, 72)[0],
            )
            steps, offset = (
                struct.unpack_from(order + "8f", header, 76),
                struct.unpack_from(order + "f", header, 108),
            )
        else:
            dim, bits = (
                struct.unpack_from(order + "8q", header, 16),
                struct.unpack_from(order + "h", header, 14)[0],
            )
            steps, offset = (
                struct.unpack_from(order + "8d", header, 104),
                struct.unpack_from(order + "q", header, 168),
            )
        if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
            raise InputError(f"{path} has a damaged NIfTI header (its dimensions make no sense); export it again.")
        _refuse_spacing(path, steps[1 : min(dim[0], 3) + 1])
        expected = int(offset[0]) + math.prod(dim[1 : dim[0] + 1]) * bits // 8
        found = len(header) + (_count(stream) if packed else path.stat().st_size - stream.tell())
    _refuse_short(path, found, expected)


def _check_nrrd(path: Path) -> None:
    with path.open("rb") as stream:
        if not stream.readline(80).startswith(b"NRRD"):
            raise InputError(f"{path} is not an image, whatever its ending says; give an NRRD file.")
        fields: dict[str, str] = {}
        # The header ends with an empty line, or with the file where the data lie in another one.
        for line in iter(lambda: stream.readline(_BLOCK).rstrip(b"\r\n"), b""):
            key, separator, value = line.decode("utf-8", "replace").partition(": ")
            if separator and not line.startswith(b"#"):
                fields[key.strip().lower()] = value.strip()
        _refuse_spacing(path, [s for s in map(_number, fields.get("spacings", "").split()) if not math.isnan(s)])
        _refuse_spacing(path, _nrrd_steps(fields.get("space directions", "")))
        bytes_each = _NRRD_BYTES.get(fields.get("type", ""))
        sizes = [_number(size) for size in fields.get("sizes", "").split()]
        if "data file" in fields or "datafile" in fields or bytes_each is None or not sizes:
            return
        expected = int(math.prod(sizes)) * bytes_each
        if fields.get("encoding") == "raw":
            _refuse_short(path, path.stat().st_size - stream.tell(), expected)
        elif fields.get("encoding") in ("gzip", "gz"):
            with gzip.GzipFile(fileobj=stream) as unpacked:
                _refuse_short(path, _count(unpacked), expected)


def _check_metaimage(path: Path) -> None:
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        # The data follow the line ElementDataFile; a file without it is no MetaImage: look at 200 lines.
        for _ in range(200):
            key, separator, value = stream.readline(_BLOCK).decode("utf-8", "replace").partition("=")
            if separator:
                fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        if "ElementDataFile" not in fields or "DimSize" not in fields:
            raise InputError(f"{path} is not an image, whatever its ending says; give a MetaImage file.")
        spacing = fields.get("ElementSpacing", fields.get("ElementSize", ""))
        _refuse_spacing(path, [_number(step) for step in spacing.split()])
        data = fields["ElementDataFile"]
        if data == "LIST" or "%" in data:
            raise InputError(f"{path} keeps its slices in several files; convert it to one .mha file.")
        where = path if data in ("LOCAL", "local") else path.with_name(data)
        if not where.is_file():
            raise InputError(f"{path} needs its data file {data}, which is not beside it; copy both.")
        found = where.stat().st_size - (stream.tell() if where == path else 0)
    if fields.get("CompressedData", "False").lower() == "true":
        expected = _number(fields.get("CompressedDataSize", "0"))
    else:
        channels = _number(fields.get("ElementNumberOfChannels", "1"))
        sizes = [_number(size) for size in fields["DimSize"].split()]
        expected = math.prod(sizes) * channels * _META_BYTES.get(fields.get("ElementType", ""), 0)
    _refuse_short(path, found, 0 if math.isnan(expected) else int(expected))


def _count(stream: BinaryIO | gzip.GzipFile) -> int:
    """Bytes from here to the end; unpacking checks the checksum of a gzip stream on the way."""
    total = 0
    while block := stream.read(_BLOCK):
        total += len(block)
    return total


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _nrrd_steps(directions: str) -> list[float]:
    """Lengths of the vectors of an NRRD ``space directions`` field; ``none`` entries are left out."""
    vectors = [part.split(")")[0] for part in directions.split("(")[1:]]
    return [float(np.linalg.norm([_number(value) for value in vector.split(",")])) for vector in vectors]


def _refuse_spacing(path: Path, steps: list[float] | tuple[float, ...]) -> None:
    if not all(math.isfinite(step) and step > 0 for step in steps):
        shown = " x ".join(f"{step:g}" for step in steps)
        raise InputError(
            f"{path} has a voxel spacing of {shown} mm; write it again with its true, positive voxel size."
        )


def _refuse_short(path: Path, found: int, expected: int) -> None:
    if found < expected:
        raise InputError(
            f"{path} is cut short ({max(found, 0)} of {expected} bytes are there); copy or export it again."
        )
