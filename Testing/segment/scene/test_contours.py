"""Contours in real slice views: where red and yellow are, in both layouts, and the way from slice to slice."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW
from CMEDLSegmentPanel.scene import contour_views, expert_segments, result_nodes
from CMEDLSegmentPanel.scene.contour_views import EXPERTS_VIEW, MODEL_VIEW, OVERLAY, SIDE_BY_SIDE
from CMEDLSegmentPanel.scene.expert_segments import SegmentRef
from CMEDLSegmentPanel.scene.lesion_candidates import LesionCandidates
from segment.scene.patients import (
    KINDS,
    a_segmentation,
    a_volume,
    affine,
    an_outcome,
    axes_of,
    box_label,
    put_under,
    refs_of,
    rotation,
    saved_and_loaded,
    world,
)

SHAPE = (40, 60, 72)
MODEL = (slice(15, 22), slice(20, 32), slice(30, 45))
ANNA = (slice(14, 24), slice(24, 38), slice(25, 40))
BOB = (slice(30, 33), slice(24, 38), slice(25, 40))
YELLOW = tuple(part / 255 for part in EXPERT_YELLOW)


def the_grid(kind: str) -> np.ndarray:
    axes = axes_of(kind) * (2.0, 2.0, 3.0)
    return affine(axes, -axes @ (36.0, 30.0, 20.0) + (7.0, -5.0, 40.0))


def a_case(kind: str = "plain", transformed: bool = False) -> tuple[object, object, list[SegmentRef]]:
    """A dark CT, the model's box in red, Anna's beside it in yellow and Bob's above."""
    volume = a_volume(np.full(SHAPE, -1000, np.int16), the_grid(kind))
    if transformed:
        put_under(volume, affine(rotation(30.0, (2, -1, 3)), (-15.0, 10.0, 8.0)))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    result = result_nodes.add_result(volume, an_outcome(volume, box_label(MODEL, shape=SHAPE)))
    segments = {name: box_label(box, shape=SHAPE) for name, box in (("Anna", ANNA), ("Bob", BOB), ("Heart", MODEL))}
    node = a_segmentation(volume, segments)
    return volume, result, [expert_segments.set_role(ref, ref.name) for ref in refs_of(node)[:2]]


def test_a_node_of_many_structures_gets_no_surfaces_by_itself(slicer_app) -> None:
    """A plan's RTSTRUCT has dozens of organs, and Slicer makes surfaces of all segments of a node or of none."""
    volume, result, refs = a_case()
    node = slicer.mrmlScene.GetNodeByID(refs[0].node_id)
    for number in range(contour_views.MOST_SURFACES):
        node.GetSegmentation().AddEmptySegment("", f"organ {number}")
    contour_views.show(OVERLAY, result, refs, volume)
    assert result.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    while node.GetSegmentation().GetNumberOfSegments() > contour_views.MOST_SURFACES:
        node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(2))
    contour_views.show(OVERLAY, result, refs, volume)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


