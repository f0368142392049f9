"""A model's result and experts beside it in the panel, and what tests of the comparison ask of both."""

from __future__ import annotations

import numpy as np

from segment.panel.bright import LARGE, distance_mm
from segment.panel.conftest import settle

NAME, CC, DICE = 1, 2, 3
"""Columns of the table of raters."""


def wait_for_figures(panel, app) -> None:
    """Until the figures are those of the present contours."""
    settle(panel, app)
    app.wait_until(lambda: panel.agreement.fresh)
    settle(panel, app)


def smaller() -> np.ndarray:
    return distance_mm(LARGE) <= LARGE[1] - 3.0


def model() -> np.ndarray:
    """What the model of ``segmented`` marks."""
    import slicer

    from CMEDLSegmentPanel.scene.segment_masks import array_on_volume

    result = slicer.util.getNode("CT bright")
    return array_on_volume(result, "Segment_1", slicer.util.getNode("CT"))


def column(table, number: int) -> list[str]:
    return [table.item(row, number).text() for row in range(table.rowCount)]


def edit(name: str, mask: np.ndarray) -> None:
    """Change what a rater marks, as the Segment Editor does."""
    import slicer

    node, ct = slicer.util.getNode(f"{name}'s"), slicer.util.getNode("CT")
    segment = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, ct)
