"""Adding cases in the panel: from the scene, from DICOM studies, from a folder, and by "save as training case"."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume, write_image
from train.panel.conftest import add, choose, disc, geometry, look_at_folder, settle, write_cases
from train.panel.test_cohort import PATIENT, checked, column, details, faults, states


@pytest.fixture
def scene(panel, slicer_app, tmp_path: Path):
    """The panel with a folder that does not exist yet, and what tests put into the scene."""
    choose(panel, slicer_app, tmp_path / "new")
    return panel


def drawn(number: int, modality: str = "CT", segments: tuple[str, ...] = ("GTV",)):
    """A volume of the scene and a segmentation on it, each segment a part of the disc."""
    from segment.scene.patients import a_segmentation, a_volume

    image, mask = disc(number, modality)
    volume = a_volume(image)
    volume.SetName(f"image {number}")
    slices = np.arange(len(mask))[:, None, None]
    parts = {str(k): np.where(slices % len(segments) == k, mask, 0) for k in range(len(segments))}
    node = a_segmentation(volume, parts, f"drawn {number}")
    for k, name in enumerate(segments):
        node.GetSegmentation().GetNthSegment(k).SetName(name)
    return volume, node


def added(panel, app) -> None:
    app.wait_until(lambda: not panel.cohort._adding.busy)
    checked(panel, app)


def reviewer(name: str = "AB") -> None:
    import slicer

    slicer.app.userSettings().setValue("CMEDL/Reviewer", name)


def test_several_images_of_an_unsaved_scene_become_cases_at_once(scene, slicer_app, tmp_path: Path) -> None:
    from CMEDLSegmentPanel.scene.volume_nodes import volume_of
    from segment.scene.patients import moved, put_under

    reviewer()
    ct, contour = drawn(1)
    transform = put_under(ct, moved())
    contour.SetAndObserveTransformNodeID(transform.GetID())
    drawn(2, "MR")
    slicer_app.answer("ok")
    add(scene, "scene")
    assert scene.cohort._adding.busy
    assert not scene.ui.splitButton.enabled
    added(scene, slicer_app)
    cases = read_cohort(tmp_path / "new" / "cohort.csv", required=("mask", "role"))
    assert [(case.role, case.modality) for case in cases] == [("student", "CT"), ("teacher", "MR")]
    assert len({case.patient for case in cases}) == 2
    # The transform is hardened into the copy, so that the case does not depend on the scene.
    image = read_volume(cases[0].image)
    assert image.geometry.is_close(volume_of(ct).geometry)
    np.testing.assert_array_equal(image.array, disc(1)[0])
    np.testing.assert_array_equal(read_mask(cases[0].mask, image.geometry).array, disc(1)[1])
    assert ["Segment: GTV" in text for text in details(scene.ui.studentTable).values()] == [True]
    assert scene.ui.teacherTable.rowCount == 1
    assert "image 1" not in (tmp_path / "new" / "cohort.csv").read_text("utf-8")


def test_segments_of_one_name_on_one_image_become_one_case(scene, slicer_app, tmp_path: Path, monkeypatch) -> None:
    import qt

    from CMEDLTrainPanel.add_dialogs import ADD, SceneDialog

    def tick_all(dialog: SceneDialog) -> bool:
        for row in range(dialog.table.rowCount):
            dialog.table.item(row, ADD).setCheckState(qt.Qt.Checked)
        return True

    reviewer()
    drawn(1, segments=("GTV", "GTV"))
    monkeypatch.setattr(SceneDialog, "ask", tick_all)
    add(scene, "scene")
    added(scene, slicer_app)
    (case,) = read_cohort(tmp_path / "new" / "cohort.csv")
    np.testing.assert_array_equal(read_mask(case.mask).array, disc(1)[1])


def test_of_several_raters_one_is_proposed(scene, slicer_app, tmp_path: Path) -> None:
    reviewer()
    drawn(1, segments=("Rater 1", "Rater 2", "Rater 3"))
    slicer_app.answer("ok")
    add(scene, "scene")
    added(scene, slicer_app)
    (case,) = read_cohort(tmp_path / "new" / "cohort.csv")
    expected = disc(1)[1] * (np.arange(6)[:, None, None] % 3 == 0)
    np.testing.assert_array_equal(read_mask(case.mask).array, expected)


def test_segments_become_the_labels_of_their_names(scene, slicer_app, tmp_path: Path) -> None:
    reviewer()
    scene.ui.labelsLineEdit.text = "Tumor, Node"
    settle(scene, slicer_app)
    drawn(1, segments=("node", "Tumor"))
    slicer_app.answer("ok")
    add(scene, "scene")
    added(scene, slicer_app)
    (case,) = read_cohort(tmp_path / "new" / "cohort.csv")
    values = np.where(np.arange(6)[:, None, None] % 2 == 0, 2, 1) * disc(1)[1]
    np.testing.assert_array_equal(read_mask(case.mask).array, values)


def test_what_cannot_be_added_is_told_and_the_rest_is_added(scene, slicer_app, tmp_path: Path, monkeypatch) -> None:
    import slicer

    reviewer()
    drawn(1)[1].GetSegmentation().AddEmptySegment("", "empty")
    gone, _ = drawn(2)
    drawn(3)
    from CMEDLTrainPanel.add_dialogs import SceneDialog

    def cases(dialog, folder: Path, usual=SceneDialog.cases):
        taken = usual(dialog, folder)
        slicer.mrmlScene.RemoveNode(gone)
        return taken

    monkeypatch.setattr(SceneDialog, "cases", cases)
    slicer_app.answer("ok")
    add(scene, "scene")
    added(scene, slicer_app)
    assert "no longer in the scene" in slicer_app.messages[-1].text
    assert len(read_cohort(tmp_path / "new" / "cohort.csv")) == 2


def test_a_scene_without_segments_says_what_is_missing(scene, slicer_app) -> None:
    add(scene, "scene")
    assert "no image with a segment" in slicer_app.messages[-1].text
    add(scene, "DICOM")
    assert "RTSTRUCT or SEG" in slicer_app.messages[-1].text


def test_a_case_tells_who_drew_it_and_nothing_is_ticked_in_vain(scene, tmp_path: Path) -> None:
    """What is missing keeps the dialog's button from being pressed: a refusal afterwards would lose the ticks."""
    import qt

    from CMEDLTrainPanel.add_dialogs import ADD, SceneDialog
    from CMEDLTrainPanel.scene.case_proposals import proposals

    drawn(1, segments=("GTV", "Heart"))
    dialog = SceneDialog(proposals(False), ["GTV"], "")
    assert not dialog.accepting.enabled
    for name, enabled in (("AB", True), ("  ", False), ("A", True)):
        dialog._reviewer.text = name
        assert dialog.accepting.enabled == enabled
    dialog.table.item(0, ADD).setCheckState(qt.Qt.Unchecked)
    assert not dialog.accepting.enabled
    dialog.table.item(1, ADD).setCheckState(qt.Qt.Checked)
    assert dialog.accepting.enabled
    assert dialog.reviewer == "A"
    assert len(dialog.cases(tmp_path)) == 1


