"""Clicks in views by Slicer's own way: a point that is placed, one at a time.

Slicer's place mode shows what a click will do, works in every view of every layout, and yields to whatever else is
chosen in the toolbar. The point is nobody's data: it is hidden, is not saved, and goes with the mode.
"""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

_POINTS = "vtkMRMLMarkupsFiducialNode"


class ClickPlacement:
    """Lets a person place a point, and another one after it.

    Args:
        happened: called when a point was placed, or when the mode has changed; still within Slicer's own handling, so
            that nothing should be changed before it is over.
    """

    def __init__(self, happened: Callable[[], None]) -> None:
        self._happened = happened
        self._node: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._observed: list[tuple[vtk.vtkObject, int]] = []
        self._before: tuple[str | None, str | None, int] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a point is waited for; not any longer where somebody has chosen another mode or another point."""
        interaction, node = _interaction(), self._present
        return (
            bool(self._observed)
            and node is not None
            and interaction.GetCurrentInteractionMode() == interaction.Place
            and _selection().GetActivePlaceNodeID() == node.GetID()
        )

    @property
    def armed(self) -> bool:
        """Whether a point was asked for and is neither placed nor given up, as far as anybody has looked."""
        return bool(self._observed)

    def arm(self) -> None:
        """Wait for a point; the one before goes."""
        interaction, selection = _interaction(), _selection()
        if self._before is None:
            self._before = (
                selection.GetActivePlaceNodeClassName(),
                selection.GetActivePlaceNodeID(),
                interaction.GetPlaceModePersistence(),
            )
        node = self._node = self._present or _hidden_point()
        node.RemoveAllControlPoints()
        selection.SetReferenceActivePlaceNodeClassName(_POINTS)
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)
        if not self._observed:
            events = (
                (node, node.PointPositionDefinedEvent),
                (interaction, interaction.InteractionModeChangedEvent),
                (selection, vtk.vtkCommand.ModifiedEvent),
            )
            self._observed = [(source, source.AddObserver(event, self._on_event)) for source, event in events]

    def rest(self) -> None:
        """Wait no longer; the point that was placed stays in sight."""
        waiting = self.waiting
        for source, observer in self._observed:
            source.RemoveObserver(observer)
        self._observed = []
        if waiting:
            _interaction().SetCurrentInteractionMode(_interaction().ViewTransform)

    def stop(self) -> None:
        """Wait no longer, and leave the scene and its modes as they were."""
        self.rest()
        if self._before is not None:
            name, node_id, persistence = self._before
            selection = _selection()
            if self._present is not None and selection.GetActivePlaceNodeID() == self._present.GetID():
                selection.SetReferenceActivePlaceNodeClassName(name)
                selection.SetActivePlaceNodeID(node_id)
            _interaction().SetPlaceModePersistence(persistence)
        if self._present is not None:
            for node in (self._present.GetDisplayNode(), self._present):
                slicer.mrmlScene.RemoveNode(node)
        self._node = self._before = None

    def taken(self) -> tuple[float, float, float] | None:
        """Where the point was placed (RAS in the world, mm); None while it was not."""
        node = self._present
        if node is None:
            return None
        for number in range(node.GetNumberOfControlPoints()):
            # Slicer shows one below the mouse before it is placed.
            if node.GetNthControlPointPositionStatus(number) == node.PositionDefined:
                place = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(number, place)
                return place[0], place[1], place[2]
        return None

    @property
    def _present(self) -> slicer.vtkMRMLMarkupsFiducialNode | None:
        """The point's node, unless the scene was closed."""
        return self._node if self._node is not None and self._node.GetScene() is not None else None

    def _on_event(self, caller: vtk.vtkObject, event: str) -> None:
        self._happened()


def _hidden_point() -> slicer.vtkMRMLMarkupsFiducialNode:
    """A list for one point, which no selector lists and no scene saves."""
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName("CMEDL click")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetAttribute(slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName(), "1")
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSaveWithScene(False)
        display.SetPointLabelsVisibility(False)
    return node


def _interaction() -> slicer.vtkMRMLInteractionNode:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")


def _selection() -> slicer.vtkMRMLSelectionNode:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
