"""Figures of an evaluation: the ROC curve (Fig. 4), and two students patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from CMEDLSegmentLib.base.text import format_value
from CMEDLSegmentLib.report.style import fit_labels
from CMEDLSegmentLib.report.svg import INK, PAPER, RULE, SOFT, Drawing, Scale

from .comparison import paired
from .scoring import MEASURES, SURFACE, measure_title

if TYPE_CHECKING:
    from .evaluation_file import Evaluation
    from .roc import Roc

OWN, OTHER, WORSE = "#c22a2a", "#33689c", "#b9762b"
"""Colors: this student, the other one, and a patient on whom this student is worse."""

LINES = (
    *((OWN, ""), (OTHER, "7 6"), (WORSE, "2 4"), ("#3d8a5f", "12 4 2 4"), ("#7a4f9a", "16 6")),
    *((INK, "4 3"), ("#1d9aa8", "9 3"), ("#d0628f", "3 3 9 3"), ("#7f8a1c", "20 4"), ("#8a8f98", "6 2")),
)
"""Colors and dashes of curves. Later ones lie on top as dashes, so that all are seen where they coincide."""

_SIDE = 380.0
"""Of the ROC's square."""


def charts(result: Evaluation, other: Evaluation | None = None) -> dict[str, str]:
    """The figures as SVG by file name: ``roc.svg``, and with another student ``paired.svg``."""
    students = [(scored.student, scored.roc[""]) for scored in (result, other) if scored]
    curves = [(name, curve) for name, curve in students if curve.auc is not None]
    drawings = {"roc.svg": roc_chart(curves)} if curves else {}
    return drawings | ({"paired.svg": paired_chart(result, other)} if other else {})


def roc_chart(curves: Sequence[tuple[str, Roc]]) -> str:
    """Curves of students with their names and areas; the first is the one that the others are compared with."""
    left, top = 58.0, 16.0
    drawing = Drawing(left + _SIDE + 16, top + _SIDE + 50, "Receiver operating characteristic")
    drawing.rect(0, 0, drawing.width, drawing.height, PAPER)
    x, y = Scale(0.0, 1.0, left, left + _SIDE), Scale(0.0, 1.0, top + _SIDE, top)
    for tick in x.ticks(7):
        drawing.line(x(tick), y(0), x(tick), y(1))
        drawing.line(x(0), y(tick), x(1), y(tick))
        drawing.text(x(tick), y(0) + 17, f"{tick:g}", 11, "middle", SOFT)
        drawing.text(x(0) - 8, y(tick) + 4, f"{tick:g}", 11, "end", SOFT)
    drawing.line(x(0), y(0), x(1), y(1), SOFT, 1.0, stroke_dasharray="4 4")
    drawing.text(x(0.5), y(0) + 40, "false-positive rate of voxels", 12.5, "middle")
    drawing.text(16, y(0.5), "true-positive rate", 12.5, "middle", transform=f"rotate(-90 16 {y(0.5):.1f})")
    foot, room = y(0) - 26, 22 * len(curves)
    drawing.rect(x(1) - 276, foot - room - 10, 268, 22 + room, PAPER, stroke=RULE)
    drawing.text(x(1) - 16, foot - room + 5, "area", 11, "end", SOFT)
    names = fit_labels([name for name, _ in curves], 12.5, 160)
    for number, (_, curve) in enumerate(curves):
        color, dash = LINES[number % len(LINES)]
        style = {"stroke_dasharray": dash} if dash else {}
        height = foot - room + 22 * (number + 1)
        drawing.curve([(x(a), y(b)) for a, b in curve.points], color, 2.4, **style)
        drawing.line(x(1) - 266, height - 4, x(1) - 238, height - 4, color, 3, **style)
        drawing.text(x(1) - 230, height, names[number], 12.5)
        drawing.text(x(1) - 16, height, f"{curve.auc:.4f}", 12.5, "end", font_weight="600")
    return drawing.svg()


def paired_chart(result: Evaluation, other: Evaluation) -> str:
    """For each measure a line a patient, from the other student's value to this one's; broad lines are the means.

    Patients without a value for both, such as a missed structure's HD95, are counted below.
    """
    width, top, height = 256.0, 40.0, 270.0
    drawing = Drawing(width * len(SURFACE) + 8, top + height + 78, f"{result.student} against {other.student}")
    drawing.rect(0, 0, drawing.width, drawing.height, PAPER)
    pairs = paired(other.patients, result.patients)
    ends = fit_labels([other.student, result.student], 11.5, 86)
    for number, name in enumerate(SURFACE):
        left = number * width + 46
        values = [(a.values[name], b.values[name], ", ".join(b.cases)) for a, b in pairs]
        known = [(a, b, cases) for a, b, cases in values if a is not None and b is not None]
        high = 1.0 if MEASURES[name].better == "high" else max([*(max(a, b) for a, b, _ in known), 1.0]) * 1.05
        y = Scale(0.0, high, top + height, top)
        title = measure_title(name) + (f", {result.tolerance_mm:g} mm" if name == "surface_dice" else "")
        drawing.text(left, 22, title, 13.5, font_weight="600")
        for tick in y.ticks(7):
            drawing.line(left, y(tick), left + 200, y(tick))
            drawing.text(left - 7, y(tick) + 4, f"{tick:g}", 10.5, "end", SOFT)
        _slopes(drawing, name, known, left + 56, left + 144, y)
        for place, end in zip((left + 56, left + 144), ends, strict=True):
            drawing.text(place, top + height + 20, end, 11.5, "middle")
        absent = len(values) - len(known)
        count = f"N = {len(known)}" + (f", {absent} without a value" if absent else "")
        drawing.text(left + 100, top + height + 40, count, 11, "middle", SOFT)
    legend = f"A line is a patient; blue: {result.student} is no worse, brown: it is worse; black: the means."
    drawing.text(46, top + height + 68, legend, 11, fill=SOFT)
    return drawing.svg()


def _slopes(
    drawing: Drawing, name: str, known: Sequence[tuple[float, float, str]], start: float, stop: float, y: Scale
) -> None:
    """The lines of one measure, from ``start`` to ``stop``; of each patient the two values and the cases."""
    sign, unit = (1.0 if MEASURES[name].better == "high" else -1.0), MEASURES[name].unit
    for a, b, cases in known:
        color = WORSE if sign * (b - a) < 0 else OTHER
        drawing.line(start, y(a), stop, y(b), color, 1.3, stroke_opacity=0.75)
        for place, value in ((start, a), (stop, b)):
            drawing.dot(place, y(value), 3.2, color, f"{cases}: {format_value(value, unit)} {unit}")
    if known:
        before, after = sum(a for a, _, _ in known) / len(known), sum(b for _, b, _ in known) / len(known)
        drawing.line(start, y(before), stop, y(after), INK, 4)
        drawing.text(start - 7, y(before) + 4, format_value(before, unit), 12, "end", font_weight="600")
        drawing.text(stop + 7, y(after) + 4, format_value(after, unit), 12, font_weight="600")
