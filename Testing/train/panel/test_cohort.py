"""The section "Cohort": tables, checks in words, splits, removing, looking at a case, and folders that are no good."""

from __future__ import annotations

import errno
import html
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.io.cohort_table import SPLITS, Case, read_cohort, write_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.process import lock
from CMEDLTrainLib.cohort import survey
from train.cohort.test_folder import OTHER
from train.panel.conftest import add, choose, disc, geometry, look_at_folder, settle

PATIENT, CASE, SPLIT, STATE = range(4)


def column(table, number: int) -> list[str]:
    return [table.item(row, number).text() for row in range(table.rowCount)]


def checked(panel, app) -> None:
    """Wait until all cases were looked at."""
    settle(panel, app)
    app.wait_until(lambda: not panel.cohort._checks.busy)
    settle(panel, app)


def details(table) -> dict[str, str]:
    """The rows' tool tips, by case."""
    tips = [table.item(row, STATE).toolTip() for row in range(table.rowCount)]
    texts = [html.unescape(tip.removeprefix("<qt>").removesuffix("</qt>").replace("<br>", "\n")) for tip in tips]
    return dict(zip(column(table, CASE), texts, strict=True))


def states(panel) -> dict[str, str]:
    """The state of every case by its name, with what is wrong with it."""
    texts = {}
    for table in (panel.ui.studentTable, panel.ui.teacherTable):
        for (case, tip), state in zip(details(table).items(), column(table, STATE), strict=True):
            texts[case] = state if state in ("Good", "Not checked") else tip
    return texts


def faults(panel) -> dict[str, str]:
    """What is wrong with cases, by name; that the small ones have no lungs is usual."""
    return {case: state for case, state in states(panel).items() if not state.startswith(("Good", "No lungs"))}


def test_the_tables_show_what_the_cases_are(filled, slicer_app) -> None:
    checked(filled, slicer_app)
    students = filled.ui.studentTable
    assert (students.rowCount, filled.ui.teacherTable.rowCount) == (6, 4)
    assert column(students, PATIENT) == [f"p{number}" for number in range(6)]
    for number, text in enumerate(details(students).values()):
        volume = f"its volume: {disc(number)[1].sum() * 0.012:.2f} cc"
        assert f"Spacing: 2 x 2 x 3 mm; slices with the structure: 4; {volume}" in text
    assert set(column(filled.ui.teacherTable, STATE)) == {"Good"}
    assert faults(filled) == {}
    assert "6 cases of the student (CT) of 6 patients" in filled.ui.cohortSummaryLabel.text
    assert "Only 2 patients of the teacher train" in filled.ui.cohortSummaryLabel.text


def test_a_click_on_the_header_sorts_by_what_the_cells_mean(filled, slicer_app) -> None:
    checked(filled, slicer_app)
    table = filled.cohort._tables["student"]
    table.onSort(SPLIT)
    splits = column(filled.ui.studentTable, SPLIT)
    assert splits == sorted(splits, key=SPLITS.index)
    filled.ui.studentTable.selectRow(0)
    selected = [case.case for case in table.selected]
    table.onSort(SPLIT)
    assert column(filled.ui.studentTable, SPLIT) == splits[::-1]
    assert [case.case for case in table.selected] == selected


def test_the_split_is_chosen_in_its_cell_and_all_cases_of_the_patient_follow(filled, cohort: Path, slicer_app) -> None:
    with (cohort / "cohort.csv").open("a", encoding="utf-8") as stream:
        stream.write("p0,second,student,CT,case001/image.nii.gz,case001/mask.nii.gz,train\n")
    look_at_folder(filled, slicer_app)
    checked(filled, slicer_app)
    table = filled.cohort._tables["student"]
    row = column(filled.ui.studentTable, CASE).index("case001")
    table.onCellClicked(row, SPLIT)
    box = filled.ui.studentTable.cellWidget(row, SPLIT)
    box.activated.emit([box.itemData(index) for index in range(box.count)].index("test"))
    assert filled.ui.studentTable.cellWidget(row, SPLIT) is None
    splits = {case.case: case.split for case in read_cohort(cohort / "cohort.csv")}
    assert (splits["case001"], splits["second"], splits["case002"]) == ("test", "test", "train")
    checked(filled, slicer_app)
    assert "same voxels as the case case001" in states(filled)["second"]


