"""Reading NIfTI, NRRD and MetaImage: what is right comes through unchanged, what is wrong is told."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.images import read_mask, read_volume, write_image
from CMEDLSegmentLib.io.volume import set_geometry
from segment.io.conftest import grid, orientations

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")


def written(path: Path, array: np.ndarray, *, compress: bool = False, vector: bool = False) -> Path:
    """Write with SimpleITK alone, on a grid of its own."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing([0.7, 0.85, 2.5, 1.0][: image.GetDimension()])
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", orientations())
def test_an_image_keeps_its_voxels_type_and_grid_in_every_orientation(ending, name, ct, tmp_path):
    geometry = grid(orientations()[name])
    write_image(tmp_path / f"a{ending}", ct, geometry)
    volume = read_volume(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.array.dtype == np.int16
    # NIfTI keeps positions in 32-bit numbers.
    assert volume.geometry.is_close(geometry, 1e-3 if "nii" in ending else 1e-6)
    assert (volume.modality, volume.series_uid, volume.files, volume.name) == (None, None, (), "a")
    assert volume.warnings == []


def test_the_array_outlives_what_it_was_read_with_and_can_be_written_to(ct, tmp_path):
    array = read_volume(written(tmp_path / "a.nii.gz", ct)).array
    others = [np.ones_like(ct) for _ in range(50)]
    np.testing.assert_array_equal(array, ct)
    array += others[0]


def test_nifti_scaling_is_applied(tmp_path):
    path = written(tmp_path / "a.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    data = bytearray(path.read_bytes())
    struct.pack_into("<2f", data, 112, 2.0, -1024.0)
    path.write_bytes(data)
    assert read_volume(path).array.ravel()[:3].tolist() == [-1024, -1022, -1020]
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match=path.name):
        read_volume(path)


LETTER = b"Dear colleague,\n\nthis is a letter.\n" * 50
NO_IMAGES = {"none.nii.gz": None, "a.txt": LETTER, "a.dcm": bytes(128) + b"DICM"}
NO_IMAGES |= {f"empty{ending}": b"" for ending in FORMATS}
NO_IMAGES |= {f"notes{ending}": LETTER for ending in (*FORMATS, ".seg.nrrd", ".mhd")}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused_by_name(name, tmp_path):
    if NO_IMAGES[name] is not None:
        (tmp_path / name).write_bytes(NO_IMAGES[name])
    with pytest.raises(InputError, match=name) as caught:
        read_volume(tmp_path / name)
    assert ("folder" in str(caught.value)) == (name == "a.dcm")


def test_a_series_cannot_be_chosen_in_a_file(ct, tmp_path):
    with pytest.raises(InputError, match=r"a\.nii"):
        read_volume(written(tmp_path / "a.nii", ct), series_uid="1.2.3")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("shape", "value"),
    [
        *[((5, 6, 7, 3), "3 values"), ((6, 7), "7 x 6"), ((1, 1, 1), "1 x 1 x 1"), ((9, 1, 1), "1 x 1 x 9")],
        *[((1, 20, 24), "24 x 20 x 1"), ((12, 1, 24), "24 x 1 x 12"), ((12, 20, 1), "1 x 20 x 12")],
    ],
)
def test_what_is_no_scalar_volume_is_refused_with_what_it_is(ending, shape, value, tmp_path):
    path = written(tmp_path / f"a{ending}", np.zeros(shape, np.uint8), vector=len(shape) == 4)
    with pytest.raises(InputError, match=f"{path.name}.*{value}"):
        read_volume(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_4d_is_refused_and_a_lone_volume_in_4d_is_taken_and_told(ending, ct, tmp_path):
    path = written(tmp_path / f"series{ending}", np.stack([ct, ct]))
    with pytest.raises(InputError, match=f"{path.name}.*24 x 20 x 12 x 2"):
        read_volume(path)
    volume = read_volume(written(tmp_path / f"single{ending}", ct[None]))
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.geometry.spacing == pytest.approx((0.7, 0.85, 2.5))
    # ITK drops a last NIfTI dimension of one by itself; that is how many programs write 3-D images.
    assert [("four dimensions" in warning) for warning in volume.warnings] == ([] if "nii" in ending else [True])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_refused(value, tmp_path):
    array = np.zeros((5, 6, 7), np.float32)
    array[2, 3, 1:4] = value
    with pytest.raises(InputError, match="3 voxels"):
        read_volume(written(tmp_path / "a.nrrd", array))


@pytest.mark.parametrize("step", [0.0, -2.5, np.nan, np.inf])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_voxel_size_that_is_not_positive_is_refused(step, ending, ct, tmp_path):
    path = written(tmp_path / "a.nii", ct)
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 76 + 4 * 3, step)
    path = tmp_path / f"b{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    with pytest.raises(InputError, match=rf"b{ending} .* 0\.7 x 0\.85 x {step:g} mm"):
        read_volume(path)


@pytest.mark.parametrize("step", [b"0", b"-2.5", b"nan"])
def test_a_metaimage_voxel_size_that_is_not_positive_is_refused(step, ct, tmp_path):
    path = written(tmp_path / "a.mha", ct)
    # The header holds the spacing with all digits of a binary number; the line is replaced whole.
    path.write_bytes(re.sub(rb"ElementSpacing = .*", b"ElementSpacing = 0.7 0.85 " + step, path.read_bytes(), count=1))
    with pytest.raises(InputError, match=r"a\.mha .* 0\.7 x 0\.85 x (0|-2\.5|nan) mm"):
        read_volume(path)


