"""A case of a cohort as nodes of the scene: for a look, not to be saved with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from CMEDLSegmentLib.base.colors import Color
from CMEDLSegmentLib.io.volume import Volume, triple
from CMEDLSegmentLib.models.normalization import CT_WINDOW
from CMEDLSegmentPanel.scene import contour_views
from CMEDLSegmentPanel.scene.attributes import PREFIX
from CMEDLSegmentPanel.scene.coordinates import own_matrix, ras_of, to_vtk
from CMEDLSegmentPanel.scene.expert_segments import DRAWN, SegmentRef
from CMEDLSegmentPanel.scene.segment_masks import add_segment, cropped

TEMPORARY = PREFIX + "case"
"""Attribute of nodes that were made for a look."""

Structure = tuple[str, np.ndarray, Color]
"""A structure's name, its bool mask (z, y, x), and the color of its contour."""


class CaseNodes:
    """An image and contours in the scene and in the slice views.

    Args:
        name: of the case.
        volume: the image.
        modality: ``CT`` is shown in the window that students see.
        structures: what is contoured.
    """

    def __init__(self, name: str, volume: Volume, modality: str, structures: Sequence[Structure]) -> None:
        self.image = slicer.util.addVolumeFromArray(volume.array, to_vtk(ras_of(volume.geometry)), name)
        if modality == "CT":
            display = self.image.GetDisplayNode()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(CT_WINDOW.low, CT_WINDOW.high)
        self.drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        self.drawn.CreateDefaultDisplayNodes()
        self.drawn.SetReferenceImageGeometryParameterFromVolumeNode(self.image)
        self.drawn.GetDisplayNode().SetVisibility2DFill(False)
        refs = []
        for number, (label, mask, color) in enumerate(structures, start=1):
            shown = triple(part / 255 for part in color)
            marked = cropped(mask, (0, 0, 0), own_matrix(self.image))
            segment_id = add_segment(self.drawn, f"label-{number}", label, shown, marked, {})
            refs.append(SegmentRef(self.drawn.GetID(), segment_id, label, DRAWN))
        for node in self._nodes():
            node.SetSaveWithScene(False)
            node.SetAttribute(TEMPORARY, name)
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        self._before = {view.GetID(): view.GetBackgroundVolumeID() for view in views}
        slicer.util.setSliceViewerLayers(background=self.image, fit=True)
        place = contour_views.tumor_center(None, refs)
        if place is not None:
            contour_views.jump(place)

    def remove(self) -> None:
        """Take the case out of the scene; the views show what they showed before."""
        scene = slicer.mrmlScene
        for view_id, before in self._before.items():
            view = scene.GetNodeByID(view_id)
            if view is not None and view.GetBackgroundVolumeID() == self.image.GetID():
                view.SetBackgroundVolumeID(before if before and scene.GetNodeByID(before) else None)
        for node in self._nodes():
            if node.GetScene() is not None:
                scene.RemoveNode(node)

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        """Image and contours with their displays, those that depend on others first."""
        nodes = [self.drawn.GetDisplayNode(), self.drawn, self.image.GetDisplayNode(), self.image]
        return [node for node in nodes if node is not None]
