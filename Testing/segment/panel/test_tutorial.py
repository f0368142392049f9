"""The README's tutorial for the panel, step by step, with the bundled model in the real worker process."""

from __future__ import annotations

from pathlib import Path

import pytest

from CMEDLSegmentLib.io.cohort_table import read_cohort
from segment.panel.conftest import click_segment, settle
from segment.panel.test_experts import colors

COARSE = {"size": (48, 192, 192), "spacing": (6.0, 2.0, 2.0)}


@pytest.fixture
def tutorial(slicer_app, python_slicer, place, monkeypatch: pytest.MonkeyPatch):
    """Step 1: the phantom of Sample Data, here a coarser one, and the module."""
    python_slicer()
    panel = slicer_app.open("CMEDLSegment")
    from CMEDLSegmentPanel import samples
    from harness.samples import press

    load = samples.load
    monkeypatch.setattr(samples, "load", lambda: load(**COARSE))
    slicer_app.leave(panel)
    press("CMEDLChestPhantom")
    slicer_app.open("CMEDLSegment")
    settle(panel, slicer_app)
    return panel


def agreement(panel) -> float:
    """DSC of the result and the first rater."""
    import slicer

    from CMEDLSegmentLib.metrics.surface_distance import dice
    from CMEDLSegmentPanel.scene import expert_segments
    from CMEDLSegmentPanel.scene.segment_masks import array_on_volume

    ct, result = panel.parameters.ct, panel.parameters.result
    found = slicer.util.arrayFromSegmentBinaryLabelmap(result, result.GetSegmentation().GetNthSegmentID(0), ct)
    rater = next(ref for ref in expert_segments.with_roles() if ref.name == "Rater 1")
    return dice(found, array_on_volume(slicer.mrmlScene.GetNodeByID(rater.node_id), rater.segment_id, ct))


def test_every_step_of_the_tutorial(tutorial, slicer_app, place: Path, tmp_path: Path) -> None:
    import slicer

    panel, ui = tutorial, tutorial.ui
    # 1. The CT and its raters are there, and the line below the model says that it can be used.
    assert panel.parameters.ct.GetName() == "CMEDL chest phantom"
    assert ui.segmentButton.enabled, ui.inputNoteLabel.text

    # 2. Segment tumor, with the probability kept; the worker stays for the next click.
    panel.parameters.device = "cpu"
    ui.advancedCollapsibleButton.collapsed = False
    ui.probabilityCheckBox.click()
    click_segment(panel, slicer_app)
    assert list(place.iterdir()) == []
    assert "ready" in ui.workerLabel.text

    # 3. A new segmentation, its provenance, its threshold without another run.
    assert panel.parameters.result.GetName() == "CMEDL chest phantom lung-ct"
    ui.provenanceButton.click()
    assert "lung-ct" in ui.provenanceTextEdit.toPlainText()
    before, threshold = ui.resultLabel.text, ui.resultThresholdSlider.value
    ui.resultThresholdSlider.value = 0.9
    settle(panel, slicer_app)
    assert ui.resultLabel.text != before
    ui.resultThresholdSlider.value = threshold
    settle(panel, slicer_app)
    assert ui.resultLabel.text == before

    # 4. Candidates: to the tumor, and only that one is kept.
    ui.jumpButton.click()
    ui.keepAtCrosshairButton.click()
    settle(panel, slicer_app)
    assert agreement(panel) > 0.7
    ui.keepAllButton.click()
    settle(panel, slicer_app)
    assert ui.resultLabel.text == before
    ui.jumpButton.click()
    ui.keepAtCrosshairButton.click()
    settle(panel, slicer_app)

    # 5. Both layouts: all contours in each view; the model's left, the raters' right.
    if not slicer_app.cannot_draw:
        ui.overlayButton.click()
        ui.jumpButton.click()
        settle(panel, slicer_app)
        assert min(colors(slicer_app.slice_pixels("Red"))) > 20
        ui.sideBySideButton.click()
        ui.jumpButton.click()
        settle(panel, slicer_app)
        left, right = (colors(slicer_app.slice_pixels(view)) for view in ("CMEDLStudent", "CMEDLExperts"))
        assert left[0] > 20 >= left[1]
        assert right[1] > 20 >= right[0]

    # 6. Segment Editor, a training case, and why a phantom has no study to be exported into.
    ui.reviewerLineEdit.text, ui.cohortPathLineEdit.currentPath = "AB", str(tmp_path / "cohort")
    settle(panel, slicer_app)
    ui.saveCaseButton.click()
    (case,) = read_cohort(tmp_path / "cohort" / "cohort.csv", required=("mask", "role", "split"))
    assert case.image.is_file()
    slicer_app.answer(str(tmp_path / "out.dcm"))
    ui.exportRtstructButton.click()
    assert "not loaded from DICOM" in slicer_app.messages[-1].text
    result = panel.parameters.result
    ui.editButton.click()
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode() is result


def test_eight_clicks_lead_to_a_corrected_and_exported_contour(tutorial, slicer_app, tmp_path: Path) -> None:
    import slicer

    from CMEDLSegmentLib.io.images import read_mask

    panel, ui = tutorial, tutorial.ui
    panel.parameters.device = "cpu"
    clicks = 1
    click_segment(panel, slicer_app)
    clicks += 1
    ui.handOnCollapsibleButton.click()
    clicks += 1
    result, ct = panel.parameters.result, panel.parameters.ct
    ui.editButton.click()
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert (editor.effect, editor.segmentationNode()) == ("Paint", result)
    # A stroke of the brush, which the stand-in has none of.
    clicks += 1
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(result, editor.currentSegmentID(), ct)
    drawn[:2] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, result, editor.currentSegmentID(), ct)
    clicks += 1
    slicer_app.open("CMEDLSegment")
    settle(panel, slicer_app)
    # The button, and Save in the dialog with the name that it proposes.
    clicks += 2
    slicer_app.answer(str(tmp_path / "Tumor.seg.nrrd"))
    ui.exportFileButton.click()
    assert clicks <= 8
    exported = read_mask(tmp_path / "Tumor.seg.nrrd").array
    assert exported[:2].all()
    assert exported[2:].any()


@pytest.mark.slow
def test_the_module_s_self_test_passes(slicer_app, python_slicer, place) -> None:
    import slicer

    python_slicer()
    slicer_app.open("CMEDLSegment")
    slicer.selfTests["CMEDLSegment"]()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
