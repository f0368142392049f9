"""One picture of nodules with all raters' contours and the student's (Fig. 7 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from CMEDLSegmentLib.agreement.raters import Agreement
from CMEDLSegmentLib.base.colors import MODEL_RED, RATER_COLORS
from CMEDLSegmentLib.io.delineation import RatedCase
from CMEDLSegmentLib.io.volume import axial_view
from CMEDLSegmentLib.report.contour_drawing import LUNG_WINDOW, Contour, whole_view

from ..figures.contour_panels import draw_panel, side_by_side, telling_slices, with_title


def picture(cases: Sequence[RatedCase], agreements: Sequence[Agreement]) -> Image.Image:
    """The worst, a middle and the best nodule by the student's mean DSC, and below by that of the raters' pairs.

    Args:
        cases: with the student's masks and images in HU.
        agreements: of the same cases.
    """
    of_student = np.array([agreement.raters[-1].values["dsc"].mean for agreement in agreements])
    of_raters = np.array([agreement.spread["dsc"].mean for agreement in agreements])
    rows = []
    for who, values, other, others in (
        ("student", of_student, "raters", of_raters),
        ("raters", of_raters, "student", of_student),
    ):
        panels = [
            _panel(cases[number], f"{who}: {word}, DSC {values[number]:.2f} ({other} {others[number]:.2f})")
            for word, number in telling_slices(values)
        ]
        rows.append(side_by_side(panels))
    entries = [("student", MODEL_RED)] + [(f"rater {n}", RATER_COLORS[n - 1]) for n in range(1, 5)]
    return with_title("Nodules, each with raters of its own", entries, rows)


def _panel(case: RatedCase, caption: str) -> Image.Image:
    """The slice on which the raters together marked most."""
    masks = [axial_view(rater.mask, case.geometry).array for rater in case.all]
    z = int(np.argmax(sum(mask.sum(axis=(1, 2)) for mask in masks[: len(case.raters)])))
    assert case.image is not None
    view = axial_view(case.image, case.geometry)
    low, high = LUNG_WINDOW
    shown = np.clip(2.0 * (view.array[z] - low) / (high - low) - 1.0, -1.0, 1.0)
    colors = [*RATER_COLORS[: len(case.raters)], MODEL_RED]
    drawn = tuple(
        Contour(mask[z], color, 1.6 if color == MODEL_RED else 1.2) for mask, color in zip(masks, colors, strict=True)
    )
    spacing = view.spacing[1:]
    return draw_panel(shown, drawn, caption, whole_view(shown.shape, spacing), spacing)
