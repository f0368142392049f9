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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..base.errors import InputError

ENDINGS = (".nii.gz", ".nii")
BLOCK = 1 << 22
"""Bytes that are read or unpacked at once."""
HEADER_BYTES, FIRST_VOXEL = 348, 352
"""Of a file that holds header and voxels; between them lie four bytes, and extensions if there are any."""
DEFLATE = 1032
"""How many bytes one packed byte holds at most: a limit of the format."""
SPARE = 1 << 20
"""Bytes behind the voxels that are borne, besides a hundredth of theirs: some programs fill files up."""
_DATA_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_OTHER_BYTES = {32: 8, 128: 3, 1536: 16, 1792: 16, 2048: 32, 2304: 4}
"""Types that are no plain numbers (color, complex) or that numpy does not have everywhere."""


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
        transforms: (4, 4) from voxel indices to RAS, mm, of those of the two transforms (``sform``, ``qform``) that
            the header says are there.
    """

    packed: bool
    sizes: tuple[int, ...]
    steps: tuple[float, ...]
    offset: int
    voxel_bytes: int
    data_type: str | None
    scaled: bool
    transforms: dict[str, np.ndarray] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read the header of a NIfTI file.

    Raises:
        InputError: not a NIfTI file, or a header that makes no sense.
        OSError, EOFError, zlib.error: the file cannot be read or unpacked.
    """
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    with _open(path, packed) as stream:
        data = stream.read(HEADER_BYTES)
    order = next((o for o in "<>" if data[:4] == struct.pack(o + "i", HEADER_BYTES)), None)
    if any(data[:4] == struct.pack(o + "i", 540) for o in "<>"):
        # ITK 5.4 does not know it.
        raise InputError(f"{path} is NIfTI version 2, which is not read here; save it as .nrrd or NIfTI version 1.")
    if order is None or len(data) < HEADER_BYTES:
        raise InputError(f"{path} is not an image, whatever its ending says; give a NIfTI file.")
    sizes, steps = struct.unpack_from(order + "8h", data, 40), struct.unpack_from(order + "8f", data, 76)
    code, bits = struct.unpack_from(order + "2h", data, 70)
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    if not 1 <= sizes[0] <= 7 or min(sizes[1 : sizes[0] + 1]) < 1:
        raise _damaged(path, "its sizes make no sense")
    if data[344:348] not in (b"n+1\0", b"ni1\0"):
        raise _damaged(path, "it does not end as one of NIfTI version 1 does")
    if data[344:348] == b"ni1\0":
        raise InputError(
            f"{path} is the header of a pair of files (.hdr and .img); save it as one .nii.gz or .nrrd file."
        )
    if not FIRST_VOXEL <= offset < 2**31 or offset != int(offset):
        raise _damaged(path, f"it says that the voxels begin at byte {offset:g}, and they cannot before {FIRST_VOXEL}")
    bytes_each = int(_DATA_TYPES[code][1]) if code in _DATA_TYPES else _OTHER_BYTES.get(code, 0)
    if bits != 8 * bytes_each:
        raise _damaged(path, f"its data type {code} does not have {bits} bits")
    return Header(
        packed=packed,
        sizes=sizes[1 : sizes[0] + 1],
        steps=steps[1 : min(sizes[0], 3) + 1],
        offset=int(offset),
        voxel_bytes=math.prod(sizes[1 : sizes[0] + 1]) * bits // 8,
        data_type=order + _DATA_TYPES[code] if code in _DATA_TYPES else None,
        scaled=slope != 0 and (slope, intercept) != (1, 0),
        transforms=_transforms(path, data, order, steps),
    )


def _transforms(path: Path, data: bytes, order: str, steps: tuple[float, ...]) -> dict[str, np.ndarray]:
    """The header's transforms by name; see NIfTI-1, methods 2 (qform) and 3 (sform).

    Raises:
        InputError: one is not finite or squeezes a direction to nothing.
    """
    qform_code, sform_code = struct.unpack_from(order + "2h", data, 252)
    transforms: dict[str, np.ndarray] = {}
    if sform_code > 0:
        rows = np.array(struct.unpack_from(order + "12f", data, 280), float).reshape(3, 4)
        transforms["sform"] = np.vstack([rows, [0, 0, 0, 1]])
    # Sizes of voxels that are no sizes are refused for themselves.
    if qform_code > 0 and all(math.isfinite(step) and step > 0 for step in steps[1:4]):
        b, c, d, *shift = struct.unpack_from(order + "6f", data, 256)
        a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * [steps[1], steps[2], steps[3] * (-1 if steps[0] < 0 else 1)]
        matrix[:3, 3] = shift
        transforms["qform"] = matrix
    for name, matrix in transforms.items():
        if not np.isfinite(matrix).all() or not np.linalg.norm(matrix[:3, :3], axis=0).min() > 0:
            raise _damaged(path, f"its {name} gives the voxels no place")
        if np.linalg.matrix_rank(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)) < 3:
            raise _damaged(path, f"its {name} gives the voxels no volume")
    return transforms


def check_size(path: Path, header: Header) -> None:
    """Compare the voxels that are promised with the bytes of the file, before memory is taken for them.

    Raises:
        InputError: they cannot be in it.
    """
    there = path.stat().st_size - (0 if header.packed else header.offset)
    if there * (DEFLATE if header.packed else 1) < header.voxel_bytes:
        raise short(path, there, header.voxel_bytes)


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
            count_bytes(stream, path, SPARE + len(room) // 100)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder())
    return array


def check_complete(path: Path, header: Header) -> None:
    """Count the bytes of the file; unpacks a gzip stream once.

    Raises: as :func:`read_voxels`.
    """
    with _open(path, header.packed) as stream:
        most = header.offset + header.voxel_bytes
        size = count_bytes(stream, path, most + most // 100 + SPARE) if header.packed else path.stat().st_size
    if size < header.offset + header.voxel_bytes:
        raise short(path, size - header.offset, header.voxel_bytes)


def count_bytes(stream: io.BufferedIOBase, path: Path, most: int) -> int:
    """Bytes from here to the end; of a gzip stream the checksum is checked on the way.

    Raises:
        InputError: there are more than ``most``, which a small packed file can hold and nobody wants to wait for.
    """
    total = 0
    while block := stream.read(BLOCK):
        total += len(block)
        if total > most:
            raise InputError(f"{path} holds far more bytes than its header says; export it again.")
    return total


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} has a damaged NIfTI header ({reason}); export it again.")


def short(path: Path, there: int, expected: int) -> InputError:
    """The error for a file with only ``there`` of ``expected`` bytes of voxels."""
    return InputError(f"{path} is cut short ({max(there, 0)} of {expected} bytes are there); copy or export it again.")


def _open(path: Path, packed: bool) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if packed else path.open("rb")
