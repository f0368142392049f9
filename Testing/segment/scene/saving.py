"""Saving a scene with its data beside it, and loading it again, as the application's save dialog does."""

from __future__ import annotations

from pathlib import Path

import slicer

ENDINGS = {
    "vtkMRMLSegmentationNode": ".seg.nrrd",
    "vtkMRMLScalarVolumeNode": ".nrrd",
    "vtkMRMLLabelMapVolumeNode": ".nrrd",
    "vtkMRMLLinearTransformNode": ".h5",
}


def saved_and_loaded(scene: slicer.vtkMRMLScene, folder: Path) -> None:
    """Save every node that has data and the scene itself into ``folder``, clear the scene and load it again."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        ending = ENDINGS.get(node.GetClassName())
        if ending is None:
            continue
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(str(folder / f"{node.GetID()}{ending}"))
        assert storage.WriteData(node), node.GetName()
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    assert scene.Connect()
