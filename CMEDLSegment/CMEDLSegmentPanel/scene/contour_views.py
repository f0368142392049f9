"""Contours in the views: the model's beside the experts', their look, and the way from slice to slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import slicer

from CMEDLSegmentLib.base.boxes import box_corners
from CMEDLSegmentLib.base.errors import InputError

from .attributes import PREFIX
from .coordinates import apply, axial_axis, parent_matrix, to_numpy, world_matrix
from .expert_segments import SegmentRef, role_of
from .layouts import (
    EXPERTS_VIEW,
    MODEL_VIEW,
    OVERLAY,
    SIDE_BY_SIDE,
    composite_of,
    current_layout,
    set_layout,
    slice_views,
)
from .rejected_candidates import label_segments
from .result_nodes import is_result
from .segment_masks import SURFACE, mask_of, show_surface

OUTLINE, FILL = 2, 0.0
"""Pixels, and opacity from 0 to 1: thin outlines hide least of the anatomy."""

MOST_SURFACES = 8
"""Segments of a node that gets surfaces by itself. Slicer makes them of all segments or of none, and those of a plan's
forty organs take minutes; *Show 3D* in Slicer's Data module makes them for who wants them."""

_MARGIN = 0.1
"""Of a view's width: a place nearer to the edge, or beyond it, is brought to the middle."""
_SECOND_DISPLAY = PREFIX + "experts"
_EXPERTS_IN_3D = 0.5


