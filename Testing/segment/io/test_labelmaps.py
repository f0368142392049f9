"""Labelmaps and Slicer segmentations: which segment, and onto the grid of the image."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.contour_files import read_delineation
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Geometry, set_geometry
from segment.io.conftest import ORGAN, all_axis_orders, grid, orientations, rotation, tilted

GRID = grid(np.eye(3))


@pytest.fixture
def label() -> np.ndarray:
    label = np.zeros(GRID.shape, np.uint8)
    label[3:8, 4:13, 5:15] = 1
    label[5, 8, 9] = 0
    label[2:6, 15:18, 2:9] = 7
    return label


def on(
    size: tuple[int, int, int], spacing: tuple[float, float, float], start: tuple[float, float, float], matrix=None
) -> Geometry:
    """A grid that begins at the index coordinates ``start`` of GRID."""
    direction = GRID.direction if matrix is None else tuple(np.ravel(matrix).tolist())
    return Geometry(size, spacing, tuple(GRID.to_physical([start])[0].tolist()), direction)


def resampled(mask: np.ndarray, own: Geometry, target: Geometry) -> np.ndarray:
    """The same by SimpleITK."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    reference = sitk.Image(*target.size, sitk.sitkUInt8)
    set_geometry(image, own)
    set_geometry(reference, target)
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0


def write_layers(path: Path, layers: np.ndarray, fields: dict[str, str]) -> Path:
    """A segmentation (z, y, x, layers) as Slicer writes overlapping segments, byte by byte."""
    z, y, x, count = layers.shape
    steps = [f"({','.join(f'{v:.17g}' for v in GRID.matrix[:, axis])})" for axis in range(3)]
    header = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {count} {x} {y} {z}",
        f"space directions: none {' '.join(steps)}",
        "kinds: list domain domain domain",
        "encoding: gzip",
        f"space origin: ({','.join(f'{v:.17g}' for v in GRID.origin)})",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    path.write_bytes("\n".join(header).encode() + b"\n\n" + gzip.compress(layers.astype(np.uint8).tobytes()))
    return path


def test_overlapping_segments_of_slicer_are_each_read_from_their_layer(tmp_path, label):
    layers = np.stack([label, np.roll(label == 1, 3, axis=2) * 2], axis=-1)
    fields = {}
    for k, (name, layer, value) in enumerate([("GTV 腫瘍", 0, 1), ("Lung", 0, 7), ("Other", 1, 2), ("None", 1, 9)]):
        fields |= {f"Segment{k}_ID": f"s{k}", f"Segment{k}_Name": name}
        fields |= {f"Segment{k}_Layer": str(layer), f"Segment{k}_LabelValue": str(value)}
    path = write_layers(tmp_path / "a.seg.nrrd", layers, fields)
    for name, mask in {"GTV 腫瘍": label == 1, "lung": label == 7, "Other": np.roll(label == 1, 3, axis=2)}.items():
        delineation = read_delineation(path, "A", GRID, name)
        np.testing.assert_array_equal(delineation.mask, mask)
        assert delineation.source == "segmentation"
    assert read_delineation(path, "A", GRID, "None").empty
    assert read_delineation(path, "A", GRID).notes == ("Of 4 segments the tumor was taken, 'GTV 腫瘍'.",)


def test_a_segmentation_of_slicer_before_labels_shared_layers_is_read(tmp_path, label):
    layers = np.stack([label == 1, label == 7], axis=-1)
    fields = {"Segment0_ID": "a", "Segment0_Name": "One", "Segment1_ID": "b", "Segment1_Name": "Seven"}
    path = write_layers(tmp_path / "a.seg.nrrd", layers, fields)
    np.testing.assert_array_equal(read_delineation(path, "A", GRID, "Seven").mask, label == 7)


def test_damaged_segment_fields_are_told(tmp_path, label):
    layers = np.stack([label == 1, label == 7], axis=-1)
    for fields in ({"Segment0_Layer": "5"}, {"Segment0_Layer": "x"}, {"Segment0_LabelValue": "y"}):
        path = write_layers(tmp_path / "a.seg.nrrd", layers, {"Segment0_ID": "a", "Segment0_Name": "One", **fields})
        with pytest.raises(InputError, match=r"a\.seg\.nrrd"):
            read_delineation(path, "A", GRID)


