"""Slice views and 3-D views, drawn off the screen by Slicer's own displayable managers, and plots; no Qt here.

The managers are those of a running Slicer, less the widgets that a mouse would drag in 3-D views. Drawing happens when
a picture is asked for, not after every change.
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
    "vtkMRMLMarkupsDisplayableManager",
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
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetInteractor(self.interactor)
        self._style.SetDisplayableManagers(self.group)
        self._style.SetSliceLogic(self.logic)

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

    def mouse(self, ras: tuple[float, float, float], *events: str) -> None:
        """The mouse at a point (RAS, mm), and what it does there: ``LeftButtonPressEvent``, ..."""
        row, column, _ = self.pixel_of(ras)
        for event in events:
            data = slicer.vtkMRMLInteractionEventData()
            data.SetType(getattr(vtk.vtkCommand, event))
            data.SetDisplayPosition([round(column), round(self.window.GetSize()[1] - 1 - row)])
            data.SetViewNode(self.node)
            data.SetRenderer(self.renderer)
            data.SetWorldPosition(ras, True)
            self._style.DelegateInteractionEventDataToDisplayableManagers(data)

    def pixel_of(self, ras: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a point (RAS, mm) lies in the picture: row, column, and mm in front of the slice's plane."""
        to_ras, to_xy = self.node.GetXYToRAS(), vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(to_ras, to_xy)
        x, y, depth, _ = to_xy.MultiplyPoint((*ras, 1.0))
        # In Slicer the voxels of XY (i, j) fill the pixel in column i, and in row j from below.
        return self.window.GetSize()[1] - 1 - y, x, depth


class ThreeDView(View):
    """One 3-D view."""

    def __init__(self, core: Core, node: object) -> None:
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.view_logics.AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), THREE_D_MANAGERS, core, node)
        self.renderer.SetUseDepthPeeling(True)

    def reset_camera(self) -> None:
        """Look at everything that is shown."""
        bounds = self.renderer.ComputeVisiblePropBounds()
        if bounds[0] <= bounds[1]:
            self.renderer.ResetCamera(bounds)


class PlotView:
    """A plot view node's chart, as Slicer's plot view draws its series; built anew for each picture."""

    def __init__(self, core: Core, node: object) -> None:
        self.node = node
        self.view = vtk.vtkContextView()
        self.window = self.view.GetRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.interactor = self.view.GetInteractor()

    resize = View.resize

    def chart(self) -> vtk.vtkChartXY | None:
        """The chart that the node shows, as VTK's; None where it shows none."""
        node = self.node.GetPlotChartNode()
        if node is None:
            return None
        chart = vtk.vtkChartXY()
        chart.SetTitle(node.GetTitle())
        chart.SetShowLegend(True)
        for axis, title, log in (
            (vtk.vtkAxis.BOTTOM, node.GetXAxisTitle(), node.GetXAxisLogScale()),
            (vtk.vtkAxis.LEFT, node.GetYAxisTitle(), node.GetYAxisLogScale()),
        ):
            chart.GetAxis(axis).SetTitle(title)
            chart.GetAxis(axis).SetLogScale(bool(log))
        if not node.GetYAxisRangeAuto():
            chart.GetAxis(vtk.vtkAxis.LEFT).SetBehavior(vtk.vtkAxis.FIXED)
            chart.GetAxis(vtk.vtkAxis.LEFT).SetRange(*node.GetYAxisRange())
        for number in range(node.GetNumberOfPlotSeriesNodes()):
            series = node.GetNthPlotSeriesNode(number)
            table = series.GetTableNode().GetTable()
            columns = (series.GetXColumnName(), series.GetYColumnName())
            # As in Slicer, a series whose columns are not there is not drawn.
            if not all(column and table.GetColumnByName(column) for column in columns):
                continue
            plot = chart.AddPlot(vtk.vtkChart.LINE)
            plot.SetInputData(table, *columns)
            plot.SetLabel(series.GetName())
            plot.SetColorF(*series.GetColor())
            plot.SetWidth(series.GetLineWidth())
            plot.GetPen().SetLineType(series.GetLineStyle())
        return chart

    def pixels(self) -> np.ndarray:
        """Draw; uint8 of shape (height, width, 3), the first row on top."""
        scene = self.view.GetScene()
        scene.ClearItems()
        chart = self.chart()
        if chart is not None:
            scene.AddItem(chart)
        return View.pixels(self)
