"""Clicked tumors: they come into a result as candidates, are mended, and go again without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.options import ADD, CUT, END, TUMOR, Click
from CMEDLSegmentPanel.scene import result_nodes
from CMEDLSegmentPanel.scene.clicked_tumors import ClickedTumors, click_at, result_of
from CMEDLSegmentPanel.scene.lesion_candidates import LesionCandidates
from CMEDLSegmentPanel.scene.rejected_candidates import label_segments
from CMEDLSegmentPanel.scene.volume_nodes import volume_of
from segment.scene.patients import KINDS, SHAPE, a_volume, an_outcome, grid, moved, put_under, saved_and_loaded, world
from segment.scene.test_candidates import HIGH, LOW, MIDDLE, a_case, marked, three_hills
from segment.scene.test_results import edit

ELSEWHERE, BESIDE = (16, 24, 6), (10, 26, 36)
"""Voxels (z, y, x) far from the three hills."""
FUZZ_SEQUENCES, FUZZ_STEPS = 200, 6


def ball(center: tuple[int, int, int], radius: float = 2.5) -> np.ndarray:
    """bool (z, y, x), radius in voxels."""
    return radius >= np.linalg.norm(np.indices(SHAPE).T[..., ::-1].T[::-1].T - np.array(center), axis=-1).T


def voxel_of(volume: slicer.vtkMRMLVolumeNode, click: Click) -> tuple[int, int, int]:
    x, y, z = np.rint(volume_of(volume).geometry.to_index(np.array([click.point]))[0]).astype(int).tolist()
    return z, y, x


def answer(volume: slicer.vtkMRMLVolumeNode, clicks: tuple[Click, ...]) -> np.ndarray:
    """What the fake model makes of a tumor's clicks: a ball at the first one, more and fewer voxels at the others."""
    first = voxel_of(volume, clicks[0])
    result = ball(first)
    for click in clicks[1:]:
        at = voxel_of(volume, click)
        if click.action == ADD:
            result |= ball(at, 1.5)
        elif click.action == CUT:
            result &= ~ball(at, 1.5)
        elif at[0] > first[0]:
            result[at[0] + 1 :] = False
        else:
            result[: at[0]] = False
    return result


def click(
    tumors: ClickedTumors, volume: slicer.vtkMRMLVolumeNode, place: tuple[int, int, int], action: str = TUMOR
) -> np.ndarray:
    """Click at a voxel (z, y, x), as the panel does; what the model answered, bool (z, y, x)."""
    made = click_at(volume_of(volume), world(volume, place[::-1]), action)
    clicks = (made,) if action == TUMOR else (*tumors.clicks(), made)
    mask = answer(volume, clicks)
    tumors.add(volume, an_outcome(volume, mask.astype(np.uint8), mask * np.float32(0.9)), clicks)
    return mask


