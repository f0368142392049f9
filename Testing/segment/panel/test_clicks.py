"""One click where the model missed: the row below the result, the mode in the views, and everything in between."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.models import registry
from segment.panel.bright import CLICK_CARD, CLICK_MM, LARGE, SMALL, add_ct, balls, install_card
from segment.panel.conftest import FAKE, QUICK, click_segment, settle
from segment.panel.test_result import CONFIDENCE, texts, tick, ticks
from segment.panel.test_run import marked, results
from segment.panel.test_width import HIGHEST, WIDEST, visible_widgets

MISSED, OTHER = (8, 50, 20), (16, 48, 50)
"""Voxels (z, y, x) of air, where the model marks nothing."""


@pytest.fixture
def models(tmp_path_factory: pytest.TempPathFactory):
    """A folder of installed models that holds "bright", and "bright-click", which reads clicks."""
    folder = tmp_path_factory.mktemp("models")
    install_card(folder)
    install_card(folder, CLICK_CARD)
    return folder


def ras(place: Sequence[int]) -> tuple[float, float, float]:
    """RAS of a voxel (z, y, x) of the CT."""
    z, y, x = place
    return 48.0 - 1.5 * x, 48.0 - 1.5 * y, -24.0 + 2.0 * z


def near(place: Sequence[int]) -> np.ndarray:
    """What the model that reads clicks marks at a voxel, bool (z, y, x)."""
    return balls((tuple(place), CLICK_MM))


def interaction():
    import slicer

    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")


def placing() -> bool:
    """Whether a click would place a point of ours."""
    return interaction().GetCurrentInteractionMode() == interaction().Place and points() == 1


def points() -> int:
    import slicer

    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")


def place(app, voxel: Sequence[int]) -> None:
    """Place a point as Slicer does at a click: it leaves the mode after it."""
    import slicer

    (node,) = slicer.util.getNodesByClass("vtkMRMLMarkupsNode")
    node.AddControlPointWorld(*ras(voxel))
    interaction().SwitchToViewTransformMode()
    app.process_events()


def wait(panel, app) -> None:
    app.wait_until(lambda: not panel.logic.busy)
    settle(panel, app)


def click(panel, app, voxel: Sequence[int]) -> None:
    """Click, in the mode that is on, and wait for the contour."""
    assert placing()
    place(app, voxel)
    assert panel.logic.busy, panel.ui.messageLabel.text
    wait(panel, app)


def crosshair(voxel: Sequence[int]) -> None:
    import slicer

    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*ras(voxel))


def start(panel, app, button: str = "addTumorButton") -> None:
    getattr(panel.ui, button).click()
    settle(panel, app)


def test_a_click_adds_a_candidate_and_undo_takes_it_back(segmented, slicer_app) -> None:
    (node,) = results()
    before, entries = marked(node).copy(), node.GetAttribute("CMEDL.components")
    assert not segmented.ui.undoClickButton.visible
    start(segmented, slicer_app)
    click(segmented, slicer_app, MISSED)
    np.testing.assert_array_equal(marked(node), before.astype(bool) | near(MISSED))
    assert ticks(segmented) == [True, True, True]
    assert "clicked" in texts(segmented, CONFIDENCE)[2]
    assert segmented.parameters.result is node
    assert "Edited" not in segmented.ui.resultLabel.text
    assert placing()
    segmented.ui.undoClickButton.click()
    settle(segmented, slicer_app)
    np.testing.assert_array_equal(marked(node), before)
    assert node.GetAttribute("CMEDL.components") == entries
    assert ticks(segmented) == [True, True]
    assert not segmented.ui.undoClickButton.visible


def test_the_click_of_a_person_in_a_view_is_one(segmented, slicer_app) -> None:
    """By Slicer's own placing of points, in a view that shows the slice."""
    from CMEDLSegmentPanel.scene import contour_views

    if slicer_app.cannot_draw:
        pytest.skip(slicer_app.cannot_draw)
    (node,) = results()
    before = marked(node).astype(bool)
    contour_views.jump(ras(MISSED))
    start(segmented, slicer_app)
    for view in ("Red", "Green"):
        slicer_app.click(view, ras(MISSED))
        wait(segmented, slicer_app)
        assert (marked(node) ^ (before | near(MISSED))).sum() < 0.3 * near(MISSED).sum()
        assert placing()
        segmented.ui.undoClickButton.click()
        settle(segmented, slicer_app)
    slicer_app.click("Red", ras(MISSED), "Right")
    settle(segmented, slicer_app)
    assert not segmented.ui.addTumorButton.checked
    assert points() == 0
    np.testing.assert_array_equal(marked(node), before)


