"""Views are drawn by Slicer's displayable managers: what is red and yellow is where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import scenes

SHAPE = (24, 80, 96)
AXIAL = np.array([[-2.0, 0, 0, 100], [0, -2.0, 0, 80], [0, 0, 4.0, -50], [0, 0, 0, 1]])
SIDE_BY_SIDE = """<layout type="horizontal" split="true">
 <item splitSize="400"><view class="vtkMRMLSliceNode" singletontag="HarnessLeft">
  <property name="orientation" action="default">Axial</property><property name="viewlabel" action="default">L</property>
  <property name="viewcolor" action="default">#F34A33</property><property name="viewgroup" action="default">7</property>
 </view></item>
 <item splitSize="400"><view class="vtkMRMLSliceNode" singletontag="HarnessRight">
  <property name="orientation" action="default">Axial</property><property name="viewlabel" action="default">R</property>
  <property name="viewcolor" action="default">#EDD54C</property><property name="viewgroup" action="default">7</property>
 </view></item>
 <item splitSize="200"><view class="vtkMRMLViewNode" singletontag="1"/></item></layout>"""


@pytest.fixture
def drawn(slicer_app):
    if slicer_app.cannot_draw:
        pytest.skip(slicer_app.cannot_draw)
    return slicer_app


def block(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """A mask (z, y, x) of the voxels from ``low`` up to but not with ``high``."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
    return mask


def show(ijk_to_ras: np.ndarray, *segments: tuple[str, tuple, np.ndarray]) -> tuple[object, list[object]]:
    """A body of water in the scene with segments, centerd on slice 12; the CT's node and the segmentations'."""
    import slicer

    body = np.where(block((0, 8, 8), (24, 72, 88)), 0, -1000).astype(np.int16)
    volume = scenes.add_volume(body, ijk_to_ras)
    nodes = [scenes.add_segment(volume, mask, name, color) for name, color, mask in segments]
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume, nodes


def ras_of(ijk_to_ras: np.ndarray, ijk: tuple[float, float, float]) -> tuple[float, float, float]:
    return tuple(ijk_to_ras[:3, :3] @ np.asarray(ijk, float) + ijk_to_ras[:3, 3])


def oblique(angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ AXIAL


@pytest.mark.parametrize(
    "grid", [AXIAL, AXIAL @ np.diag([-1, 1, 1, 1]), oblique(0.3)], ids=["CT", "flipped", "oblique"]
)
def test_the_red_contour_is_where_the_voxels_are(grid: np.ndarray, drawn) -> None:
    import slicer

    show(grid, ("Tumor", scenes.RED, block((10, 30, 40), (15, 44, 60))))
    center = ras_of(grid, (49.5, 36.5, 12))
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *center)
    red = scenes.pixels_of(drawn.slice_pixels("Red"), scenes.RED)
    # Voxels reach half a voxel beyond their centers.
    corners = [drawn.ras_to_pixel("Red", ras_of(grid, (i, j, 12))) for i in (39.5, 59.5) for j in (29.5, 43.5)]
    expected = np.array([corner[:2] for corner in corners])
    assert np.abs([corner[2] for corner in corners]).max() < 0.01
    # A line of Slicer's default width, and the half pixel between a pixel's corner and its center.
    assert np.abs(red.min(axis=0) - expected.min(axis=0)).max() <= 2
    assert np.abs(red.max(axis=0) - expected.max(axis=0)).max() <= 2


def test_the_pixel_of_a_point_is_where_its_voxel_is_bright(drawn) -> None:
    import slicer

    body = np.full(SHAPE, -1000, np.int16)
    body[12, 20, 70] = 1000
    volume = scenes.add_volume(body, AXIAL)
    volume.GetDisplayNode().SetInterpolate(False)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    point = ras_of(AXIAL, (70, 20, 12))
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *point)
    for name in ("Red", "Green", "Yellow"):
        bright = np.argwhere(drawn.slice_pixels(name)[..., 0] > 200)
        row, column, depth = drawn.ras_to_pixel(name, point)
        assert np.abs(bright.mean(axis=0) - (row, column)).max() < 1
        assert abs(depth) < 0.01


def test_red_and_yellow_are_told_apart_and_go_with_their_visibility(drawn) -> None:
    _, (model, _) = show(
        AXIAL,
        ("Tumor", scenes.RED, block((10, 30, 40), (15, 44, 60))),
        ("Expert", scenes.YELLOW, block((10, 50, 20), (15, 60, 30))),
    )
    picture = drawn.slice_pixels("Red")
    red, yellow = (scenes.pixels_of(picture, color) for color in (scenes.RED, scenes.YELLOW))
    assert len(red) > 50
    assert len(yellow) > 50
    assert red[:, 1].min() > yellow[:, 1].max()
    model.GetDisplayNode().SetVisibility(False)
    picture = drawn.slice_pixels("Red")
    assert len(scenes.pixels_of(picture, scenes.RED)) == 0
    assert len(scenes.pixels_of(picture, scenes.YELLOW)) == len(yellow)


