"""Slice views and 3-D views, drawn off the screen by Slicer's own displayable managers; no Qt here.

The managers are those of a running Slicer, less the widgets that a mouse would drag. Drawing happens when a picture is
asked for, not after every change.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from harness.core import Core

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)


def why_not() -> str:
    """Why nothing can be drawn on this machine; empty where it can."""
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    if window.SupportsOpenGL():
        return ""
    return "no OpenGL without a display here: install libegl1, libegl-mesa0 and libgl1-mesa-dri"


class View:
    """A render window off the screen, and the displayable managers that fill it."""

    def __init__(self, factory: object, managers: tuple[str, ...], core: Core, node: object) -> None:
        self.node = node
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        factory.SetMRMLApplicationLogic(core.application_logic)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.prepare()
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(node)

    def prepare(self) -> None:
        """What has to be in the renderer before the managers add theirs."""

    def resize(self, width: int, height: int) -> None:
        """The size in pixels."""
        if tuple(self.window.GetSize()) != (width, height):
            self.window.SetSize(width, height)

    def pixels(self) -> np.ndarray:
        """Draw; uint8 of shape (height, width, 3), the first row on top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.SetInputBufferTypeToRGB()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()

    def close(self) -> None:
        """Let go of the node and of the window's memory."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceView(View):
    """One slice node's view: its volumes blended by its slice logic, and what the managers draw over them."""

    def __init__(self, core: Core, node: object) -> None:
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.slice_logics.AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        self.logic.SetSliceNode(node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), SLICE_MANAGERS, core, node)
        self.logic.SetDisplayableManagerGroup(self.group)
        self._core = core
        self.renderer.GetActiveCamera().ParallelProjectionOn()

    def prepare(self) -> None:
        # First, so that the managers' half-transparent fills are blended over the image.
        self.renderer.AddViewProp(self._image)

    def resize(self, width: int, height: int) -> None:
        super().resize(width, height)
        self.logic.ResizeSliceNode(width, height)

    def pixels(self) -> np.ndarray:
        connection = self.logic.GetImageDataConnection()
        self._image.SetVisibility(connection is not None)
        self._mapper.SetInputConnection(connection)
        return super().pixels()

    def pixel_of(self, ras: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a point (RAS, mm) lies in the picture: row, column, and mm in front of the slice's plane."""
        to_ras, to_xy = self.node.GetXYToRAS(), vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(to_ras, to_xy)
        x, y, depth, _ = to_xy.MultiplyPoint((*ras, 1.0))
        # In Slicer the voxels of XY (i, j) fill the pixel in column i, and in row j from below.
        return self.window.GetSize()[1] - 1 - y, x, depth

    def close(self) -> None:
        self._core.slice_logics.RemoveItem(self.logic)
        super().close()


class ThreeDView(View):
    """One 3-D view."""

    def __init__(self, core: Core, node: object) -> None:
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.view_logics.AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), THREE_D_MANAGERS, core, node)
        self._core = core
        self.renderer.SetUseDepthPeeling(True)

    def reset_camera(self) -> None:
        """Look at everything that is shown."""
        bounds = self.renderer.ComputeVisiblePropBounds()
        if bounds[0] <= bounds[1]:
            self.renderer.ResetCamera(bounds)

    def close(self) -> None:
        self._core.view_logics.RemoveItem(self.logic)
        super().close()