@pytest.mark.parametrize(
    "field", [b"spacings: 0.7 0.85 0", b"spacings: 0.7 0.85 -2.5", b"space directions: (0.7,0,0) (0,0.85,0) (0,0,0)"]
)
def test_an_nrrd_voxel_size_that_is_not_positive_is_refused(field, ct, tmp_path):
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 24 20 12\nendian: little\nencoding: raw\n" + field + b"\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + ct.tobytes())
    with pytest.raises(InputError, match=r"a\.nrrd .* 0\.7 x 0\.85 x (0|-2\.5) mm"):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("keep", [0.1, 0.6, 0.97, -8, -1])
def test_a_file_that_was_cut_short_is_refused(ending, compress, keep, ct, tmp_path, capfd):
    path = written(tmp_path / f"a{ending}", ct, compress=compress)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep > 0 else keep])
    with pytest.raises(InputError, match=path.name):
        read_volume(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_flipped_bit_in_a_gzip_file_is_found_by_its_checksum(ending, ct, tmp_path):
    path = written(tmp_path / f"a{ending}", ct, compress=True)
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=path.name):
        read_volume(path)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("ending", FORMATS)
def test_data_types_are_kept_and_read_as_simpleitk_reads_them(dtype, ending, tmp_path):
    array = np.random.default_rng(1).integers(0, 100, (5, 6, 7)).astype(dtype)
    path = written(tmp_path / f"a{ending}", array)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert volume.array.dtype == dtype


def test_nifti_2_is_refused_by_its_name(tmp_path):
    (tmp_path / "a.nii").write_bytes(struct.pack("<i8s", 540, b"n+2\0\r\n\x1a\n") + bytes(1000))
    with pytest.raises(InputError, match=r"a\.nii .* 2"):
        read_volume(tmp_path / "a.nii")


def test_a_complete_nii_gz_in_several_gzip_members_is_read(ct, tmp_path):
    path = written(tmp_path / "a.nii", ct)
    data = path.read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, ct)


def test_a_big_endian_nifti_is_read_and_its_cut_found(ct, tmp_path):
    path = written(tmp_path / "a.nii", ct)
    data = bytearray(path.read_bytes())
    for start, kind, count in (
        (0, "i", 1),
        (32, "i", 1),
        (40, "h", 8),
        (68, "h", 4),
        (76, "f", 11),
        (252, "h", 2),
        (256, "f", 18),
    ):
        struct.pack_into(f">{count}{kind}", data, start, *struct.unpack_from(f"<{count}{kind}", data, start))
    whole = bytes(data[:352]) + ct.astype(">i2").tobytes()
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_volume(path).array, ct)
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match=path.name):
        read_volume(path)


def test_a_metaimage_header_without_its_data_file_is_refused(ct, tmp_path):
    path = written(tmp_path / "a.mhd", ct)
    np.testing.assert_array_equal(read_volume(path).array, ct)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputError, match=r"a\.raw"):
        read_volume(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_paths_may_have_other_alphabets_and_300_characters(ending, ct, tmp_path):
    folder = tmp_path
    while len(str(folder)) < 290:
        folder /= "Säge 肺 Ελλάδα " * 2
    folder.mkdir(parents=True)
    path = folder / f"größe 肿瘤{ending}"
    assert len(str(path)) > 300
    write_image(path, ct, grid(np.eye(3)))
    np.testing.assert_array_equal(read_volume(path).array, ct)


def test_a_mask_comes_in_whole_numbers_whatever_its_file_holds(label, tmp_path):
    path = written(tmp_path / "m.nii.gz", label.astype(np.float64))
    mask = read_mask(path)
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, label)


@pytest.mark.parametrize("wrong", [-1.0, 0.5])
def test_an_image_is_no_mask(wrong, label, tmp_path):
    with pytest.raises(InputError, match=r"m\.nrrd"):
        read_mask(written(tmp_path / "m.nrrd", label * wrong))


def test_a_mask_on_another_grid_is_refused_with_both_grids(label, tmp_path):
    geometry = grid(np.eye(3))
    write_image(tmp_path / "m.nrrd", label, geometry)
    other = grid(np.diag([1.0, -1.0, 1.0]))
    with pytest.raises(InputError, match=r"24 x 20 x 12 voxels of 0\.7 x 0\.85 x 2\.5 mm"):
        read_mask(tmp_path / "m.nrrd", other)


@pytest.mark.parametrize("name", orientations())
def test_a_mask_cropped_to_its_segment_is_put_back_in_its_place(name, label, tmp_path):
    geometry = grid(orientations()[name])
    whole = sitk.GetImageFromArray(label)
    set_geometry(whole, geometry)
    sitk.WriteImage(whole[2:21, 4:19, 2:12], str(tmp_path / "m.seg.nrrd"))
    mask = read_mask(tmp_path / "m.seg.nrrd", geometry)
    assert mask.geometry == geometry
    expected = np.zeros_like(label)
    expected[2:12, 4:19, 2:21] = label[2:12, 4:19, 2:21]
    np.testing.assert_array_equal(mask.array, expected)
