"""What comes of a comparison as nodes of the scene: map, consensus, tables and plots, saved with it as all others are.

There is one map, and one of each table and plot, for a CT: a later comparison takes the place of an earlier one. Each
consensus is a new segmentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from CMEDLSegmentLib.io.volume import triple
from CMEDLSegmentLib.metrics.measures import MEASURES

from .attributes import PREFIX
from .expert_segments import one_line
from .rated_scene import RatedScene, middle_of
from .result_nodes import lay_over
from .segment_masks import add_segment, new_segmentation, show_outlines
from .subject_hierarchy import place_beside

if TYPE_CHECKING:
    from CMEDLSegmentLib.agreement.raters import Agreement

OPACITY = 0.5
METHODS = {"majority": "majority", "staple": "STAPLE"}
"""How a consensus is found, and what that is called."""

CONSENSUS_COLOR = (1.0, 1.0, 1.0)
"""No rater's and not the model's."""

_COUNTS = ((0.27, 0.20, 0.55), (0.19, 0.41, 0.56), (0.13, 0.57, 0.55), (0.36, 0.79, 0.39), (0.99, 0.91, 0.15))
"""From one rater to all of them: the light part of viridis, which every kind of color vision sees in this order."""

POSITION = "position_mm"
"""Column of the slices' table: along the patient's axis, mm, as Slicer's views show it."""

_KIND, _OF = PREFIX + "agreement", PREFIX + "agreementOf"
_MAP = "map"


def find_all(class_name: str, kind: str, volume: slicer.vtkMRMLVolumeNode | None) -> list[slicer.vtkMRMLNode]:
    """Our nodes of this kind that belong to a CT."""
    nodes = slicer.util.getNodesByClass(class_name) if volume is not None else []
    return [node for node in nodes if node.GetAttribute(_KIND) == kind and node.GetNodeReference(_OF) is volume]


def own(class_name: str, kind: str, rated: RatedScene, several: bool = False) -> slicer.vtkMRMLNode:
    """Our node of this kind for the CT of a case, made if it is not there or if there can be several."""
    volume, scene = rated.volume, slicer.mrmlScene
    there = [] if several else find_all(class_name, kind, volume)
    if there:
        return there[0]
    node = scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(f"{volume.GetName()} agreement {kind}"))
    node.SetAttribute(_KIND, kind)
    node.SetNodeReferenceID(_OF, volume.GetID())
    if node.IsA("vtkMRMLColorNode"):
        # A part of the map: Slicer's Data module has no rows for colors.
        node.SetHideFromEditors(True)
    else:
        place_beside(node, volume)
    return node


def map_of(volume: slicer.vtkMRMLVolumeNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The agreement map of a CT, if there is one."""
    return next(iter(find_all("vtkMRMLScalarVolumeNode", _MAP, volume)), None)


def set_map(rated: RatedScene, agreement: Agreement) -> slicer.vtkMRMLScalarVolumeNode:
    """Make, or bring up to date, the volume that holds how many raters marked each voxel; the model does not count.

    It is as large as what anybody marked, and no view shows it until asked (:func:`show_map`).
    """
    volume = rated.volume
    counts = rated.mask(agreement.map, tuple(part.start for part in agreement.box))
    node = own("vtkMRMLScalarVolumeNode", _MAP, rated)
    matrix = counts.matrix.copy()
    matrix[:3, 3] += matrix[:3, :3] @ counts.first
    new = node.GetDisplayNode() is None
    array = np.zeros((1, 1, 1), agreement.map.dtype) if counts.empty else counts.array
    lay_over(node, volume, array, (0, 0, 0), matrix)
    raters = len(rated.case.raters)
    display = node.GetDisplayNode()
    if new:
        display.SetInterpolate(False)
    display.SetAndObserveColorNodeID(_colors(rated, raters).GetID())
    display.SetWindowLevelMinMax(0, raters)
    display.SetThreshold(1, raters)
    return node


def _colors(rated: RatedScene, raters: int) -> slicer.vtkMRMLColorTableNode:
    """A color for each number of raters."""
    node = own("vtkMRMLColorTableNode", "colors", rated)
    node.SetTypeToUser()
    node.SetNumberOfColors(raters + 1)
    node.SetColor(0, "nobody", 0.0, 0.0, 0.0, 0.0)
    for count, color in enumerate(count_colors(raters), start=1):
        node.SetColor(count, f"{count} of {raters}", *color, 1.0)
    return node


def count_colors(raters: int) -> list[tuple[float, float, float]]:
    """The colors (0 to 1) of what one, two, ... all of the raters marked."""
    at = np.linspace(0, len(_COUNTS) - 1, raters) if raters > 1 else [len(_COUNTS) - 1]
    known = np.arange(len(_COUNTS))
    return [triple(float(np.interp(place, known, part)) for part in zip(*_COUNTS, strict=True)) for place in at]


def show_map(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put the map over the CT in all slice views."""
    slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=OPACITY)