def test_a_folder_s_cases_need_a_folder_which_is_proposed_the_next_time(scene, slicer_app, tmp_path: Path) -> None:
    from CMEDLTrainPanel.add_dialogs import FolderDialog

    form = scene.resourcePath("UI/AddFromFolder.ui")
    dialog = FolderDialog(form, ["GTV"])
    assert not dialog.accepting.enabled
    dialog.ui.sourcePathLineEdit.currentPath = str(tmp_path)
    assert dialog.accepting.enabled
    dialog.ui.sourcePathLineEdit.currentPath = ""
    assert not dialog.accepting.enabled
    dialog.ui.sourcePathLineEdit.currentPath = str(tmp_path)
    slicer_app.answer("ok")
    assert dialog.ask()
    assert FolderDialog(form, ["GTV"]).source == str(tmp_path)


def test_nothing_is_collected_from_an_empty_path(panel, tmp_path: Path, monkeypatch) -> None:
    """An empty path would be the folder that Slicer was started in."""
    from CMEDLSegmentLib.base.errors import InputError
    from CMEDLSegmentPanel.scene.training_case import Mark, collect

    empty = tmp_path / "where Slicer was started"
    empty.mkdir()
    monkeypatch.chdir(empty)
    volume, contour = drawn(1)
    mark = Mark(contour, contour.GetSegmentation().GetNthSegmentID(0))
    for folder in ("", "  "):
        with pytest.raises(InputError):
            collect(volume, [mark], folder, "AB")
    settings = panel.logic.settings(panel.parameters)
    for begin in (lambda: panel.logic.start("", settings), lambda: panel.logic.estimate(panel.parameters)):
        with pytest.raises(InputError):
            begin()
    assert list(empty.iterdir()) == []