def show(
    layout: str,
    result: slicer.vtkMRMLSegmentationNode | None,
    experts: Sequence[SegmentRef],
    volume: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Arrange the views and show the CT with the contours in them.

    In ``OVERLAY`` every view shows all contours. In ``SIDE_BY_SIDE`` the left view shows the model's and the right
    one the experts' on the same slice; they scroll and zoom together. The 3-D view shows all, but for nodes of more
    than ``MOST_SURFACES`` segments. A view that showed another volume is fitted to this one, at the tumor; the others
    keep their place.

    Args:
        layout: ``OVERLAY`` or ``SIDE_BY_SIDE``.
        result: the model's, or None while there is none.
        experts: the experts' segments; other segments of the same nodes are hidden.
        volume: what is contoured.

    Raises:
        InputError: there are no views, or a transform is not linear.
    """
    if current_layout() != layout:
        set_layout(layout)
        # Views learn their size from the event loop, and without it nothing can be fitted to them.
        slicer.app.processEvents()
    _split(result, experts, apart=layout == SIDE_BY_SIDE)
    for node in {node.GetID(): node for node in (result, *_nodes(experts)) if node is not None}.values():
        segmentation = node.GetSegmentation()
        few = segmentation.GetNumberOfSegments() <= MOST_SURFACES
        if few and not segmentation.ContainsRepresentation(SURFACE):
            show_surface(node)
    views = slice_views(layout)
    new = [view for view in views if _show_volume(view, volume, linked=layout == SIDE_BY_SIDE)]
    place = tumor_center(result, experts)
    for view in new:
        _fit(view, volume, place)
    if layout == SIDE_BY_SIDE and len(views) == 2:
        _align(views[1], views[0])
    for view in views:
        # Contours that came with a loaded scene are drawn only when the view changes.
        view.Modified()


def show_in_3d(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a segmentation's surface in the middle of the 3-D views; one of many segments is left alone."""
    if node.GetSegmentation().GetNumberOfSegments() > MOST_SURFACES:
        return
    show_surface(node)
    node.GetDisplayNode().SetVisibility3D(True)
    manager = slicer.app.layoutManager()
    for number in range(manager.threeDViewCount):
        manager.threeDWidget(number).threeDView().resetFocalPoint()


def _nodes(experts: Iterable[SegmentRef]) -> list[slicer.vtkMRMLSegmentationNode]:
    """The experts' segmentation nodes, each once."""
    node_ids = dict.fromkeys(ref.node_id for ref in experts if ref.segment_id)
    nodes = (slicer.mrmlScene.GetNodeByID(node_id) for node_id in node_ids)
    return [node for node in nodes if node is not None]


def _split(result: slicer.vtkMRMLSegmentationNode | None, experts: Sequence[SegmentRef], apart: bool) -> None:
    """Give the model's and the experts' contours their views."""
    if result is not None:
        _only_in(_model_display(result), EXPERTS_VIEW if apart else None)
    for node in _nodes(experts):
        own = {ref.segment_id for ref in experts if ref.node_id == node.GetID()}
        display = _expert_display(node)
        _only_in(display, MODEL_VIEW if apart else None)
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            if segment_id not in own:
                display.SetSegmentVisibility(segment_id, False)
            elif display is not node.GetDisplayNode():
                node.GetDisplayNode().SetSegmentVisibility(segment_id, False)
        display.SetOpacity3D(_EXPERTS_IN_3D)


def _model_display(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationDisplayNode:
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def _expert_display(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationDisplayNode:
    """Where a node's experts are shown: a display of their own if the node is a model's result, corrected by hand."""
    if not is_result(node):
        return _model_display(node)
    display = node.GetNodeReference(_SECOND_DISPLAY)
    if display is None:
        display = node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
        display.CopyContent(_model_display(node))
        node.AddAndObserveDisplayNodeID(display.GetID())
        node.SetNodeReferenceID(_SECOND_DISPLAY, display.GetID())
    return display


def _only_in(display: slicer.vtkMRMLDisplayNode, excluded: str | None) -> None:
    """Show in all views, or in all but one: so that a layout of Slicer's own, chosen afterwards, shows everything."""
    display.RemoveAllViewNodeIDs()
    if excluded is None:
        return
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode") + slicer.util.getNodesByClass("vtkMRMLViewNode")
    for view in views:
        if view.GetLayoutName() != excluded:
            display.AddViewNodeID(view.GetID())


def _show_volume(view: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLVolumeNode, linked: bool) -> bool:
    """Make the volume a view's background; returns whether it was not before."""
    composite = composite_of(view)
    if composite is None:
        return True
    before = composite.GetBackgroundVolumeID()
    composite.SetBackgroundVolumeID(volume.GetID())
    if linked:
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
    return before != volume.GetID()


def _fit(view: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLVolumeNode, place: np.ndarray | None) -> None:
    """Show the whole slice of a volume, through ``place`` (RAS) or through its middle."""
    ends = np.array(volume.GetImageData().GetExtent(), dtype=float).reshape(3, 2)
    corners = apply(world_matrix(volume), box_corners(*ends.T))
    axes = to_numpy(view.GetSliceToRAS())[:3, :3]
    in_slice = corners @ axes
    across, up = np.ptp(in_slice, axis=0)[:2]
    width, height = (max(1, size) for size in view.GetDimensions()[:2])
    scale = max(across / width, up / height)
    view.SetFieldOfView(scale * width, scale * height, view.GetFieldOfView()[2])
    middle = (in_slice.max(axis=0) + in_slice.min(axis=0)) / 2
    if place is not None:
        middle[2] = place @ axes[:, 2]
    view.JumpSliceByCentering(*(axes @ middle))


def _align(view: slicer.vtkMRMLSliceNode, other: slicer.vtkMRMLSliceNode) -> None:
    """Bring a view to the slice and the zoom of another."""
    view.GetSliceToRAS().DeepCopy(other.GetSliceToRAS())
    view.SetXYZOrigin(other.GetXYZOrigin())
    width, _, depth = other.GetFieldOfView()
    columns, rows = (max(1, size) for size in view.GetDimensions()[:2])
    # Pixels of one size in both views, also where one of them is a little wider.
    scale = width / max(1, other.GetDimensions()[0])
    view.SetFieldOfView(scale * columns, scale * rows, depth)
    view.UpdateMatrices()


def set_style(
    result: slicer.vtkMRMLSegmentationNode | None,
    experts: Sequence[SegmentRef],
    outline: int = OUTLINE,
    fill: float = FILL,
) -> None:
    """The look of all contours: outlines ``outline`` pixels wide, filled with the opacity ``fill`` (0 to 1)."""
    displays = [] if result is None else [_model_display(result)]
    displays += [_expert_display(node) for node in _nodes(experts)]
    for display in displays:
        display.SetVisibility2DOutline(outline > 0)
        display.SetSliceIntersectionThickness(max(1, int(outline)))
        display.SetVisibility2DFill(fill > 0)
        display.SetOpacity2DFill(float(fill))


def set_visible(ref: SegmentRef, visible: bool) -> None:
    """Show or hide a segment in every view of its layout."""
    display = _display_of(ref)
    if display is not None:
        display.SetSegmentVisibility(ref.segment_id, visible)
        if visible:
            display.SetVisibility(True)


def is_visible(ref: SegmentRef) -> bool:
    """Whether a segment is shown."""
    display = _display_of(ref)
    return display is not None and bool(display.GetVisibility() and display.GetSegmentVisibility(ref.segment_id))


def _display_of(ref: SegmentRef) -> slicer.vtkMRMLSegmentationDisplayNode | None:
    node = slicer.mrmlScene.GetNodeByID(ref.node_id)
    if node is None or not ref.segment_id:
        return None
    return _expert_display(node) if role_of(ref) is not None else _model_display(node)


def tumor_places(
    result: slicer.vtkMRMLSegmentationNode | None, experts: Sequence[SegmentRef] = ()
) -> list[tuple[np.ndarray, int]]:
    """For every slice that somebody marks: the middle of what is marked (RAS in the world) and how many voxels.

    Slices are those of each segment's own grid along the axis that is nearest to the patient's; from inferior to
    superior.
    """
    places: list[tuple[np.ndarray, int]] = []
    marks = [] if result is None else [(result, segment_id) for segment_id in label_segments(result).values()]
    marks += [(slicer.mrmlScene.GetNodeByID(ref.node_id), ref.segment_id) for ref in experts if ref.segment_id]
    for node, segment_id in marks:
        if node is None:
            continue
        mask = mask_of(node, segment_id)
        matrix = parent_matrix(node) @ mask.matrix
        voxels = np.argwhere(mask.array)[:, ::-1]
        slices = voxels[:, axial_axis(matrix)]
        counts = np.bincount(slices)
        sums = np.stack([np.bincount(slices, voxels[:, axis]) for axis in range(3)], axis=1)
        for number in np.flatnonzero(counts):
            places.append((apply(matrix, sums[number] / counts[number] + mask.first), int(counts[number])))
    return sorted(places, key=lambda place: place[0][2])


def tumor_center(
    result: slicer.vtkMRMLSegmentationNode | None, experts: Sequence[SegmentRef] = ()
) -> np.ndarray | None:
    """RAS in the middle of the slice that shows most tumor, the model's first; None where nobody marks any."""
    places = tumor_places(result) or tumor_places(None, experts)
    most = [place for place, count in places if count == max(count for _, count in places)]
    return most[len(most) // 2] if most else None


def step(result: slicer.vtkMRMLSegmentationNode | None, experts: Sequence[SegmentRef], direction: int) -> bool:
    """Go to the next slice that somebody marks: ``direction`` 1 towards the head, -1 towards the feet.

    Returns:
        False where there is none further on; the views stay then.

    Raises:
        InputError: there are no views.
    """
    view = slice_views(current_layout() or OVERLAY)[0]
    matrix = to_numpy(view.GetSliceToRAS())
    normal = matrix[:3, 2] * (1.0 if matrix[2, 2] >= 0 else -1.0)
    here = matrix[:3, 3] @ normal
    ahead = [(direction * float(place @ normal - here), count, place) for place, count in tumor_places(result, experts)]
    ahead = [candidate for candidate in ahead if candidate[0] > _reach(view)]
    if not ahead:
        return False
    nearest = min(distance for distance, _, _ in ahead)
    # Several may mark the same slice: the largest of their contours is looked at.
    same = [candidate for candidate in ahead if candidate[0] <= nearest + _reach(view)]
    jump(max(same, key=lambda candidate: candidate[1])[2])
    return True


def _reach(view: slicer.vtkMRMLSliceNode) -> float:
    """mm along a view's normal within which two places are on one slice: a third of the slices' distance."""
    composite = composite_of(view)
    volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") if composite is not None else None
    if volume is None:
        return 0.1
    return float(np.abs(to_numpy(view.GetSliceToRAS())[:3, 2] @ world_matrix(volume)[:3, :3]).max()) / 3


def jump(ras: Sequence[float] | np.ndarray) -> None:
    """Bring every slice view, and the crosshair, to a place (RAS, mm); views pan only if it would be out of sight."""
    place = [float(value) for value in ras]
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        xy = apply(np.linalg.inv(to_numpy(view.GetXYToRAS())), np.array(place))[:2]
        at = xy / np.maximum(view.GetDimensions()[:2], 1)
        if (at > _MARGIN).all() and (at < 1 - _MARGIN).all():
            view.JumpSliceByOffsetting(*place)
        else:
            view.JumpSliceByCentering(*place)
    cross = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if cross is not None:
        cross.SetCrosshairRAS(place)


def crosshair() -> tuple[float, float, float]:
    """Where the crosshair is (RAS, mm): hold Shift and move the mouse to place it.

    Raises:
        InputError: there is none.
    """
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if node is None:
        raise InputError("There is no crosshair in this scene; start Slicer with its window.")
    return tuple(node.GetCrosshairRAS())
