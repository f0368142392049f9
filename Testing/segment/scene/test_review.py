"""A blinded review: nothing tells whose a contour is, nothing is lost, and everything comes back."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentPanel.scene import blinded_review, expert_segments, rated_scene, result_nodes
from CMEDLSegmentPanel.scene.segment_masks import array_on_volume
from segment.scene.patients import BLOB, FAR, a_volume, an_outcome, box_label, saved_and_loaded
from segment.scene.test_agreement import rated

MARKS = {"Ann": box_label(BLOB), "Bob <b>": box_label(BLOB, FAR), "Cleo": box_label(FAR)}


@pytest.fixture
def case(scene) -> rated_scene.RatedScene:
    """Three raters and the model."""
    volume = a_volume()
    result = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    rated(volume, MARKS)
    return rated_scene.RatedSceneReader().collect(volume, rated_scene.entries(result, "Tumor"))


def ct() -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")


def look() -> dict[str, object]:
    """Names, colors and what is seen of every segmentation, and the names of all other nodes."""
    shown: dict[str, object] = {}
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            segment = node.GetSegmentation().GetSegment(segment_id)
            visible = bool(display.GetVisibility() and display.GetSegmentVisibility(segment_id))
            shown[f"{node.GetID()} {segment_id}"] = (segment.GetName(), segment.GetColor(), visible)
    return shown


def scored(review: blinded_review.Review) -> blinded_review.Review:
    for number, score in zip(range(len(review.contours)), blinded_review.SCORES, strict=True):
        review.score(number, score=score)
    return review


def test_contours_are_copies_without_names_and_the_others_are_hidden(case) -> None:
    before = look()
    review = blinded_review.Review.start(case, "R. Viewer")
    blind = blinded_review.Blind(case, review)
    blind.show(blind.numbers[1])
    during = look()
    shown = {key: style for key, style in during.items() if key not in before}
    assert {key: style[:2] for key, style in during.items() if key in before} == {
        key: style[:2] for key, style in before.items()
    }
    assert not any(visible for key, (_, _, visible) in during.items() if key in before)
    assert sorted(name for name, _, _ in shown.values()) == [f"Contour {number}" for number in range(1, 5)]
    assert {color for _, color, _ in shown.values()} <= {blinded_review.LIME, blinded_review.GRAY}
    (node,) = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if node.GetHideFromEditors()]
    marks = [node_mark(node, number) for number in range(4)]
    expected = [{**MARKS, MODEL: box_label(BLOB)}[contour.rater] for contour in review.contours]
    np.testing.assert_array_equal(marks, np.array(expected) > 0)
    # Neither are they among the experts' segments, where a person could look them up.
    assert node.GetID() not in {ref.node_id for ref in expert_segments.all_segments()}
    blind.restore()
    assert look() == before


def node_mark(node, number: int) -> np.ndarray:
    return array_on_volume(node, f"Contour_{number + 1}", ct())


def test_what_was_hidden_before_stays_hidden(case) -> None:
    slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")[1].SetVisibility(False)
    before = look()
    blinded_review.Blind(case, blinded_review.Review.start(case, "R. Viewer")).restore()
    assert look() == before


def test_the_order_is_another_one_each_time(case) -> None:
    orders = set()
    for _ in range(20):
        review = blinded_review.Review.start(case, "R. Viewer")
        orders.add(tuple(contour.rater for contour in review.contours))
        review.cancel()
    # Of 24 orders; that 20 draws are all the same one happens once in 10 ** 26 times.
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset([*MARKS, MODEL])}


def test_scores_are_told_with_names_only_after_the_end(case) -> None:
    review = blinded_review.Review.start(case, "  R.\nViewer ")
    assert review.reviewer == "R. Viewer"
    with pytest.raises(InputError):
        review.end()
    review.score(2, score="reject", reason="too large", comment=' in the\twrong "lobe" | 50 %: <b>x</b>; ')
    scored(review)
    assert blinded_review.scores(ct()) == []
    assert review.node.GetNumberOfColumns() == 0
    review.end()
    rows = {row["rater"]: row for row in blinded_review.scores(ct())}
    assert set(rows) == {*MARKS, MODEL}
    third = rows[review.contours[2].rater]
    assert third["score"] == blinded_review.SCORES[2]
    assert third["reason"] == "too large"
    assert third["comment"] == 'in the wrong "lobe" | 50 %: <b>x</b>;'
    assert third["reviewer"] == "R. Viewer"
    assert review.node.GetNumberOfRows() == 4
    with pytest.raises(InputError):
        review.score(0, score="accept")


@pytest.mark.parametrize("changes", [{"score": "good"}, {"reason": "ugly"}])
def test_only_the_scores_and_reasons_that_reports_know_are_taken(case, changes) -> None:
    review = blinded_review.Review.start(case, "R. Viewer")
    with pytest.raises(InputError):
        review.score(0, **changes)


def test_one_review_at_a_time_and_nobody_reviews_without_a_name(case) -> None:
    with pytest.raises(InputError):
        blinded_review.Review.start(case, " \n")
    blinded_review.Review.start(case, "A").score(0, score="accept")
    with pytest.raises(InputError):
        blinded_review.Review.start(case, "B")
    blinded_review.pending(ct()).cancel()
    assert blinded_review.pending(ct()) is None
    for name in ("A", "B"):
        scored(blinded_review.Review.start(case, name)).end()
    assert [row["reviewer"] for row in blinded_review.scores(ct())] == ["A"] * 4 + ["B"] * 4


def test_a_scene_saved_in_the_middle_comes_back_with_its_scores_and_without_the_copies(case, tmp_path) -> None:
    before = look()
    review = blinded_review.Review.start(case, "R. Viewer")
    order = [contour.rater for contour in review.contours]
    review.score(1, score="minor edit", comment='a "quoted" | comment: 100 %')
    blind = blinded_review.Blind(case, review)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    # As when the panel lets go of a scene that was closed.
    blind.restore()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    pending = blinded_review.pending(ct())
    assert [contour.rater for contour in pending.contours] == order
    assert pending.contours[1] == blinded_review.Scored(order[1], "minor edit", "", 'a "quoted" | comment: 100 %')
    blinded_review.unhide(pending)
    assert sorted(map(str, look().values())) == sorted(map(str, before.values()))


def test_an_ended_review_is_saved_with_the_scene(case, tmp_path) -> None:
    scored(blinded_review.Review.start(case, "R. Viewer")).end()
    before = blinded_review.scores(ct())
    saved_and_loaded(tmp_path)
    assert blinded_review.scores(ct()) == before


def test_the_table_taken_out_of_the_scene_leaves_nothing_hidden(case) -> None:
    before = look()
    review = blinded_review.Review.start(case, "R. Viewer")
    blind = blinded_review.Blind(case, review)
    slicer.mrmlScene.RemoveNode(review.node)
    blind.restore()
    assert look() == before


def test_a_review_goes_on_without_the_contours_that_are_gone(case) -> None:
    review = blinded_review.Review.start(case, "R. Viewer")
    gone = next(entry for entry in case.entries if entry.name == "Cleo")
    expert_segments.set_role(gone.refs[0], None)
    left = rated_scene.RatedSceneReader().collect(ct(), rated_scene.entries(None, "Tumor"))
    review.resume(left)
    assert {contour.rater for contour in review.contours} == {"Ann", "Bob <b>"}
    for ref in expert_segments.with_roles():
        expert_segments.set_role(ref, f"New {ref.name}")
    with pytest.raises(InputError):
        review.resume(rated_scene.RatedSceneReader().collect(ct(), rated_scene.entries(None, "Tumor")))
