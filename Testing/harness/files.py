"""``slicer.app.coreIOManager()``: saves the scene as a bundle (``.mrb``) and loads it again, as the save dialog does.

Other files are read and written by nodes' storage; RTSTRUCT and DICOM come from the DICOM module and from SlicerRT.
"""

from __future__ import annotations

from harness.core import Core


class IOManager:
    """What ``slicer.util``'s ``saveScene`` and ``loadScene`` ask for."""

    def __init__(self, core: Core) -> None:
        self._scene = core.scene

    @staticmethod
    def _bundle(kind: str, properties: dict) -> str:
        if kind != "SceneFile" or not properties["fileName"].endswith(".mrb"):
            raise NotImplementedError(f"the harness does not read or write a {kind} {properties}")
        return properties["fileName"]

    def loadNodes(self, kind: str, properties: dict, loaded=None, messages=None) -> bool:
        return bool(self._scene.ReadFromMRB(self._bundle(kind, properties), bool(properties.get("clear"))))

    def saveNodes(self, kind: str, properties: dict, messages=None) -> bool:
        return bool(self._scene.WriteToMRB(self._bundle(kind, properties)))
