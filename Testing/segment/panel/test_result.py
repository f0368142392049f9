"""What the panel shows of a result: figures, threshold, candidates, provenance."""

from __future__ import annotations

import numpy as np
import pytest

from segment.panel.bright import LARGE, SMALL, add_ct, balls, outcome_of
from segment.panel.conftest import click_segment, settle
from segment.panel.test_run import marked, results

KEEP, VOLUME, CONFIDENCE, SLICES = range(4)


def tick(panel, row: int, kept: bool) -> None:
    import qt

    panel.ui.candidatesTable.item(row, KEEP).setCheckState(qt.Qt.Checked if kept else qt.Qt.Unchecked)


def ticks(panel) -> list[bool]:
    import qt

    table = panel.ui.candidatesTable
    return [table.item(row, KEEP).checkState() == qt.Qt.Checked for row in range(table.rowCount)]


def texts(panel, column: int) -> list[str]:
    table = panel.ui.candidatesTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two masks (z, y, x) differ by rims only."""
    return bool((found.astype(bool) ^ expected).sum() < 0.1 * expected.sum())


def test_the_candidates_are_listed_the_most_confident_first(segmented) -> None:
    tips = [segmented.ui.candidatesTable.item(row, VOLUME).toolTip() for row in (0, 1)]
    assert "1" in tips[0]
    assert "2" in tips[1]
    volumes = [float(text) for text in texts(segmented, VOLUME)]
    np.testing.assert_allclose(volumes, [3.05, 0.52], rtol=0.1)
    first, last = (int(part) for part in texts(segmented, SLICES)[0].split(" - "))
    assert first + last == 2 * LARGE[0][0]
    assert all("%" in text for text in texts(segmented, CONFIDENCE))


def test_an_unticked_candidate_leaves_the_tumor_and_a_tick_brings_it_back(segmented, slicer_app) -> None:
    (node,) = results()
    before = marked(node).copy()
    tick(segmented, 1, False)
    settle(segmented, slicer_app)
    assert near(marked(node), balls(LARGE))
    assert ticks(segmented) == [True, False]
    assert segmented.ui.keepAllButton.enabled
    tick(segmented, 1, True)
    settle(segmented, slicer_app)
    np.testing.assert_array_equal(marked(node), before)


def test_the_candidate_at_the_crosshair_is_kept_alone(segmented, slicer_app) -> None:
    import slicer

    (node,) = results()
    z, y, x = SMALL[0]
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(48.0 - 1.5 * x, 48.0 - 1.5 * y, -24.0 + 2.0 * z)
    segmented.ui.keepAtCrosshairButton.click()
    settle(segmented, slicer_app)
    assert near(marked(node), balls(SMALL))
    assert ticks(segmented) == [False, True]
    segmented.ui.keepAllButton.click()
    settle(segmented, slicer_app)
    assert near(marked(node), balls(LARGE, SMALL))


def test_a_crosshair_far_from_all_candidates_is_told(segmented, slicer_app) -> None:
    import slicer

    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(40.0, 40.0, -20.0)
    segmented.ui.keepAtCrosshairButton.click()
    settle(segmented, slicer_app)
    assert "no candidate at the crosshair" in slicer_app.messages[-1].text
    assert ticks(segmented) == [True, True]


def test_the_threshold_slider_changes_the_result_at_once(segmented, slicer_app) -> None:
    (node,) = results()
    before = marked(node).sum()
    assert segmented.ui.resultThresholdSlider.visible
    segmented.ui.resultThresholdSlider.value = 0.95
    assert marked(node).sum() < before
    settle(segmented, slicer_app)
    assert segmented.ui.resultThresholdSlider.value == pytest.approx(0.95)
    segmented.ui.resultThresholdSlider.value = 0.5
    assert marked(node).sum() == before


def test_a_result_that_a_person_edited_cannot_be_thresholded(segmented, slicer_app) -> None:
    import slicer

    (node,) = results()
    ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    drawn = marked(node).copy()
    drawn[LARGE[0]] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, node.GetSegmentation().GetNthSegmentID(0), ct)
    settle(segmented, slicer_app)
    assert not segmented.ui.resultThresholdSlider.enabled
    assert "Edited" in segmented.ui.resultLabel.text
    click_segment(segmented, slicer_app)
    np.testing.assert_array_equal(marked(node), drawn)
    assert len(results()) == 2


def test_provenance_is_shown_on_demand(segmented) -> None:
    assert not segmented.ui.provenanceTextEdit.visible
    segmented.ui.provenanceButton.click()
    text = segmented.ui.provenanceTextEdit.toPlainText()
    assert segmented.ui.provenanceTextEdit.visible
    for words in ("Bright is tumor", "0" * 64, "CMEDL 0.1.0", "Threshold: 0.5", "cpu", "2024-05-17"):
        assert words in text


def test_the_surface_and_the_probability_map_are_shown_by_their_ticks(segmented, slicer_app) -> None:
    (node,) = results()
    button = segmented.ui.show3DButton
    for shown in (True, False, True):
        assert button.checked == node.GetSegmentation().ContainsRepresentation("Closed surface") == shown
        button.click()
        settle(segmented, slicer_app)
    segmented.ui.showProbabilityCheckBox.click()
    settle(segmented, slicer_app)
    assert segmented.ui.showProbabilityCheckBox.checked


def test_a_saved_scene_brings_the_panel_back(segmented, slicer_app, tmp_path) -> None:
    import slicer

    (node,) = results()
    tick(segmented, 1, False)
    segmented.parameters.ownThreshold, segmented.parameters.threshold = True, 0.7
    segmented.parameters.fill = 0.25
    settle(segmented, slicer_app)
    before, name = marked(node).copy(), node.GetName()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    settle(segmented, slicer_app)
    assert segmented.ui.candidatesTable.rowCount == 0
    slicer.util.loadScene(str(path))
    settle(segmented, slicer_app)
    assert segmented.parameters.result.GetName() == name
    assert segmented.parameters.ct.GetName() == "CT"
    assert segmented.parameters.model == "bright"
    assert (segmented.parameters.threshold, segmented.parameters.fill) == (0.7, 0.25)
    assert segmented.ui.thresholdSlider.value == pytest.approx(0.7)
    assert ticks(segmented) == [True, False]
    np.testing.assert_array_equal(marked(segmented.parameters.result), before)


def test_a_second_ct_gets_a_result_of_its_own_name(segmented, slicer_app) -> None:
    segmented.parameters.ct = add_ct("Follow-up")
    settle(segmented, slicer_app)
    click_segment(segmented, slicer_app)
    assert [node.GetName() for node in results()] == ["CT bright", "Follow-up bright"]


@pytest.fixture
def judged(panel, slicer_app):
    """The panel with a result of which the smaller candidate is not likely."""
    from CMEDLSegmentLib.inference.options import SegmentationOptions
    from CMEDLSegmentPanel.scene.volume_nodes import volume_of

    ct = panel.parameters.ct = add_ct()
    outcome = outcome_of(volume_of(ct), SegmentationOptions("bright"), True)
    for component in outcome.summary["components"]:
        component["likely"] = component["volume_cc"] > 1.0
    panel.showNewResult(panel.logic._add(ct, outcome))
    settle(panel, slicer_app)
    return panel


def test_unlikely_candidates_are_offered_but_no_part_of_the_result(judged, slicer_app) -> None:
    (node,) = results()
    assert near(marked(node), balls(LARGE))
    assert "Edited" not in judged.ui.resultLabel.text
    assert ticks(judged) == [True]
    assert "1" in judged.ui.moreCandidatesButton.text
    judged.ui.moreCandidatesButton.click()
    settle(judged, slicer_app)
    assert ticks(judged) == [True, False]
    tick(judged, 1, True)
    judged.ui.moreCandidatesButton.click()
    settle(judged, slicer_app)
    assert ticks(judged) == [True, True]
    assert not judged.ui.moreCandidatesButton.visible
    assert near(marked(node), balls(LARGE, SMALL))


def test_an_unlikely_candidate_stays_away_at_another_threshold(judged, slicer_app) -> None:
    judged.ui.resultThresholdSlider.value = 0.45
    settle(judged, slicer_app)
    (node,) = results()
    assert near(marked(node), balls(LARGE))


def test_where_no_candidate_is_likely_all_are_listed_and_no_tumor_is_said(judged, slicer_app) -> None:
    tick(judged, 0, False)
    settle(judged, slicer_app)
    assert "cc" not in judged.ui.resultLabel.text
    assert "Segment Editor" in judged.ui.resultLabel.text


def test_a_ct_is_shown_in_the_lung_window_once(judged) -> None:
    from CMEDLSegmentPanel.scene.volume_nodes import LUNG_WINDOW, propose_lung_window

    display = judged.parameters.ct.GetDisplayNode()
    display.SetAutoWindowLevel(True)
    for expected in (LUNG_WINDOW, (400.0, 40.0)):
        propose_lung_window(judged.parameters.ct)
        assert (display.GetWindow(), display.GetLevel()) == expected
        display.SetWindowLevel(400.0, 40.0)
        display.SetAutoWindowLevel(False)


def test_the_surface_of_a_new_result_is_shown(judged) -> None:
    assert judged.ui.show3DButton.checked