def test_the_only_segment_is_taken_the_only_tumor_is_preferred_and_nothing_is_guessed(tmp_path, label):
    def written(*names: str) -> Path:
        labels = [Label(k, name, (1, 0, 0), TUMOR.terminology) for k, name in enumerate(names, start=1)]
        write_segmentation(tmp_path / "a.seg.nrrd", label, GRID, labels, {})
        return tmp_path / "a.seg.nrrd"

    assert read_delineation(written("Anything"), "A", GRID).segment == "Anything"
    for name in ("GTV", "gtv-1", "GTVp", "GTV_T 2", "Tumor", "tumor left"):
        delineation = read_delineation(written("Lung", name, "Tumorbed"), "A", GRID)
        assert delineation.segment == name
        assert delineation.notes == (f"Of 3 segments the tumor was taken, '{name}'.",)
    for names in (("Lung", "Heart"), ("GTV 1", "GTV 2"), ("Lung", "Tumorbed")):
        with pytest.raises(InputError, match=f"1: '{names[0]}', 2: '{names[1]}'"):
            read_delineation(written(*names), "A", GRID)


def test_exact_names_go_before_other_cases_and_numbers_come_last(tmp_path, label):
    labels = [Label(k, name, (1, 0, 0), TUMOR.terminology) for k, name in ((1, "gtv"), (7, "GTV"), (3, "1"))]
    write_segmentation(tmp_path / "a.seg.nrrd", label, GRID, labels, {})
    for asked, segment in {"GTV": "GTV", "gtv": "gtv", "1": "1", "2": "GTV"}.items():
        assert read_delineation(tmp_path / "a.seg.nrrd", "A", GRID, asked).segment == segment
    with pytest.raises(InputError, match=r"2 .*'Gtv'"):
        read_delineation(tmp_path / "a.seg.nrrd", "A", GRID, "Gtv")


def test_a_long_list_of_segments_is_shown_in_part(tmp_path, label):
    labels = [Label(k, f"Part {k}", (1, 0, 0), TUMOR.terminology) for k in range(1, 60)]
    write_segmentation(tmp_path / "a.seg.nrrd", label, GRID, labels, {})
    with pytest.raises(InputError, match="20: 'Part 20' and 39 more"):
        read_delineation(tmp_path / "a.seg.nrrd", "A", GRID, "GTV")


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_a_labelmap_with_one_label_needs_no_number_and_with_several_needs_one(tmp_path, label, ending):
    path = tmp_path / f"a.{ending}"
    write_image(path, (label == 7) * np.uint16(300), GRID)
    delineation = read_delineation(path, "A", GRID)
    np.testing.assert_array_equal(delineation.mask, label == 7)
    assert (delineation.segment, delineation.source, delineation.notes) == ("300", "labelmap", ())
    named = read_delineation(path, "A", GRID, "GTV")
    np.testing.assert_array_equal(named.mask, label == 7)
    assert named.notes == ("A labelmap has no names; its only label, 300, was taken.",)
    with pytest.raises(InputError, match=r"'4'; .*300"):
        read_delineation(path, "A", GRID, "4")
    write_image(path, label, GRID)
    np.testing.assert_array_equal(read_delineation(path, "A", GRID, "7").mask, label == 7)
    with pytest.raises(InputError, match=r"1, 7; .*--segment"):
        read_delineation(path, "A", GRID)
    with pytest.raises(InputError, match=r"'GTV'; .*1, 7"):
        read_delineation(path, "A", GRID, "GTV")


@pytest.mark.parametrize("asked", [None, "GTV", "3"])
def test_an_empty_labelmap_is_an_empty_delineation_on_any_grid(tmp_path, asked):
    for geometry in (GRID, on((5, 5, 5), (1, 1, 1), (90, 0, 0))):
        write_image(tmp_path / "a.mha", np.zeros(geometry.shape, np.uint8), geometry)
        delineation = read_delineation(tmp_path / "a.mha", "A", GRID, asked)
        assert delineation.empty
        assert delineation.mask.shape == GRID.shape
    write_segmentation(tmp_path / "a.seg.nrrd", np.zeros(GRID.shape, np.uint8), GRID, [TUMOR, ORGAN], {})
    assert read_delineation(tmp_path / "a.seg.nrrd", "A", GRID).empty


def test_what_is_no_labelmap_is_refused(tmp_path, label):
    write_image(tmp_path / "a.nrrd", label * np.float32(0.3), GRID)
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_delineation(tmp_path / "a.nrrd", "A", GRID)
    (tmp_path / "b.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.nii\.gz"):
        read_delineation(tmp_path / "b.nii.gz", "A", GRID)
    write_segmentation(tmp_path / "c.seg.nrrd", label, GRID, [TUMOR], {})
    raw = (tmp_path / "c.seg.nrrd").read_bytes()
    for length in (10, 200, len(raw) - 30):
        (tmp_path / "c.seg.nrrd").write_bytes(raw[:length])
        with pytest.raises(InputError, match=r"c\.seg\.nrrd"):
            read_delineation(tmp_path / "c.seg.nrrd", "A", GRID)


