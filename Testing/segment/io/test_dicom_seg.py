"""DICOM Segmentations as other systems write them, onto the grid of the image."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.contour_files import read_delineation
from CMEDLSegmentLib.io.dicom_seg import _iter_pixels
from CMEDLSegmentLib.io.volume import Geometry
from segment.agreement.samples import frame_of, write_seg
from segment.io.conftest import block, grid, rotation, series, tilted

GRID = grid(np.eye(3))


A = block(slice(3, 7), slice(5, 12), slice(3, 10))
B = block(slice(5, 9), slice(8, 15), slice(7, 20))
"""Two that overlap."""


def test_segments_that_overlap_are_each_read_whole_whatever_the_order_of_the_frames(tmp_path, ct_volume):
    for shuffle in (None, 1, 2):
        path = write_seg(
            tmp_path / "a.dcm", GRID, {"GTV": A, "Lung 肺": B}, series_uid=ct_volume.series_uid, shuffle=shuffle
        )
        for name, mask in {"GTV": A, "lung 肺": B, "2": B}.items():
            delineation = read_delineation(path, "A", ct_volume, name)
            np.testing.assert_array_equal(delineation.mask, mask)
            assert (delineation.source, delineation.notes) == ("DICOM SEG", ())


@pytest.mark.parametrize("direction", [np.eye(3), rotation(25), tilted(15), rotation(20) @ tilted(10)])
def test_slices_without_frames_are_empty_wherever_the_patient_lies(tmp_path, direction):
    geometry = grid(direction)
    gaps = A.copy()
    gaps[4:6] = False  # frames on slices 3 and 6 alone
    volume = series(tmp_path / "ct", direction)
    path = write_seg(tmp_path / "a.dcm", geometry, {"GTV": gaps}, series_uid=volume.series_uid)
    np.testing.assert_array_equal(read_delineation(path, "A", volume).mask, gaps)
    single = A & block(slice(4, 5), slice(None), slice(None))
    write_seg(tmp_path / "a.dcm", geometry, {"GTV": single}, series_uid=volume.series_uid)
    np.testing.assert_array_equal(read_delineation(path, "A", volume).mask, single)


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1), (-1, 1, -1), (1, -1, 1)])
def test_on_an_image_that_is_not_dicom_slices_without_frames_are_empty_too_whichever_way_it_is_stored(tmp_path, signs):
    gaps = A.copy()
    gaps[4:6] = False
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": gaps})
    start = [0 if sign > 0 else count - 1 for sign, count in zip(signs, GRID.size, strict=True)]
    turned = Geometry(
        GRID.size, GRID.spacing, tuple(GRID.to_physical([start])[0].tolist()), tuple(np.diag(signs).ravel().tolist())
    )
    expected = gaps[tuple(slice(None, None, sign) for sign in signs[::-1])]
    delineation = read_delineation(path, "A", turned)
    np.testing.assert_array_equal(delineation.mask, expected)
    assert delineation.notes == (
        "The image does not name its DICOM series, so the structure was placed by its coordinates.",
    )


def test_frames_without_anything_on_them_and_two_of_one_slice_are_right(tmp_path, ct_volume):
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": A}, series_uid=ct_volume.series_uid, empty_frames=True)
    np.testing.assert_array_equal(read_delineation(path, "A", ct_volume).mask, A)
    seg = dcmread(write_seg(tmp_path / "b.dcm", GRID, {"first": A, "second": B}, series_uid=ct_volume.series_uid))
    for groups in seg.PerFrameFunctionalGroupsSequence:
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1
    seg.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_delineation(tmp_path / "b.dcm", "A", ct_volume, "first").mask, A | B)
    second = read_delineation(tmp_path / "b.dcm", "A", ct_volume, "second")
    assert second.empty  # described, but on no frame
    assert second.mask.shape == GRID.shape


@pytest.mark.parametrize("highest", [255, 100, 1])
def test_a_fractional_segmentation_is_inside_from_one_half_on_and_that_is_told(tmp_path, ct_volume, highest):
    fraction = np.zeros(GRID.shape)
    fraction[3:6, 4:9, 4:9] = 1.0
    fraction[3:6, 4:9, 9] = 0.6
    fraction[3:6, 4:9, 10] = 0.4
    path = write_seg(
        tmp_path / "a.dcm", GRID, {"GTV": fraction}, kind="FRACTIONAL", highest=highest, series_uid=ct_volume.series_uid
    )
    delineation = read_delineation(path, "A", ct_volume)
    np.testing.assert_array_equal(delineation.mask, fraction >= 0.5)
    assert delineation.notes == ("Its fractions were taken as inside from one half on.",)


def test_a_labelmap_segmentation_is_read_by_its_values(tmp_path, ct_volume):
    label = A * 1 + (B & ~A) * 2
    path = write_seg(
        tmp_path / "a.dcm",
        GRID,
        {"GTV": label / 255},
        kind="FRACTIONAL",
        series_uid=ct_volume.series_uid,
        SegmentationType="LABELMAP",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7",
    )
    seg = dcmread(path)
    background, second = (copy.deepcopy(seg.SegmentSequence[0]) for _ in range(2))
    background.SegmentNumber, background.SegmentLabel = 0, "Background"
    second.SegmentNumber, second.SegmentLabel = 2, "Lung"
    seg.SegmentSequence = [background, *seg.SegmentSequence, second]
    seg.save_as(path)
    np.testing.assert_array_equal(read_delineation(path, "A", ct_volume).mask, A)
    np.testing.assert_array_equal(read_delineation(path, "A", ct_volume, "Lung").mask, B & ~A)
    with pytest.raises(InputError, match="1: 'GTV', 2: 'Lung'"):
        read_delineation(path, "A", ct_volume, "Heart")


def test_compressed_frames_are_read(tmp_path, ct_volume):
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": A * 1.0}, kind="FRACTIONAL", series_uid=ct_volume.series_uid)
    seg = dcmread(path)
    seg.compress(RLELossless)
    seg.save_as(path)
    np.testing.assert_array_equal(read_delineation(path, "A", ct_volume).mask, A)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "compressed"])
def test_single_frames_are_unpacked_without_pydicom_3_where_bytes_do_not_end_with_a_frame(tmp_path, kind):
    geometry = Geometry((7, 5, 9), GRID.spacing, GRID.origin, GRID.direction)
    marked = np.random.default_rng(5).random(geometry.shape) < 0.5
    array = marked if kind == "BINARY" else marked * 1.0
    seg = dcmread(
        write_seg(tmp_path / "a.dcm", geometry, {"GTV": array}, kind="BINARY" if kind == "BINARY" else "FRACTIONAL")
    )
    if kind == "compressed":
        seg.compress(RLELossless)
    frames = np.array(list(_iter_pixels(seg, [6, 0, 7])))
    np.testing.assert_array_equal(frames, marked[[6, 0, 7]] * (1 if kind == "BINARY" else 255))
    if kind == "BINARY":
        seg.PixelData = seg.PixelData[:-4]
        with pytest.raises(ValueError, match="fewer pixels"):
            list(_iter_pixels(seg, [0]))


def test_no_such_segment_lists_those_there_are(tmp_path, ct_volume):
    path = write_seg(tmp_path / "a.dcm", GRID, {"Lung": B, "Heart": A}, series_uid=ct_volume.series_uid)
    with pytest.raises(InputError, match=r"a\.dcm .*'GTV'; .*1: 'Lung', 2: 'Heart'"):
        read_delineation(path, "A", ct_volume, "GTV")
    with pytest.raises(InputError, match=r"a\.dcm .*1: 'Lung', 2: 'Heart'"):
        read_delineation(path, "A", ct_volume)


def test_a_segmentation_of_a_cropped_image_is_put_back(tmp_path, ct_volume):
    origin = tuple(GRID.to_physical([[2, 4, 3]])[0].tolist())
    cropped = Geometry((12, 10, 6), GRID.spacing, origin, GRID.direction)
    path = write_seg(tmp_path / "a.dcm", cropped, {"GTV": A[3:9, 4:14, 2:14]}, series_uid=ct_volume.series_uid)
    delineation = read_delineation(path, "A", ct_volume)
    np.testing.assert_array_equal(delineation.mask, A)
    assert delineation.notes == ()


def test_a_segmentation_of_a_finer_grid_is_brought_to_the_image_and_told(tmp_path, ct_volume):
    spacing = tuple(step / 3 for step in GRID.spacing)
    corner = tuple(GRID.to_physical([[-1 / 3, -1 / 3, -1 / 3]])[0].tolist())
    fine = Geometry(tuple(3 * count for count in GRID.size), spacing, corner, GRID.direction)
    tripled = A.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    for distance in (None, spacing[2]):
        path = write_seg(tmp_path / "a.dcm", fine, {"GTV": tripled}, distance=distance)
        delineation = read_delineation(path, "A", ct_volume)
        np.testing.assert_array_equal(delineation.mask, A)
        assert any("brought from its own grid" in note for note in delineation.notes)
        assert any("does not say on which images" in note for note in delineation.notes)


def test_a_segmentation_of_thicker_slices_marks_all_slices_it_is_nearest_to(tmp_path, ct_volume):
    thick = Geometry((24, 20, 4), (*GRID.spacing[:2], 7.5), (*GRID.origin[:2], GRID.origin[2] + 2.5), GRID.direction)
    marked = block(slice(1, 3), slice(5, 12), slice(3, 10), thick.shape)
    path = write_seg(tmp_path / "a.dcm", thick, {"GTV": marked}, frame_uid=frame_of(ct_volume), distance=7.5)
    delineation = read_delineation(path, "A", ct_volume)
    np.testing.assert_array_equal(delineation.mask, block(slice(3, 9), slice(5, 12), slice(3, 10)))
    # A single frame still knows how thick it is.
    write_seg(tmp_path / "a.dcm", thick, {"GTV": marked & (np.arange(4) == 1)[:, None, None]}, distance=7.5)
    np.testing.assert_array_equal(
        read_delineation(path, "A", ct_volume).mask, block(slice(3, 6), slice(5, 12), slice(3, 10))
    )


def test_a_segmentation_of_another_patient_position_is_refused(tmp_path, ct_volume):
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": A}, series_uid="1.2.3", frame_uid="1.2.4")
    with pytest.raises(InputError, match=r"a\.dcm"):
        read_delineation(path, "A", ct_volume)


def test_a_segmentation_beside_the_image_is_refused_and_half_of_one_is_told(tmp_path, ct_volume):
    far = Geometry(GRID.size, GRID.spacing, (900.0, 0.0, 0.0), GRID.direction)
    path = write_seg(tmp_path / "a.dcm", far, {"GTV": A}, series_uid=ct_volume.series_uid)
    with pytest.raises(InputError, match=r"a\.dcm"):
        read_delineation(path, "A", ct_volume)
    lower = Geometry(GRID.size, GRID.spacing, tuple(GRID.to_physical([[0, 0, -5]])[0].tolist()), GRID.direction)
    write_seg(path, lower, {"GTV": A}, series_uid=ct_volume.series_uid)
    delineation = read_delineation(path, "A", ct_volume)
    np.testing.assert_array_equal(delineation.mask[:2], A[5:7])
    assert not delineation.mask[2:].any()
    cc = A.sum() * GRID.voxel_cc
    assert delineation.notes == (f"{cc / 2:.2f} of {cc:.2f} cc lie outside the image and were left out.",)


def test_an_empty_segment_is_empty_not_an_error(tmp_path, ct_volume):
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": A & False}, series_uid=ct_volume.series_uid, empty_frames=True)
    assert read_delineation(path, "A", ct_volume).empty


BAD = {
    "no segment": lambda seg: setattr(seg, "SegmentSequence", []),
    "no segment of its frames": lambda seg: delattr(seg, "PerFrameFunctionalGroupsSequence"),
    "no place of its frames": lambda seg: delattr(seg, "SharedFunctionalGroupsSequence"),
    "one frame turned": lambda seg: turn(seg, 2, [0, 1, 0, 1, 0, 0]),
    "axes that are one": lambda seg: turn(seg, 0, [1, 0, 0, 1, 0, 0]),
    "pixels cut short": lambda seg: setattr(seg, "PixelData", seg.PixelData[:20]),
    "a frame far away": lambda seg: lift(seg, 1, 1e8 * GRID.spacing[2]),
    "uneven frames": lambda seg: lift(seg, 1, 0.8),
}


def turn(seg, frame: int, orientation: list[float]) -> None:
    own = copy.deepcopy(seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0])
    own.ImageOrientationPatient = orientation
    seg.PerFrameFunctionalGroupsSequence[frame].PlaneOrientationSequence = [own]


def lift(seg, frame: int, mm: float) -> None:
    position = seg.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]
    position.ImagePositionPatient[2] += mm


@pytest.mark.parametrize("damage", BAD)
def test_a_damaged_segmentation_is_refused(tmp_path, ct_volume, damage):
    path = write_seg(tmp_path / "a.dcm", GRID, {"GTV": A}, series_uid=ct_volume.series_uid)
    seg = dcmread(path)
    BAD[damage](seg)
    seg.save_as(path)
    with pytest.raises(InputError, match=r"a\.dcm"):
        read_delineation(path, "A", ct_volume)
