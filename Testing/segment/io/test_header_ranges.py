"""Headers whose numbers are out of range or contradict each other: refused, or told, before anything goes by them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.images import read_volume, write_image
from CMEDLSegmentLib.io.volume import Geometry
from segment.io.conftest import rotation

GEOMETRY = Geometry((10, 9, 8), (1.0, 1.5, 2.0), (3.0, 4.0, 5.0), tuple(rotation(17.0).ravel().tolist()))
ARRAY = (np.arange(8 * 9 * 10) % 100).reshape(8, 9, 10).astype(np.int16)
NAN, INFINITE = float("nan"), float("inf")

Change = Callable[[bytearray], object]


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[[Change], Path]:
    """Writes a NIfTI file of ARRAY with a change of its bytes."""

    def changed(change: Change) -> Path:
        path = tmp_path / "scan.nii"
        write_image(path, ARRAY, GEOMETRY)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return path

    return changed


def put(form: str, at: int, *values: float) -> Change:
    return lambda data: struct.pack_into(f"<{form}", data, at, *values)


def both(*changes: Change) -> Change:
    return lambda data: [change(data) for change in changes]


def sform(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Another sform, made of the present one (3, 4)."""

    def apply(data: bytearray) -> None:
        rows = np.array(struct.unpack_from("<12f", data, 280)).reshape(3, 4)
        struct.pack_into("<12f", data, 280, *change(rows).ravel())

    return apply


OFFSET, TYPE, BITS, SIZES, STEPS, CODES, UNITS, MAGIC = 108, 70, 72, 42, 80, 252, 123, 344


def test_a_whole_file_is_read_without_a_word(nifti) -> None:
    volume = read_volume(nifti(lambda data: None))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.warnings == []


@pytest.mark.parametrize(
    "change",
    [
        *(put("f", OFFSET, value) for value in (0, 176, 351, 352.5, -352, NAN, INFINITE, 1e9)),
        *(put("h", BITS, value) for value in (0, 8, 15, 32, -16)),
        *(put("h", TYPE, value) for value in (0, 1, 99, 16, -4)),
        *(put("3h", SIZES, *value) for value in ((10, 9, 800), (30000, 30000, 30000), (10, 9, 0), (-10, 9, 8))),
        *(put("3f", STEPS, *value) for value in ((1e-30, 1, 1), (1500, 1, 1), (0, 1, 1), (NAN, 1, 1), (-1, 1, 1))),
        put("B", UNITS, 1),
        put("B", UNITS, 3),
        lambda data: data.__setitem__(slice(MAGIC, MAGIC + 4), b"ni1\0"),
        lambda data: data.__setitem__(slice(MAGIC, MAGIC + 4), b"\0\0\0\0"),
        sform(lambda rows: np.vstack([np.full((1, 4), NAN), rows[1:]])),
        both(put("2h", CODES, 0, 1), sform(lambda rows: np.vstack([np.zeros((1, 4)), rows[1:]]))),
        both(put("2h", CODES, 0, 1), sform(lambda rows: rows * np.array([0, 1, 1, 1]))),
        put("3f", 256, NAN, 0, 0),
    ],
)
def test_a_number_out_of_its_range_is_refused(nifti, change: Change) -> None:
    with pytest.raises(InputError, match=r"scan\.nii"):
        read_volume(nifti(change))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_transforms_that_mirror_each_other_are_refused(nifti, axis: int) -> None:
    mirror = np.ones(4)
    mirror[axis] = -1
    with pytest.raises(InputError, match=r"sform and qform"):
        read_volume(nifti(sform(lambda rows: rows * mirror)))


@pytest.mark.parametrize(
    ("change", "mm"),
    [
        (sform(lambda rows: np.add(rows, [0, 0, 0, 13.0])), 13.0 * 3**0.5),
        (sform(lambda rows: np.vstack([np.add(rows[:1], [0, 0, 0, 0.5]), rows[1:]])), 0.5),
        (put("f", 268, 100.0), None),
        (sform(lambda rows: rows * [1.3, 1.3, 1.3, 1.0]), None),
        (both(put("2h", CODES, 0, 1), sform(lambda rows: rows * [1.3, 1.0, 1.0, 1.0])), None),
        (sform(lambda rows: np.add(rows, [0, 0.4, 0, 0])), None),
    ],
)
def test_transforms_that_contradict_each_other_are_told(nifti, change: Change, mm: float | None) -> None:
    (warning,) = read_volume(nifti(change)).warnings
    assert "form" in warning
    if mm is not None:
        assert f"{mm:.1f} mm" in warning