def hide_map(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Take the map away from the views that show it."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundVolumeID(None)


def map_is_shown(node: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
    """Whether a view shows the map."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return node is not None and any(view.GetForegroundVolumeID() == node.GetID() for view in composites)


def add_consensus(rated: RatedScene, marked: np.ndarray, method: str) -> slicer.vtkMRMLSegmentationNode:
    """Add a consensus of the raters as a segmentation on the CT's grid.

    Args:
        rated: what it is a consensus of.
        marked: bool (z, y, x) on the case's grid.
        method: one of :data:`METHODS`.
    """
    volume, title = rated.volume, METHODS[method]
    node = new_segmentation(volume, f"{volume.GetName()} consensus ({title})")
    tags = {f"{PREFIX}consensus": method}
    add_segment(node, "Consensus", f"Consensus ({title})", CONSENSUS_COLOR, rated.mask(marked), tags)
    show_outlines(node)
    place_beside(node, volume)
    return node


def set_tables(rated: RatedScene, agreement: Agreement) -> list[slicer.vtkMRMLNode]:
    """Make, or bring up to date, the tables of pairs, raters, slices and tumors, as the report's, and two plots."""
    from CMEDLSegmentLib.report.tables import case_tables

    nodes = {}
    for file, table in case_tables(agreement).items():
        kind = file.removesuffix(".csv")
        nodes[kind] = own("vtkMRMLTableNode", kind, rated)
        columns = {name: [row.get(name) for row in table.rows] for name in table.columns}
        if kind == "slices":
            columns[POSITION] = [float(middle_of(rated, row.index)[2]) for row in agreement.slices]
        fill_table(nodes[kind], columns)
    mean, least = {"dsc_mean": (0.0, 0.45, 0.70)}, {"dsc_min": (0.90, 0.62, 0.0)}
    by_rater = ("", "Mean DSC with the other raters")
    by_slice = ("Position, feet to head (mm)", "Mean and least DSC of the pairs")
    return [
        *nodes.values(),
        _chart(rated, "DSC by rater", nodes["raters"], "name", mean, by_rater, bars=True),
        _chart(rated, "DSC by slice", nodes["slices"], POSITION, mean | least, by_slice),
    ]


def tables_of(volume: slicer.vtkMRMLVolumeNode | None) -> slicer.vtkMRMLTableNode | None:
    """The table of raters of a CT, which is there when the others are."""
    return next(iter(find_all("vtkMRMLTableNode", "raters", volume)), None)


def heading(measure: str) -> str:
    """A measure's title with its unit."""
    known = MEASURES[measure]
    return f"{known.title} ({known.unit})" if known.unit else known.title


def fill_table(node: slicer.vtkMRMLTableNode, columns: Mapping[str, Sequence[Any]]) -> None:
    """Replace what a table holds; None is a dash in a column of texts and NaN in one of numbers.

    Slicer's tables are saved as text, and what is read back is another table if a cell holds a quotation mark or
    nothing: both are replaced.
    """
    modified = node.StartModify()
    node.RemoveAllColumns()
    for name, values in columns.items():
        texts = any(isinstance(value, str) for value in values)
        array = vtk.vtkStringArray() if texts else vtk.vtkDoubleArray()
        array.SetName(_cell(name))
        for value in values:
            array.InsertNextValue(_cell(value) if texts else math.nan if value is None else float(value))
        node.AddColumn(array)
    node.EndModify(modified)


def _cell(value: Any) -> str:
    return one_line(str(value if value is not None else "").replace('"', "'")) or "-"


def _chart(
    rated: RatedScene,
    kind: str,
    table: slicer.vtkMRMLTableNode,
    along: str,
    columns: dict[str, tuple[float, float, float]],
    axes: tuple[str, str],
    bars: bool = False,
) -> slicer.vtkMRMLPlotChartNode:
    """A plot of a table's columns.

    Args:
        kind: its title.
        table: what is plotted.
        along: the column of the horizontal axis, or of the bars' names.
        columns: the columns of the vertical axis, and their colors.
        axes: their titles.
    """
    chart = own("vtkMRMLPlotChartNode", kind, rated)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(kind)
    chart.SetXAxisTitle(axes[0])
    chart.SetYAxisTitle(axes[1])
    for column, color in columns.items():
        series = own("vtkMRMLPlotSeriesNode", f"{kind}: {column}", rated)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeBar if bars else series.PlotTypeScatter)
        series.SetLabelColumnName(along if bars else "")
        series.SetXColumnName("" if bars else along)
        series.SetYColumnName(column)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart
