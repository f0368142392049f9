"""The raters of a scene as a case, and what comes of it as nodes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentPanel.scene import agreement_nodes, expert_segments, rated_scene, result_nodes
from CMEDLSegmentPanel.scene.segment_masks import array_on_volume
from segment.scene.patients import (
    BLOB,
    FAR,
    KINDS,
    SHAPE,
    a_segmentation,
    a_volume,
    an_outcome,
    box_label,
    grid,
    moved,
    put_under,
    refs_of,
    saved_and_loaded,
    world,
)

LARGER = (slice(4, 10), slice(8, 15), slice(20, 27))


def rated(volume, names: dict[str, np.ndarray], structure: str = "Tumor") -> slicer.vtkMRMLSegmentationNode:
    """A segmentation on the volume whose segments are all experts'."""
    node = a_segmentation(volume, names, name=structure)
    for ref in refs_of(node):
        expert_segments.set_role(ref, ref.name, structure)
    return node


def collected(volume, result=None, structure: str = "Tumor") -> rated_scene.RatedScene:
    return rated_scene.RatedSceneReader().collect(volume, rated_scene.entries(result, structure))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("under", [False, True])
def test_a_case_marks_the_same_places_of_the_world_as_its_segments(scene, kind: str, under: bool) -> None:
    volume = a_volume(matrix=grid(kind))
    if under:
        put_under(volume, moved())
    rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(BLOB, FAR)})
    case = collected(volume)
    assert [delineation.name for delineation in case.case.all] == ["Ann", "Bob"]
    # The patient is turned by 40 degrees in ``moved``: the order of the axes is not what is asked here.
    for delineation, boxes in zip(case.case.raters, [(BLOB,), (BLOB, FAR)], strict=True):
        expected = {tuple(np.round(world(volume, (x, y, z)), 3)) for z, y, x in np.argwhere(box_label(*boxes))}
        assert {tuple(np.round(case.ras(tuple(place)), 3)) for place in np.argwhere(delineation.mask)} == expected
        back = case.mask(delineation.mask)
        whole = np.zeros(SHAPE, dtype=bool)
        whole[back.box] = back.array
        np.testing.assert_array_equal(whole, box_label(*boxes) > 0)
    image = slicer.util.arrayFromVolume(volume)
    np.testing.assert_array_equal(
        np.sort(case.case.image[case.case.raters[0].mask]), np.sort(image[box_label(BLOB) > 0])
    )


def test_a_case_holds_every_slice_and_of_each_what_is_near_the_marks(scene) -> None:
    volume = a_volume(np.zeros((12, 200, 220), dtype=np.int16))
    mark = np.zeros((12, 200, 220), dtype=np.uint8)
    mark[5:7, 100:110, 90:95] = 1
    rated(volume, {"Ann": mark, "Bob": mark})
    case = collected(volume).case
    # 40 mm at pixels of 2 mm (y) and 1.5 mm (x).
    assert case.geometry.shape == (12, 10 + 2 * 20, 5 + 2 * 27)
    assert case.raters[0].mask[5:7].all(axis=0).sum() == 50
    assert case.spacing == (3.0, 2.0, 1.5)


def test_parts_that_are_drawn_on_another_grid_are_brought_to_the_ct_and_that_is_told(scene) -> None:
    volume = a_volume()
    other = a_volume(matrix=grid() @ np.diag([0.5, 0.5, 1.0, 1.0]), array=np.zeros((20, 60, 80), dtype=np.int16))
    fine = box_label(BLOB).repeat(2, axis=1).repeat(2, axis=2)
    rated(volume, {"Ann": box_label(BLOB)})
    rated(other, {"Bob": fine})
    case = collected(volume).case
    assert case.raters[0].notes == ()
    assert "another grid" in " ".join(case.raters[1].notes)
    # Voxel centers of the coarse grid lie on corners of the fine one: off by less than a voxel at the rim.
    assert abs(int(case.raters[1].mask.sum()) - int(case.raters[0].mask.sum())) <= case.raters[0].mask.sum() * 0.4


def test_the_model_is_a_candidate_until_an_expert_takes_the_result_over(scene) -> None:
    volume = a_volume()
    result = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(LARGER)})
    assert [delineation.name for delineation in collected(volume, result).case.all] == ["Ann", "Bob", MODEL]
    expert_segments.set_role(refs_of(result)[0], "Cleo")
    case = collected(volume, result).case
    assert case.model is None
    assert {rater.name for rater in case.raters} == {"Ann", "Bob", "Cleo"}


def test_only_what_marks_the_chosen_structure_is_compared_and_parts_of_one_rater_are_taken_together(scene) -> None:
    volume = a_volume()
    rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(BLOB)})
    rated(volume, {"Ann": box_label(FAR)}, structure="Node")
    second = rated(volume, {"More": box_label(FAR)})
    expert_segments.set_role(refs_of(second)[0], "Ann", "tumor")
    assert rated_scene.structures() == ["Tumor", "Node"]
    case = collected(volume).case
    assert [rater.name for rater in case.raters] == ["Ann", "Bob"]
    assert int(case.raters[0].mask.sum()) == int(box_label(BLOB, FAR).sum())
    assert "2 segments" in case.raters[0].notes[0]
    assert [rater.name for rater in collected(volume, structure="Node").case.raters] == ["Ann"]


def test_the_state_changes_with_what_is_marked_and_where_but_not_with_colors(scene) -> None:
    volume = a_volume()
    node = rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(LARGER)})
    collector = rated_scene.RatedSceneReader()

    def state():
        return collector.state(volume, rated_scene.entries(None, "Tumor"))

    first = state()
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetColor(0.1, 0.2, 0.3)
    volume.GetImageData().Modified()
    assert state() == first
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0))[5, 9, 21] = 0
    segment.GetRepresentation("Binary labelmap").Modified()
    second = state()
    assert second != first
    assert int(collector.collect(volume, rated_scene.entries(None, "Tumor")).case.raters[0].mask.sum()) == (
        int(box_label(BLOB).sum()) - 1
    )
    put_under(node, moved())
    assert state() != second


def test_a_segment_that_is_gone_is_told(scene) -> None:
    volume = a_volume()
    node = rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(LARGER)})
    gone = rated_scene.entries(None, "Tumor")
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(InputError, match="Ann"):
        rated_scene.RatedSceneReader().collect(volume, gone)


def analyzed(volume, result=None):
    """A case of the scene and its figures."""
    from CMEDLSegmentLib.agreement.raters import analyze

    case = collected(volume, result)
    return case, analyze(case.case)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_counts_the_raters_of_each_voxel_where_it_is(scene, kind: str) -> None:
    volume = a_volume(matrix=grid(kind))
    put_under(volume, moved())
    rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(LARGER), "Cleo": box_label(LARGER)})
    node = agreement_nodes.set_map(*analyzed(volume))
    counts = slicer.util.arrayFromVolume(node)
    assert counts.max() == 3
    assert sorted(counts.shape) == [6, 7, 7], "as large as what anybody marked"
    expected = {}
    for mask in (box_label(BLOB), box_label(LARGER), box_label(LARGER)):
        for z, y, x in np.argwhere(mask):
            place = tuple(np.round(world(volume, (x, y, z)), 3) + 0.0)
            expected[place] = expected.get(place, 0) + 1
    places = {tuple(np.round(world(node, (x, y, z)), 3) + 0.0): counts[z, y, x] for z, y, x in np.argwhere(counts)}
    assert places == expected


def test_the_map_is_made_once_and_follows(scene) -> None:
    volume = a_volume()
    node = rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(LARGER)})
    first = agreement_nodes.set_map(*analyzed(volume))
    expert_segments.set_role(refs_of(node)[1], None)
    rated(volume, {"Cleo": box_label(BLOB), "Dan": box_label(FAR)})
    assert agreement_nodes.set_map(*analyzed(volume)) is first
    assert agreement_nodes.map_of(volume) is first
    assert slicer.util.arrayFromVolume(first).max() == 2
    colors = first.GetDisplayNode().GetColorNode()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert colors.GetHideFromEditors()
    assert not tree.GetItemByDataNode(colors), "the Data module has no row for colors"
    assert [colors.GetColorName(number) for number in range(4)] == ["nobody", "1 of 3", "2 of 3", "3 of 3"]


