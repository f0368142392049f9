"""``prepare``: cohorts from folders, patterns and DICOM, added to, divided, and never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume, write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.cohort.patterns import Scan, find_mask, find_scans
from segment.agreement.samples import rectangle, write_seg, write_structures
from segment.io.dicom_samples import write_series

GRID = Geometry((10, 12, 4), (2.0, 2.0, 5.0), (-9.0, 4.0, 30.0))
HU = np.full(GRID.shape, 40, np.int16)
SERIES, FRAME = "1.2.3.4.5", "1.2.3.4.6"


@pytest.fixture
def volumes(tmp_path) -> Path:
    """Four patients with CT and mask; the first voxels say whose they are."""
    source = tmp_path / "source"
    for n in range(4):
        image, mask = HU.copy(), np.zeros(GRID.shape, np.uint8)
        image[0, 0, 0] = n
        mask[1 : 2 + n % 3, 3 : 5 + n, 3:7] = 1
        write_image(source / f"p{n}" / "ct.nii.gz", image, GRID)
        write_image(source / f"p{n}" / "gtv.nii.gz", mask, GRID)
    return source


def dicom_patient(folder: Path) -> None:
    """A CT with a structure set of two regions beside it; the tumor 4 x 5 pixels on slice 1."""
    write_series(folder / "scan", HU, GRID, series_uid=SERIES, frame_of_reference=FRAME)
    regions = {
        "Heart": [rectangle((1.5, 7.5), (5.5, 9.5), z) for z in (1, 2)],
        "GTV": [rectangle((2.5, 6.5), (2.5, 7.5), 1)],
    }
    write_structures(folder / "rs.dcm", GRID, regions, series_uid=SERIES, frame_uid=FRAME)


def prepare(*arguments: object) -> int:
    return main(["prepare", *map(str, arguments)])


def prepared(capsys, *arguments: object) -> dict:
    prepare(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


FILES = ("--image", "{patient}/ct.nii.gz", "--mask", "{patient}/gtv.nii.gz")


def test_files_are_found_by_their_patterns_and_referred_to_where_they_are(volumes, tmp_path):
    folder = tmp_path / "cohort"
    assert prepare(volumes, "-o", folder, *FILES) == 0
    cases = read_cohort(folder / "cohort.csv", required=("mask", "role"))
    assert [(case.patient, case.case, case.role, case.modality) for case in cases] == [
        (f"p{n}", f"p{n}-ct", "student", "CT") for n in range(4)
    ]
    assert [case.image.resolve() for case in cases] == [volumes / f"p{n}" / "ct.nii.gz" for n in range(4)]
    assert "../source/p0/ct.nii.gz" in (folder / "cohort.csv").read_text("utf-8")
    assert [path.name for path in folder.iterdir()] == ["cohort.csv"]


def test_copies_make_the_cohort_s_folder_stand_alone(volumes, tmp_path):
    assert prepare(volumes, "-o", tmp_path / "cohort", *FILES, "--copy") == 0
    moved = (tmp_path / "cohort").rename(tmp_path / "moved")
    for n, case in enumerate(read_cohort(moved / "cohort.csv")):
        assert case.image == moved / f"p{n}-ct" / "image.nii.gz"
        assert read_volume(case.image).array[0, 0, 0] == n
        np.testing.assert_array_equal(read_mask(case.mask).array, read_mask(volumes / f"p{n}" / "gtv.nii.gz").array)
    assert not [path for path in moved.iterdir() if path.name.startswith(".")]


def test_a_division_is_told_and_no_cases_that_were_not_added(volumes, tmp_path, capsys):
    folder = tmp_path / "cohort"
    prepare(volumes, "-o", folder, *FILES)
    capsys.readouterr()
    assert prepare("-o", folder, "--split", "50,25,25", "--folds", "2") == 0
    printed = capsys.readouterr().out
    assert "2 train, 1 validation, 1 test" in printed
    assert "cohort-fold1.csv to cohort-fold2.csv" in printed
    assert "added" not in printed


def test_a_second_call_adds_and_leaves_what_is_there(volumes, tmp_path, capsys):
    folder = tmp_path / "cohort"
    assert prepare(volumes, "-o", folder, *FILES, "--split", "50,25,25") == 0
    table = folder / "cohort.csv"
    header, *lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([f"{header},note", *(f"{line},n{k}" for k, line in enumerate(lines, 1)), ""]), "utf-8")
    before = {case.case: case.split for case in read_cohort(table)}
    capsys.readouterr()
    first = prepared(capsys, volumes, "-o", folder, *FILES, "--role", "teacher", "--modality", "MR")
    assert (len(first["added"]), first["there"], first["cases"]) == (4, [], 8)
    again = prepared(capsys, volumes, "-o", folder, *FILES)
    assert (again["added"], len(again["there"]), again["cases"]) == ([], 4, 8)
    cases = read_cohort(table)
    assert {case.case: case.split for case in cases[:4]} == before
    # The same patients as teachers: each in the split that the patient has.
    assert [case.split for case in cases[4:]] == [case.split for case in cases[:4]]
    assert [case.case for case in cases[4:]] == [f"p{n}-mr" for n in range(4)]
    lines = table.read_text("utf-8").splitlines()
    assert [line.rpartition(",")[2] for line in lines[:5]] == ["note", "n1", "n2", "n3", "n4"]


def test_the_structures_of_a_structure_set_become_labels_in_the_order_they_are_named(tmp_path, capsys):
    dicom_patient(tmp_path / "source" / "a")
    folder = tmp_path / "cohort"
    result = prepared(capsys, tmp_path / "source", "-o", folder, "--structure", "gtv", "--structure", "Heart")
    (case,) = read_cohort(folder / "cohort.csv")
    assert case.image.resolve() == tmp_path / "source" / "a"
    mask = read_mask(case.mask, read_volume(case.image).geometry).array
    expected = np.zeros(GRID.shape, np.uint8)
    expected[1:3, 6:10, 2:8] = 2
    expected[1, 3:8, 3:7] = 1
    np.testing.assert_array_equal(mask, expected)
    # 2 rows x 4 columns of 2 x 24 pixels.
    assert ["a-ct", "16.7% of 'Heart' lies in structures named before it and is theirs."] in result["notes"]


def test_without_a_name_the_only_tumor_is_taken_and_said(tmp_path, capsys):
    dicom_patient(tmp_path / "source" / "a")
    result = prepared(capsys, tmp_path / "source", "-o", tmp_path / "cohort")
    (case,) = read_cohort(tmp_path / "cohort" / "cohort.csv")
    assert np.count_nonzero(read_mask(case.mask).array) == 20
    assert ["a-ct", "Of 2 segments the tumor was taken, 'GTV'."] in result["notes"]


def test_a_series_that_shares_its_folder_is_written_as_a_file(tmp_path):
    patient = tmp_path / "source" / "a"
    dicom_patient(patient)
    write_series(patient / "mr", HU + 7, GRID, modality="MR", intercept=0.0)
    assert prepare(tmp_path / "source", "-o", tmp_path / "cohort") == 0
    (case,) = read_cohort(tmp_path / "cohort" / "cohort.csv")
    assert case.image.name == "image.nii.gz"
    np.testing.assert_array_equal(read_volume(case.image).array, HU)
    assert read_mask(case.mask, read_volume(case.image).geometry).array.any()


def test_a_dicom_seg_is_read_too(tmp_path):
    folder = tmp_path / "source" / "a"
    write_series(folder / "ct", HU, GRID, series_uid=SERIES, frame_of_reference=FRAME)
    marked = np.zeros(GRID.shape, bool)
    marked[2, 4:6, 1:9] = True
    write_seg(folder / "seg.dcm", GRID, {"Tumor": marked}, series_uid=SERIES, frame_uid=FRAME)
    arguments = ("--image", "{patient}/ct", "--mask", "{patient}/seg.dcm")
    assert prepare(tmp_path / "source", "-o", tmp_path / "cohort", *arguments) == 0
    (case,) = read_cohort(tmp_path / "cohort" / "cohort.csv")
    np.testing.assert_array_equal(read_mask(case.mask).array, marked)


def test_one_bad_scan_does_not_stop_the_rest_and_is_told(volumes, tmp_path, capsys):
    (volumes / "p1" / "gtv.nii.gz").unlink()
    result = prepared(capsys, volumes, "-o", tmp_path / "cohort", *FILES)
    assert result["added"] == ["p0-ct", "p2-ct", "p3-ct"]
    ((name, why),) = result["refused"]
    assert name == "p1-ct"
    assert "no mask matches" in why
    assert prepare(volumes, "-o", tmp_path / "other", *FILES) == 2


def test_two_images_of_one_name_are_refused_and_the_case_placeholder_tells_them_apart(volumes, tmp_path, capsys):
    (volumes / "p0" / "ct2.nii.gz").write_bytes((volumes / "p0" / "ct.nii.gz").read_bytes())
    result = prepared(capsys, volumes, "-o", tmp_path / "a", "--image", "{patient}/ct*.nii.gz", *FILES[2:])
    assert (len(result["added"]), len(result["refused"])) == (4, 1)
    assert "write {case}" in result["refused"][0][1]
    result = prepared(capsys, volumes, "-o", tmp_path / "b", "--image", "{patient}/{case}.nii.gz", *FILES[2:])
    assert "p0-ct2" in result["added"]


def test_a_folder_that_is_no_case_of_the_table_is_left_alone(volumes, tmp_path, capsys):
    kept = tmp_path / "cohort" / "p2-ct" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine", "utf-8")
    result = prepared(capsys, volumes, "-o", tmp_path / "cohort", *FILES, "--copy")
    assert [name for name, _ in result["refused"]] == ["p2-ct"]
    assert [path.name for path in kept.parent.iterdir()] == ["notes.txt"]


def test_folds_are_tables_beside_the_cohort_s_and_not_written_over(volumes, tmp_path, capsys):
    folder = tmp_path / "cohort"
    assert prepare(volumes, "-o", folder, *FILES, "--folds", "2") == 0
    tested = [
        {case.patient for case in read_cohort(folder / f"cohort-fold{k}.csv") if case.split == "test"} for k in (1, 2)
    ]
    assert tested[0] | tested[1] == {"p0", "p1", "p2", "p3"}
    assert not tested[0] & tested[1]
    assert {case.split for case in read_cohort(folder / "cohort.csv")} == {""}
    assert prepare("-o", folder, "--folds", "2") == 2
    assert "--resplit" in capsys.readouterr().err
    assert prepare("-o", folder, "--folds", "2", "--resplit", "--seed", "3") == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-o", "new"], "nothing to do"),
        (["-o", "new", "--split", "70,15,15"], "holds no cohort yet"),
        (["nowhere", "-o", "new"], "is not a folder"),
        ([".", "-o", "new", "--image", "*.nii.gz"], "neither {patient} nor {case}"),
        ([".", "-o", "new", "--image", "{subject}/{case}"], "has a part {subject}"),
        ([".", "-o", "new", "--image", "{case}.mha"], "Nothing below"),
        ([".", "-o", "new", "--image", "../{case}"], "below the source"),
        ([".", "-o", "new", "--image", "/data/{case}"], "below the source"),
        ([".", "-o", "new", "--image", "**/{case}.nii.gz"], "without **"),
        ([".", "-o", "new", "--split", "70"], "70,15,15"),
        ([".", "-o", "new", "--split", "a,b,c"], "70,15,15"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments, text, tmp_path, monkeypatch, capsys):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "ct.nii.gz").touch()
    monkeypatch.chdir(tmp_path)
    assert prepare(*arguments) == 2
    assert text in capsys.readouterr().err


def test_patterns_read_names_whatever_they_hold(tmp_path):
    for path in ("x[1]/a_b_CT", "x[1]/c_CT", "x[1]/c_MR", ".hidden/c_CT", "y/z/c_CT"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{path}.nii.gz").touch()
    scans = find_scans(tmp_path, "{patient}/{case}_CT.nii.gz")
    assert [(scan.patient, scan.case) for scan in scans] == [("x[1]", "a_b"), ("x[1]", "c")]
    assert find_mask(tmp_path, "{patient}/{case}_MR*", scans[1]).name == "c_MR.nii.gz"
    with pytest.raises(InputError, match="2 "):
        find_mask(tmp_path, "{patient}/{case}*", scans[1])
    (tmp_path / "c" / "c").mkdir(parents=True)
    (tmp_path / "c" / "d").mkdir(parents=True)
    assert find_scans(tmp_path, "{case}/{case}") == [Scan(tmp_path / "c" / "c", "", "c")]


def test_what_was_prepared_passes_check_where_it_is_good(volumes, tmp_path, capsys):
    assert prepare(volumes, "-o", tmp_path / "cohort", *FILES, "--split", "50,25,25") == 0
    capsys.readouterr()
    main(["check", str(tmp_path / "cohort" / "cohort.csv"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert {finding["case"] for finding in result["findings"]} <= {"p0-ct", "p1-ct", "p2-ct", "p3-ct", ""}
    assert result["summary"].startswith("4 cases of the student (CT) of 4 patients: 2 train, 1 validation, 1 test")


def test_an_image_under_another_name_is_known_by_its_path(volumes, tmp_path, capsys):
    prepare(volumes, "-o", tmp_path / "cohort", *FILES)
    capsys.readouterr()
    patterns = ("--image", "source/{case}/ct.nii.gz", "--mask", "source/{case}/gtv*")
    result = prepared(capsys, tmp_path, "-o", tmp_path / "cohort", *patterns)
    assert result["added"] == []
    assert "in the cohort already, as the case p0-ct" in result["refused"][0][1]