def dropped(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    segment = label_segments(node, "dropped").get(1)
    return np.zeros(SHAPE, bool) if segment is None else marked(node, volume, segment)


def state(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> dict[str, object]:
    """All that a result is: voxels, tags and attributes."""
    segmentation = node.GetSegmentation()
    facts: dict[str, object] = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    for segment_id in segmentation.GetSegmentIDs():
        facts[segment_id] = (marked(node, volume, segment_id).tobytes(), _tags(segmentation.GetSegment(segment_id)))
    return facts


def _tags(segment: slicer.vtkSegment) -> list[tuple[str, str]]:
    from CMEDLSegmentPanel.scene.attributes import tag

    names = ("label", "dropped", "clicks", "click_model", "click_weights_sha256", "student", "threshold")
    return [(name, value) for name in names if (value := tag(segment, name)) is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clicked_tumor_becomes_a_candidate_and_goes_again(scene: object, kind: str) -> None:
    volume, node = a_case(kind=kind)
    before = state(node, volume)
    tumors = ClickedTumors(node)
    mask = click(tumors, volume, ELSEWHERE)
    np.testing.assert_array_equal(marked(node, volume), (three_hills() >= 0.5) | mask)
    rows = LesionCandidates(node).rows
    assert [(row.number, row.kept, row.clicked) for row in rows] == [
        (1, True, False),
        (2, True, False),
        (3, True, False),
        (4, True, True),
    ]
    assert rows[3].mean == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(rows[3].center_ras, world(volume, ELSEWHERE[::-1]), atol=1e-3)
    assert not result_nodes.is_edited(node)
    tumors.undo()
    assert state(node, volume) == before
    with pytest.raises(InputError):
        tumors.undo()


def test_every_level_is_undone_exactly(scene: object) -> None:
    volume, node = a_case()
    LesionCandidates(node).keep(2, False)
    tumors, states = ClickedTumors(node), []
    steps = [(ELSEWHERE, TUMOR), ((14, 24, 6), END), (MIDDLE, TUMOR), ((14, 15, 30), ADD), ((14, 12, 28), CUT)]
    for place, action in [*steps, (HIGH, TUMOR), (BESIDE, TUMOR)]:
        states.append(state(node, volume))
        click(tumors, volume, place, action)
        assert len({json.dumps(str(shown)) for shown in [*states, state(node, volume)]}) == len(states) + 1
    for before in reversed(states):
        tumors.undo()
        assert state(node, volume) == before


def test_the_models_candidates_give_way_to_a_clicked_tumor(scene: object) -> None:
    """Kept and dropped ones; the hill that is clicked is wider than the ball, so that the ball alone is left of it."""
    volume, node = a_case()
    LesionCandidates(node).keep(2, False)
    tumors = ClickedTumors(node)
    hill, other = click(tumors, volume, HIGH), click(tumors, volume, MIDDLE)
    low = ball(LOW, 9) & (three_hills() >= 0.5)
    np.testing.assert_array_equal(marked(node, volume), hill | other | low)
    assert not dropped(node, volume).any()
    assert sorted(row.number for row in LesionCandidates(node).rows) == [3, 4, 5]


def test_what_a_person_drew_or_clicked_before_becomes_one_with_it(scene: object) -> None:
    volume, node = a_case(probability=False)
    near = (ELSEWHERE[0], ELSEWHERE[1], ELSEWHERE[2] + 2)
    drawn = np.zeros(SHAPE, bool)
    drawn[near] = True
    edit(node, "Segment_1", near[::-1])
    before = marked(node, volume)
    tumors = ClickedTumors(node)
    first = click(tumors, volume, ELSEWHERE)
    second = click(tumors, volume, (ELSEWHERE[0], ELSEWHERE[1], ELSEWHERE[2] + 3))
    np.testing.assert_array_equal(marked(node, volume), before | first | second)
    assert result_nodes.is_edited(node)
    tumors.undo()
    tumors.undo()
    np.testing.assert_array_equal(marked(node, volume), before)
    assert result_nodes.is_edited(node)


def test_a_correction_replaces_the_last_tumor_and_what_it_had_replaced_may_come_back(scene: object) -> None:
    volume, node = a_case()
    hills = three_hills() >= 0.5
    tumors = ClickedTumors(node)
    beside = (HIGH[0], HIGH[1], HIGH[2] + 6)  # its ball touches the hill
    click(tumors, volume, beside)
    assert not marked(node, volume)[HIGH]
    # Without these voxels it no longer overlaps the hill.
    mask = click(tumors, volume, (HIGH[0], HIGH[1], HIGH[2] + 4), CUT)
    assert not (mask & hills).any()
    np.testing.assert_array_equal(marked(node, volume), hills | mask)
    assert [entry["action"] for entry in json.loads(node.GetAttribute("CMEDL.clicks"))] == [TUMOR, CUT]


def test_an_edit_after_a_click_is_not_lost(scene: object) -> None:
    volume, node = a_case()
    tumors = ClickedTumors(node)
    before = marked(node, volume)
    mask = click(tumors, volume, ELSEWHERE)
    edit(node, "Segment_1", (0, 29, 19))
    with pytest.raises(InputError, match=node.GetName()):
        click(tumors, volume, ELSEWHERE, ADD)
    assert tumors.undoable == 1
    other = click(tumors, volume, BESIDE)
    expected = before | mask | other
    expected[19, 29, 0] = True
    np.testing.assert_array_equal(marked(node, volume), expected)
    tumors.undo()
    tumors.undo()
    expected = before.copy()
    expected[19, 29, 0] = True
    np.testing.assert_array_equal(marked(node, volume), expected)
    assert result_nodes.is_edited(node)


def test_keeping_and_dropping_between_clicks_is_kept_by_undo(scene: object) -> None:
    volume, node = a_case()
    tumors = ClickedTumors(node)
    click(tumors, volume, ELSEWHERE)
    LesionCandidates(node).keep(4, False)
    LesionCandidates(node).keep(1, False)
    assert not marked(node, volume)[ELSEWHERE]
    tumors.undo()
    assert [(row.number, row.kept) for row in LesionCandidates(node).rows] == [(1, False), (2, True), (3, True)]
    assert not dropped(node, volume)[ELSEWHERE]


def test_a_threshold_is_refused_as_long_as_there_are_clicked_tumors(scene: object) -> None:
    volume, node = a_case()
    tumors = ClickedTumors(node)
    result_nodes.rethreshold(node, 0.5)
    before = marked(node, volume)
    click(tumors, volume, ELSEWHERE)
    LesionCandidates(node).keep(2, False)
    LesionCandidates(node).keep(2, True)
    with pytest.raises(InputError):
        result_nodes.rethreshold(node, 0.3)
    tumors.undo()
    result_nodes.rethreshold(node, 0.3)
    result_nodes.rethreshold(node, 0.5)
    np.testing.assert_array_equal(marked(node, volume), before)


def test_without_a_result_one_is_made_and_goes_with_its_only_tumor(scene: object) -> None:
    volume = a_volume(matrix=grid("oblique"))
    put_under(volume, moved())
    made = click_at(volume_of(volume), world(volume, ELSEWHERE[::-1]))
    outcome = an_outcome(volume, ball(ELSEWHERE).astype(np.uint8))
    assert result_of(volume, None) is None
    for drawn in (False, True):
        tumors = ClickedTumors.of_new_result(volume, outcome)
        tumors.add(volume, outcome, (made,))
        node = tumors.node
        assert result_of(volume, None) is node
        assert node.GetName().startswith("CT lung-ct")
        np.testing.assert_array_equal(marked(node, volume), ball(ELSEWHERE))
        assert [row.clicked for row in LesionCandidates(node).rows] == [True]
        if drawn:
            edit(node, "Segment_1", (0, 29, 19))
        assert tumors.undo() == drawn
        assert tumors.present == drawn


def test_clicks_are_told_in_the_coordinates_of_the_image_and_outlive_the_scene(scene: object, tmp_path: Path) -> None:
    volume, node = a_case()
    tumors = ClickedTumors(node)
    click(tumors, volume, ELSEWHERE)
    click(tumors, volume, BESIDE)
    click(tumors, volume, (BESIDE[0] + 1, *BESIDE[1:]), END)
    told = json.loads(node.GetAttribute("CMEDL.clicks"))
    assert [entry["action"] for entry in told] == [TUMOR, TUMOR, END]
    own = np.array([*ELSEWHERE[::-1], 1.0])
    expected = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid("oblique") @ own
    np.testing.assert_allclose(told[0]["point"], expected[:3], atol=1e-3)
    # The image is moved, and the corrections of the tumor with it.
    moved_on = np.eye(4)
    moved_on[:3, 3] = 5.0, -3.0, 8.0
    volume.GetParentTransformNode().SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved_on))
    assert [voxel_of(volume, made) for made in tumors.clicks()] == [BESIDE, (BESIDE[0] + 1, *BESIDE[1:])]
    before = node.GetAttribute("CMEDL.clicks"), result_nodes.provenance_text(node)
    assert "tumor (" in before[1]
    saved_and_loaded(tmp_path)
    (loaded,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert (loaded.GetAttribute("CMEDL.clicks"), result_nodes.provenance_text(loaded)) == before
    assert [row.clicked for row in LesionCandidates(loaded).rows] == [False, False, False, True, True]
    assert dict(_tags(loaded.GetSegmentation().GetNthSegment(0)))["clicks"] == before[0]
    with pytest.raises(InputError):
        ClickedTumors(loaded).check_mendable()


def test_beside_what_the_model_finds_the_piece_at_the_click_is_the_tumor(scene: object) -> None:
    volume = a_volume()
    _, node = volume, result_nodes.add_result(volume, an_outcome(volume, ball(HIGH, 1.5).astype(np.uint8)))
    tumors = ClickedTumors(node)
    outcome = an_outcome(volume, (ball(HIGH, 1.5) | ball(ELSEWHERE)).astype(np.uint8))
    made = click_at(volume_of(volume), world(volume, ELSEWHERE[::-1]))
    tumors.add(volume, outcome, (made,), alone=False)
    np.testing.assert_array_equal(marked(node, volume), ball(HIGH, 1.5) | ball(ELSEWHERE))
    assert node.GetAttribute("CMEDL.click_model") == "threshold"
    empty = click_at(volume_of(volume), world(volume, BESIDE[::-1]))
    before = state(node, volume)
    for outcome_alone in (False, True):
        nothing = an_outcome(volume, np.zeros(SHAPE, np.uint8)) if outcome_alone else outcome
        with pytest.raises(InputError):
            tumors.add(volume, nothing, (empty,), alone=outcome_alone)
    assert state(node, volume) == before


def test_places_outside_of_the_image_and_results_of_others_are_refused(scene: object) -> None:
    volume, node = a_case()
    with pytest.raises(InputError):
        click_at(volume_of(volume), world(volume, (0, 0, -1)))
    with pytest.raises(InputError):
        click(ClickedTumors(node), volume, ELSEWHERE, ADD)
    other = a_volume()
    assert result_of(other, node) is None
    assert result_of(volume, None) is node
    node.GetSegmentation().RemoveSegment("Segment_1")
    with pytest.raises(InputError, match=node.GetName()):
        click(ClickedTumors(node), volume, ELSEWHERE)


def test_any_sequence_of_clicks_can_be_undone(scene: object) -> None:
    """200 random sequences of clicks, corrections, keeping, dropping and undoing, with a fake model."""
    rng = np.random.default_rng(20261127)
    volume, node = a_case(probability=False)
    hills = marked(node, volume).copy()
    undone = 0
    for _ in range(FUZZ_SEQUENCES):
        tumors, before = ClickedTumors(node), state(node, volume)
        touched = False
        for action in rng.choice([TUMOR, TUMOR, ADD, CUT, END, "undo", "keep"], FUZZ_STEPS):
            place = tuple(int(rng.integers(3, size - 3)) for size in SHAPE)
            rows = LesionCandidates(node).rows
            if action == "keep":
                row = rows[rng.integers(len(rows))]
                LesionCandidates(node).keep(row.number, not row.kept)
                touched = True
            elif action == "undo" and tumors.undoable:
                tumors.undo()
                undone += 1
            elif action == TUMOR or (action in (ADD, CUT, END) and tumors.undoable):
                earlier = state(node, volume)
                try:
                    mask = click(tumors, volume, place, action)
                except InputError:
                    # All of it was cut away.
                    assert state(node, volume) == earlier
                    continue
                assert marked(node, volume)[mask].all()
                if rng.random() < 0.2:
                    tumors.undo()
                    assert state(node, volume) == earlier
            kept, away = marked(node, volume), dropped(node, volume)
            assert not (kept & away).any()
            assert not result_nodes.is_edited(node)
            rows = LesionCandidates(node).rows
            assert len({row.number for row in rows}) == len(rows)
            assert bool(node.GetAttribute("CMEDL.clicks")) == bool(tumors.undoable)
        while tumors.undoable:
            tumors.undo()
        assert touched or state(node, volume) == before
        np.testing.assert_array_equal(marked(node, volume) | dropped(node, volume), hills)
        LesionCandidates(node).keep_all()
        assert [row.number for row in LesionCandidates(node).rows] == [1, 2, 3]
    assert undone > FUZZ_SEQUENCES / 4