def test_two_tumors_and_their_levels(segmented, slicer_app) -> None:
    (node,) = results()
    before = marked(node).astype(bool)
    start(segmented, slicer_app)
    click(segmented, slicer_app, MISSED)
    click(segmented, slicer_app, OTHER)
    assert (marked(node) > 0).sum() == (before | near(MISSED) | near(OTHER)).sum()
    assert ticks(segmented) == [True] * 4
    for expected in (before | near(MISSED), before):
        segmented.ui.undoClickButton.click()
        settle(segmented, slicer_app)
        np.testing.assert_array_equal(marked(node), expected)


def test_an_overlapping_candidate_is_replaced_and_undo_brings_it_back(segmented, slicer_app) -> None:
    (node,) = results()
    tick(segmented, 1, False)
    settle(segmented, slicer_app)
    start(segmented, slicer_app)
    for ball in (LARGE, SMALL):
        click(segmented, slicer_app, ball[0])
    np.testing.assert_array_equal(marked(node), near(LARGE[0]) | near(SMALL[0]))
    assert ticks(segmented) == [True, True]
    for _ in range(2):
        segmented.ui.undoClickButton.click()
        settle(segmented, slicer_app)
    assert ticks(segmented) == [True, False]


def test_at_the_crosshair_and_the_corrections_of_the_last_tumor(segmented, slicer_app) -> None:
    (node,) = results()
    before = marked(node).astype(bool)
    ui = segmented.ui
    assert not ui.mendWidget.visible
    crosshair(MISSED)
    ui.clickCrosshairButton.click()
    wait(segmented, slicer_app)
    assert ui.mendWidget.visible
    assert points() == 0
    tumor = near(MISSED)
    crosshair((MISSED[0] + 1, 0, 0))
    ui.endButton.click()
    wait(segmented, slicer_app)
    tumor[MISSED[0] + 2 :] = False
    np.testing.assert_array_equal(marked(node), before | tumor)
    far = (MISSED[0], MISSED[1], MISSED[2] + 5)
    for button, kept in (("growButton", True), ("cutButton", False)):
        start(segmented, slicer_app, button)
        click(segmented, slicer_app, far)
        assert bool(marked(node)[far]) == kept
        assert not ui.addTumorButton.checked
    assert [row["action"] for row in json.loads(node.GetAttribute("CMEDL.clicks"))] == ["tumor", "end", "add", "cut"]
    for _ in range(4):
        ui.undoClickButton.click()
        settle(segmented, slicer_app)
    np.testing.assert_array_equal(marked(node), before)
    assert not ui.mendWidget.visible
    assert not ui.cutButton.checked


def test_without_a_result_a_click_makes_one(panel, slicer_app) -> None:
    import slicer

    ct = panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    offset = view.GetSliceOffset()
    start(panel, slicer_app)
    click(panel, slicer_app, MISSED)
    (node,) = results()
    assert node.GetName() == "CT bright-click"
    assert panel.parameters.result is node
    np.testing.assert_array_equal(marked(node), near(MISSED))
    assert view.GetSliceOffset() == offset
    panel.ui.provenanceButton.checked = True
    settle(panel, slicer_app)
    assert "tumor (" in panel.ui.provenanceTextEdit.toPlainText()
    click(panel, slicer_app, OTHER)
    assert results() == [node]
    other = panel.parameters.ct = add_ct("other")
    settle(panel, slicer_app)
    click(panel, slicer_app, MISSED)
    assert [node.GetName() for node in results()] == ["CT bright-click", "other bright-click"]
    panel.parameters.ct = ct
    settle(panel, slicer_app)
    for _ in range(2):
        panel.ui.undoClickButton.click()
        settle(panel, slicer_app)
    assert [node.GetName() for node in results()] == ["other bright-click"]
    assert other


