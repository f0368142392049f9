"""The two layouts: what lies where, in the XML of Slicer's layout node."""

from __future__ import annotations

import slicer

from CMEDLSegmentLib.base.errors import InputError

OVERLAY, SIDE_BY_SIDE = "overlay", "side-by-side"

MODEL_VIEW, EXPERTS_VIEW = "CMEDLStudent", "CMEDLExperts"
"""Names of the two axial views of "Side by side"; the views of "Overlay" are Slicer's own."""

GROUP = 57
"""View group of the two: they follow each other and no other view."""


def slice_view(name: str, orientation: str, label: str, color: str, group: int = 0) -> str:
    """A slice view in a layout's description."""
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{group}</property></view>'
    )


_THREE_D = (
    '<view class="vtkMRMLViewNode" singletontag="1">'
    '<property name="viewlabel" action="default">1</property></view>'
)  # fmt: skip

_LAYOUTS = {
    OVERLAY: (
        5701,
        '<layout type="horizontal" split="true">'
        f'<item splitSize="600">{slice_view("Red", "Axial", "R", "#F34A33")}</item>'
        '<item splitSize="400"><layout type="vertical" split="true">'
        f'<item splitSize="400">{_THREE_D}</item>'
        f'<item splitSize="300">{slice_view("Green", "Coronal", "G", "#6EB04B")}</item>'
        f'<item splitSize="300">{slice_view("Yellow", "Sagittal", "Y", "#EDD54C")}</item>'
        "</layout></item></layout>",
    ),
    SIDE_BY_SIDE: (
        5702,
        '<layout type="horizontal" split="true">'
        f'<item splitSize="360">{slice_view(MODEL_VIEW, "Axial", "Model", "#E61A1A", GROUP)}</item>'
        f'<item splitSize="360">{slice_view(EXPERTS_VIEW, "Axial", "Experts", "#FFFF00", GROUP)}</item>'
        f'<item splitSize="280">{_THREE_D}</item></layout>',
    ),
}
"""Number and description; Slicer's own layouts have lower numbers, and extensions choose theirs."""


def layout_node() -> slicer.vtkMRMLLayoutNode:
    """The scene's layout node.

    Raises:
        InputError: there is none, as in a script without a window.
    """
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        raise InputError("There are no views to show contours in; start Slicer with its window.")
    return node


def describe(number: int, description: str) -> None:
    """Let Slicer know a layout of our own, so that a scene that was saved in it opens in it; without views nothing."""
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is not None and not node.IsLayoutDescription(number):
        node.AddLayoutDescription(number, description)


def describe_all() -> None:
    """Let Slicer know both layouts; at its start, since a scene may be opened before the panel."""
    for number, description in _LAYOUTS.values():
        describe(number, description)


def set_layout(layout: str) -> None:
    """Arrange the views as ``OVERLAY`` or ``SIDE_BY_SIDE``.

    Raises:
        InputError: there are no views.
    """
    arrange(*_LAYOUTS[layout])


def arrange(number: int, description: str) -> None:
    """Arrange the views as a layout of our own.

    Raises:
        InputError: there are no views.
    """
    node = layout_node()
    describe(number, description)
    node.SetViewArrangement(number)


def current_layout() -> str | None:
    """``OVERLAY``, ``SIDE_BY_SIDE``, or None for one of Slicer's own."""
    number = layout_node().GetViewArrangement()
    return next((name for name, (own, _) in _LAYOUTS.items() if own == number), None)


def slice_views(layout: str) -> list[slicer.vtkMRMLSliceNode]:
    """The slice views of a layout, the leading axial one first."""
    names = ("Red", "Green", "Yellow") if layout == OVERLAY else (MODEL_VIEW, EXPERTS_VIEW)
    nodes = (slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in names)
    return [node for node in nodes if node is not None]


def composite_of(view: slicer.vtkMRMLSliceNode) -> slicer.vtkMRMLSliceCompositeNode | None:
    """The node that says which volumes a slice view shows."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return next((node for node in composites if node.GetLayoutName() == view.GetLayoutName()), None)
