"""A cohort's folder: changes that lose nothing, who may make them, and what is remembered of its cases."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.io.case_folders import TrainingCase
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.process import lock
from CMEDLTrainLib.cohort.contents import remembered_in
from CMEDLTrainLib.cohort.folder import CohortFolder
from CMEDLTrainLib.cohort.survey import NAME, Survey
from harness.damaged_json import damaged
from train.panel.conftest import disc, geometry, write_cases

LABELS = ("Tumor",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "cohort").parent


def a_case(folder: Path, number: int = 50, patient: str = "p50", **changes: object) -> TrainingCase:
    image, mask = disc(number)
    case = {"modality": "CT", "role": "student", "split": "train", **changes}
    return TrainingCase(image, mask, geometry(), {"reviewer": "AB", "segment": "GTV"}, patient, folder=folder, **case)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "cohort.csv").read_text(encoding="utf-8").splitlines()))


def test_an_empty_folder_becomes_a_cohort_with_its_first_case(tmp_path: Path) -> None:
    cohort = CohortFolder(tmp_path / "new")
    cohort.take()
    assert (cohort.is_new, cohort.cases, cohort.blocking_reason) == (True, (), "")
    # A patient is any text: no file is named by it.
    cohort.add(a_case(tmp_path / "new", patient="../Müller, J/肺"))
    cohort.reload()
    assert cohort.cases[0].patient == "../Müller, J/肺"
    assert cohort.cases[0].case == "case001"
    assert json.loads((tmp_path / "new" / "cohort.json").read_text("utf-8")) == {"format": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_what_was_changed_by_hand_meanwhile_is_seen_and_kept(folder: Path) -> None:
    cohort = CohortFolder(folder)
    assert not cohort.changed()
    text = (folder / "cohort.csv").read_text("utf-8")
    lines = text.splitlines()
    by_hand = [f"{lines[0]},notes", *(f"{line},hand {n}" for n, line in enumerate(lines[1:]))]
    (folder / "cohort.csv").write_text("\n".join(by_hand).replace("p1,", "renamed,") + "\n", "utf-8")
    assert cohort.changed()
    cohort.set_splits({"p0": "test"})
    assert not cohort.changed()
    table = rows(folder)
    assert [row["patient"] for row in table[:2]] == ["p0", "renamed"]
    assert [row["notes"] for row in table] == [f"hand {n}" for n in range(10)]
    assert (table[0]["split"], table[1]["split"]) == ("test", "train")


def test_a_split_holds_for_all_cases_of_a_patient(folder: Path) -> None:
    cohort = CohortFolder(folder)
    cohort.add(a_case(folder, patient="p0"))
    cohort.set_splits({"p0": "validation"})
    assert [case.split for case in cohort.cases if case.patient == "p0"] == ["validation"] * 2
    with pytest.raises(InputError, match="'val'"):
        cohort.set_splits({"p0": "val"})


def test_patients_are_divided_by_seed_and_keep_what_they_have(folder: Path) -> None:
    cohort = CohortFolder(folder)
    before = {case.patient: case.split for case in cohort.cases}
    cohort.split((70, 15, 15), 1, {})
    assert {case.patient: case.split for case in cohort.cases if case.role == "student"}.items() <= before.items()
    cohort.split((50, 25, 25), 1, {}, anew=True)
    first = {case.patient: case.split for case in cohort.cases}
    cohort.split((50, 25, 25), 1, {}, anew=True)
    assert {case.patient: case.split for case in cohort.cases} == first
    assert {first[f"p{number}"] for number in range(6)} == {"train", "validation", "test"}


def test_a_removed_case_lies_in_the_bin_with_its_line(folder: Path) -> None:
    cohort = CohortFolder(folder)
    image = (folder / "case002" / "image.nii.gz").read_bytes()
    cohort.remove(["case002"])
    assert "case002" not in [case.case for case in cohort.cases]
    assert (folder / "bin" / "case002" / "image.nii.gz").read_bytes() == image
    assert json.loads((folder / "bin" / "case002" / "line.json").read_text("utf-8"))["patient"] == "p1"
    cohort.add(a_case(folder))
    cohort.remove(["case002"])
    assert (folder / "bin" / "case002-2" / "mask.nii.gz").is_file()
    cohort.remove([case.case for case in cohort.cases])
    assert cohort.cases == ()
    assert CohortFolder(folder).cases == ()


def test_files_outside_of_the_folder_stay_where_they_are(tmp_path: Path) -> None:
    write_cases(tmp_path / "data")
    (tmp_path / "study").mkdir()
    line = "p0,case001,student,CT,../data/case001/image.nii.gz,../data/case001/mask.nii.gz,train\n"
    (tmp_path / "study" / "cohort.csv").write_text("patient,case,role,modality,image,mask,split\n" + line, "utf-8")
    cohort = CohortFolder(tmp_path / "study")
    cohort.remove(["case001"])
    assert (tmp_path / "data" / "case001" / "image.nii.gz").is_file()
    assert (tmp_path / "study" / "bin" / "case001" / "line.json").is_file()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "mine"),
        ("cohort.csv", "a,b\n1,2\n"),
        ("cohort.csv", "\udcff"),
        ("cohort.json", '{"format": 2}'),
        ("cohort.json", "[]"),
    ],
)
def test_what_is_no_cohort_is_refused_and_left_as_it_is(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=str(tmp_path)):
        CohortFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_second_slicer_can_look_but_not_change(folder: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert other.stdout.readline() == "held\n"
        cohort = CohortFolder(folder)
        cohort.take()
        assert f"process {other.pid}" in cohort.blocking_reason
        assert len(cohort.cases) == 10
        for change in (
            lambda: cohort.set_splits({"p0": "test"}),
            lambda: cohort.remove(["case001"]),
            lambda: cohort.add(a_case(folder)),
        ):
            with pytest.raises(InputError, match=str(other.pid)):
                change()
    finally:
        other.kill()
        other.wait()
    # It is gone, without having said so.
    cohort.take()
    assert cohort.blocking_reason == ""
    cohort.set_splits({"p0": "test"})
    cohort.release()
    assert not (folder / "cohort.lock").exists()


OTHER = """
import sys, time
from CMEDLTrainLib.cohort.folder import CohortFolder
cohort = CohortFolder(sys.argv[1])
cohort.take()
print(cohort.blocking_reason or "held", flush=True)
time.sleep(60)
"""


def test_a_disk_that_takes_no_change_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **more: object) -> None:
        raise InputError(f"{path} could not be written (Read-only file system)")

    # What a read-only disk does; the rights of files do not stop root, who runs tests in containers.
    monkeypatch.setattr(lock, "acquire", refuse)
    cohort = CohortFolder(folder)
    cohort.take()
    assert "cannot be written to" in cohort.blocking_reason
    assert len(cohort.cases) == 10


def test_the_facts_are_those_of_the_masks_and_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = CohortFolder(folder)
    cohort.add(a_case(folder))
    cohort.reload()
    survey = Survey(folder, LABELS)
    survey.look(cohort.cases)
    known = survey.known["case011"]
    mask = disc(50)[1]
    assert known.segment == "GTV"
    assert known.spacing == (3.0, 2.0, 2.0)
    assert known.structure_slices == 4
    assert known.volume_cc == pytest.approx(mask.sum() * 12 / 1000)
    assert survey.volumes(cohort.cases)["p50"] == pytest.approx(known.volume_cc)
    findings = survey.findings(cohort.cases)
    monkeypatch.setattr("CMEDLTrainLib.cohort.survey.examine", lambda case, labels: pytest.fail("looked at again"))
    again = Survey(folder.rename(folder.with_name("moved")), LABELS)
    moved = CohortFolder(again.folder)
    again.look(moved.cases)
    assert again.findings(moved.cases) == findings


def test_a_file_that_changed_is_looked_at_again(folder: Path) -> None:
    cohort = CohortFolder(folder)
    survey = Survey(folder, LABELS)
    survey.look(cohort.cases)
    assert not [finding for finding in survey.findings(cohort.cases) if finding.severity == "error"]
    write_image(folder / "case001" / "mask.nii.gz", np.zeros_like(disc(0)[1]), geometry())
    (folder / "case003" / "mask.nii.gz").unlink()
    (folder / "case002" / "image.nii.gz").write_bytes((folder / "case004" / "image.nii.gz").read_bytes())
    survey.look(cohort.cases)
    errors = {each.case: each.sentence for each in survey.findings(cohort.cases) if each.severity == "error"}
    assert "marks nothing" in errors["case001"]
    assert "does not exist" in errors["case003"]
    assert "same voxels as the case case002" in errors["case004"]


def test_what_was_remembered_and_is_damaged_is_looked_at_again(folder: Path) -> None:
    cases = CohortFolder(folder).cases[:2]
    survey = Survey(folder, LABELS)
    survey.look(cases)
    text = (folder / NAME).read_text("utf-8")
    for damage in damaged(json.loads(text), most=300):
        (folder / NAME).write_text(damage, "utf-8")
        again = Survey(folder, LABELS)
        again.recall(cases)
        for name, known in again.known.items():
            assert isinstance(known.segment, str)
            assert {finding.case for finding in known.findings} <= {name}
        assert remembered_in(folder / NAME) == {}


def test_a_survey_that_is_cut_keeps_what_it_found(folder: Path) -> None:
    cases = CohortFolder(folder).cases
    survey = Survey(folder, LABELS)

    def stop_at_the_third(stage: str, fraction: float) -> None:
        if fraction >= 0.2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        survey.look(cases, stop_at_the_third)
    again = Survey(folder, LABELS)
    again.recall(cases)
    assert set(again.known) == {"case001", "case002"}
    assert not again.complete(cases)


def test_a_table_with_two_splits_for_a_patient_is_shown_with_the_fault(folder: Path) -> None:
    with (folder / "cohort.csv").open("a", encoding="utf-8") as stream:
        stream.write("p0,extra,student,CT,case001/image.nii.gz,case001/mask.nii.gz,test\n")
    cohort = CohortFolder(folder)
    assert len(cohort.cases) == 11
    findings = Survey(folder, LABELS).findings(cohort.cases, cohort.problems)
    assert ["two splits" in each.sentence for each in findings if each.case == "extra"] == [True]
    cohort.set_splits({"p0": "train"})
    assert not cohort.problems
    assert len(read_cohort(folder / "cohort.csv")) == 11
