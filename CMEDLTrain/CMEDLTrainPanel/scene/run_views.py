"""A run in the views: its curves as Slicer's plots, its newest preview in a slice view; not saved with the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from CMEDLSegmentPanel.scene.attributes import PREFIX
from CMEDLSegmentPanel.scene.layouts import arrange, describe, layout_node, slice_view
from CMEDLTrainLib.runs.history import Curves

TEMPORARY = PREFIX + "run"
"""Attribute of nodes that show a run."""
STEP = "step"
"""The column of the tables that the plots are over."""
PREVIEW_VIEW, LOSSES_VIEW, VALIDATION_VIEW = "CMEDLPreview", "CMEDLLosses", "CMEDLValidation"
LINE_COLORS = (
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.40, 0.40, 0.40),
)
"""Of curves on white, told apart by every kind of color vision (Okabe and Ito 2008); used again dashed."""
PNG = b"\x89PNG\r\n\x1a\n"
"""What a PNG file begins with."""
LAYOUT = 5711
"""Slicer's own layouts have lower numbers, and CMEDLSegment's are 5701 and 5702."""


def _plot_view(name: str, label: str) -> str:
    return (
        f'<view class="vtkMRMLPlotViewNode" singletontag="{name}">'
        f'<property name="viewlabel" action="default">{label}</property></view>'
    )


_DESCRIPTION = (
    '<layout type="horizontal" split="true">'
    '<item splitSize="500"><layout type="vertical" split="true">'
    f'<item splitSize="500">{_plot_view(LOSSES_VIEW, "Losses")}</item>'
    f'<item splitSize="500">{_plot_view(VALIDATION_VIEW, "Validation")}</item></layout></item>'
    f'<item splitSize="500">{slice_view(PREVIEW_VIEW, "Axial", "Preview", "#808080", 58)}</item></layout>'
)


class Chart:
    """Some curves as a table, a series for each, and the chart of them; brought up to date in place.

    Args:
        title: of the chart.
        axis: title of the vertical axis.
        view: the singleton tag of the plot view that it is for.
        span: of the vertical axis; None follows the curves, on a logarithmic axis where they are above zero.
    """

    def __init__(self, title: str, axis: str, view: str, span: tuple[float, float] | None = None) -> None:
        self.table = _add("vtkMRMLTableNode", title)
        self.chart = _add("vtkMRMLPlotChartNode", title)
        self.chart.SetTitle(title)
        self.chart.SetXAxisTitle(STEP)
        self.chart.SetYAxisTitle(axis)
        self.series: dict[str, slicer.vtkMRMLPlotSeriesNode] = {}
        self._view, self._span = view, span
        if span:
            self.chart.SetYAxisRangeAuto(False)
            self.chart.SetYAxisRange(*span)

    @property
    def there(self) -> bool:
        """Whether the nodes are in the scene, which may have been closed."""
        return all(node.GetScene() is not None for node in self._nodes())

    def show(self, curves: Curves, titles: Mapping[str, str] | None = None) -> None:
        """Show ``curves``.

        Args:
            curves: the values; one that is missing is a gap.
            titles: of the curves that are plotted, by name; None for all, with their names.
        """
        columns = {STEP: np.array(curves.steps, float)}
        for name in [name for name in titles or curves.values if name in curves.values]:
            columns[name] = np.array(curves.values[name], float)
        self._fill(columns)
        for name in [name for name in self.series if name not in columns]:
            series = self.series.pop(name)
            self.chart.RemovePlotSeriesNodeID(series.GetID())
            slicer.mrmlScene.RemoveNode(series)
        for name in [name for name in columns if name != STEP and name not in self.series]:
            self._add_series(name, titles[name] if titles else name)
        if not self._span:
            # Loss terms differ by orders of magnitude; a logarithm needs all of them above zero.
            shown = np.concatenate([np.ones(1), *(values for name, values in columns.items() if name != STEP)])
            self.chart.SetYAxisLogScale(bool((shown[np.isfinite(shown)] > 0).all()))

    def select(self) -> None:
        """Let its plot view show it."""
        view = slicer.mrmlScene.GetSingletonNode(self._view, "vtkMRMLPlotViewNode")
        if view is not None and view.GetPlotChartNodeID() != self.chart.GetID():
            view.SetPlotChartNodeID(self.chart.GetID())

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        view = slicer.mrmlScene.GetSingletonNode(self._view, "vtkMRMLPlotViewNode")
        if view is not None and view.GetPlotChartNodeID() == self.chart.GetID():
            view.SetPlotChartNodeID(None)
        _remove(self._nodes())

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        return [self.chart, *self.series.values(), self.table]

    def _fill(self, columns: dict[str, np.ndarray]) -> None:
        """Replace what the table holds; observers are told once."""
        modified = self.table.StartModify()
        table = self.table.GetTable()
        if [table.GetColumnName(at) for at in range(table.GetNumberOfColumns())] != list(columns):
            self.table.RemoveAllColumns()
            for name in columns:
                array = vtk.vtkDoubleArray()
                array.SetName(name)
                self.table.AddColumn(array)
        for at, values in enumerate(columns.values()):
            column = numpy_to_vtk(values, deep=True, array_type=vtk.VTK_DOUBLE)
            column.SetName(table.GetColumnName(at))
            table.GetColumn(at).ShallowCopy(column)
        table.Modified()
        self.table.Modified()
        self.table.EndModify(modified)

    def _add_series(self, name: str, title: str) -> None:
        series = _add("vtkMRMLPlotSeriesNode", title)
        series.SetAndObserveTableNodeID(self.table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        round_, color = divmod(len(self.series), len(LINE_COLORS))
        series.SetLineStyle(series.LineStyleDash if round_ % 2 else series.LineStyleSolid)
        series.SetLineWidth(2)
        series.SetXColumnName(STEP)
        series.SetYColumnName(name)
        series.SetColor(*LINE_COLORS[color])
        self.series[name] = series
        self.chart.AddAndObservePlotSeriesNodeID(series.GetID())


class Preview:
    """A preview picture as a color image in its slice view; brought up to date in place."""

    def __init__(self) -> None:
        self.image = _add("vtkMRMLVectorVolumeNode", "Preview")
        self.image.CreateDefaultDisplayNodes()
        self.image.GetDisplayNode().SetSaveWithScene(False)
        # Columns run to the patient's left and rows, from below, to the front: upright in an axial view.
        self.image.SetIJKToRASDirections(-1, 0, 0, 0, 1, 0, 0, 0, 1)

    @property
    def there(self) -> bool:
        """Whether it is in the scene."""
        return self.image.GetScene() is not None

    def show(self, png: bytes) -> None:
        """Show the picture that a PNG file holds; what is none changes nothing."""
        if not png.startswith(PNG):
            return
        reader = vtk.vtkPNGReader()
        reader.SetMemoryBuffer(png)
        reader.SetMemoryBufferLength(len(png))
        reader.Update()
        before = self.image.GetImageData()
        size = before.GetDimensions() if before is not None else None
        self.image.SetAndObserveImageData(reader.GetOutput())
        if size != reader.GetOutput().GetDimensions():
            self.select(fit=True)

    def select(self, fit: bool = False) -> None:
        """Let its slice view show it."""
        view = slicer.mrmlScene.GetSingletonNode(PREVIEW_VIEW, "vtkMRMLSliceNode")
        logic = slicer.app.applicationLogic().GetSliceLogic(view) if view is not None else None
        if logic is None:
            return
        composite = logic.GetSliceCompositeNode()
        fit = fit or composite.GetBackgroundVolumeID() != self.image.GetID()
        composite.SetBackgroundVolumeID(self.image.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        if fit:
            logic.FitSliceToBackground()
            logic.SnapSliceOffsetToIJK()

    def remove(self) -> None:
        """Take it out of the scene."""
        _remove([self.image.GetDisplayNode(), self.image])


def describe_layout() -> None:
    """Let Slicer know the layout; at its start, since a scene that was saved in it may be opened before the panel."""
    describe(LAYOUT, _DESCRIPTION)


def show_layout() -> int:
    """Arrange the views for a run; the number of the layout that was there."""
    before = int(layout_node().GetViewArrangement())
    arrange(LAYOUT, _DESCRIPTION)
    return before


def layout_is_shown() -> bool:
    """Whether the views are arranged for a run."""
    return bool(layout_node().GetViewArrangement() == LAYOUT)


def _add(class_name: str, name: str) -> slicer.vtkMRMLNode:
    node = slicer.mrmlScene.AddNewNodeByClass(class_name)
    # A legend shows it: unique names would be numbered anew each time that a run is chosen.
    node.SetName(name)
    node.SetSaveWithScene(False)
    node.SetAttribute(TEMPORARY, name)
    return node


def _remove(nodes: Sequence[slicer.vtkMRMLNode | None]) -> None:
    for node in nodes:
        if node is not None and node.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(node)
