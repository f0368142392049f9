"""The scene and the logics that Slicer's application makes at its start, from slicer-core alone; no Qt here."""

from __future__ import annotations

import tempfile
import types
from types import SimpleNamespace

import slicer
import slicer.util
import vtk

LOGICS = {
    "Colors": slicer.vtkMRMLColorLogic,
    "Volumes": slicer.vtkSlicerVolumesLogic,
    "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic,
    "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
    "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
    "Markups": slicer.vtkSlicerMarkupsLogic,
    "Models": slicer.vtkSlicerModelsLogic,
    "Transforms": slicer.vtkSlicerTransformLogic,
    "Cameras": slicer.vtkSlicerCamerasModuleLogic,
}


def as_in_the_application() -> None:
    """Take out of ``slicer`` what slicer-core alone puts there: in the application ``slicer.util`` has to be named."""
    for name, value in list(vars(slicer).items()):
        kept = name.startswith(("vtk", "_")) or isinstance(value, types.ModuleType)
        if not kept:
            delattr(slicer, name)


class Core:
    """``slicer.mrmlScene``, the application logic and ``slicer.modules``."""

    def __init__(self) -> None:
        as_in_the_application()
        self.scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        # Without these, adding a slice node is an error.
        self.slice_logics, self.view_logics = vtk.vtkCollection(), vtk.vtkCollection()
        self.application_logic.SetSliceLogics(self.slice_logics)
        self.application_logic.SetViewLogics(self.view_logics)
        self.application_logic.SetMRMLScene(self.scene)
        colors = self.application_logic.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._add_singletons()
        self._add_cache()
        slicer.modules = SimpleNamespace()
        self.logics = {}
        # Terminology files come with the application alone; VTK would print that each is missing.
        shown = vtk.vtkObject.GetGlobalWarningDisplay()
        vtk.vtkObject.GlobalWarningDisplayOff()
        for name, make in LOGICS.items():
            logic = make()
            logic.SetMRMLApplicationLogic(self.application_logic)
            logic.SetMRMLScene(self.scene)
            self.application_logic.SetModuleLogic(name, logic)
            self.logics[name] = logic
            module = SimpleNamespace(name=name, path="", logic=lambda logic=logic: logic)
            setattr(slicer.modules, name.lower(), module)
        vtk.vtkObject.SetGlobalWarningDisplay(shown)

    def _add_singletons(self) -> None:
        """The nodes that the application always has."""
        for kind, name in (("vtkMRMLCrosshairNode", "default"), ("vtkMRMLSelectionNode", None)):
            node = self.scene.GetFirstNodeByClass(kind) or self.scene.AddNewNodeByClass(kind)
            if name:
                node.SetCrosshairName(name)
        if not self.scene.GetFirstNodeByClass("vtkMRMLInteractionNode"):
            self.scene.AddNewNodeByClass("vtkMRMLInteractionNode")

    def _add_cache(self) -> None:
        """Where scene bundles are unpacked; without it none can be read."""
        self._cache = tempfile.TemporaryDirectory(prefix="cmedl-harness-")
        self._remote, self._transfers = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
        for logic in (self._remote, self._transfers):
            logic.SetMRMLApplicationLogic(self.application_logic)
            logic.SetMRMLScene(self.scene)
        self._remote.AddDataIOToScene()
        self._transfers.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self.scene.GetCacheManager().SetRemoteCacheDirectory(self._cache.name)

    def clear(self) -> None:
        """An empty scene: closed, as File > Close Scene does it, and without the parameter nodes that this keeps."""
        self.scene.Clear(0)
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.scene.RemoveNode(node)