def test_a_first_tumor_is_shown_side_by_side_with_the_experts(panel, slicer_app) -> None:
    import slicer

    from segment.panel.test_experts import EXPERT, add_rater, larger
    from segment.panel.test_experts import tick as tick_expert

    panel.parameters.ct = add_ct()
    add_rater("Ann", larger())
    settle(panel, slicer_app)
    tick_expert(panel, slicer_app, "Ann", EXPERT, True)
    panel.ui.sideBySideButton.click()
    settle(panel, slicer_app)
    crosshair(MISSED)
    panel.ui.clickCrosshairButton.click()
    wait(panel, slicer_app)
    display = panel.parameters.result.GetDisplayNode()
    experts = slicer.mrmlScene.GetSingletonNode("CMEDLExperts", "vtkMRMLSliceNode")
    assert not display.IsDisplayableInView(experts.GetID())
    assert len(results()) == 2


@pytest.mark.parametrize("way", ["escape", "button", "module", "ct", "scene", "toolbar", "other point"])
def test_the_mode_is_left(segmented, slicer_app, way: str) -> None:
    import slicer

    selection = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    active = selection.GetActivePlaceNodeID()
    start(segmented, slicer_app)
    assert placing()
    assert segmented.ui.addTumorButton.checked
    if way == "escape":
        assert segmented.click._escape.enabled
        segmented.click._escape.activated.emit()
    elif way == "button":
        segmented.ui.addTumorButton.click()
    elif way == "module":
        slicer_app.leave(segmented)
    elif way == "ct":
        slicer.mrmlScene.RemoveNode(segmented.parameters.ct)
    elif way == "scene":
        slicer.mrmlScene.Clear(0)
    elif way == "toolbar":
        interaction().SwitchToViewTransformMode()
    else:
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(other.GetID())
        slicer.mrmlScene.RemoveNode(other)
    slicer_app.process_events(0.1)
    assert not segmented.ui.addTumorButton.checked
    assert not segmented.click._escape.enabled
    assert points() == 0
    assert interaction().GetCurrentInteractionMode() == interaction().ViewTransform or way == "other point"
    if way in ("escape", "button", "module", "toolbar"):
        assert selection.GetActivePlaceNodeID() == active
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsDisplayNode") == 0


def test_a_cancelled_click_leaves_all_as_it_was_and_the_next_one_is_fine(segmented, slicer_app, python_slicer) -> None:
    (node,) = results()
    before = marked(node).copy()
    python_slicer(str(QUICK), "600")
    start(segmented, slicer_app)
    place(slicer_app, MISSED)
    slicer_app.wait_until(lambda: segmented.ui.stageLabel.text == "Segmenting on cpu")
    assert segmented.ui.progressWidget.visible
    assert segmented.ui.segmentButton.text == "Cancel"
    assert not placing() or points()
    assert not segmented.ui.clickCrosshairButton.enabled
    segmented.ui.segmentButton.click()
    settle(segmented, slicer_app)
    assert segmented.ui.messageLabel.text
    np.testing.assert_array_equal(marked(node), before)
    assert node.GetAttribute("CMEDL.clicks") is None
    python_slicer(str(QUICK))
    click(segmented, slicer_app, MISSED)
    assert marked(node)[MISSED]