def test_an_emptied_folder_stays_empty_and_is_offered_the_next_time(filled, cohort: Path, slicer_app) -> None:
    import qt

    assert qt.QSettings().value("ctkPathLineEdit/CMEDLTrain/cohorts") in (str(cohort), (str(cohort),))
    filled.ui.cohortPathLineEdit.currentPath = ""
    settle(filled, slicer_app)
    assert (filled.parameters.cohort, filled.ui.cohortPathLineEdit.currentPath) == ("", "")
    assert filled.cohort.cohort is None
    assert not filled.ui.startButton.enabled
    assert not (cohort / "cohort.lock").exists()


def test_labels_are_typed_while_a_cohort_is_open(filled, slicer_app) -> None:
    """What is typed half is no list of labels yet; the section Training tells, and the cohort goes on."""
    checked(filled, slicer_app)
    for text in ("Tumor,", "Tumor,N", "Tumor,Tumor", ","):
        filled.ui.labelsLineEdit.text = text
        settle(filled, slicer_app)
        add(filled, "scene")
        filled.ui.splitButton.click()
    slicer_app.leave(filled)
    slicer_app.open("CMEDLTrain")
    settle(filled, slicer_app)
    filled.ui.labelsLineEdit.text = "Tumor,Node"
    settle(filled, slicer_app)
    assert filled.cohort.labels == ("Tumor", "Node")
    checked(filled, slicer_app)
    assert filled.cohort.survey.labels == ("Tumor", "Node")


def test_buttons_mean_the_table_that_was_clicked_last(filled, slicer_app) -> None:
    checked(filled, slicer_app)
    filled.ui.studentTable.selectRow(0)
    filled.ui.teacherTable.selectRow(1)
    assert [case.role for case in filled.cohort._selected()] == ["teacher"]
    filled.ui.studentTable.selectRow(2)
    assert [case.role for case in filled.cohort._selected()] == ["student"]


def test_patients_are_divided_at_a_click(filled, cohort: Path, slicer_app) -> None:
    checked(filled, slicer_app)
    filled.ui.keepSplitCheckBox.checked = False
    filled.ui.trainSpinBox.value, filled.ui.validationSpinBox.value, filled.ui.testSpinBox.value = 50, 25, 25
    splits = []
    for seed in (3, 4, 5, 6, 3):
        filled.ui.seedSpinBox.value = seed
        filled.ui.splitButton.click()
        splits.append([case.split for case in read_cohort(cohort / "cohort.csv")])
    assert splits[0] == splits[-1]
    assert any(other != splits[0] for other in splits)
    assert set(splits[0][:6]) == {"train", "validation", "test"}
    assert set(splits[0][6:]) == {"train"}
    filled.ui.trainSpinBox.value = filled.ui.validationSpinBox.value = filled.ui.testSpinBox.value = 0
    filled.ui.splitButton.click()
    assert "Shares must be" in slicer_app.messages[-1].text


def test_removing_asks_and_leaves_the_case_in_the_bin(filled, cohort: Path, slicer_app) -> None:
    checked(filled, slicer_app)
    filled.ui.studentTable.selectRow(1)
    filled.ui.removeCaseButton.click()
    assert "case002" in slicer_app.messages[-1].text
    assert len(read_cohort(cohort / "cohort.csv")) == 10
    slicer_app.answer("yes")
    filled.ui.removeCaseButton.click()
    checked(filled, slicer_app)
    assert "case002" not in states(filled)
    assert (cohort / "bin" / "case002" / "image.nii.gz").is_file()


