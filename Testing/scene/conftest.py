"""A bare scene on slicer-core, without any window, for the tests of the scene room."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import slicer


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A new scene with colours and the logics that segmentations need, set up as the application does."""
    import vtk

    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logics = {}
    # Terminology files come with the application only, and VTK would print that they are missing.
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    for name, kind in (
        ("Volumes", slicer.vtkSlicerVolumesLogic),
        ("Terminologies", slicer.vtkSlicerTerminologiesModuleLogic),
        ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
    ):
        logics[name] = kind()
        logics[name].SetMRMLApplicationLogic(logic)
        logics[name].SetMRMLScene(scene)
        logic.SetModuleLogic(name, logics[name])
    vtk.vtkObject.SetGlobalWarningDisplay(shown)
    modules = {name.lower(): SimpleNamespace(name=name, logic=lambda made=made: made) for name, made in logics.items()}
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**modules), raising=False)
    yield scene
    scene.Clear(1)
