"""DICOM SEG and RT structure sets, read back by other means than they were written with."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import scipy.ndimage
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from skimage.color import lab2rgb
from skimage.draw import polygon2mask

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.dicom_writer import outlines, write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, Volume
from segment.io.conftest import DIRECTIONS, LABELS, ORGAN, rotation, series
from segment.io.dicom_samples import write_series

PROVENANCE = {"student": "lung-ct", "weights_sha256": "ab" * 32}


def seg_masks(path: Path, volume: Volume) -> np.ndarray:
    """(segments, z, y, x) bool masks of a SEG: each frame goes to the slice it says it was derived from."""
    seg = dcmread(path)
    places = {dcmread(f).SOPInstanceUID: k for f, k in zip(volume.files, volume.file_slices, strict=True)}
    masks = np.zeros((len(seg.SegmentSequence), *volume.array.shape), dtype=bool)
    for frame, item in zip(
        seg.pixel_array.reshape(-1, *volume.array.shape[1:]), seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        segment = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1
        masks[segment, places[source.ReferencedSOPInstanceUID]] |= frame.astype(bool)
    return masks


def rt_masks(path: Path, geometry: Geometry) -> np.ndarray:
    """(regions, z, y, x) bool masks of a structure set from its LPS points alone; even-odd rule."""
    masks = []
    for region in dcmread(path).ROIContourSequence:
        mask = np.zeros(geometry.shape, dtype=bool)
        for contour in region.get("ContourSequence", []):
            points = geometry.to_index(np.array(contour.ContourData, float).reshape(-1, 3))
            assert np.ptp(points[:, 2]) < 1e-3
            place = round(points[0, 2])
            assert abs(points[0, 2] - place) < 1e-3
            mask[place] ^= polygon2mask(mask.shape[1:], points[:, 1::-1])
        masks.append(mask)
    return np.array(masks)


def expected_masks(label: np.ndarray) -> np.ndarray:
    return np.array([label == segment.value for segment in LABELS])


def check_written(label, volume: Volume, expected: np.ndarray, folder: Path, provenance=PROVENANCE) -> None:
    """Both kinds of file hold ``expected``."""
    write_dicom_seg(folder / "a.dcm", label, volume, LABELS, provenance)
    write_rtstruct(folder / "rt.dcm", label, volume, LABELS, provenance)
    np.testing.assert_array_equal(seg_masks(folder / "a.dcm", volume), expected)
    np.testing.assert_array_equal(rt_masks(folder / "rt.dcm", volume.geometry), expected)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_frames_read_back_and_contours_filled_again_are_the_label_in_every_orientation(name, label, tmp_path):
    check_written(label, series(tmp_path / "ct", DIRECTIONS[name]), expected_masks(label), tmp_path)


def test_highdicom_reads_the_seg_by_its_source_images_and_finds_the_positions(label, tmp_path):
    volume = series(tmp_path / "ct", rotation(20))
    write_dicom_seg(tmp_path / "a.dcm", label, volume, LABELS, PROVENANCE)
    seg = hd.seg.segread(tmp_path / "a.dcm")
    uids = [dcmread(path).SOPInstanceUID for path in volume.files]
    frames = seg.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(np.moveaxis(frames.astype(bool), -1, 0), expected_masks(label))
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = volume.geometry.to_index([frame.PlanePositionSequence[0].ImagePositionPatient])[0]
        np.testing.assert_allclose(place, [0, 0, round(place[2])], atol=1e-3)


def test_a_seg_says_what_it_is_and_whose(label, tmp_path):
    volume = series(tmp_path / "ct", np.eye(3))
    source = dcmread(volume.files[0])
    write_dicom_seg(tmp_path / "a.dcm", label, volume, LABELS, PROVENANCE)
    seg = hd.seg.segread(tmp_path / "a.dcm")
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.Modality == "SEG"
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SegmentationType == "BINARY"
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    marked = {dcmread(path).SOPInstanceUID for path, part in zip(volume.files, label, strict=True) if part.any()}
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == marked
    tumor, organ = (seg.get_segment_description(number) for number in (1, 2))
    assert (tumor.segment_label, organ.segment_label) == ("Tumor", ORGAN.name)
    assert tumor.segmented_property_type.value == "86049000"
    assert tumor.segmented_property_category.value == "49755003"
    assert [code.value for code in tumor.anatomic_regions] == ["39607008"]
    assert tumor.algorithm_type.value == "AUTOMATIC"
    algorithm = tumor.algorithm_identification
    assert algorithm.name == "lung-ct"
    assert algorithm.parameters == PROVENANCE
    if hasattr(hd.color.CIELabColor, "from_rgb"):  # from highdicom 0.27 on; before, a SEG says no color
        lab = np.array(tumor.RecommendedDisplayCIELabValue) / 65535 * [100, 255, 255] - [0, 128, 128]
        assert 255 * lab2rgb(lab) == pytest.approx((230, 26, 26), abs=2)


def test_an_empty_result_is_a_valid_seg_and_regions_without_contours(label, tmp_path, ct_volume):
    check_written(label * 0, ct_volume, expected_masks(label * 0), tmp_path)
    seg = hd.seg.segread(tmp_path / "a.dcm")
    assert seg.number_of_segments == 2
    assert not seg.pixel_array.any()
    structures = dcmread(tmp_path / "rt.dcm")
    assert len(structures.StructureSetROISequence) == 2
    assert not any("ContourSequence" in region for region in structures.ROIContourSequence)


def test_a_smooth_tumor_keeps_its_shape_and_its_border_is_no_more_than_half_a_pixel_off(ct, tmp_path):
    volume = series(tmp_path / "ct", rotation(20))
    z, y, x = np.indices(ct.shape)
    inside = ((z - 5) / 4) ** 2 + ((y - 9) / 7) ** 2 + ((x - 12) / 9) ** 2
    write_rtstruct(tmp_path / "rt.dcm", (inside < 1).astype(np.uint8), volume, [TUMOR], {})
    (mask,) = rt_masks(tmp_path / "rt.dcm", volume.geometry)
    assert 2 * np.sum(mask & (inside < 1)) / (mask.sum() + np.sum(inside < 1)) > 0.97
    for contour in dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence:
        points = volume.geometry.to_index(np.array(contour.ContourData, float).reshape(-1, 3))
        # Every point lies half-way between two neighbors, one inside and one outside: to 0.01 of a pixel.
        halves = np.abs(points[:, :2] * 2 - np.rint(points[:, :2] * 2)) / 2
        assert halves.max() < 0.01


def test_every_contour_is_closed_planar_and_names_its_image(label, tmp_path):
    volume = series(tmp_path / "ct", rotation(20))
    source = dcmread(volume.files[0])
    write_rtstruct(tmp_path / "rt.dcm", label, volume, LABELS, PROVENANCE)
    structures = dcmread(tmp_path / "rt.dcm")
    assert structures.SOPClassUID.name == "RT Structure Set Storage"
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert structures[keyword].value == source[keyword].value
    (frame,) = structures.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == source.FrameOfReferenceUID
    (study,) = frame.RTReferencedStudySequence
    assert study.ReferencedSOPInstanceUID == source.StudyInstanceUID
    (referenced,) = study.RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    images = {dcmread(path).SOPInstanceUID: k for k, path in enumerate(volume.files)}
    assert {item.ReferencedSOPInstanceUID for item in referenced.ContourImageSequence} == set(images)
    assert [(roi.ROIName, roi.ROIGenerationAlgorithm) for roi in structures.StructureSetROISequence] == [
        ("Tumor", "AUTOMATIC"),
        (ORGAN.name, "AUTOMATIC"),
    ]
    assert list(structures.ROIContourSequence[0].ROIDisplayColor) == [230, 26, 26]
    assert structures.RTROIObservationsSequence[0].RTROIInterpretedType == "GTV"
    assert "weights_sha256=" + "ab" * 32 in structures.StructureSetDescription
    contours: list[Dataset] = [c for roi in structures.ROIContourSequence for c in roi.ContourSequence]
    for contour in contours:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        assert contour.NumberOfContourPoints == len(points) >= 3
        (image,) = contour.ContourImageSequence
        place = images[image.ReferencedSOPInstanceUID]
        np.testing.assert_allclose(volume.geometry.to_index(points)[:, 2], place, atol=1e-3)


def test_a_filled_in_slice_gets_neither_frame_nor_contour(label, tmp_path):
    expected = expected_masks(label)
    expected[:, 5] = False
    check_written(label, series(tmp_path / "ct", np.eye(3), missing=[5]), expected, tmp_path)


@pytest.mark.parametrize("smooth", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", range(5))
def test_outlines_filled_one_by_one_are_the_components_of_any_mask(smooth, seed):
    noise = np.random.default_rng(seed).normal(size=(40, 47))
    mask = scipy.ndimage.gaussian_filter(noise, smooth) > 0
    filled = [polygon2mask(mask.shape, polygon) for polygon in outlines(mask)]
    np.testing.assert_array_equal(np.sum(filled, axis=0), mask)
    assert len(filled) == scipy.ndimage.label(mask)[1]


def test_outlines_have_no_points_on_straight_lines_and_close_at_the_border():
    mask = np.zeros((9, 9), bool)
    mask[:5, 2:8] = True
    (polygon,) = outlines(mask)
    assert len(polygon) == 8
    assert polygon.min() == -0.5
    assert outlines(np.zeros((4, 4), bool)) == []


STRIPPED = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID", "AccessionNumber"]
STRIPPED += ["ReferringPhysicianName", "SliceThickness", "SeriesNumber", "PositionReferenceIndicator", "ImageType"]


def test_what_anonymization_strips_is_not_needed(label, tmp_path):
    stripped = series(tmp_path / "ct", np.eye(3), **dict.fromkeys(STRIPPED))
    check_written(label, stripped, expected_masks(label), tmp_path, {})


def test_without_a_frame_of_reference_dicom_results_are_refused(label, tmp_path):
    volume = series(tmp_path / "ct", np.eye(3), FrameOfReferenceUID=None)
    for write in (write_dicom_seg, write_rtstruct):
        with pytest.raises(InputError, match="FrameOfReferenceUID"):
            write(tmp_path / "a.dcm", label, volume, LABELS, {})
    assert not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_names_keep_their_alphabet_and_odd_values_neither_stop_nor_show(write, label, tmp_path, capfd, recwarn):
    with disable_value_validation():
        odd = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "PatientBirthDate": "1950-01-01-x"}
        volume = series(tmp_path / "ct", np.eye(3), **odd)
    recwarn.clear()
    write(tmp_path / "a.dcm", label, volume, LABELS, PROVENANCE)
    assert dcmread(tmp_path / "a.dcm").PatientName == "Müller^Jörg"
    assert [str(warning.message) for warning in recwarn if "1950" in str(warning.message)] == []
    assert "1950" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_wrong_endings_shapes_and_folders_are_refused(write, label, tmp_path):
    volume = series(tmp_path / "ct", np.eye(3))
    with pytest.raises(InputError, match=r"a\.nrrd"):
        write(tmp_path / "a.nrrd", label, volume, LABELS, {})
    with pytest.raises(InputError, match=r"\(11, 20, 24\)"):
        write(tmp_path / "a.dcm", label[1:], volume, LABELS, {})
    (tmp_path / "file").write_text("a file, no folder", "utf-8")
    with pytest.raises(InputError, match=r"a\.dcm"):
        write(tmp_path / "file" / "a.dcm", label, volume, LABELS, {})
    volume.files[5].unlink()
    with pytest.raises(InputError, match=volume.files[5].name):
        write(tmp_path / "a.dcm", label, volume, LABELS, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "file"]


def rounded(path: Path, number: int) -> None:
    """Orientations that differ by rounding, as scanners write them."""
    header = dcmread(path)
    directions = map(float, header.ImageOrientationPatient)
    header.ImageOrientationPatient = [f"{value + number * 1e-9:.12f}" for value in directions]
    header.save_as(path)


def one_spacing(path: Path, number: int) -> None:
    """A single value that is the spacing of rows and columns."""
    header = dcmread(path)
    header.PixelSpacing = str(header.PixelSpacing[0])
    header.save_as(path)


def bare(path: Path, number: int) -> None:
    """Without the preamble."""
    path.write_bytes(path.read_bytes()[132:])


@pytest.mark.parametrize("change", [rounded, one_spacing, bare])
def test_what_can_be_read_can_be_written(change, label, tmp_path: Path) -> None:
    square = Geometry(label.shape[::-1], (0.8, 0.8, 2.5), (-10.0, -20.0, -30.0))
    files = write_series(tmp_path / "ct", np.zeros(label.shape, np.int16), square)
    for number, path in enumerate(files):
        change(path, number)
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(tmp_path / "a.dcm", label, volume, LABELS, PROVENANCE)
    write_rtstruct(tmp_path / "rt.dcm", label, volume, LABELS, PROVENANCE)
    np.testing.assert_array_equal(rt_masks(tmp_path / "rt.dcm", volume.geometry), expected_masks(label))
    assert dcmread(tmp_path / "a.dcm").pixel_array.sum() == np.count_nonzero(label)
