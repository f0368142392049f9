"""Labelmaps and segmentations for Slicer: the same voxels at the same place, with names, colors and codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import CMEDLSegmentLib
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io import images
from CMEDLSegmentLib.io.dicom_writer import write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import read_mask, write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Volume
from segment.io.conftest import ORGAN, grid, orientations, tilted
from segment.io.dicom_samples import write_series

PROVENANCE = {"student": "lung-ct", "weights_sha256": "ab" * 32, "note": "a|b\nc: d"}


def nrrd_header(path: Path) -> dict[str, str]:
    """Fields and key/value pairs of an NRRD header, parsed here as its specification says."""
    head = path.read_bytes().split(b"\n\n")[0].decode("utf-8")
    lines = [line for line in head.splitlines()[1:] if not line.startswith("#")]
    return dict(line.split(":=" if ":=" in line.split(": ")[0] else ": ", 1) for line in lines)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
@pytest.mark.parametrize("name", orientations())
def test_a_result_lies_on_the_grid_of_its_input(ending, name, label, tmp_path):
    geometry = grid(orientations()[name])
    path = tmp_path / f"a{ending}"
    if ending == ".seg.nrrd":
        write_segmentation(path, label, geometry, [TUMOR, ORGAN], PROVENANCE)
    else:
        write_image(path, label, geometry)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), label)
    assert image.GetPixelID() == sitk.sitkUInt8
    # NIfTI has 32-bit positions; everything else is exact.
    np.testing.assert_allclose(image.GetOrigin(), geometry.origin, atol=1e-4 if "nii" in ending else 1e-9)
    np.testing.assert_allclose(image.GetSpacing(), geometry.spacing, atol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), geometry.direction, atol=1e-6)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", orientations())
def test_a_nifti_result_of_a_nifti_input_has_its_very_grid(ending, name, label, tmp_path):
    write_image(tmp_path / f"a{ending}", label, grid(orientations()[name]))
    read = images.read_mask(tmp_path / f"a{ending}")
    write_image(tmp_path / f"b{ending}", label, read.geometry)
    again = images.read_mask(tmp_path / f"b{ending}")
    np.testing.assert_allclose(again.geometry.origin, read.geometry.origin, atol=1e-6)
    np.testing.assert_allclose(again.geometry.direction, read.geometry.direction, atol=1e-6)


def test_a_slicer_segmentation_has_names_colors_codes_and_provenance(label, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, label, grid(np.eye(3)), [TUMOR, ORGAN], PROVENANCE)
    header = nrrd_header(path)
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert header["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert header["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert header["space"] == "left-posterior-superior"
    assert header["kinds"] == "domain domain domain"
    assert [header[f"Segment0_{key}"] for key in ("ID", "Name", "LabelValue", "Layer")] == [
        "Segment_1",
        "Tumor",
        "1",
        "0",
    ]
    assert [header[f"Segment1_{key}"] for key in ("ID", "Name", "LabelValue")] == ["Segment_7", ORGAN.name, "7"]
    assert [float(part) for part in header["Segment0_Color"].split()] == pytest.approx(TUMOR.color)
    for index, value in ((0, 1), (1, 7)):
        z, y, x = np.nonzero(label == value)
        extent = [x.min(), x.max(), y.min(), y.max(), z.min(), z.max()]
        assert [int(part) for part in header[f"Segment{index}_Extent"].split()] == extent
    tags = dict(pair.split(":", 1) for pair in header["Segment0_Tags"].rstrip("|").split("|"))
    assert tags["TerminologyEntry"] == (
        "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically abnormal structure"
        "~SCT^86049000^Neoplasm, Primary~^^~Anatomic codes - DICOM master list~SCT^39607008^Lung~^^"
    )
    assert tags["CMEDL.student"] == "lung-ct"
    assert tags["CMEDL.weights_sha256"] == "ab" * 32
    assert tags["CMEDL.note"] == "a/b c: d"
    assert "~^^~Anatomic codes - DICOM master list~^^~^^" in header["Segment1_Tags"]


def test_an_empty_segmentation_is_a_segment_without_extent(label, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, np.zeros_like(label), grid(np.eye(3)), [TUMOR], {})
    assert nrrd_header(path)["Segment0_Extent"] == "0 -1 0 -1 0 -1"
    assert not read_mask(path).array.any()


@pytest.mark.parametrize("dtype", [bool, np.float16, np.float32, np.int16])
def test_any_map_can_be_written(dtype, tmp_path):
    values = np.linspace(0, 1, 5 * 6 * 7).reshape(5, 6, 7).astype(dtype)
    write_image(tmp_path / "p.nii.gz", values, grid(np.eye(3), (7, 6, 5)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.nii.gz"))), values)


def test_a_tilted_grid_is_kept_by_nrrd_and_refused_by_nifti(label, tmp_path):
    geometry = grid(tilted(12))
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        write_image(tmp_path / "a.nii.gz", label, geometry)
    assert list(tmp_path.iterdir()) == []
    write_image(tmp_path / "a.nrrd", label, geometry)
    np.testing.assert_allclose(sitk.ReadImage(str(tmp_path / "a.nrrd")).GetDirection(), geometry.direction, atol=1e-9)


def test_wrong_endings_and_shapes_are_refused(label, tmp_path):
    geometry = grid(np.eye(3))
    with pytest.raises(InputError, match=r"a\.png"):
        write_image(tmp_path / "a.png", label, geometry)
    with pytest.raises(InputError, match=r"a\.nrrd"):
        write_segmentation(tmp_path / "a.nrrd", label, geometry, [TUMOR], {})
    with pytest.raises(InputError, match=r"\(11, 20, 24\)"):
        write_image(tmp_path / "a.nrrd", label[1:], geometry)
    with pytest.raises(InputError, match=r"\(11, 20, 24\)"):
        write_segmentation(tmp_path / "a.seg.nrrd", label[1:], geometry, [TUMOR], {})


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_a_folder_that_cannot_be_written_is_told_with_its_reason(ending, label, tmp_path):
    (tmp_path / "file").write_text("a file, no folder", "utf-8")
    geometry = grid(np.eye(3))
    # The first is no folder; the second refuses everybody, root included, where there is such a thing.
    for folder in (tmp_path / "file", Path("/proc/self")):
        path = folder / f"a{ending}"
        if not folder.exists():
            continue
        with pytest.raises(InputError, match=r"a\..*\(.+\)"):
            write_image(path, label, geometry)
    with pytest.raises(InputError, match=r"a\..*\(.+\)"):
        write_segmentation(tmp_path / "file" / "a.seg.nrrd", label, geometry, [TUMOR], {})


def test_the_folder_of_a_result_is_made(label, tmp_path):
    write_image(tmp_path / "new" / "deep" / "a.nii.gz", label, grid(np.eye(3)))
    assert (tmp_path / "new" / "deep" / "a.nii.gz").is_file()


def test_a_new_result_replaces_an_old_one_only_when_it_is_complete(label, tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_image(path, label, grid(np.eye(3)))
    before = path.read_bytes()

    def fails_half_way(image: sitk.Image, name: str, **options: object) -> None:
        Path(name).write_bytes(before[: len(before) // 2])

    monkeypatch.setattr(sitk, "WriteImage", fails_half_way)
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        write_image(path, label * 0, grid(np.eye(3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, sys
import numpy as np
from pathlib import Path
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.dicom_writer import write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.images import read_volume
series, folder = map(Path, sys.argv[1:])
volume = read_volume(series)
label = np.random.default_rng(0).integers(0, 2, volume.array.shape).astype(np.uint8)
stripes = np.zeros_like(label)
stripes[:, ::8] = 1
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.seg.nrrd", "a.dcm", "rt.dcm"):
    try:
        if name == "a.seg.nrrd":
            write_segmentation(folder / name, label, volume.geometry, [TUMOR], {})
        elif name.endswith(".dcm"):
            write = write_rtstruct if name == "rt.dcm" else write_dicom_seg
            write(folder / name, stripes if name == "rt.dcm" else label, volume, [TUMOR], {})
        else:
            write_image(folder / name, label, volume.geometry)
    except InputError as error:
        assert name in str(error) and "free space" in str(error), error
        print(name)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes, which Windows does not have")
def test_a_disk_that_fills_half_way_leaves_nothing_behind(tmp_path):
    out, array = tmp_path / "out", np.zeros((4, 80, 80), np.int16)
    out.mkdir()
    write_series(tmp_path / "ct", array, grid(np.eye(3), (80, 80, 4)))
    # The limit on the size of a file fails a write half-way, as a full disk does. Without -B it would also cut the
    # byte code that Python keeps of what is imported under it, and break every later import.
    ran = subprocess.run(
        [sys.executable, "-B", "-c", FULL_DISK, str(tmp_path / "ct"), str(out)],
        env={
            "PYTHONPATH": str(Path(CMEDLSegmentLib.__file__).parent.parent),
            "PATH": "",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.stdout.split() == ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.seg.nrrd", "a.dcm", "rt.dcm"], ran.stderr
    assert list(out.iterdir()) == []


def test_a_result_that_needs_dicom_is_refused_for_other_input(ct, label, tmp_path):
    scan = Volume(ct, grid(np.eye(3)))
    for write in (write_dicom_seg, write_rtstruct):
        with pytest.raises(InputError, match=r"a\.dcm"):
            write(tmp_path / "a.dcm", label, scan, [TUMOR], {})
    assert list(tmp_path.iterdir()) == []
