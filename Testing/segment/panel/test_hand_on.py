"""What can be done with a result: the Segment Editor, a training case, DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from CMEDLSegmentLib.io.cohort_table import read_cohort
from segment.panel.bright import LARGE, SMALL, balls
from segment.panel.conftest import settle
from segment.panel.test_run import results
from segment.scene.dicom import as_from_dicom


def test_the_segment_editor_opens_with_the_result_and_its_ct(segmented, slicer_app) -> None:
    import slicer

    segmented.ui.editButton.click()
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode() is results()[0]
    assert editor.sourceVolumeNode().GetName() == "CT"


def test_a_training_case_needs_a_name_and_a_folder(segmented, slicer_app, tmp_path: Path) -> None:
    assert not segmented.ui.saveCaseButton.enabled
    segmented.ui.reviewerLineEdit.text = "AB"
    segmented.ui.cohortPathLineEdit.currentPath = str(tmp_path / "cohort")
    settle(segmented, slicer_app)
    assert segmented.ui.saveCaseButton.enabled


def test_an_emptied_folder_is_none(segmented, slicer_app, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    segmented.ui.reviewerLineEdit.text = "AB"
    for path, enabled in ((str(tmp_path / "cohort"), True), ("", False), (" ", False), (str(tmp_path / "x"), True)):
        segmented.ui.cohortPathLineEdit.currentPath = path
        settle(segmented, slicer_app)
        assert segmented.ui.saveCaseButton.enabled == enabled
    segmented.ui.cohortPathLineEdit.currentPath = ""
    settle(segmented, slicer_app)
    segmented.handOn.onSaveCase()
    assert "chosen" in slicer_app.messages[-1].text
    assert list(tmp_path.glob("*.csv")) == []


def test_training_cases_are_added_to_a_cohort_that_can_be_read(segmented, slicer_app, tmp_path: Path) -> None:
    from CMEDLSegmentLib.io.images import read_mask

    folder = tmp_path / "cohort"
    segmented.ui.reviewerLineEdit.text = "AB"
    segmented.ui.cohortPathLineEdit.currentPath = str(folder)
    for count in (1, 2):
        settle(segmented, slicer_app)
        segmented.ui.saveCaseButton.click()
        assert str(folder) in segmented.ui.handOnLabel.text
        cases = read_cohort(folder / "cohort.csv", required=("mask", "role", "split"))
        assert len(cases) == count
    mask = read_mask(cases[0].mask).array
    assert (mask.astype(bool) ^ balls(LARGE, SMALL)).sum() < 0.05 * balls(LARGE, SMALL).sum()
    assert "AB" in (folder / "cohort.csv").read_text(encoding="utf-8")


def test_the_reviewer_and_the_folder_are_remembered(segmented, slicer_app, tmp_path: Path) -> None:
    segmented.ui.reviewerLineEdit.text = "AB"
    segmented.ui.cohortPathLineEdit.currentPath = str(tmp_path / "cohort")
    settle(segmented, slicer_app)
    segmented.ui.saveCaseButton.click()
    slicer_app.close(segmented)
    again = slicer_app.open("CMEDLSegment")
    assert again.ui.reviewerLineEdit.text == "AB"
    assert again.ui.cohortPathLineEdit.currentPath == str(tmp_path / "cohort")


@pytest.mark.parametrize("button", ["exportRtstructButton", "exportSegButton"])
def test_a_ct_that_did_not_come_from_dicom_cannot_be_exported(button: str, segmented, slicer_app, tmp_path) -> None:
    slicer_app.answer(str(tmp_path / "out.dcm"))
    getattr(segmented.ui, button).click()
    assert "DICOM" in slicer_app.messages[-1].text
    assert not (tmp_path / "out.dcm").exists()


def test_a_dialog_that_is_closed_exports_nothing(segmented, slicer_app) -> None:
    segmented.ui.exportSegButton.click()
    assert [message.kind for message in slicer_app.messages] == ["file"]


def test_a_ct_from_dicom_gets_its_contours_in_its_study(segmented, slicer_app, tmp_path: Path, monkeypatch) -> None:
    source = as_from_dicom(segmented.parameters.ct, tmp_path / "series", monkeypatch)
    for button, modality in (("exportRtstructButton", "RTSTRUCT"), ("exportSegButton", "SEG")):
        path = tmp_path / f"{modality}.dcm"
        # The ending may be left out.
        slicer_app.answer(str(path.with_suffix("")))
        getattr(segmented.ui, button).click()
        assert str(path) in segmented.ui.handOnLabel.text, slicer_app.messages
        made = pydicom.dcmread(path)
        assert (made.Modality, made.StudyInstanceUID) == (modality, source.StudyInstanceUID)
    frames = made.pixel_array
    marked = balls(LARGE, SMALL)
    assert len(frames) == np.count_nonzero(marked.any(axis=(1, 2)))
    assert abs(frames.sum() - marked.sum()) < 0.05 * marked.sum()


@pytest.mark.parametrize("name", ["t.seg.nrrd", "t.nii.gz", "t.nrrd"])
def test_a_result_is_written_as_a_file_with_its_correction(name: str, segmented, slicer_app, tmp_path: Path) -> None:
    import slicer

    from CMEDLSegmentLib.io.images import read_mask

    node, ct = results()[0], segmented.parameters.ct
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        balls(SMALL).astype(np.uint8), node, node.GetSegmentation().GetNthSegmentID(0), ct
    )
    slicer_app.answer(str(tmp_path / name))
    segmented.ui.exportFileButton.click()
    assert str(tmp_path / name) in segmented.ui.handOnLabel.text, slicer_app.messages
    np.testing.assert_array_equal(read_mask(tmp_path / name).array > 0, balls(SMALL))


def test_a_file_of_an_unknown_ending_is_told(segmented, slicer_app, tmp_path: Path) -> None:
    slicer_app.answer(str(tmp_path / "t.png"))
    segmented.ui.exportFileButton.click()
    assert "t.png" in slicer_app.messages[-1].text
    assert list(tmp_path.glob("t.*")) == []
