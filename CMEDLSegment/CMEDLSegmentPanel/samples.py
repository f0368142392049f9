"""What this module offers in Sample Data: a phantom chest CT with three raters' contours, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
from slicer.i18n import tr as _

from .scene.coordinates import ras_of, to_vtk
from .section import inBackground

if TYPE_CHECKING:
    from CMEDLSegmentLib.phantom import Phantom

CATEGORY = "CMEDL"
NAME = "CMEDLChestPhantom"
THUMBNAIL = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / f"{NAME}.png"
SEED = 7
SIZE, SPACING = (96, 256, 256), (3.0, 1.5, 1.5)
"""Voxels (z, y, x) and their size in mm."""
RATERS = 3
WINDOW, LEVEL = 1400.0, -300.0
"""HU, wide enough for lung and tumor together."""


def register() -> None:
    """Offer the phantom in Slicer's Sample Data module; its button there makes it."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        # Nothing is downloaded; Slicer asks for the lengths of both.
        uris=[],
        fileNames=[],
        thumbnailFileName=str(THUMBNAIL),
        # A function with a name: what looks the same is not registered twice.
        customDownloader=_clicked,
    )


def _clicked(source: object) -> None:
    load()


def load(size: tuple[int, int, int] = SIZE, spacing: tuple[float, float, float] = SPACING) -> list[slicer.vtkMRMLNode]:
    """Make the phantom in the scene: no patient, and no measure of how well a model does on patients.

    It takes some ten seconds, in which Slicer goes on answering.

    Args:
        size: voxels (z, y, x).
        spacing: their size (z, y, x) in mm.

    Returns:
        The CT's volume node, and a segmentation node with a segment for each rater, marked as experts'.
    """
    phantom, masks = inBackground(lambda: _draw(size, spacing))
    ct = _add_ct(phantom)
    drawn = _add_raters(masks, ct)
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    return [ct, drawn]


def _draw(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[Phantom, dict[str, np.ndarray]]:
    """The phantom and the raters' masks (z, y, x) by name; touches no scene."""
    from CMEDLSegmentLib.phantom import raters, thorax_ct

    phantom = thorax_ct(seed=SEED, size=size, spacing=spacing, tumor="lung")
    return phantom, raters(phantom.mask, spacing, n=RATERS, seed=SEED)


def _add_ct(phantom: Phantom) -> slicer.vtkMRMLScalarVolumeNode:
    matrix = to_vtk(ras_of(phantom.image.geometry))
    ct = slicer.util.addVolumeFromArray(phantom.image.array, matrix, _("CMEDL chest phantom"))
    display = ct.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW, LEVEL)
    return ct


def _add_raters(masks: dict[str, np.ndarray], ct: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation with a segment for each rater, told apart as experts'."""
    from .scene import expert_segments

    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _("CMEDL chest phantom raters"))
    drawn.CreateDefaultDisplayNodes()
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for name, mask in masks.items():
        segment = drawn.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, drawn, segment, ct)
    for ref in expert_segments.all_segments():
        if ref.node_id == drawn.GetID():
            expert_segments.set_role(ref, rater=ref.name, structure="Tumor")
    return drawn
