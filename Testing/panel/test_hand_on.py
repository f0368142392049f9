"""What can be done with a result: the Segment Editor, a training case, DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.cohort import read_cohort
from panel.bright import LARGE, SMALL, balls
from panel.conftest import settle
from panel.test_run import results


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


def test_training_cases_are_added_to_a_cohort_that_can_be_read(segmented, slicer_app, tmp_path: Path) -> None:
    from CMEDLSegmentLib.volume import read_mask

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


def test_the_right_paths_reach_the_writer(segmented, slicer_app, tmp_path: Path, monkeypatch) -> None:
    from CMEDLSegmentLib.scene import export

    told = []
    monkeypatch.setattr(export, "export_dicom", lambda volume, node, **paths: told.append((volume, node, paths)))
    for button, kind in (("exportRtstructButton", "rtstruct"), ("exportSegButton", "seg")):
        slicer_app.answer(str(tmp_path / kind))
        getattr(segmented.ui, button).click()
        volume, node, paths = told[-1]
        assert (volume.GetName(), node) == ("CT", results()[0])
        assert paths == {kind: tmp_path / f"{kind}.dcm"}
    assert np.size(told) > 0
