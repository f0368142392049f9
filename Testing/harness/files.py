"""``slicer.app.coreIOManager()``: loads and saves volumes, segmentations and scenes through their storage nodes.

RTSTRUCT and DICOM have no reader here: in Slicer they come from the DICOM module and from SlicerRT.
"""

from __future__ import annotations

from pathlib import Path

from harness.core import Core

EXTENSIONS = {
    "vtkMRMLSegmentationNode": [".seg.nrrd", ".nrrd", ".nii.gz", ".nii"],
    "vtkMRMLVolumeNode": [".nrrd", ".nii.gz", ".nii", ".mha"],
    "vtkMRMLScene": [".mrml", ".mrb"],
}


class IOManager:
    """What ``slicer.util``'s functions of loading and saving ask for."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def fileType(self, path: str) -> str:
        """The reader that Slicer would take for ``path``."""
        if path.endswith((".mrml", ".mrb")):
            return "SceneFile"
        return "SegmentationFile" if path.endswith((".seg.nrrd", ".seg.nhdr")) else "VolumeFile"

    def loadNodes(self, kind: str, properties: dict, loaded=None, messages=None) -> bool:
        """Load one file; False if it cannot be read.

        Raises:
            NotImplementedError: the harness has no reader of this kind.
        """
        path = properties["fileName"]
        name = properties.get("name") or Path(path).name.partition(".")[0]
        if not Path(path).is_file():
            return False
        if kind == "VolumeFile":
            node = self._core.logics["Volumes"].AddArchetypeVolume(path, name, 1 if properties.get("labelmap") else 0)
            if node and properties.get("show", True):
                self._show(node)
        elif kind == "SegmentationFile":
            node = self._core.logics["Segmentations"].LoadSegmentationFromFile(path, True, name)
        elif kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear")))
        else:
            raise NotImplementedError(f"the harness does not load a {kind}")
        if node and loaded is not None:
            loaded.AddItem(node)
        return bool(node)

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = self._core.scene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Connect() if clear else scene.Import())

    def _show(self, volume) -> None:
        selection = self._core.application_logic.GetSelectionNode()
        if volume.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(volume.GetID())
        else:
            selection.SetActiveVolumeID(volume.GetID())
        self._core.application_logic.PropagateVolumeSelection(1)

    def saveNodes(self, kind: str, properties: dict, messages=None) -> bool:
        """Save a node, or the scene: a folder or ``.mrb`` with its data, or ``.mrml`` alone."""
        if kind == "SceneFile":
            return self._save_scene(properties["fileName"])
        node = self._core.scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(properties["fileName"])
        return bool(node.GetStorageNode().WriteData(node))

    def _save_scene(self, path: str) -> bool:
        scene = self._core.scene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path))
        if not path.endswith(".mrml"):
            return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None))
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Commit(path))

    def fileWriterFileType(self, node) -> str:
        return "NodeFile"

    def extractKnownExtension(self, path: str, node) -> str:
        return next((end for end in self._extensions(node) if path.endswith(end)), "")

    def fileWriterExtensions(self, node) -> list[str]:
        return [f"{end[1:].upper()} (*{end})" for end in self._extensions(node)]

    def _extensions(self, node) -> list[str]:
        return next((ends for kind, ends in EXTENSIONS.items() if node.IsA(kind)), [])

    def exportNodes(self, nodes: list[str], paths: list[str], properties: dict, harden: bool, messages=None) -> bool:
        """Write nodes to files without touching their own storage nodes."""
        if harden:
            raise NotImplementedError("the harness does not harden transforms on export")
        for identifier, path in zip(nodes, paths, strict=True):
            node = self._core.scene.GetNodeByID(identifier)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(self._core.scene)
            storage.SetFileName(path)
            if not storage.WriteData(node):
                return False
        return True