def test_a_rounded_transform_is_worth_no_word(nifti) -> None:
    assert read_volume(nifti(sform(lambda rows: rows * (1 + 1e-6)))).warnings == []


def test_a_file_without_a_transform_says_so(nifti) -> None:
    (warning,) = read_volume(nifti(put("2h", CODES, 0, 0))).warnings
    assert "left and right" in warning


@pytest.mark.parametrize("code", [(1, 0), (0, 1)])
def test_one_transform_is_enough(nifti, code: tuple[int, int]) -> None:
    volume = read_volume(nifti(put("2h", CODES, *code)))
    assert volume.warnings == []
    assert volume.geometry.is_close(GEOMETRY, 1e-3)


def test_bytes_behind_the_voxels_are_borne_but_not_without_end(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii", ARRAY, GEOMETRY)
    data = (tmp_path / "a.nii").read_bytes()
    for spare, fits in ((1000, True), (50_000_000, False)):
        packed = tmp_path / "scan.nii.gz"
        packed.write_bytes(gzip.compress(data + bytes(spare)))
        if fits:
            np.testing.assert_array_equal(read_volume(packed).array, ARRAY)
        else:
            with pytest.raises(InputError, match=r"scan\.nii\.gz"):
                read_volume(packed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sizes: 10 9 8", "sizes: 10 9 8" + " " * 1100),
        ("sizes: 10 9 8", "sizes: 10 9 -8"),
        ("sizes: 10 9 8", "sizes: 10 9"),
        ("sizes: 10 9 8", "sizes: 10 9 8.5"),
        ("sizes: 10 9 8", "sizes: 30000 30000 30000"),
        ("dimension: 3", "dimension: 0"),
        ("dimension: 3", "dimension: 17"),
        ("dimension: 3", "dimension: -1"),
        ("encoding: gzip", "encoding: gzip\nbyte skip: -2"),
        ("encoding: gzip", "encoding: gzip\nline skip: 1e99"),
        ("space origin: (3,4,5)", "space origin: (nan,4,5)"),
        ("space origin: (3,4,5)", "space origin: (1e30,4,5)"),
    ],
)
def test_an_nrrd_header_out_of_its_range_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "scan.nrrd"
    write_image(path, ARRAY, GEOMETRY)
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))
    with pytest.raises(InputError, match=r"scan\.nrrd"):
        read_volume(path)


def test_long_texts_of_an_nrrd_header_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    write_image(path, ARRAY, GEOMETRY)
    for line in ("content: " + "x" * 5000, "Segment0_Tags:=a: " + "x" * 5000, "# sizes: " + "x" * 5000):
        head, _, rest = path.read_bytes().partition(b"\n\n")
        (tmp_path / "long.nrrd").write_bytes(head + b"\n" + line.encode() + b"\n\n" + rest)
        np.testing.assert_array_equal(read_volume(tmp_path / "long.nrrd").array, ARRAY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("NDims = 3", f"NDims = {count}") for count in ("-1", "0", "2", "60000", "x")),
        *(("DimSize = 10 9 8", f"DimSize = {sizes}") for sizes in ("10 9", "10 9 -8", "10 9 0", "30000 30000 30000")),
        ("DimSize = 10 9 8", "DimSize = 10 9 8\nElementNumberOfChannels = -1"),
        ("Offset = 3 4 5", "Offset = nan 4 5"),
        ("Offset = 3 4 5", "Offset = 3 4"),
        ("Offset = 3 4 5", "Offset = 3 4 1e30"),
        ("ElementSpacing = 1 1.5 2", "ElementSpacing = 1 1.5 1e-30"),
        ("ElementSpacing = 1 1.5 2", "ElementSpacing = 1500 1.5 2"),
    ],
)
def test_a_metaimage_header_out_of_its_range_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "scan.mha"
    write_image(path, ARRAY, GEOMETRY)
    data = path.read_bytes().replace(b"CompressedData = True", b"CompressedData = False")
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))
    with pytest.raises(InputError, match=r"scan\.mha"):
        read_volume(path)