def pixels_like(picture: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """(n, 2) rows and columns of pixels of a color."""
    return np.argwhere(np.abs(picture / 255.0 - color).max(axis=-1) < 0.12)


def red(app: object, view: str) -> np.ndarray:
    return pixels_like(app.slice_pixels(view), (0.9, 0.1, 0.1))


def yellow(app: object, view: str) -> np.ndarray:
    return pixels_like(app.slice_pixels(view), YELLOW)


def in_voxels(view: str, places: np.ndarray, height: int, volume: object) -> np.ndarray:
    """(n, 3) voxel indices of pixels (rows, columns), by the slice node's own matrix."""
    node = slicer.mrmlScene.GetSingletonNode(view, "vtkMRMLSliceNode")
    to_ras = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
    xy = np.stack([places[:, 1], height - 1 - places[:, 0], 0 * places[:, 0], 1 + 0 * places[:, 0]])
    origin = world(volume, (0, 0, 0))
    steps = np.stack([world(volume, axis) - origin for axis in np.eye(3)], axis=1)
    return np.linalg.solve(steps, (to_ras @ xy)[:3] - origin[:, None]).T


def distance_to_edge(index: np.ndarray, box: tuple[slice, slice, slice]) -> np.ndarray:
    """Voxels from the surface of a box of voxels, positive outside."""
    ends = np.array([[part.start - 0.5, part.stop - 0.5] for part in box[::-1]])
    return (np.abs(index - ends.mean(axis=1)) - np.ptp(ends, axis=1) / 2).max(axis=1)


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_contours_land_on_the_anatomy_to_half_a_voxel(slicer_app: object, kind: str, transformed: bool) -> None:
    volume, result, refs = a_case(kind, transformed)
    contour_views.show(OVERLAY, result, refs, volume)
    contour_views.set_style(result, refs, outline=1)
    # Where both boxes are.
    contour_views.jump(world(volume, (35, 28, 18)))
    slicer_app.process_events()
    for view in ("Red", "Green", "Yellow"):
        for find, box in ((red, MODEL), (yellow, ANNA)):
            pixels = find(slicer_app, view)
            height = slicer_app.slice_pixels(view).shape[0]
            index = in_voxels(view, pixels, height, volume)
            assert len(pixels) > 30, (view, box)
            # The line's own pixel is a part of a voxel wide.
            node = slicer.mrmlScene.GetSingletonNode(view, "vtkMRMLSliceNode")
            pixel = node.GetFieldOfView()[0] / node.GetDimensions()[0] / 2.0
            assert np.abs(distance_to_edge(index, box)).max() <= 0.5 + pixel, (view, box)


def test_overlay_shows_all_contours_in_each_view_and_in_3d(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    slicer_app.process_events()
    for view in ("Red", "Green", "Yellow"):
        assert len(red(slicer_app, view)) > 30
        assert len(yellow(slicer_app, view)) > 30
    slicer_app.layout_manager.resetThreeDViews()
    solid = slicer_app.layout_manager.threeDWidget(0).threeDView().pixels().astype(int)
    assert ((solid[..., 0] > 100) & (solid[..., 1] < 60) & (solid[..., 2] < 60)).sum() > 50
    assert ((solid[..., 0] > 100) & (solid[..., 1] > 100) & (solid[..., 2] < 100)).sum() > 50


def test_side_by_side_shows_the_model_left_and_the_experts_right(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    slicer_app.process_events()
    assert contour_views.current_layout() == SIDE_BY_SIDE
    manager = slicer_app.layout_manager
    assert manager.sliceViewNames() == [MODEL_VIEW, EXPERTS_VIEW]
    assert manager.threeDViewCount == 1
    # The views stand side by side, the 3-D view beside them.
    places = [widget.mapTo(manager, widget.rect.topLeft()) for widget in manager.shown()]
    assert [place.y() for place in places] == [0, 0, 0]
    assert places[0].x() < places[1].x() < places[2].x()
    assert len(red(slicer_app, MODEL_VIEW)) > 30
    assert len(yellow(slicer_app, MODEL_VIEW)) == 0
    assert len(red(slicer_app, EXPERTS_VIEW)) == 0
    assert len(yellow(slicer_app, EXPERTS_VIEW)) > 30
    left, right = (manager.sliceWidget(name).mrmlSliceNode() for name in (MODEL_VIEW, EXPERTS_VIEW))
    place = contour_views.tumor_center(result)
    assert slicer_app.ras_to_pixel(MODEL_VIEW, place)[2] == pytest.approx(0.0, abs=1e-6)
    assert left.GetSliceOffset() == right.GetSliceOffset()
    # Back in a layout with all in one view, all is there again; also in one of Slicer's own.
    contour_views.show(OVERLAY, result, refs, volume)
    slicer_app.process_events()
    assert len(yellow(slicer_app, "Red")) > 30
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer_app.process_events()
    assert contour_views.current_layout() is None
    assert len(red(slicer_app, "Red")) > 30
    assert len(yellow(slicer_app, "Red")) > 30


def test_side_by_side_scrolls_and_zooms_together_and_alone(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    slicer_app.process_events()
    nodes = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in (MODEL_VIEW, EXPERTS_VIEW)]
    other = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    before = other.GetSliceOffset(), other.GetFieldOfView()
    for name, offset, factor in ((MODEL_VIEW, 31.0, 0.5), (EXPERTS_VIEW, 52.0, 1.3)):
        slicer_app.scroll(name, offset)
        slicer_app.zoom(name, factor)
        assert [node.GetSliceOffset() for node in nodes] == [offset, offset]
        pixel = [node.GetFieldOfView()[0] / node.GetDimensions()[0] for node in nodes]
        assert pixel[0] == pytest.approx(pixel[1], rel=0.02)
    assert (other.GetSliceOffset(), other.GetFieldOfView()) == before


def test_only_the_chosen_raters_are_shown(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    (model,) = refs_of(result)
    heart = next(ref for ref in expert_segments.all_segments() if ref.name == "Heart")
    assert not contour_views.is_visible(heart)
    assert all(contour_views.is_visible(ref) for ref in (*refs, model))
    contour_views.set_visible(refs[0], False)
    contour_views.set_visible(model, False)
    assert len(yellow(slicer_app, "Red")) == len(red(slicer_app, "Red")) == 0
    contour_views.set_visible(refs[0], True)
    assert len(yellow(slicer_app, "Red")) > 30


def test_outlines_and_fill_have_the_look_that_is_asked_for(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    counts = []
    for width in (1, 4):
        contour_views.set_style(result, refs, outline=width)
        counts.append(len(red(slicer_app, "Red")))
    assert counts[1] > 2 * counts[0]
    contour_views.set_style(result, refs, outline=1, fill=1.0)
    assert len(red(slicer_app, "Red")) > 5 * counts[0]
    contour_views.set_style(result, refs, outline=0, fill=0.0)
    assert len(red(slicer_app, "Red")) == 0


def test_a_live_threshold_and_a_dropped_candidate_are_seen_at_once(slicer_app: object) -> None:
    volume = a_volume(np.full(SHAPE, -1000, np.int16), the_grid("oblique"))
    z, y, x = np.indices(SHAPE)
    probability = np.zeros(SHAPE, np.float32)
    for place in ((18, 20, 20), (18, 40, 50)):
        hill = 1 - 0.08 * np.maximum.reduce([abs(z - place[0]), abs(y - place[1]), abs(x - place[2])])
        probability = np.maximum(probability, hill).astype(np.float32)
    outcome = an_outcome(volume, (probability >= 0.5).astype(np.uint8), probability)
    result = result_nodes.add_result(volume, outcome)
    result_nodes.add_probability(volume, outcome, result)
    contour_views.show(OVERLAY, result, [], volume)
    contour_views.jump(world(volume, (35, 30, 18)))
    contour_views.set_style(result, [], fill=1.0)
    # Let go of every Python object that shares memory with the nodes.
    del outcome, probability, hill
    gc.collect()
    areas = []
    for threshold in (0.5, 0.7, 0.3, 0.5):
        result_nodes.rethreshold(result, threshold)
        areas.append(len(red(slicer_app, "Red")))
    assert areas[2] > 1.3 * areas[0] > 1.3 * 1.3 * areas[1]
    assert areas[3] == areas[0]
    LesionCandidates(result).keep(1, False)
    assert len(red(slicer_app, "Red")) == pytest.approx(areas[0] / 2, rel=0.1)


def test_next_and_previous_visit_every_slice_that_somebody_marks(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    slicer_app.process_events()
    contour_views.jump(world(volume, (36, 30, 0)))
    assert not contour_views.step(result, refs, -1)
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    marked = [*range(14, 24), *range(30, 33)]
    for direction, slices in ((1, marked), (-1, marked[-2::-1])):
        visited = []
        while contour_views.step(result, refs, direction):
            visited.append(round((view.GetSliceOffset() - world(volume, (0, 0, 0))[2]) / 3.0))
        assert visited == slices


@pytest.mark.parametrize("kind", ["flipped", "oblique"])
def test_stepping_works_on_turned_grids_too(slicer_app: object, kind: str) -> None:
    volume, result, refs = a_case(kind, transformed=True)
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    view = slicer.mrmlScene.GetSingletonNode(MODEL_VIEW, "vtkMRMLSliceNode")
    contour_views.jump(contour_views.tumor_center(result) - (0, 0, 200))
    offsets = []
    while contour_views.step(result, [], 1):
        offsets.append(view.GetSliceOffset())
        assert len(red(slicer_app, MODEL_VIEW)) > 30
    assert len(offsets) == 7
    assert offsets == sorted(offsets)


def test_a_jump_brings_every_view_there_and_pans_only_if_needed(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    slicer_app.process_events()
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    near = world(volume, (30, 25, 12))
    middle = view.GetSliceToRAS().GetElement(0, 3)
    contour_views.jump(near)
    assert view.GetSliceToRAS().GetElement(0, 3) == middle
    for name in ("Red", "Green", "Yellow"):
        assert slicer_app.ras_to_pixel(name, near)[2] == pytest.approx(0.0, abs=1e-6)
    assert contour_views.crosshair() == pytest.approx(tuple(near))
    slicer_app.zoom("Red", 0.2)
    far = world(volume, (5, 5, 12))
    contour_views.jump(far)
    row, column, _ = slicer_app.ras_to_pixel("Red", far)
    height, width, _ = slicer_app.slice_pixels("Red").shape
    assert (row / height, column / width) == pytest.approx((0.5, 0.5), abs=0.02)


def test_a_new_volume_is_fitted_and_the_same_one_keeps_its_place(slicer_app: object) -> None:
    volume, result, refs = a_case()
    contour_views.show(OVERLAY, result, refs, volume)
    slicer_app.process_events()
    slicer_app.zoom("Red", 0.3)
    view = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    contour_views.jump(world(volume, (30, 25, 12)))
    before = view.GetFieldOfView(), view.GetSliceOffset()
    contour_views.show(OVERLAY, result, refs, volume)
    assert (view.GetFieldOfView(), view.GetSliceOffset()) == before
    other, other_result, other_refs = a_case("flipped")
    contour_views.show(OVERLAY, other_result, other_refs, other)
    slicer_app.process_events()
    height, width, _ = slicer_app.slice_pixels("Red").shape
    for corner in ((0, 0, 18), (71, 59, 18), (0, 59, 18), (71, 0, 18)):
        row, column, _ = slicer_app.ras_to_pixel("Red", world(other, corner))
        assert -1 <= row <= height
        assert -1 <= column <= width


def test_an_expert_s_correction_within_the_result_is_shown_as_an_expert_s(slicer_app: object) -> None:
    volume, result, refs = a_case()
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(refs[0].node_id))
    copied = slicer.vtkSegment()
    copied.DeepCopy(result.GetSegmentation().GetSegment("Segment_1"))
    copied.RemoveTag("CMEDL.label")
    copied.SetName("Reviewed")
    result.GetSegmentation().AddSegment(copied, "reviewed")
    ref = expert_segments.set_role(SegmentRef(result.GetID(), "reviewed", "Reviewed", expert_segments.MODEL), "Anna")
    for _ in range(2):
        contour_views.show(SIDE_BY_SIDE, result, [ref], volume)
    slicer_app.process_events()
    assert result.GetNumberOfDisplayNodes() == 2
    color = expert_segments.color_of(ref)
    assert len(red(slicer_app, MODEL_VIEW)) > 30
    assert len(pixels_like(slicer_app.slice_pixels(MODEL_VIEW), color)) == 0
    assert len(pixels_like(slicer_app.slice_pixels(EXPERTS_VIEW), color)) > 30
    assert len(red(slicer_app, EXPERTS_VIEW)) == 0


def test_views_without_any_result_or_expert_show_the_ct(slicer_app: object) -> None:
    volume = a_volume(matrix=the_grid("plain"))
    for layout in (OVERLAY, SIDE_BY_SIDE):
        contour_views.show(layout, None, [], volume)
        assert not contour_views.step(None, [], 1)
    assert contour_views.tumor_center(None) is None


def test_contours_survive_saving_and_loading_the_scene(slicer_app: object, tmp_path: Path) -> None:
    volume, result, refs = a_case("oblique", transformed=True)
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    saved_and_loaded(tmp_path)
    slicer_app.process_events()
    volume, result = (slicer.mrmlScene.GetFirstNodeByName(name) for name in ("CT", "CT lung-ct"))
    refs = expert_segments.with_roles()
    assert [ref.name for ref in refs] == ["Anna", "Bob"]
    contour_views.show(SIDE_BY_SIDE, result, refs, volume)
    slicer_app.process_events()
    contour_views.jump(contour_views.tumor_center(result))
    assert len(red(slicer_app, MODEL_VIEW)) > 30
    assert len(yellow(slicer_app, EXPERTS_VIEW)) > 30
    assert len(yellow(slicer_app, MODEL_VIEW)) == 0