@pytest.mark.parametrize("removed", ["ct", "result"])
def test_what_is_removed_during_a_click_is_told(segmented, slicer_app, python_slicer, removed: str) -> None:
    import slicer

    python_slicer(str(QUICK), "1")
    start(segmented, slicer_app)
    place(slicer_app, MISSED)
    (node,) = results()
    slicer.mrmlScene.RemoveNode(segmented.parameters.ct if removed == "ct" else node)
    wait(segmented, slicer_app)
    if removed == "ct":
        assert segmented.ui.messageLabel.text
        assert not segmented.ui.addTumorButton.checked
        assert points() == 0
    else:
        # The tumor was asked for, and has a result of its own.
        (fresh,) = results()
        assert marked(fresh)[MISSED]


def test_a_worker_that_fails_and_a_place_outside_are_sentences(segmented, slicer_app, python_slicer) -> None:
    (node,) = results()
    before = marked(node).copy()
    start(segmented, slicer_app)
    place(slicer_app, (-5, 0, 0))
    settle(segmented, slicer_app)
    assert "outside" in segmented.ui.messageLabel.text
    assert not segmented.ui.progressWidget.visible
    python_slicer(str(FAKE), "exit_at_once")
    click(segmented, slicer_app, MISSED)
    assert "start" in segmented.ui.messageLabel.text
    assert placing()
    assert slicer_app.messages == []
    np.testing.assert_array_equal(marked(node), before)


def test_a_model_that_reads_clicks_runs_by_clicks_alone(segmented, slicer_app) -> None:
    segmented.parameters.model = "bright-click"
    settle(segmented, slicer_app)
    assert not segmented.ui.segmentButton.enabled
    assert "click" in segmented.ui.segmentButton.toolTip
    start(segmented, slicer_app)
    click(segmented, slicer_app, MISSED)
    assert marked(results()[0])[MISSED]


def test_where_no_model_reads_clicks_the_own_probability_answers_and_this_is_said(
    panel, slicer_app, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_card(tmp_path / "one")
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "one"))
    whole = registry.list_models()
    others = [entry for entry in whole if not (entry.card and entry.card.prompt)]
    assert len(others) < len(whole)
    monkeypatch.setattr(registry, "list_models", lambda: others)
    slicer_app.leave(panel)
    slicer_app.open("CMEDLSegment")
    panel.parameters.ct = add_ct()
    panel.parameters.model = "bright"
    settle(panel, slicer_app)
    assert panel.logic.clickModel("bright") is None
    start(panel, slicer_app)
    click(panel, slicer_app, MISSED)
    (node,) = results()
    np.testing.assert_array_equal(marked(node), near(MISSED))
    assert "probability" in panel.ui.messageLabel.text
    assert node.GetAttribute("CMEDL.click_model") == "threshold"


def test_a_saved_scene_keeps_tumors_and_clicks_but_not_the_mode(segmented, slicer_app, tmp_path) -> None:
    import slicer

    (node,) = results()
    start(segmented, slicer_app)
    click(segmented, slicer_app, MISSED)
    before, clicks = marked(node).copy(), node.GetAttribute("CMEDL.clicks")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle(segmented, slicer_app)
    assert points() == 0
    (node,) = results()
    np.testing.assert_array_equal(marked(node), before)
    assert node.GetAttribute("CMEDL.clicks") == clicks
    assert "clicked" in texts(segmented, CONFIDENCE)[2]
    assert not segmented.ui.undoClickButton.visible
    start(segmented, slicer_app)
    click(segmented, slicer_app, OTHER)
    np.testing.assert_array_equal(marked(node), before.astype(bool) | near(OTHER))
    assert len(json.loads(node.GetAttribute("CMEDL.clicks"))) == 2


def test_an_edited_result_keeps_its_edits(segmented, slicer_app) -> None:
    import slicer

    (node,) = results()
    ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    drawn = marked(node).copy()
    drawn[LARGE[0]] = 0
    drawn[2:5, 5:8, 5:8] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, node.GetSegmentation().GetNthSegmentID(0), ct)
    settle(segmented, slicer_app)
    start(segmented, slicer_app)
    click(segmented, slicer_app, MISSED)
    np.testing.assert_array_equal(marked(node), drawn.astype(bool) | near(MISSED))
    assert "Edited" in segmented.ui.resultLabel.text
    segmented.ui.undoClickButton.click()
    settle(segmented, slicer_app)
    np.testing.assert_array_equal(marked(node), drawn)