def test_only_studies_with_structures_are_taken_from_dicom(scene, slicer_app, tmp_path: Path) -> None:
    import slicer

    reviewer()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Secret^Name")
    study = tree.CreateStudyItem(patient, "study")
    ct, structures = drawn(1)
    structures.SetNodeReferenceID(structures.GetReferenceImageGeometryReferenceRole(), None)
    tree.CreateItem(study, ct)
    item = tree.CreateItem(study, structures)
    tree.SetItemAttribute(item, "DICOM.Modality", "RTSTRUCT")
    drawn(2)
    slicer_app.answer("ok")
    add(scene, "DICOM")
    added(scene, slicer_app)
    (case,) = read_cohort(tmp_path / "new" / "cohort.csv")
    np.testing.assert_array_equal(read_volume(case.image).array, disc(1)[0])
    assert "Secret" not in (tmp_path / "new" / "cohort.csv").read_text("utf-8")


def test_cases_are_copied_from_a_folder_by_a_pattern(panel, cohort: Path, slicer_app, tmp_path, monkeypatch) -> None:
    from CMEDLTrainPanel.add_dialogs import FolderDialog

    for patient in ("肺 01", "肺 02"):
        image, mask = disc(70 + int(patient[-1]))
        write_image(tmp_path / "data" / patient / "ct.nii.gz", image, geometry())
        write_image(tmp_path / "data" / patient / "gtv.nii.gz", mask, geometry())
    write_image(tmp_path / "data" / "third" / "ct.nii.gz", image, geometry())
    choose(panel, slicer_app, cohort)
    checked(panel, slicer_app)
    monkeypatch.setattr(FolderDialog, "source", str(tmp_path / "data"))
    slicer_app.answer("ok")
    add(panel, "folder")
    added(panel, slicer_app)
    assert "no mask matches" in slicer_app.messages[-1].text
    assert column(panel.ui.studentTable, PATIENT)[-2:] == ["肺 01", "肺 02"]
    assert faults(panel) == {}
    copies = [case for case in read_cohort(cohort / "cohort.csv") if case.patient.startswith("肺")]
    assert all(cohort in case.image.parents and cohort in case.mask.parents for case in copies)


def test_adding_goes_on_when_the_panel_is_left_and_can_be_cancelled(scene, slicer_app, tmp_path: Path) -> None:
    reviewer()
    for number in range(4):
        drawn(number)
    slicer_app.answer("ok")
    add(scene, "scene")
    slicer_app.leave(scene)
    slicer_app.wait_until(lambda: not scene.cohort._adding.busy)
    assert len(read_cohort(tmp_path / "new" / "cohort.csv")) == 4
    assert not (tmp_path / "new" / "cohort.lock").exists()
    slicer_app.open("CMEDLTrain")
    checked(scene, slicer_app)
    assert scene.ui.studentTable.rowCount == 4
    slicer_app.answer("ok")
    add(scene, "scene")
    scene.ui.cohortCancelButton.click()
    assert not scene.cohort._adding.busy
    checked(scene, slicer_app)
    assert scene.ui.addCasesButton.enabled


def test_a_training_case_of_the_other_module_comes_into_view(panel, cohort: Path, slicer_app) -> None:
    """Written into the same folder by CMEDLSegment, in this Slicer or another one."""
    from CMEDLSegmentPanel.scene.training_case import Mark, collect

    choose(panel, slicer_app, cohort)
    checked(panel, slicer_app)
    volume, contour = drawn(60)
    mark = Mark(contour, contour.GetSegmentation().GetNthSegmentID(0))
    folder = collect(volume, [mark], cohort, "CD").write()
    look_at_folder(panel, slicer_app)
    checked(panel, slicer_app)
    assert "Segment: GTV" in details(panel.ui.studentTable)[folder.name]
    assert faults(panel) == {}
    assert json.loads((folder / "case.json").read_text("utf-8"))["reviewer"] == "CD"


def test_a_duplicate_is_told_as_it_is_added(panel, slicer_app, tmp_path: Path) -> None:
    reviewer()
    write_cases(tmp_path / "cohort", students=2, teachers=1)
    choose(panel, slicer_app, tmp_path / "cohort")
    checked(panel, slicer_app)
    drawn(0)
    slicer_app.answer("ok")
    add(panel, "scene")
    added(panel, slicer_app)
    assert "same voxels as the case case001" in states(panel)["case004"]
