"""NIfTI headers and voxels (nifti.nimh.nih.gov), read without ITK where that matters.

ITK reads a NIfTI file that was cut short without an error, makes 1 mm of a voxel size of zero, and keeps two copies of
the voxels while it reads. Positions are left to ITK: its rules for the two transforms of a NIfTI file are the common
ones.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.errors import InputError

ENDINGS = (".nii.gz", ".nii")
BLOCK = 1 << 22
"""Bytes that are read or unpacked at once."""
_DATA_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}


@dataclass(frozen=True)
class Header:
    """What a NIfTI header promises.

    Attributes:
        packed: the file is a gzip stream, whatever its ending says.
        sizes: voxels along x, y, z and further dimensions.
        steps: voxel size along x, y, z as stored, mm.
        offset: bytes before the first voxel.
        voxel_bytes: bytes of all voxels.
        data_type: numpy's name of the stored type with its byte order; None for color and complex numbers.
        scaled: stored values are to be multiplied or shifted.
    """

    packed: bool
    sizes: tuple[int, ...]
    steps: tuple[float, ...]
    offset: int
    voxel_bytes: int
    data_type: str | None
    scaled: bool


def read_header(path: Path) -> Header:
    """Read the header of a NIfTI file.

    Raises:
        InputError: not a NIfTI file, or a header that makes no sense.
        OSError, EOFError, zlib.error: the file cannot be read or unpacked.
    """
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    with _open(path, packed) as stream:
        data = stream.read(348)
    order = next((o for o in "<>" if data[:4] == struct.pack(o + "i", 348)), None)
    if any(data[:4] == struct.pack(o + "i", 540) for o in "<>"):
        # ITK 5.4 does not know it.
        raise InputError(f"{path} is NIfTI version 2, which is not read here; save it as .nrrd or NIfTI version 1.")
    if order is None or len(data) < 348:
        raise InputError(f"{path} is not an image, whatever its ending says; give a NIfTI file.")
    sizes, steps = struct.unpack_from(order + "8h", data, 40), struct.unpack_from(order + "8f", data, 76)
    code, bits = struct.unpack_from(order + "2h", data, 70)
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    if not 1 <= sizes[0] <= 7 or min(sizes[1 : sizes[0] + 1]) < 1 or not math.isfinite(offset):
        raise InputError(f"{path} has a damaged NIfTI header (its sizes make no sense); export it again.")
    return Header(
        packed=packed,
        sizes=sizes[1 : sizes[0] + 1],
        steps=steps[1 : min(sizes[0], 3) + 1],
        offset=int(offset),
        voxel_bytes=math.prod(sizes[1 : sizes[0] + 1]) * bits // 8,
        data_type=order + _DATA_TYPES[code] if code in _DATA_TYPES else None,
        scaled=slope != 0 and (slope, intercept) != (1, 0),
    )


def read_voxels(path: Path, header: Header) -> np.ndarray | None:
    """The voxels (..., z, y, x) as stored, in one pass and one copy; None where ITK has to compute their values.

    The checksum of a gzip stream is checked in passing.

    Raises:
        InputError: fewer voxels than the header says.
        OSError, EOFError, zlib.error: the file cannot be read or unpacked.
    """
    if header.data_type is None or header.scaled:
        return None
    array = np.empty(header.sizes[::-1], dtype=header.data_type)
    room = array.reshape(-1).view(np.uint8).data
    filled = 0
    with _open(path, header.packed) as stream:
        stream.seek(header.offset)
        while filled < len(room):
            got = stream.readinto(room[filled : filled + BLOCK])
            if not got:
                raise short(path, filled, len(room))
            filled += got
        if header.packed:
            count_bytes(stream)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder())
    return array


def check_complete(path: Path, header: Header) -> None:
    """Count the bytes of the file; unpacks a gzip stream once.

    Raises: as :func:`read_voxels`.
    """
    with _open(path, header.packed) as stream:
        size = count_bytes(stream) if header.packed else path.stat().st_size
    if size < header.offset + header.voxel_bytes:
        raise short(path, size - header.offset, header.voxel_bytes)


def count_bytes(stream: io.BufferedIOBase) -> int:
    """Bytes from here to the end; of a gzip stream the checksum is checked on the way."""
    total = 0
    while block := stream.read(BLOCK):
        total += len(block)
    return total


def short(path: Path, there: int, expected: int) -> InputError:
    """The error for a file with only ``there`` of ``expected`` bytes of voxels."""
    return InputError(f"{path} is cut short ({max(there, 0)} of {expected} bytes are there); copy or export it again.")


def _open(path: Path, packed: bool) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if packed else path.open("rb")