def test_the_slider_rests_while_there_are_clicked_tumors(segmented, slicer_app) -> None:
    assert segmented.ui.resultThresholdSlider.enabled
    crosshair(MISSED)
    segmented.ui.clickCrosshairButton.click()
    wait(segmented, slicer_app)
    assert not segmented.ui.resultThresholdSlider.enabled
    segmented.ui.undoClickButton.click()
    settle(segmented, slicer_app)
    assert segmented.ui.resultThresholdSlider.enabled


def test_a_run_and_another_module_between_clicks(segmented, slicer_app, python_slicer) -> None:
    """The mode waits while another run goes on; a click goes on while another module is open."""
    start(segmented, slicer_app)
    click_segment(segmented, slicer_app)
    assert placing()
    fresh = segmented.parameters.result
    python_slicer(str(QUICK), "1")
    segmented.logic.release()
    place(slicer_app, MISSED)
    slicer_app.leave(segmented)
    slicer_app.wait_until(lambda: not segmented.logic.busy)
    assert marked(fresh)[MISSED]
    slicer_app.open("CMEDLSegment")
    settle(segmented, slicer_app)
    assert segmented.ui.undoClickButton.visible
    assert not segmented.ui.addTumorButton.checked


def test_a_blinded_review_hides_the_row(rated, slicer_app) -> None:
    start(rated, slicer_app)
    rated.ui.reviewedByLineEdit.text = "R. Viewer"
    settle(rated, slicer_app)
    rated.ui.startReviewButton.click()
    settle(rated, slicer_app)
    assert not rated.ui.clickWidget.visible
    assert not rated.ui.addTumorButton.checked
    assert points() == 0
    slicer_app.leave(rated)
    slicer_app.open("CMEDLSegment")
    settle(rated, slicer_app)
    assert rated.ui.clickWidget.visible


def test_the_row_takes_little_room(panel, slicer_app) -> None:
    assert not panel.ui.clickWidget.visible
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    opened = set(visible_widgets(panel))
    assert {"addTumorButton", "clickCrosshairButton"} <= opened
    click_segment(panel, slicer_app)
    crosshair(MISSED)
    panel.ui.clickCrosshairButton.click()
    wait(panel, slicer_app)
    assert {"undoClickButton", "endButton", "growButton", "cutButton"} <= set(visible_widgets(panel))
    assert slicer_app.least_width(panel) <= WIDEST
    assert panel.parent.sizeHint.height() <= HIGHEST


def test_a_script_adds_mends_and_undoes(panel, slicer_app) -> None:
    import sys

    kind = sys.modules["CMEDLSegment"].CMEDLSegmentLogic
    slicer_app.close(panel)
    logic, ct = kind(), add_ct()
    try:
        node = logic.addTumor(ct, ras(MISSED), model="bright")
        assert logic.addTumor(ct, ras((MISSED[0] + 1, 0, 0)), action="end", model="bright") is node
        expected = near(MISSED)
        expected[MISSED[0] + 2 :] = False
        np.testing.assert_array_equal(marked(node), expected)
        assert logic.undoClick(node)
        np.testing.assert_array_equal(marked(node), near(MISSED))
        assert not logic.undoClick(node)
        assert results() == []
        for action in ("add", "cut", "end"):
            with pytest.raises(InputError):
                logic.addTumor(ct, ras(MISSED), action=action, model="bright")
        with pytest.raises(InputError):
            logic.undoClick(None)
        other = logic.addTumor(add_ct("other"), ras(MISSED), model="bright")
        with pytest.raises(InputError, match=other.GetName()):
            logic.addTumor(ct, ras(MISSED), result=other, model="bright")
    finally:
        logic.close()
