"""Candidates: the pieces of a result, kept and dropped, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentPanel.scene import result_nodes
from CMEDLSegmentPanel.scene.lesion_candidates import LesionCandidates
from CMEDLSegmentPanel.scene.segment_masks import array_on_volume
from segment.scene.patients import SHAPE, a_volume, an_outcome, grid, moved, put_under, saved_and_loaded, world
from segment.scene.test_results import edit

HIGH, MIDDLE, LOW = (4, 6, 10), (14, 12, 30), (8, 24, 20)
"""(z, y, x) of three hills of probability."""


def three_hills() -> np.ndarray:
    """Hills of 0.95, 0.85 and 0.75; at 0.5 they are apart, below 0.2 the first two have become one."""
    z, y, x = np.indices(SHAPE)
    result = np.zeros(SHAPE, np.float32)
    for (a, b, c), top in ((HIGH, 0.95), (MIDDLE, 0.85), (LOW, 0.75)):
        hill = top - 0.1 * np.maximum.reduce([abs(z - a), abs(y - b), abs(x - c)]).astype(np.float32)
        result = np.maximum(result, hill)
    return np.where((y < 14) & (z >= 4) & (z <= 14) & (x >= 10) & (x <= 30), np.maximum(result, 0.15), result)


def a_case(probability: bool = True, kind: str = "oblique") -> tuple[slicer.vtkMRMLScalarVolumeNode, object]:
    volume = a_volume(matrix=grid(kind))
    put_under(volume, moved())
    values = three_hills()
    outcome = an_outcome(volume, (values >= 0.5).astype(np.uint8), values)
    node = result_nodes.add_result(volume, outcome)
    if probability:
        result_nodes.add_probability(volume, outcome, node)
    return volume, node


def at(volume: slicer.vtkMRMLVolumeNode, place: tuple[int, int, int]) -> np.ndarray:
    return world(volume, place[::-1])


def marked(node: object, volume: object, segment_id: str = "Segment_1") -> np.ndarray:
    return array_on_volume(node, segment_id, volume)


def visible_voxels(node: object, volume: object) -> np.ndarray:
    """All that the node marks, whatever segment it is in."""
    segmentation = node.GetSegmentation()
    return sum(marked(node, volume, segmentation.GetNthSegmentID(n)) for n in range(segmentation.GetNumberOfSegments()))


@pytest.mark.parametrize("probability", [False, True])
@pytest.mark.parametrize("kind", ["plain", "permuted", "oblique"])
def test_each_component_is_a_row_with_its_figures(scene: object, kind: str, probability: bool) -> None:
    volume, node = a_case(probability, kind)
    rows = LesionCandidates(node).rows
    values = three_hills()
    assert [row.number for row in rows] == [1, 2, 3]
    for row, place, side in zip(rows, (HIGH, MIDDLE, LOW), (4, 3, 2), strict=True):
        cube = tuple(slice(max(0, c - side), c + side + 1) for c in place)
        inside = values[cube][values[cube] >= 0.5]
        assert row.kept
        assert row.volume_cc == pytest.approx(inside.size * 1.5 * 2.0 * 3.0 / 1000)
        assert row.mean == pytest.approx(inside.mean(), abs=1e-4)
        assert row.peak == pytest.approx(values[place])
        middle = [(part.start + part.stop - 1) / 2 for part in cube]
        np.testing.assert_allclose(row.center_ras, world(volume, middle[::-1]), atol=1e-3)
        # Of the permuted grid, index j runs along the patient.
        axis = {"plain": 0, "permuted": 1, "oblique": 0}[kind]
        assert row.slices == (cube[axis].start, cube[axis].stop - 1)


def test_dropping_takes_a_candidate_out_and_keeping_brings_it_back(scene: object) -> None:
    volume, node = a_case()
    before = marked(node, volume)
    candidates = LesionCandidates(node)
    candidates.keep(2, False)
    kept = marked(node, volume)
    assert not kept[MIDDLE]
    assert kept[HIGH]
    assert kept[LOW]
    np.testing.assert_array_equal(visible_voxels(node, volume), before)
    assert [(row.number, row.kept) for row in candidates.rows] == [(1, True), (2, False), (3, True)]
    assert not result_nodes.is_edited(node)
    display = node.GetDisplayNode()
    assert not display.GetSegmentVisibility(result_nodes.label_segments(node, "dropped")[1])
    candidates.keep(1, False)
    candidates.keep(2, True)
    candidates.keep(1, True)
    np.testing.assert_array_equal(marked(node, volume), before)
    assert node.GetSegmentation().GetNumberOfSegments() == 1


@pytest.mark.parametrize("place", [HIGH, MIDDLE, LOW])
def test_keep_the_one_at_the_crosshair(scene: object, place: tuple[int, int, int]) -> None:
    volume, node = a_case()
    candidates = LesionCandidates(node)
    # Also when it had been dropped before.
    candidates.keep(3, False)
    chosen = candidates.keep_only_at(at(volume, place))
    kept = marked(node, volume)
    assert [bool(kept[p]) for p in (HIGH, MIDDLE, LOW)] == [p == place for p in (HIGH, MIDDLE, LOW)]
    assert [row.number for row in candidates.rows if row.kept] == [chosen.number]


def test_just_beside_a_candidate_means_it_and_far_from_all_means_none(scene: object) -> None:
    volume, node = a_case()
    candidates = LesionCandidates(node)
    beside = (HIGH[0], HIGH[1] + 5, HIGH[2])  # 2 mm outside the voxels
    assert candidates.keep_only_at(at(volume, beside)).number == 1
    before = marked(node, volume)
    with pytest.raises(InputError):
        candidates.keep_only_at(at(volume, (19, 29, 0)))
    np.testing.assert_array_equal(marked(node, volume), before)


def test_an_edit_survives_dropping_and_keeping(scene: object) -> None:
    volume, node = a_case(probability=False)
    edit(node, "Segment_1", (0, 29, 19))
    candidates = LesionCandidates(node)
    assert [row.number for row in candidates.rows] == [1, 2, 3, 4]
    assert candidates.rows[3].mean is None
    assert candidates.rows[3].slices == (19, 19)
    for number in (1, 2, 3):
        candidates.keep(number, False)
    kept = marked(node, volume)
    assert kept.sum() == 1
    assert kept[19, 29, 0]
    assert result_nodes.is_edited(node)
    candidates.keep_all()
    assert result_nodes.is_edited(node)
    assert [row.number for row in LesionCandidates(node).rows] == [1, 2, 3, 4]


def test_what_was_dropped_stays_dropped_at_another_threshold(scene: object) -> None:
    volume, node = a_case()
    LesionCandidates(node).keep(2, False)
    for threshold in (0.6, 0.9, 0.3, 0.8):
        result_nodes.rethreshold(node, threshold)
        wanted = three_hills() >= np.float32(threshold)
        np.testing.assert_array_equal(visible_voxels(node, volume), wanted)
        kept = marked(node, volume)
        assert kept[HIGH]
        assert not kept[MIDDLE]
        assert kept[LOW] == wanted[LOW]


def test_a_dropped_candidate_that_joins_a_kept_one_is_kept(scene: object) -> None:
    volume, node = a_case()
    LesionCandidates(node).keep(2, False)
    result_nodes.rethreshold(node, 0.98)
    result_nodes.rethreshold(node, 0.1)
    assert marked(node, volume)[HIGH]
    assert marked(node, volume)[MIDDLE]
    result_nodes.rethreshold(node, 0.5)
    assert not marked(node, volume)[MIDDLE]


def test_a_new_threshold_numbers_the_candidates_anew(scene: object) -> None:
    _, node = a_case()
    result_nodes.rethreshold(node, 0.8)
    rows = LesionCandidates(node).rows
    assert [row.number for row in rows] == [1, 2]
    assert [row.peak for row in rows] == pytest.approx([0.95, 0.85])


def test_choices_survive_saving_and_loading_the_scene(scene: object, tmp_path: Path) -> None:
    volume, node = a_case()
    before = marked(node, volume)
    LesionCandidates(node).keep(1, False)
    rows = LesionCandidates(node).rows
    saved_and_loaded(tmp_path)
    volume, node = scene.GetFirstNodeByName("CT"), scene.GetFirstNodeByName("CT lung-ct")
    candidates = LesionCandidates(node)
    for old, new in zip(rows, candidates.rows, strict=True):
        assert (new.number, new.kept, new.slices, new.mean) == (old.number, old.kept, old.slices, old.mean)
        np.testing.assert_allclose(new.center_ras, old.center_ras, atol=1e-6)
    assert not result_nodes.is_edited(node)
    assert not node.GetDisplayNode().GetSegmentVisibility(result_nodes.label_segments(node, "dropped")[1])
    result_nodes.rethreshold(node, 0.6)
    assert not marked(node, volume)[HIGH]
    result_nodes.rethreshold(node, 0.5)
    candidates = LesionCandidates(node)
    candidates.keep_all()
    np.testing.assert_array_equal(marked(node, volume), before)


def test_what_is_no_result_or_no_longer_there_is_told(scene: object) -> None:
    _, node = a_case()
    with pytest.raises(InputError):
        LesionCandidates(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn"))
    with pytest.raises(InputError):
        LesionCandidates(node).keep(9, False)