def test_a_layout_of_ones_own_shows_each_contour_in_its_view(drawn, tmp_path: Path) -> None:
    import slicer

    logic = drawn.layout_manager.layoutLogic().GetLayoutNode()
    logic.AddLayoutDescription(7301, SIDE_BY_SIDE)
    drawn.layout_manager.setLayout(7301)
    assert drawn.layout_manager.sliceViewNames() == ["HarnessLeft", "HarnessRight"]
    _, (model, expert) = show(
        AXIAL,
        ("Tumor", scenes.RED, block((10, 30, 40), (15, 44, 60))),
        ("Expert", scenes.YELLOW, block((10, 32, 42), (15, 46, 62))),
    )
    for node, name in ((model, "HarnessLeft"), (expert, "HarnessRight")):
        view = drawn.layout_manager.sliceWidget(name).mrmlSliceNode()
        node.GetDisplayNode().AddViewNodeID(view.GetID())
    left, right = (drawn.slice_pixels(name) for name in ("HarnessLeft", "HarnessRight"))
    assert len(scenes.pixels_of(left, scenes.RED)) > 50
    assert len(scenes.pixels_of(right, scenes.YELLOW)) > 50
    assert len(scenes.pixels_of(left, scenes.YELLOW)) == len(scenes.pixels_of(right, scenes.RED)) == 0
    picture = drawn.render(tmp_path / "views.png")
    assert picture.stat().st_size > 5000
    assert slicer.app.layoutManager().threeDViewCount == 1
    # The views stand side by side, equally wide, the 3-D view beside them.
    places = [widget.mapTo(drawn.layout_manager, widget.rect.topLeft()) for widget in drawn.layout_manager.shown()]
    assert [place.y() for place in places] == [0, 0, 0]
    assert places[0].x() < places[1].x() < places[2].x()


def test_linked_views_of_a_group_scroll_together_and_others_stay(drawn) -> None:
    drawn.layout_manager.layoutLogic().GetLayoutNode().AddLayoutDescription(7301, SIDE_BY_SIDE)
    drawn.layout_manager.setLayout(7301)
    show(AXIAL)
    left, right = (drawn.layout_manager.sliceWidget(name) for name in ("HarnessLeft", "HarnessRight"))
    for widget in (left, right):
        widget.mrmlSliceCompositeNode().SetLinkedControl(True)
        widget.mrmlSliceCompositeNode().SetHotLinkedControl(True)
    before = drawn.layout_manager.sliceWidget("Red").sliceLogic().GetSliceOffset()
    drawn.scroll("HarnessLeft", 14.0)
    assert right.sliceLogic().GetSliceOffset() == pytest.approx(14.0)
    assert drawn.layout_manager.sliceWidget("Red").sliceLogic().GetSliceOffset() == before
    width = left.mrmlSliceNode().GetFieldOfView()[0]
    drawn.zoom("HarnessLeft", 0.5)
    seen = [widget.mrmlSliceNode().GetFieldOfView()[0] for widget in (left, right)]
    assert seen[0] == pytest.approx(width / 2)
    assert seen[1] == pytest.approx(seen[0], rel=0.05)


def test_a_surface_is_seen_in_three_dimensions(drawn) -> None:
    _, (node,) = show(AXIAL, ("Tumor", scenes.RED, block((6, 20, 20), (18, 60, 76))))
    view = drawn.layout_manager.threeDWidget(0).threeDView()
    assert len(scenes.pixels_of(view.pixels(), scenes.RED)) == 0
    node.CreateClosedSurfaceRepresentation()
    drawn.layout_manager.resetThreeDViews()
    assert len(scenes.pixels_of(view.pixels(), scenes.RED)) > 200


def test_a_closed_scene_leaves_black_views(drawn) -> None:
    show(AXIAL, ("Tumor", scenes.RED, block((10, 30, 40), (15, 44, 60))))
    assert drawn.slice_pixels("Red").max() > 200
    drawn.clear()
    assert drawn.slice_pixels("Red").max() == 0


def test_a_layout_with_a_view_that_is_not_known_is_refused(slicer_app) -> None:
    import slicer

    slicer_app.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    (error,) = slicer_app.take_errors()
    assert "no view for a vtkMRMLTableViewNode" in error
