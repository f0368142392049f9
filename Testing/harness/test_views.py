"""Views are drawn by Slicer's displayable managers; contours in them are looked at in ``segment/scene``."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def bright(slicer_app) -> tuple[float, float, float]:
    """RAS of the one bright voxel of a CT in the views."""
    import slicer

    if slicer_app.cannot_draw:
        pytest.skip(slicer_app.cannot_draw)
    grid = np.array([[-2.0, 0, 0, 100], [0, -2.0, 0, 80], [0, 0, 4.0, -50], [0, 0, 0, 1]])
    body = np.full((24, 80, 96), -1000, np.int16)
    body[12, 20, 70] = 1000
    volume = slicer.util.addVolumeFromArray(body, grid, "CT")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(1500, -400)
    volume.GetDisplayNode().SetInterpolate(False)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    point = tuple((grid @ (70, 20, 12, 1))[:3])
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *point)
    return point


def test_the_pixel_of_a_point_is_where_its_voxel_is_bright(slicer_app, bright) -> None:
    for name in ("Red", "Green", "Yellow"):
        places = np.argwhere(slicer_app.slice_pixels(name)[..., 0] > 200)
        row, column, depth = slicer_app.ras_to_pixel(name, bright)
        assert np.abs(places.mean(axis=0) - (row, column)).max() < 1
        assert abs(depth) < 0.01


def test_a_closed_scene_leaves_black_views(slicer_app, bright) -> None:
    assert slicer_app.slice_pixels("Red").max() > 200
    slicer_app.clear()
    assert slicer_app.slice_pixels("Red").max() == 0


def test_a_layout_with_a_view_that_is_not_known_is_refused(slicer_app) -> None:
    import slicer

    slicer_app.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    (error,) = slicer_app.take_errors()
    assert "no view for a vtkMRMLTableViewNode" in error


def test_a_point_is_placed_by_a_click_and_the_right_button_ends_it(slicer_app) -> None:
    """By Slicer's own manager of points: the click is one as a person makes it."""
    import slicer

    if slicer_app.cannot_draw:
        pytest.skip(slicer_app.cannot_draw)
    slicer_app.process_events(0.1)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.CreateDefaultDisplayNodes()
    interaction = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    selection = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    for button, points in (("Left", 1), ("Right", 1), ("Left", 2)):
        selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SwitchToSinglePlaceMode()
        slicer_app.click("Red", (10.0, -20.0, 0.0), button)
        assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
        assert node.GetNumberOfDefinedControlPoints() == points
    place = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(0, place)
    assert max(abs(a - b) for a, b in zip(place, (10.0, -20.0, 0.0), strict=True)) < 1.0
