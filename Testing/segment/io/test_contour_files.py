"""What our own writers write is read back as it was, in every kind of file and orientation."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy.ndimage import gaussian_filter

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.contour_files import read_delineation, read_rated_case
from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentLib.io.dicom_writer import write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Volume
from segment.io.conftest import DIRECTIONS, LABELS, ORGAN, a_label, rotation, series


@pytest.fixture
def label() -> np.ndarray:
    """The label of ``volumes``, with a tumor that also touches a corner."""
    label = a_label()
    label[3, 13, 15] = 1
    return label


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_we_write_is_read_back_as_it_was_in_every_format_and_orientation(direction, label, tmp_path):
    volume = series(tmp_path / "ct", DIRECTIONS[direction])
    write_segmentation(tmp_path / "a.seg.nrrd", label, volume.geometry, LABELS, {})
    write_image(tmp_path / "a.mha", label, volume.geometry)
    write_dicom_seg(tmp_path / "seg.dcm", label, volume, LABELS, {})
    write_rtstruct(tmp_path / "rt.dcm", label, volume, LABELS, {})
    sources = {"a.seg.nrrd": "segmentation", "a.mha": "labelmap", "seg.dcm": "DICOM SEG", "rt.dcm": "RTSTRUCT"}
    for file, source in sources.items():
        for segment in LABELS:
            asked = segment.name if source != "labelmap" else str(segment.value)
            delineation = read_delineation(tmp_path / file, "A", volume, asked)
            np.testing.assert_array_equal(delineation.mask, label == segment.value, err_msg=f"{file} {segment.name}")
            assert (delineation.name, delineation.segment, delineation.source) == ("A", asked, source)
            assert delineation.notes == ()
            assert delineation.mask.dtype == bool


@pytest.fixture
def written(label, tmp_path) -> tuple[Path, Volume]:
    """A folder with a CT and all kinds of files of ``label``, and the CT as read."""
    volume = series(tmp_path / "ct", np.eye(3))
    write_segmentation(tmp_path / "a.seg.nrrd", label, volume.geometry, LABELS, {})
    write_image(tmp_path / "a.nii.gz", (label == 1).astype(np.uint8), volume.geometry)
    write_dicom_seg(tmp_path / "seg.dcm", label, volume, LABELS, {})
    write_rtstruct(tmp_path / "rt.dcm", label, volume, LABELS, {})
    return tmp_path, volume


@pytest.mark.parametrize("smooth", [0.0, 0.7, 1.5])
def test_random_masks_survive_the_structure_set(smooth, tmp_path):
    noise = np.random.default_rng(5).normal(size=(12, 20, 24))
    mask = (gaussian_filter(noise, smooth) > 0).astype(np.uint8)
    volume = series(tmp_path / "ct", rotation(31))
    write_rtstruct(tmp_path / "rt.dcm", mask, volume, [TUMOR], {})
    np.testing.assert_array_equal(read_delineation(tmp_path / "rt.dcm", "A", volume).mask, mask)


def test_dicom_is_known_by_its_content_whatever_its_name_and_in_a_folder_beside_its_images(written, label):
    folder, volume = written
    for file in ("seg.dcm", "rt.dcm"):
        (folder / "ct" / "IM9").write_bytes((folder / file).read_bytes())
        (folder / "ct" / "notes.txt").write_text("no DICOM", "utf-8")
        (folder / "ct" / "cut").write_bytes(volume.files[0].read_bytes()[:150])
        for path in (folder / "ct" / "IM9", folder / "ct"):
            np.testing.assert_array_equal(read_delineation(path, "A", volume).mask, label == 1)


def test_a_folder_with_none_or_several_is_no_guess(written, tmp_path):
    folder, volume = written
    with pytest.raises(InputError, match=r"rt\.dcm, seg\.dcm"):
        read_delineation(folder, "A", volume)
    with pytest.raises(InputError, match=str(folder / "ct")):
        read_delineation(folder / "ct", "A", volume)


def test_a_segment_behind_a_hash_goes_before_the_asked_one_unless_the_file_is_called_that(written, label):
    folder, volume = written
    for file, segment in {"a.seg.nrrd": ORGAN.name, "seg.dcm": "2", "rt.dcm": ORGAN.name.upper()}.items():
        delineation = read_delineation(folder / f"{file}#{segment}", "A", volume, "Tumor")
        np.testing.assert_array_equal(delineation.mask, label == 7)
    write_rtstruct(folder / "odd.dcm", label, volume, [dataclasses.replace(ORGAN, name="GTV//1/.")], {})
    np.testing.assert_array_equal(read_delineation(f"{folder}/odd.dcm#GTV//1/.", "A", volume).mask, label == 7)
    (folder / "a#b.seg.nrrd").write_bytes((folder / "a.seg.nrrd").read_bytes())
    np.testing.assert_array_equal(read_delineation(folder / "a#b.seg.nrrd", "A", volume).mask, label == 1)
    np.testing.assert_array_equal(read_delineation(folder / f"a#b.seg.nrrd#{ORGAN.name}", "A", volume).mask, label == 7)


def test_files_that_are_none_of_these_are_refused_with_their_path(written):
    folder, volume = written
    (folder / "notes.txt").write_text("nothing", "utf-8")
    (folder / "surface.stl").write_bytes(np.random.default_rng(1).bytes(5000))
    segments = "1: 'Tumor', 2: 'Left atrium é'"
    bad = {"gone.seg.nrrd": "", "gone.seg.nrrd#Tumor": "", "a.seg.nrrd#": "", "notes.txt": "", "surface.stl": ""}
    bad |= {"a.seg.nrrd#Heart": f"'Heart'; .*{segments}", "a.seg.nrrd#" + 300 * "long": "'longlong"}
    bad |= {f"ct/{volume.files[0].name}": r"\(CT\)"}
    for file, text in bad.items():
        with pytest.raises(InputError, match=f"{folder / file.partition('#')[0]}.*{text}"):
            read_delineation(folder / file, "A", volume)


@pytest.mark.parametrize("file", ["seg.dcm", "rt.dcm"])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_file_cut_short_anywhere_is_refused_and_never_read_in_part(written, label, file, undefined):
    folder, volume = written
    if undefined:  # sequences that end with a delimiter, as most systems write them
        whole = dcmread(folder / file)
        for element in whole.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
        whole.save_as(folder / file)
    raw = (folder / file).read_bytes()
    for length in [*range(0, len(raw) - 200, 131), *range(len(raw) - 200, len(raw) - 1, 9)]:
        (folder / "cut.dcm").write_bytes(raw[:length])
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            delineation = read_delineation(folder / "cut.dcm", "A", volume, "Tumor")
            np.testing.assert_array_equal(delineation.mask, label == 1)  # only what comes behind the contours is gone


@pytest.mark.parametrize("file", ["seg.dcm", "rt.dcm"])
def test_damaged_bytes_are_refused_or_harmless_but_never_a_crash(written, file):
    folder, volume = written
    raw = np.frombuffer((folder / file).read_bytes(), np.uint8)
    random = np.random.default_rng(7)
    for _ in range(60):
        damaged = raw.copy()
        places = random.integers(132, len(raw), random.integers(1, 6))
        damaged[places] = random.integers(0, 256, len(places))
        (folder / "bad.dcm").write_bytes(damaged.tobytes())
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_delineation(folder / "bad.dcm", "A", volume, "Tumor")


def test_a_case_is_its_image_its_raters_in_order_and_the_model(written, label):
    folder, volume = written
    raters = {"Zoë <b>": folder / "rt.dcm", "Ann": folder / "a.nii.gz", "腫": folder / "seg.dcm"}
    stages = []
    case = read_rated_case(
        folder / "ct",
        folder / "a.seg.nrrd",
        raters,
        "tumor",
        "p1",
        Progress(lambda what, done: stages.append((what, done))),
    )
    assert [each.name for each in case.all] == [*raters, MODEL]
    assert case.name == "p1"
    assert case.geometry == volume.geometry
    np.testing.assert_array_equal(case.image, volume.array)
    for each in case.all:
        np.testing.assert_array_equal(each.mask, label == 1)
    done = [fraction for _, fraction in stages]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)
    assert "Reading Ann" in [what for what, _ in stages]


def test_the_same_file_twice_is_told_whatever_its_path_and_its_segment(written, label):
    folder, volume = written
    (folder / "copy.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes())
    write_image(folder / "other.mha", (label == 1).astype(np.uint8), volume.geometry)
    write_image(folder / "organ.mha", (label == 7).astype(np.uint8), volume.geometry)
    raters = {"A": folder / "a.nii.gz", "B": folder / "copy.nii.gz", "C": folder / "organ.mha"}
    case = read_rated_case(folder / "ct", folder / "other.mha", raters)
    assert case.notes == ("'A' and 'B' are the same file; their agreement means nothing.",)
    segments = {"A": folder / "a.seg.nrrd#Tumor", "B": folder / f"a.seg.nrrd#{ORGAN.name}"}
    case = read_rated_case(folder / "ct", None, segments)
    assert (len(case.all), case.model, case.notes) == (2, None, ())
    alike = [TUMOR, dataclasses.replace(TUMOR, name="The same")]
    write_segmentation(folder / "alike.seg.nrrd", label, volume.geometry, alike, {})
    case = read_rated_case(folder / "ct", None, {"A": folder / "alike.seg.nrrd#1", "B": folder / "alike.seg.nrrd#2"})
    assert case.notes == ()


def test_a_case_in_which_nobody_marked_anything_is_read(label, tmp_path):
    volume = series(tmp_path / "ct", np.eye(3))
    write_segmentation(tmp_path / "a.seg.nrrd", label * 0, volume.geometry, LABELS, {})
    write_image(tmp_path / "b.nii.gz", label * 0, volume.geometry)
    write_dicom_seg(tmp_path / "c.dcm", label * 0, volume, LABELS, {})
    write_rtstruct(tmp_path / "d.dcm", label * 0, volume, LABELS, {})
    files = {"A": tmp_path / "a.seg.nrrd", "B": tmp_path / "b.nii.gz", "C": tmp_path / "c.dcm"}
    case = read_rated_case(tmp_path / "ct", tmp_path / "d.dcm", files)
    assert all(each.empty for each in case.all)
    assert case.notes == ()


def test_the_warnings_of_the_image_are_notes_of_the_case_and_a_series_may_be_chosen(label, tmp_path):
    volume = series(tmp_path / "ct", np.eye(3), missing=[5])
    series(tmp_path / "other", np.eye(3))
    write_image(tmp_path / "a.mha", label, volume.geometry)
    with pytest.raises(InputError, match=volume.series_uid):
        read_rated_case(tmp_path, None, {"A": tmp_path / "a.mha"}, "1")
    case = read_rated_case(tmp_path, None, {"A": tmp_path / "a.mha"}, "1", series_uid=volume.series_uid)
    assert any("lacks 1 of 12 slices" in note for note in case.notes)


def test_bad_names_are_refused_and_reading_can_be_cancelled(written):
    folder, _ = written
    with pytest.raises(InputError, match=MODEL):
        read_rated_case(folder / "ct", None, {MODEL: folder / "rt.dcm"})
    with pytest.raises(InputError):
        read_rated_case(folder / "ct", folder / "rt.dcm", {})
    with pytest.raises(Cancelled):
        read_rated_case(folder / "ct", None, {"A": folder / "rt.dcm"}, progress=Progress(cancelled=lambda: True))


def test_reading_is_imported_without_any_heavy_package():
    code = (
        "import sys, CMEDLSegmentLib.io.contour_files\n"
        "heavy = {'torch', 'scipy', 'skimage', 'SimpleITK', 'pydicom', 'highdicom'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