def test_the_map_shows_each_count_in_its_color(slicer_app) -> None:
    volume = a_volume(np.zeros(SHAPE, dtype=np.int16))
    nested = [box_label((slice(5, 15), slice(8, 22 - 3 * step), slice(10, 34 - 6 * step))) for step in range(3)]
    rated(volume, dict(zip(("Ann", "Bob", "Cleo"), nested, strict=True)))
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        display.SetVisibility(False)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = agreement_nodes.set_map(*analyzed(volume))
    assert not agreement_nodes.map_is_shown(node)
    slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=1.0)
    assert agreement_nodes.map_is_shown(node)
    slicer.util.getNode("vtkMRMLSliceNodeRed").JumpSlice(*world(volume, (20, 15, 10)))
    pixels = slicer_app.slice_pixels("Red").astype(int)
    for count, color in enumerate(agreement_nodes.count_colors(3), start=1):
        near = np.abs(pixels - 255 * np.array(color)).max(axis=-1) < 12
        assert near.sum() > 50, f"{count} raters"
    agreement_nodes.hide_map(node)
    assert not agreement_nodes.map_is_shown(node)
    assert np.ptp(slicer_app.slice_pixels("Red").astype(int), axis=-1).max() < 40


@pytest.mark.parametrize("kind", ["plain", "flipped", "permuted"])
def test_a_consensus_is_a_segmentation_of_what_most_raters_marked(scene, kind: str) -> None:
    from CMEDLSegmentLib.agreement.consensus import consensus_mask

    volume = a_volume(matrix=grid(kind))
    result = result_nodes.add_result(volume, an_outcome(volume, box_label(FAR)))
    rated(volume, {"Ann": box_label(BLOB), "Bob": box_label(BLOB, FAR), "Cleo": box_label(LARGER)})
    case = collected(volume, result)
    node = agreement_nodes.add_consensus(case, consensus_mask(case.case, "majority"), "majority")
    (segment,) = node.GetSegmentation().GetSegmentIDs()
    np.testing.assert_array_equal(array_on_volume(node, segment, volume), box_label(BLOB) > 0)
    again = agreement_nodes.add_consensus(case, consensus_mask(case.case, "staple"), "staple")
    assert again is not node
    assert "STAPLE" in again.GetName()
    assert node.GetID() not in {ref.node_id for ref in expert_segments.roles()}


def test_tables_and_plots_hold_the_figures_and_come_back_with_the_scene(scene, tmp_path) -> None:
    volume = a_volume()
    odd = 'Bob "the <b>", 2'
    rated(volume, {"Ann": box_label(BLOB), odd: box_label(LARGER), "Empty": box_label()})
    case, figures = analyzed(volume)
    made = agreement_nodes.set_tables(case, figures)
    assert agreement_nodes.set_tables(case, figures) == made
    saved_and_loaded(tmp_path)
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    table = agreement_nodes.tables_of(volume).GetTable()
    names = [table.GetColumnByName("name").GetValue(row) for row in range(table.GetNumberOfRows())]
    assert names == ["Ann", "Bob 'the <b>', 2", "Empty"]
    dice = [table.GetColumnByName("dsc_mean").GetValue(row) for row in range(3)]
    np.testing.assert_allclose(dice, [row.values["dsc"].mean for row in figures.raters], rtol=1e-5)
    charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert len(charts) == 2
    for chart in charts:
        for number in range(chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(number)
            columns = series.GetTableNode().GetTable()
            assert columns.GetColumnByName(series.GetYColumnName()) is not None
            across = series.GetXColumnName() or series.GetLabelColumnName()
            assert columns.GetColumnByName(across).GetNumberOfValues() == columns.GetNumberOfRows() > 0
    slices = next(node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if "slices" in node.GetName())
    rows = slices.GetTable()
    positions = [rows.GetColumnByName("position_mm").GetValue(row) for row in range(rows.GetNumberOfRows())]
    # The box LARGER lies on slices 4 to 9.
    np.testing.assert_allclose(positions, [world(volume, (0, 0, z))[2] for z in range(4, 10)], atol=1e-3)
