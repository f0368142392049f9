"""``cmedl-segment compare``: from files to a report, one image or a cohort; bad input told, and no half results."""

from __future__ import annotations

import csv
import functools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.stats import wilcoxon

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.cli import compare as command_module
from CMEDLSegmentLib.cli.compare import compare_case, compare_cohort
from CMEDLSegmentLib.io.dicom_writer import write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import read_volume, write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.metrics.measures import TOLERANCE_MM
from CMEDLSegmentLib.report.case_report import CASE_FILES
from CMEDLSegmentLib.report.cohort_report import COHORT_FILES
from segment.cli.conftest import GEOMETRY, SHAPE
from segment.cli.test_dicom import write_series

HEADER = "case,image,rater,file,segment\n"
COLUMNS = {"A": (2, 12), "B": (4, 14), "C": (3, 16), "candidate": (4, 13)}
"""First column and the one past the last of everybody's block."""


def block(ends: tuple[int, int], value: int = 1) -> np.ndarray:
    """A label map with a block from column to column."""
    label = np.zeros(SHAPE, np.uint8)
    label[1:5, 6:16, slice(*ends)] = value
    return label


@pytest.fixture(autouse=True)
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the worst slice only: pictures take most of the time, and have tests of their own."""
    monkeypatch.setattr(command_module, "write_report", functools.partial(command_module.write_report, pictures=1))


@pytest.fixture
def folder(tmp_path: Path, scan: Path) -> Path:
    """A folder with ``scan.nii.gz`` and a label map of each of :data:`COLUMNS`."""
    for name, ends in COLUMNS.items():
        write_image(tmp_path / f"{name}.nii.gz", block(ends), GEOMETRY)
    return tmp_path


@pytest.fixture
def compare(command, folder: Path):
    """Calls ``compare`` for the scan and its three raters and the model, into the folder ``out``."""

    def call(*options: object):
        raters = [part for name in "ABC" for part in ("--rater", f"Dr. {name}={folder / name}.nii.gz")]
        model = ("--candidate", folder / "candidate.nii.gz")
        return command("compare", folder / "scan.nii.gz", *raters, *model, "-o", folder / "out", *options)

    return call


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def overlap(a: str, b: str) -> float:
    """DSC of two blocks, by their columns."""
    (a0, a1), (b0, b1) = COLUMNS[a], COLUMNS[b]
    return 2 * (min(a1, b1) - max(a0, b0)) / (a1 - a0 + b1 - b0)


def test_one_image_gives_a_folder_with_the_report(compare, folder):
    ended = compare("--json")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(CASE_FILES)
    assert ended.json["report"] == str(folder / "out" / "report.html")
    assert [row["name"] for row in ended.json["raters"]] == ["Dr. A", "Dr. B", "Dr. C", "candidate"]
    expected = np.mean([overlap("candidate", name) for name in "ABC"])
    assert ended.json["raters"][-1]["dsc"] == pytest.approx(expected)
    assert ended.json["raters"][-1]["volume_cc"] == pytest.approx(4 * 10 * 9 * 0.02)
    first = (folder / "out" / "pairs.csv").read_text("utf-8").splitlines()[0]
    assert first.startswith("a,b,dsc,surface_dice,hd95_mm,assd_mm,volume_a_cc,volume_b_cc")
    pairs = {(row["a"], row["b"]): float(row["dsc"]) for row in rows(folder / "out" / "pairs.csv")}
    assert len(pairs) == 6
    assert pairs["Dr. A", "Dr. C"] == pytest.approx(overlap("A", "C"))
    assert pairs["Dr. B", "candidate"] == pytest.approx(overlap("B", "candidate"))


def test_a_person_reads_a_table_the_answer_and_where_the_report_is(compare, folder):
    ended = compare()
    lines = ended.out.splitlines()
    assert lines[0].startswith("mean to the raters")
    assert lines[2].startswith("Dr. A")
    assert any(line.startswith("The model is within the raters' range") for line in lines)
    assert str(folder / "out" / "report.html") in lines[-1]
    assert "Comparing the raters" in ended.err


def test_the_tolerance_is_that_of_the_measures_unless_another_is_asked_for(compare, folder):
    assert compare("--json").json["tolerance_mm"] == TOLERANCE_MM
    first = rows(folder / "out" / "pairs.csv")
    assert compare("--json", "--overwrite", "--tolerance", "4.5").json["tolerance_mm"] == 4.5
    second = rows(folder / "out" / "pairs.csv")
    assert float(first[0]["surface_dice"]) < float(second[0]["surface_dice"])
    assert "Surface DSC at 4.5 mm" in (folder / "out" / "report.html").read_text("utf-8")


def test_results_that_exist_are_kept_unless_replacing_is_asked_for(compare, folder):
    (folder / "out").mkdir()
    (folder / "out" / "raters.csv").write_text("mine", "utf-8")
    ended = compare()
    assert ended.code == 2
    assert "--overwrite" in ended.err
    assert [path.name for path in (folder / "out").iterdir()] == ["raters.csv"]
    assert compare("--overwrite").code == 0
    assert (folder / "out" / "raters.csv").read_text("utf-8") != "mine"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--rater", "A"], "NAME=FILE"),
        (["--rater", "=x.nii.gz"], "NAME=FILE"),
        (["--rater", "Dr. A=A.nii.gz"], "'Dr. A'"),
        (["--rater", "candidate=A.nii.gz"], "'candidate'"),
        (["--rater", "D=gone.nii.gz"], "gone.nii.gz"),
        (["--tolerance", "0"], '"0"'),
        (["--tolerance", "nan"], '"nan"'),
        (["--segment", "7"], "'7'"),
        (["--same-raters"], "--same-raters"),
        (["--manifest", "x.csv"], "--manifest"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(compare, folder, monkeypatch, options, named):
    monkeypatch.chdir(folder)
    ended = compare(*options)
    assert ended.code == 2
    assert named in ended.err
    assert ended.out == ""
    assert not (folder / "out").exists()


def test_nobody_to_compare_with_and_no_image_are_told(command, folder):
    nobody = command("compare", folder / "scan.nii.gz", "--candidate", folder / "A.nii.gz", "-o", folder / "out")
    assert (nobody.code, nobody.out) == (2, "")
    assert "--rater" in nobody.err
    gone = command("compare", folder / "gone.nii.gz", "--rater", f"A={folder / 'A.nii.gz'}", "-o", folder / "out")
    assert gone.code == 2
    assert "gone.nii.gz" in gone.err
    assert command("compare", "-o", folder / "out").code == 2


def test_a_segment_is_chosen_for_all_files_or_for_one(command, folder):
    label = block((2, 12)) + block((12, 18), value=2)
    write_image(folder / "two.nii.gz", label, GEOMETRY)
    arguments = (
        "compare",
        folder / "scan.nii.gz",
        "--rater",
        f"A={folder / 'A.nii.gz'}",
        "-o",
        folder / "out",
        "--json",
    )
    unsaid = command(*arguments, "--rater", f"B={folder / 'two.nii.gz'}")
    assert unsaid.code == 2
    assert "--segment" in unsaid.err
    said = command(*arguments, "--rater", f"B={folder / 'two.nii.gz'}#2")
    assert said.json["raters"][1]["volume_cc"] == pytest.approx(4 * 10 * 6 * 0.02)


def test_no_output_names_the_image_unless_asked(command, folder):
    # A fourth dimension, so that reading it leaves a note with the file's name.
    image = sitk.JoinSeries([sitk.ReadImage(str(folder / "scan.nii.gz"))])
    sitk.WriteImage(image, str(folder / "Doe^Jane_4711.nrrd"))
    (folder / "A.nii.gz").rename(folder / "Doe^Jane_A.nii.gz")
    arguments = ("compare", folder / "Doe^Jane_4711.nrrd", "--rater", f"A={folder / 'Doe^Jane_A.nii.gz'}")
    assert command(*arguments, "-o", folder / "out").code == 0
    for path in (folder / "out").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "Doe^" not in text, path
        assert str(folder) not in text, path
    assert "The image has four dimensions" in (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert command(*arguments, "-o", folder / "out", "--names", "--overwrite").code == 0
    assert "Doe^Jane_4711" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_a_dicom_series_is_compared_with_seg_rtstruct_and_labelmap_and_no_output_names_the_patient(command, tmp_path):
    write_series(tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    label = np.zeros(volume.array.shape, np.uint8)
    label[1:3, 5:15, 4:14] = 1
    write_dicom_seg(tmp_path / "seg.dcm", label, volume, [TUMOR], {})
    write_rtstruct(tmp_path / "rt.dcm", label, volume, [TUMOR], {})
    write_image(tmp_path / "label.nii.gz", label, volume.geometry)
    raters = [("--rater", f"{name}={tmp_path / name}") for name in ("seg.dcm", "rt.dcm", "label.nii.gz")]
    arguments = [part for rater in raters for part in rater]
    ended = command("compare", tmp_path / "ct", *arguments, "--segment", "tumor", "-o", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert [float(row["dsc"]) for row in rows(tmp_path / "out" / "pairs.csv")] == [1.0, 1.0, 1.0]
    assert any("the very same voxels" in note for note in ended.json["notes"])
    for path in (tmp_path / "out").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("Doe^Jane", volume.series_uid)), path


@pytest.mark.parametrize("model", ["candidate.nii.gz", None])
def test_the_progress_rises_to_the_end_and_a_cancel_at_any_stage_leaves_nothing(folder, model):
    raters = [(name, str(folder / f"{name}.nii.gz")) for name in "ABC"]
    arguments = (folder / "scan.nii.gz", raters, model and str(folder / model), folder / "out")
    steps: list[tuple[str, float]] = []
    compare_case(*arguments, progress=Progress(lambda *stage: steps.append(stage)))
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    shutil.rmtree(folder / "out")
    stages = dict.fromkeys(stage for stage, _ in steps)
    for last in [*stages][:-1]:
        reached: list[str] = []
        progress = Progress(lambda stage, _: reached.append(stage), lambda: last in reached)  # noqa: B023
        with pytest.raises(Cancelled):
            compare_case(*arguments, progress=progress)
        assert not list(folder.glob("out/*")), last
    assert len(stages) > 8


@pytest.fixture
def manifest(folder: Path) -> Path:
    """Four cases; the model lies one column further to the side in each."""
    lines = [HEADER]
    for number in range(4):
        write_image(folder / f"model{number}.nii.gz", block((4 + number, 13 + number)), GEOMETRY)
        lines += [f"Doe^{number},scan.nii.gz,{name},{name}.nii.gz,\n" for name in "ABC"]
        lines += [f"Doe^{number},scan.nii.gz,candidate,model{number}.nii.gz,1\n"]
    (folder / "cohort.csv").write_text("".join(lines), "utf-8")
    return folder / "cohort.csv"


def test_a_cohort_gives_a_report_of_each_case_and_one_of_all(command, manifest, folder):
    ended = command("compare", "--manifest", manifest, "-o", folder / "out", "--json")
    assert (ended.code, ended.err) == (0, "")
    out = folder / "out"
    names = [f"case-{number:03d}" for number in range(1, 5)]
    assert sorted(path.name for path in out.iterdir()) == sorted([*COHORT_FILES, *names])
    for name in names:
        assert sorted(path.name for path in (out / name).iterdir()) == sorted(CASE_FILES)
    pairs = rows(out / "pairs.csv")
    assert len(pairs) == 4 * 6
    assert list(pairs[0])[:4] == ["a", "b", "dsc", "surface_dice"]
    assert (pairs[0]["case"], pairs[-1]["case"]) == ("case 1", "case 4")
    cases = rows(out / "cases.csv")
    model = [float(row["candidate_dsc_mean"]) for row in cases]
    raters = [float(row["raters_dsc_mean"]) for row in cases]
    assert ended.json["tests"]["dsc"] == pytest.approx(wilcoxon(model, raters).pvalue)
    figures = json.loads((out / "agreement.json").read_text("utf-8"), parse_constant=lambda text: pytest.fail(text))
    assert figures["tests"]["dsc"]["n"] == 4
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'href="case-004/report.html"' in page
    for path in out.rglob("*.*"):
        assert "Doe^" not in path.read_text(encoding="utf-8"), path


def test_people_have_a_row_over_the_cohort_only_where_they_are_said_to_be_the_same(command, manifest, folder):
    strangers = command("compare", "--manifest", manifest, "-o", folder / "out")
    assert [row["name"] for row in rows(folder / "out" / "raters.csv")] == ["candidate"]
    assert "A table per rater is not given" in strangers.out
    again = ("compare", "--manifest", manifest, "-o", folder / "out", "--overwrite")
    known = command(*again, "--same-raters", "--names", "--json")
    assert [row["name"] for row in known.json["raters"]] == ["A", "B", "C", "candidate"]
    assert known.json["raters"][0]["n"] == 8
    assert known.json["refusal"] == ""
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    _, _, tests = page.partition("The model and each rater")
    shown = re.findall(r"<td>([^<]*)<small>p ([^<]*), N = 4</small>", tests)
    figures = json.loads((folder / "out" / "agreement.json").read_text(encoding="utf-8"))
    difference = figures["person_tests"]["A"]["dsc"]["difference"]
    assert float(shown[0][0].replace("\N{MINUS SIGN}", "-")) == pytest.approx(difference, abs=0.0051)
    assert [row["case"] for row in rows(folder / "out" / "cases.csv")] == [f"Doe^{number}" for number in range(4)]


def test_a_bad_case_stays_alone_and_the_exit_code_tells(command, manifest, folder):
    bad = "x,scan.nii.gz,A,gone.nii.gz,\ny,scan.nii.gz,A,A.nii.gz,7\n"
    manifest.write_text(manifest.read_text("utf-8") + bad, "utf-8")
    ended = command("compare", "--manifest", manifest, "-o", folder / "out", "--json")
    assert ended.code == 2
    assert set(ended.json["failed"]) == {"5", "6"}
    assert ended.json["failed"]["5"].startswith("Line 18: ")
    assert "no segment '7'" in ended.json["failed"]["6"]
    assert len(ended.json["cases"]) == 4
    assert "2 of 6 cases could not be compared" in (folder / "out" / "report.html").read_text("utf-8")
    assert not (folder / "out" / "case-005").exists()


def test_a_fault_of_ours_in_one_case_stays_alone_too_and_ends_with_1(command, manifest, folder, monkeypatch):
    work = command_module.read_rated_case

    def faulty(image, model, *rest):
        if str(model).endswith("model2.nii.gz#1"):
            raise ZeroDivisionError
        return work(image, model, *rest)

    monkeypatch.setattr(command_module, "read_rated_case", faulty)
    ended = command("compare", "--manifest", manifest, "-o", folder / "out", "--json")
    assert ended.code == 1
    assert list(ended.json["failed"]) == ["3"]
    assert "ZeroDivisionError" in ended.json["failed"]["3"]


def test_with_no_good_case_there_is_no_report_of_all(command, folder):
    (folder / "cohort.csv").write_text(HEADER + "x,scan.nii.gz,A,gone.nii.gz,\n", "utf-8")
    ended = command("compare", "--manifest", folder / "cohort.csv", "-o", folder / "out", "--json")
    assert ended.code == 2
    assert ended.json["report"] is None
    assert not (folder / "out").exists()


def test_a_cancel_between_cases_keeps_the_reports_before_it(manifest, folder):
    stages: list[str] = []
    third = Progress(lambda stage, _: stages.append(stage), lambda: any(stage.startswith("Case 3") for stage in stages))
    with pytest.raises(Cancelled, match="2 of 4"):
        compare_cohort(manifest, folder / "out", progress=third)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["case-001", "case-002"]


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("case,image,rater\nx,y,z\n", "column file"),
        ("case;image;rater;file\n", "semicolons"),
        (HEADER, "cohort.csv"),
        (HEADER + "x,scan.nii.gz,,A.nii.gz,\n", 'line 2: the column "rater"'),
        (HEADER + "x,scan.nii.gz,A,A.nii.gz,\nx,other.nii.gz,B,B.nii.gz,\n", "lines 2 and 3"),
        (HEADER + "x,scan.nii.gz,A,A.nii.gz,\nx,scan.nii.gz,A,B.nii.gz,\n", "line 3"),
        (HEADER + "x,scan.nii.gz,candidate,A.nii.gz,\n", "line 2"),
    ],
)
def test_a_bad_table_is_told_before_the_work(command, folder, table, named):
    (folder / "cohort.csv").write_text(table, "utf-8")
    ended = command("compare", "--manifest", folder / "cohort.csv", "-o", folder / "out")
    assert ended.code == 2
    assert named in ended.err
    assert not (folder / "out").exists()


def test_what_goes_with_one_image_does_not_go_with_a_manifest(command, manifest, folder):
    for option in (("--rater", "A=x"), ("--model", "x"), ("--segment", "x"), ("--series", "1.2")):
        ended = command("compare", "--manifest", manifest, "-o", folder / "out", *option)
        assert ended.code == 2
        assert option[0] in ended.err


def test_reports_that_exist_are_found_before_the_first_case_is_read(command, manifest, folder, monkeypatch):
    (folder / "out" / "case-003").mkdir(parents=True)
    (folder / "out" / "case-003" / "pairs.csv").write_text("mine", "utf-8")
    monkeypatch.setattr(command_module, "read_rated_case", lambda *_: pytest.fail("a case was read"))
    ended = command("compare", "--manifest", manifest, "-o", folder / "out")
    assert ended.code == 2
    assert "pairs.csv exists already" in ended.err
