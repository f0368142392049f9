"""Reading DICOM folders, against files that pydicom wrote."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.io.volume import Geometry, axial_view
from segment.io.conftest import grid, orientations, rotation, tilted
from segment.io.dicom_samples import PATIENT_ID, PATIENT_NAME, write_series


@pytest.mark.parametrize("name", orientations())
def test_a_series_is_read_in_hu_on_its_grid_in_every_orientation(name, ct, tmp_path):
    geometry = grid(orientations()[name])
    uid = generate_uid()
    files = write_series(tmp_path, ct, geometry, series_uid=uid)
    volume = read_volume(tmp_path)
    # Slices may be sorted either way; in the patient nothing moves.
    backwards = np.linalg.det(orientations()[name]) < 0
    np.testing.assert_array_equal(volume.array, ct[::-1] if backwards else ct)
    assert volume.files == tuple(reversed(files) if backwards else files)
    first = len(ct) - 1 if backwards else 0
    np.testing.assert_allclose(volume.geometry.origin, geometry.to_physical([[0, 0, first]])[0], atol=1e-6)
    corners = volume.geometry.corners(), geometry.corners()
    assert max(np.linalg.norm(corners[0] - corner, axis=1).min() for corner in corners[1]) < 1e-5
    assert volume.array.dtype == np.int16
    assert (volume.modality, volume.series_uid, volume.warnings) == ("CT", uid, [])
    assert volume.file_slices == tuple(range(12))


def test_the_grid_is_that_of_simpleitks_series_reader(ct, tmp_path):
    write_series(tmp_path, ct, grid(rotation(25)))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    expected = sitk.ReadImage(names)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(volume.geometry.spacing, expected.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.origin, expected.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.direction, expected.GetDirection(), atol=1e-5)


@pytest.mark.parametrize(("slope", "dtype"), [(1.0, np.int16), (0.5, np.float32), (2.0, np.int16)])
def test_slope_and_intercept_are_applied(slope, dtype, ct, tmp_path):
    even = ct // 2 * 2
    write_series(tmp_path, even, grid(np.eye(3)), slope=slope)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, even)
    assert volume.array.dtype == dtype


def test_values_beyond_16_bits_are_not_clipped(tmp_path):
    array = np.full((4, 6, 6), 20000, np.int32)
    array[2] = 39998
    write_series(tmp_path, array, grid(np.eye(3), (6, 6, 4)), intercept=20000, slope=2)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)


def test_mr_says_that_it_is_mr(ct, tmp_path):
    write_series(tmp_path, ct + 1000, grid(np.eye(3)), modality="MR", intercept=0)
    volume = read_volume(tmp_path)
    assert (volume.modality, volume.name) == ("MR", "MR series 3")
    np.testing.assert_array_equal(volume.array, ct + 1000)


@pytest.mark.parametrize("kind", ["JPEG2000", "JPEG"])
def test_compressed_series_are_read_and_cut_ones_refused(kind, ct, tmp_path):
    for path in write_series(tmp_path, ct + 1000, grid(np.eye(3)), modality="MR", intercept=0):
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(kind)
        writer.SetFileName(f"{path}.dcm")
        writer.Execute(sitk.ReadImage(str(path), sitk.sitkInt16))
        path.unlink()
    np.testing.assert_array_equal(read_volume(tmp_path).array, ct + 1000)
    path = min(tmp_path.iterdir())
    assert dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=path.name):
        read_volume(tmp_path)


def test_missing_slices_are_reported_with_their_place_and_filled(ct, tmp_path):
    geometry = grid(np.eye(3))
    write_series(tmp_path, ct, geometry, missing=[4])
    volume = read_volume(tmp_path)
    assert volume.geometry.is_close(geometry, 1e-5)
    assert volume.file_slices == (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11)
    assert len(volume.files) == 11
    (warning,) = volume.warnings
    # Slice 4 lies 4 x 2.5 mm above -789.1 mm.
    assert "1 of 12 slices, at -779.1 mm" in warning
    kept = [k for k in range(12) if k != 4]
    np.testing.assert_array_equal(volume.array[kept], ct[kept])
    np.testing.assert_array_equal(volume.array[4], np.rint((ct[3].astype(float) + ct[5]) / 2))


def test_two_missing_slices_in_a_row_are_interpolated_by_distance(tmp_path):
    array = np.broadcast_to(np.arange(12, dtype=np.int16)[:, None, None] * 30, (12, 8, 8)).copy()
    write_series(tmp_path, array, grid(np.eye(3), (8, 8, 12)), missing=[5, 6])
    np.testing.assert_array_equal(read_volume(tmp_path).array, array)


@pytest.mark.parametrize("missing", [[3, 4, 5, 6], [2, 5, 8]])
def test_a_series_that_lacks_much_is_refused_with_what_it_lacks(missing, ct, tmp_path):
    write_series(tmp_path, ct, grid(np.eye(3)), missing=missing)
    with pytest.raises(InputError, match=rf"{len(missing)} of 12 slices, at (-781\.6|-784\.1)"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    "offset", [lambda k: (0, 0, 0.02 * k**2), lambda k: (5 * (k % 2), 0, 0)], ids=["uneven", "sideways"]
)
def test_slices_that_make_no_even_grid_are_refused(offset, ct, tmp_path):
    for k, path in enumerate(write_series(tmp_path, ct, grid(np.eye(3)))):
        header = dcmread(path)
        header.ImagePositionPatient = [a + b for a, b in zip(header.ImagePositionPatient, offset(k), strict=True)]
        header.save_as(path)
    with pytest.raises(InputError, match=tmp_path.name):
        read_volume(tmp_path)


def test_rounded_positions_are_no_missing_slices(ct, tmp_path):
    files = write_series(tmp_path, ct, grid(np.eye(3)))
    for k, path in enumerate(files):
        header = dcmread(path)
        header.ImagePositionPatient = [0, 0, round(0.625 * k, 1)]
        header.save_as(path)
    volume = read_volume(tmp_path)
    assert volume.warnings == []
    assert volume.geometry.spacing[2] == pytest.approx(0.625, abs=0.01)


def test_several_images_at_one_position_are_refused(ct, tmp_path):
    uid = generate_uid()
    write_series(tmp_path / "arterial", ct, grid(np.eye(3)), series_uid=uid)
    write_series(tmp_path / "venous", ct, grid(np.eye(3)), series_uid=uid)
    with pytest.raises(InputError, match=tmp_path.name):
        read_volume(tmp_path)


def test_a_file_that_is_there_twice_is_read_once(ct, tmp_path):
    files = write_series(tmp_path, ct, grid(np.eye(3)))
    (tmp_path / "copy").write_bytes(files[5].read_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path).array, ct)


def test_a_tilted_gantry_keeps_every_voxel_in_its_place_and_is_told(ct, tmp_path):
    geometry = grid(tilted(15))
    write_series(tmp_path, ct, geometry)
    volume = read_volume(tmp_path)
    assert volume.geometry.is_close(geometry, 1e-5)
    assert "15.0 degrees" in volume.warnings[0]
    assert axial_view(volume.array, volume.geometry).obliquity_degrees == pytest.approx(15, abs=0.01)


def test_two_series_are_listed_and_one_can_be_chosen(ct, tmp_path):
    first, second = generate_uid(), generate_uid()
    write_series(tmp_path / "a", ct, grid(np.eye(3)), series_uid=first, description="Thorax 2.5 mm")
    write_series(tmp_path / "b", ct[:7] + 1000, grid(np.eye(3)), series_uid=second, modality="MR", description="T2")
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path)
    message = str(caught.value)
    assert "--series" in message
    assert f"{first} (CT, 12 slices, Thorax 2.5 mm)" in message
    assert f"{second} (MR, 7 slices, T2)" in message
    assert PATIENT_ID not in message
    assert PATIENT_NAME not in message
    assert read_volume(tmp_path, series_uid=second).array.shape == (7, 20, 24)
    with pytest.raises(InputError, match=r"1\.2\.3"):
        read_volume(tmp_path, series_uid="1.2.3")


def test_scouts_and_other_objects_beside_a_series_do_not_count(ct, tmp_path):
    uid = generate_uid()
    write_series(tmp_path / "ct", ct, grid(np.eye(3)), series_uid=uid)
    scout = {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}
    write_series(tmp_path / "scout", ct[:1], grid(orientations()["coronal"]), **scout)
    write_series(tmp_path / "scout in the series", ct[:1], grid(orientations()["coronal"]), series_uid=uid, **scout)
    write_series(tmp_path / "seg", ct[:1], grid(np.eye(3)), Modality="SEG")
    (tmp_path / "readme.txt").write_text("exported on a Tuesday", "utf-8")
    np.testing.assert_array_equal(read_volume(tmp_path).array, ct)


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.95])
def test_a_file_cut_anywhere_is_refused_by_name(kept, ct, tmp_path):
    files = write_series(tmp_path, ct, grid(np.eye(3)))
    data = files[3].read_bytes()
    # The first 132 bytes tell that a file is DICOM at all.
    files[3].write_bytes(data[: 140 + int((len(data) - 140) * kept)])
    with pytest.raises(InputError, match=files[3].name):
        read_volume(tmp_path)


COLOR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
COLOR |= {"PixelRepresentation": 0, "PlanarConfiguration": 0, "PixelData": bytes(3 * 20 * 24)}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (COLOR, "RGB"),
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * 2 * 20 * 24)}, "IM0"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelSpacing": ["0", "0"]}, "IM0"),
        ({"PixelSpacing": ["-1", "1"]}, "IM0"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ""),
    ],
)
def test_images_without_a_place_in_a_grid_are_refused(changes, name, ct, tmp_path):
    write_series(tmp_path, ct, grid(np.eye(3)), **changes)
    with pytest.raises(InputError, match=f"{tmp_path.name}.*{name}"):
        read_volume(tmp_path)


@pytest.mark.parametrize("other", [grid(np.eye(3), (8, 8, 1)), grid(rotation(5), (24, 20, 1))], ids=["size", "turned"])
def test_slices_that_do_not_fit_each_other_are_refused(other, ct, tmp_path):
    uid = generate_uid()
    write_series(tmp_path / "a", ct, grid(np.eye(3)), series_uid=uid)
    write_series(tmp_path / "b", np.zeros(other.shape), other, series_uid=uid)
    with pytest.raises(InputError, match=tmp_path.name):
        read_volume(tmp_path)


def test_one_slice_and_a_folder_without_dicom_are_refused(ct, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("no image", "utf-8")
    write_series(tmp_path / "single", ct[:1], grid(np.eye(3)))
    for name in ("none", "letters", "single"):
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


def test_folders_may_have_other_alphabets_and_300_characters(ct, tmp_path):
    folder: Path = tmp_path
    for name in itertools.repeat("Säge 肺 Ελλάδα " * 2):
        folder /= name
        if len(str(folder)) > 300:
            break
    write_series(folder, ct, grid(np.eye(3)))
    np.testing.assert_array_equal(read_volume(folder).array, ct)


def changed(path: Path, change: Callable[[pydicom.Dataset], object]) -> None:
    """Write a slice again with a change; values that no writer would write, too."""
    with disable_value_validation():
        header = pydicom.dcmread(path)
        change(header)
        header.save_as(path)


@pytest.fixture
def fourteen(tmp_path: Path) -> list[Path]:
    """A series of 14 slices, in the order of the slices."""
    array = np.arange(14 * 6 * 5, dtype=np.int16).reshape(14, 6, 5)
    return write_series(tmp_path / "series", array, Geometry((5, 6, 14), (0.8, 0.8, 3.0)))


@pytest.mark.parametrize("content", [bytes(4000), b"", b"what was done", b"\\x02\\0 no more", b"PK\\3\\4" + bytes(200)])
def test_files_that_nobody_could_read_are_counted_and_named(fourteen: list[Path], content: bytes) -> None:
    for path in fourteen[-4:]:
        path.write_bytes(content)
    volume = read_volume(fourteen[0].parent)
    assert len(volume.array) == 10
    (warning,) = volume.warnings
    assert "4 files" in warning
    assert all(path.name in warning for path in fourteen[-4:])


def test_a_folder_of_unreadable_files_says_how_many(fourteen: list[Path]) -> None:
    for path in fourteen:
        path.write_bytes(bytes(4000))
    with pytest.raises(InputError, match="14 files"):
        read_volume(fourteen[0].parent)


@pytest.mark.parametrize("count", [14, 4])
def test_slices_without_preamble_are_read(fourteen: list[Path], count: int) -> None:
    expected = read_volume(fourteen[0].parent)
    for path in fourteen[-count:]:
        path.write_bytes(path.read_bytes()[132:])
    volume = read_volume(fourteen[0].parent)
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.geometry == expected.geometry
    assert volume.warnings == []


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("first", [1, 7, 13])
def test_two_of_what_a_series_has_one_of_are_refused(fourteen: list[Path], keyword: str, first: int) -> None:
    for path in fourteen[first:]:
        changed(path, lambda header: setattr(header, keyword, "1.2.3.4"))
    with pytest.raises(InputError, match="series"):
        read_volume(fourteen[0].parent)


def test_an_identifier_that_is_empty_in_some_slices_contradicts_nothing(fourteen: list[Path]) -> None:
    for path in fourteen[::2]:
        changed(path, lambda header: setattr(header, "PatientID", ""))
    assert len(read_volume(fourteen[0].parent).array) == 14


def test_one_pixel_spacing_is_that_of_both_directions(fourteen: list[Path]) -> None:
    for path in fourteen:
        changed(path, lambda header: setattr(header, "PixelSpacing", "0.8"))
    assert read_volume(fourteen[0].parent).geometry.spacing == pytest.approx((0.8, 0.8, 3.0))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", ["0,8", "0,8"]),
        ("PixelSpacing", ["0.8", "0.8", "0.8"]),
        ("PixelSpacing", ["0", "0.8"]),
        ("PixelSpacing", ["nan", "0.8"]),
        ("ImagePositionPatient", ["0", "0"]),
        ("ImagePositionPatient", ["0", "0", "x"]),
        ("ImagePositionPatient", []),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "1"]),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "inf", "0"]),
    ],
)
def test_values_of_a_wrong_number_or_kind_are_refused_and_the_file_named(
    fourteen: list[Path], keyword: str, value: list[str]
) -> None:
    def change(header: pydicom.Dataset) -> None:
        element = pydicom.DataElement(header[keyword].tag, "LO", value)
        element.VR = "LO"
        header[keyword] = element

    for path in fourteen:
        changed(path, change)
    with pytest.raises(InputError, match="IM0000"):
        read_volume(fourteen[0].parent)


@pytest.mark.parametrize("syntax", ["", "1.2.3.4.5", "1.2.840.113619.5.2"])
def test_a_transfer_syntax_that_is_none_is_refused_and_the_file_named(fourteen: list[Path], syntax: str) -> None:
    data = fourteen[3].read_bytes()
    known = b"1.2.840.10008.1.2.1\0"
    assert known in data[:400]
    fourteen[3].write_bytes(data.replace(known, syntax.encode().ljust(len(known), b"\0"), 1))
    with pytest.raises(InputError, match=fourteen[3].name):
        read_volume(fourteen[0].parent)
