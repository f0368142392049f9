"""Small scenes with a known truth, for tests that look at pixels."""

from __future__ import annotations

import numpy as np

RED, YELLOW = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0)


def add_volume(array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT") -> object:
    """A scalar volume node with a lung window: ``array`` (z, y, x) in HU, ``ijk_to_ras`` 4 x 4 in mm."""
    import slicer

    node = slicer.util.addVolumeFromArray(array, ijk_to_ras, name)
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1500, -400)
    return node


def add_segment(volume: object, mask: np.ndarray, name: str, color: tuple[float, float, float]) -> object:
    """A segmentation node with one segment on the volume's grid, ``mask`` (z, y, x)."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = node.GetSegmentation().AddEmptySegment(name, name, color)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, identifier, volume)
    return node


def pixels_of(picture: np.ndarray, color: tuple[float, float, float], tolerance: int = 60) -> np.ndarray:
    """Rows and columns of the pixels of about this color, shape (n, 2)."""
    wanted = 255 * np.asarray(color)
    return np.argwhere(np.abs(picture.astype(int) - wanted).max(axis=-1) <= tolerance)