@pytest.mark.parametrize("matrix", all_axis_orders())
def test_the_same_voxels_in_another_order_of_axes_are_the_same_mask_without_a_word(tmp_path, label, matrix):
    order = [int(np.argmax(np.abs(matrix[:, axis]))) for axis in range(3)]
    reverse = [matrix[order[axis], axis] < 0 for axis in range(3)]
    start = np.zeros(3)
    start[order] = [GRID.size[order[axis]] - 1 if reverse[axis] else 0 for axis in range(3)]
    own = on(tuple(GRID.size[k] for k in order), tuple(GRID.spacing[k] for k in order), tuple(start), matrix)
    array = label.transpose([2 - order[axis] for axis in (2, 1, 0)])
    array = array[tuple(slice(None, None, -1) if reverse[axis] else slice(None) for axis in (2, 1, 0))]
    write_image(tmp_path / "a.mha", np.ascontiguousarray(array), own)
    delineation = read_delineation(tmp_path / "a.mha", "A", GRID, "1")
    np.testing.assert_array_equal(delineation.mask, label == 1)
    assert delineation.notes == ()


def test_a_part_of_the_images_grid_is_put_back_without_a_word_and_what_sticks_out_is_told(tmp_path, label):
    write_image(tmp_path / "a.mha", label[2:9, 3:14, 4:16], on((12, 11, 7), GRID.spacing, (4, 3, 2)))
    delineation = read_delineation(tmp_path / "a.mha", "A", GRID, "1")
    np.testing.assert_array_equal(delineation.mask, label == 1)
    assert delineation.notes == ()
    write_image(tmp_path / "a.mha", label, on(GRID.size, GRID.spacing, (0, 0, -5)))
    delineation = read_delineation(tmp_path / "a.mha", "A", GRID, "1")
    np.testing.assert_array_equal(delineation.mask[:3], (label == 1)[5:8])
    outside, whole = ((label[part] == 1).sum() * GRID.voxel_cc for part in (slice(0, 5), slice(None)))
    assert delineation.notes == (f"{outside:.2f} of {whole:.2f} cc lie outside the image and were left out.",)
    write_image(tmp_path / "a.mha", label, on(GRID.size, GRID.spacing, (0, 0, -15)))
    with pytest.raises(InputError, match=r"a\.mha"):
        read_delineation(tmp_path / "a.mha", "A", GRID, "1")


OTHER_GRIDS = {
    "finer": on((60, 50, 40), (0.31, 0.37, 0.83), (-0.3, 0.2, -0.4)),
    "coarser": on((11, 9, 7), (1.6, 1.9, 4.7), (0.13, 0.21, 0.17)),
    "oblique": on((40, 40, 40), (0.7, 0.7, 1.1), (-4.03, -6.02, 0.01), rotation(23)),
    "three times as coarse": on((8, 6, 4), (2.1, 2.55, 7.5), (1, 1, 1)),
    "flipped": on((30, 25, 14), (0.7, 0.85, 2.5), (25.3, 20.2, 11.6), np.diag([-1.0, -1.0, -1.0])),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_other_grids_are_brought_to_the_images_as_another_library_does_and_told(tmp_path, name):
    own = OTHER_GRIDS[name]
    mask = np.random.default_rng(2).uniform(size=own.shape) < 0.3
    write_image(tmp_path / "a.mha", mask.astype(np.uint8), own)
    delineation = read_delineation(tmp_path / "a.mha", "A", GRID)
    np.testing.assert_array_equal(delineation.mask, resampled(mask, own, GRID))
    size = " x ".join(map(str, own.size))
    assert delineation.notes[0].startswith(f"It was brought from its own grid ({size} voxels of ")


@pytest.mark.parametrize("direction", {**orientations(), "tilted": tilted(15)}.values())
def test_a_twice_as_fine_grid_whose_centers_are_ties_goes_one_way_everywhere(tmp_path, direction):
    image = grid(direction)
    fine = Geometry(
        tuple(2 * count for count in image.size),
        tuple(step / 2 for step in image.spacing),
        tuple(image.to_physical([[-0.25, -0.25, -0.25]])[0].tolist()),
        image.direction,
    )
    mask = np.random.default_rng(1).uniform(size=fine.shape) < 0.4
    write_image(tmp_path / "a.mha", mask.astype(np.uint8), fine)
    delineation = read_delineation(tmp_path / "a.mha", "A", image)
    np.testing.assert_array_equal(delineation.mask, mask[1::2, 1::2, 1::2])