def test_a_case_is_shown_with_its_contour_and_taken_out_again(filled, slicer_app) -> None:
    import slicer

    from CMEDLSegmentPanel.scene.segment_masks import array_on_volume

    checked(filled, slicer_app)
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    slicer.util.updateVolumeFromArray(mine, np.zeros((4, 4, 4), np.int16))
    slicer.util.setSliceViewerLayers(background=mine)
    before = slicer.mrmlScene.GetNumberOfNodes()
    filled.ui.studentTable.selectRow(0)
    filled.ui.openCaseButton.click()
    slicer_app.wait_until(lambda: slicer.mrmlScene.GetNumberOfNodes() > before)
    (drawn,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    image = filled.cohort._view._nodes.image
    marked = array_on_volume(drawn, drawn.GetSegmentation().GetNthSegmentID(0), image)
    np.testing.assert_array_equal(marked, disc(0)[1])
    assert not drawn.GetSaveWithScene()
    assert filled.ui.openCaseButton.checked
    # Another one takes its place, and leaving the panel takes it away.
    filled.cohort.onSplitChosen([], "train")
    filled.cohort._tables["teacher"].onCellDoubleClicked(0, CASE)
    slicer_app.wait_until(lambda: filled.cohort._view._nodes)
    slicer_app.leave(filled)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    view = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert view.GetBackgroundVolumeID() == mine.GetID()


def test_a_case_that_cannot_be_read_is_told(filled, cohort: Path, slicer_app) -> None:
    checked(filled, slicer_app)
    (cohort / "case001" / "image.nii.gz").write_bytes(b"none")
    filled.ui.studentTable.selectRow(0)
    filled.ui.openCaseButton.click()
    slicer_app.wait_until(lambda: slicer_app.messages)
    assert "cannot be shown" in slicer_app.messages[-1].text
    assert not filled.ui.openCaseButton.checked


def test_bad_cases_are_told_in_words(panel, cohort: Path, slicer_app) -> None:
    cases = list(read_cohort(cohort / "cohort.csv"))
    # MR in the CT table, a mask of another geometry, an empty one, and a patient in both roles.
    write_image(cases[0].image, disc(0, "MR")[0], geometry())
    write_image(cases[1].mask, disc(1)[1], geometry(5.0))
    write_image(cases[2].mask, np.zeros_like(disc(2)[1]), geometry())
    cases[6] = Case("p3", "both", "MR", cases[6].image, cases[6].mask, "teacher", "validation")
    write_cohort(cohort / "cohort.csv", cases)
    choose(panel, slicer_app, cohort)
    checked(panel, slicer_app)
    state = states(panel)
    assert "may be an MR" in state["case001"]
    assert "grid" in state["case002"] or "geometry" in state["case002"]
    assert "marks nothing" in state["case003"]
    assert "both roles" in state["both"]
    assert set(faults(panel)) == {"case001", "case002", "case003", "both"}
    panel.ui.studentTable.selectRow(0)
    assert "may be an MR" in panel.ui.caseNoteLabel.text
    assert panel.ui.studentTable.item(0, STATE).foreground().color().name() == "#c0392b"


def test_a_change_by_hand_is_shown_and_a_bad_one_is_told(filled, cohort: Path, slicer_app) -> None:
    checked(filled, slicer_app)
    table = cohort / "cohort.csv"
    good = table.read_text("utf-8")
    table.write_text(good.replace("p0,", "Müller/肺,"), "utf-8")
    look_at_folder(filled, slicer_app)
    assert column(filled.ui.studentTable, PATIENT)[0] == "Müller/肺"
    table.write_text(good.replace(",", ";"), "utf-8")
    look_at_folder(filled, slicer_app)
    assert "semicolons" in filled.ui.cohortNoteLabel.text
    assert filled.ui.studentTable.rowCount == 6
    assert not filled.ui.splitButton.enabled
    table.write_text(good, "utf-8")
    look_at_folder(filled, slicer_app)
    assert filled.ui.splitButton.enabled
    assert not filled.ui.cohortNoteLabel.text


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cohort.json", '{"format": 99}', "newer version"),
        ("notes.txt", "mine", "is no cohort"),
        ("cohort.csv", "a,b\n", "lacks the column"),
    ],
)
def test_a_folder_that_is_no_good_is_told_and_left_alone(panel, slicer_app, tmp_path, name, text, reason) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text(text, "utf-8")
    choose(panel, slicer_app, folder)
    assert reason in panel.ui.cohortNoteLabel.text
    assert not panel.ui.addCasesButton.enabled
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_cohort_that_another_slicer_has_open_is_looked_at(panel, cohort: Path, slicer_app) -> None:
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(cohort)], stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert other.stdout.readline() == "held\n"
        choose(panel, slicer_app, cohort)
        checked(panel, slicer_app)
        assert f"process {other.pid}" in panel.ui.cohortNoteLabel.text
        assert panel.ui.studentTable.rowCount == 6
        panel.ui.studentTable.selectRow(0)
        assert not panel.ui.splitButton.enabled
        assert not panel.ui.removeCaseButton.enabled
        panel.cohort._tables["student"].onCellClicked(0, SPLIT)
        assert panel.ui.studentTable.cellWidget(0, SPLIT) is None
    finally:
        other.kill()
        other.wait()
    look_at_folder(panel, slicer_app)
    assert panel.ui.splitButton.enabled
    slicer_app.leave(panel)
    assert not (cohort / "cohort.lock").exists()


def test_a_cohort_on_a_read_only_disk_is_looked_at_and_checked(panel, cohort: Path, slicer_app, monkeypatch) -> None:
    usual = Path.write_text

    def read_only(path: Path, *arguments: object, **more: object) -> int:
        if cohort in path.parents:
            raise OSError(errno.EROFS, "Read-only file system")
        return usual(path, *arguments, **more)

    monkeypatch.setattr(lock, "_create", read_only)

    before = sorted(path.name for path in cohort.iterdir())
    monkeypatch.setattr(Path, "write_text", read_only)
    choose(panel, slicer_app, cohort)
    checked(panel, slicer_app)
    assert "cannot be written to" in panel.ui.cohortNoteLabel.text
    assert "Not checked" not in states(panel).values()
    assert not panel.ui.addCasesButton.enabled
    look_at_folder(panel, slicer_app)
    slicer_app.leave(panel)
    assert sorted(path.name for path in cohort.iterdir()) == before


def test_a_cohort_of_500_cases_is_checked_in_the_background(
    panel, tmp_path: Path, slicer_app, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    examine = survey.examine
    monkeypatch.setattr(survey, "examine", lambda *args: threads.add(threading.current_thread()) or examine(*args))
    folder = tmp_path / "large"
    image, mask = disc(0)
    write_image(folder / "image.nii.gz", image, geometry())
    write_image(folder / "mask.nii.gz", mask, geometry())
    files = (folder / "image.nii.gz", folder / "mask.nii.gz")
    rows = [Case(f"p{n}", f"case{n:03d}", "CT", *files, "student", "train") for n in range(500)]
    write_cohort(folder / "cohort.csv", rows)
    choose(panel, slicer_app, folder)
    assert panel.ui.studentTable.rowCount == 500
    assert panel.cohort._checks.busy
    assert panel.ui.cohortProgressWidget.visible
    checked(panel, slicer_app)
    assert "same voxels" in details(panel.ui.studentTable)["case499"]
    # What takes long is not done in the window's thread.
    assert threads
    assert threading.main_thread() not in threads


def test_checks_that_are_cancelled_go_on_when_asked_again(filled, cohort: Path, slicer_app) -> None:
    filled.ui.cohortCancelButton.click()
    assert not filled.cohort._checks.busy
    slicer_app.leave(filled)
    slicer_app.open("CMEDLTrain")
    checked(filled, slicer_app)
    assert faults(filled) == {}
    assert "Not checked" not in states(filled).values()
    shutil.rmtree(cohort)
    look_at_folder(filled, slicer_app)
    assert filled.ui.studentTable.rowCount == 0
