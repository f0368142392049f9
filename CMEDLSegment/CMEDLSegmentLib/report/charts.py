"""The report's charts, each a function from figures to SVG.

All of them work in gray: shade means amount, the model is a diamond and not only red, and figures stand beside.
A chart says what it left out (values that are infinite or do not exist) instead of leaving it out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..agreement.vote_map import SliceRow
from ..base.text import format_value
from ..io.delineation import MODEL
from ..metrics.measures import MEASURES
from ..metrics.statistics import RangeAnswer
from .style import LineStyle, fit_labels, line_styles, printable, text_width
from .svg import INK, PAPER, SOFT, Drawing, Scale

WIDTH = 720.0
HALF = WIDTH / 2 - 12
_BLUES = ((247, 250, 253), (198, 219, 239), (107, 158, 207), (33, 96, 164), (8, 40, 92))
_BAND = "#e3e8ee"
_BAR, _RANKED = "#9db7d3", "#21466f"
_CROWD = 24
"""Values from which a row of a box plot is drawn higher, its marks beside each other and the box over them."""
_MODEL = line_styles([MODEL])[MODEL].hex


def heat_map(names: Sequence[str], matrix: np.ndarray, measure: str, width: float = HALF) -> str:
    """Everybody against everybody: the darker, the less they agree.

    The scale reaches from perfect agreement to the worst value, but at least to a DSC of 0.5 or to 10 mm, so that
    small differences do not look like large ones.

    Args:
        names: of rows (reference) and columns (tested); the model, if there, is the last.
        matrix: (n, n).
        measure: whose values.
        width: of the chart.
    """
    n, unit = len(names), MEASURES[measure].unit
    size = 11.0 if n <= 10 else 9.0
    left, top = (86.0, 62.0) if n <= 20 else (60.0, 46.0)
    side = (width - left - 22) / n
    drawing = Drawing(width, top + side * n + 6, f"{MEASURES[measure].title}: everybody against everybody")
    rows, columns = fit_labels(names, size, left - 8), fit_labels(names, size, (top - 12) / 0.62)
    worst = worst_of(matrix, measure)
    for i, name in enumerate(names):
        middle = (i + 0.5) * side
        if side >= size:
            drawing.text(left - 6, top + middle + size * 0.35, rows[i], size, "end")
            x, y = left + middle - 2, top - 5
            drawing.text(x, y, columns[i], size, transform=f"rotate(-38 {x:.1f} {y:.1f})")
        for j, other in enumerate(names):
            value, x, y = float(matrix[i, j]), left + j * side, top + i * side
            fill, dark = shade(math.nan if name == other else value, measure, worst)
            tip = f"{name} / {other}: {_with_unit(value, unit)}"
            drawing.rect(x, y, side, side, fill, tip, stroke=PAPER, stroke_width=1)
            text = format_value(value, unit, digits=2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0)
            letters = min(12.0, side / 2.4, 0.9 * side / text_width(text, 1.0))
            if name != other and letters >= 6:
                ink = PAPER if dark else INK
                drawing.text(x + side / 2, y + side / 2 + letters * 0.35, text, letters, "middle", ink)
    if names[-1] == MODEL and n > 1:
        edge = (n - 1) * side
        drawing.line(left + edge, top, left + edge, top + n * side, INK, 1.6)
        drawing.line(left, top + edge, left + n * side, top + edge, INK, 1.6)
    return drawing.svg()


def worst_of(matrix: np.ndarray, measure: str) -> float:
    """The end of the dark side of a measure's scale."""
    known = matrix[np.isfinite(matrix)]
    if MEASURES[measure].better == "high":
        return min(float(known.min(initial=1.0)), 0.5)
    return max(float(np.abs(known).max(initial=0.0)), 10.0 if MEASURES[measure].unit == "mm" else 1.0)


def shade(value: float, measure: str, worst: float) -> tuple[str, bool]:
    """The color of a value of a measure, pale where there is none, and whether text on it must be white.

    Args:
        value: of the measure.
        measure: its name.
        worst: the end of the dark side; see :func:`worst_of`.
    """
    if math.isnan(value):
        return "#eceff2", False
    best = 1.0 if MEASURES[measure].better == "high" else 0.0
    return _blue(1.0 if math.isinf(value) else (abs(value) - best) / (worst - best))


def _blue(share: float) -> tuple[str, bool]:
    """The shade of a share (0 pale, 1 dark), and whether text on it must be white."""
    place = min(max(share, 0.0), 1.0) * (len(_BLUES) - 1)
    color = [round(np.interp(place, range(len(_BLUES)), channel)) for channel in zip(*_BLUES, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*color), place >= 2.0


def range_chart(answer: RangeAnswer, measures: Sequence[str], styles: Mapping[str, LineStyle]) -> str:
    """For each measure the raters' means to each other on a line, their range behind, and the model's mean."""
    left, right, row = 118.0, 172.0, 46.0
    drawing = Drawing(WIDTH, row * len(measures) + 6, "The model beside the raters' range")
    for number, measure in enumerate(measures):
        comparison = answer.rows[measure]
        y = number * row + 18
        unit = MEASURES[measure].unit
        drawing.text(0, y + 4, MEASURES[measure].title, 13, font_weight="600")
        means = [value for value in (comparison.model, *comparison.raters.values()) if math.isfinite(value)]
        if not means:
            drawing.text(left, y + 4, "no finite value", 12, fill=SOFT)
            continue
        scale = _axis(means, measure, left, WIDTH - right)
        drawing.line(left, y, WIDTH - right, y)
        for tick in scale.ticks(7):
            drawing.line(scale(tick), y + 9, scale(tick), y + 12, SOFT)
            drawing.text(scale(tick), y + 22, _tick(tick), 10, "middle", SOFT)
        if math.isfinite(comparison.worst) and math.isfinite(comparison.best):
            start, stop = sorted((scale(comparison.worst), scale(comparison.best)))
            tip = f"The raters' range: {format_value(comparison.worst, unit)} to {_with_unit(comparison.best, unit)}"
            drawing.rect(start - 7, y - 8, stop - start + 14, 16, "#cdd6df", tip, rx=8)
        for name, value in comparison.raters.items():
            if math.isfinite(value):
                drawing.dot(scale(value), y, 5, styles[name].hex, f"{name}: {_with_unit(value, unit)}")
        if math.isfinite(comparison.model):
            tip = f"model: {_with_unit(comparison.model, unit)}"
            drawing.diamond(scale(comparison.model), y, 7.5, styles[MODEL].hex, tip)
        verdict = {True: "within", False: "outside", None: "no answer"}[comparison.within]
        drawing.text(WIDTH - right + 16, y + 4, _with_unit(comparison.model, unit).strip(), 13, font_weight="600")
        drawing.text(WIDTH, y + 4, verdict, 12, "end", font_weight="600" if comparison.within is False else "400")
    return drawing.svg()


def _axis(values: Sequence[float], measure: str, start: float, stop: float) -> Scale:
    """An axis on which values have room; shares end at 1, distances begin at 0."""
    low, high = min(values), max(values)
    pad = max(0.15 * (high - low), 0.02 * (1.0 if not MEASURES[measure].unit else max(high, 1.0)))
    most = 1.0 if MEASURES[measure].better == "high" else math.inf
    return Scale(max(low - pad, 0.0), min(high + pad, most), start, stop)


def _with_unit(value: float, unit: str) -> str:
    return f"{format_value(value, unit)} {unit}"


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


class _RowChart(Drawing):
    """A chart with a row of ``height`` for each name, which stands at the left, over one axis."""

    top = 8.0

    def __init__(self, title: str, names: Sequence[str], width: float, sides: tuple[float, float], height: float):
        """``sides``: what is left free for the names, and at the right."""
        self.left, self.right, self.row = sides[0], width - sides[1], height
        self.names, self.bottom = names, self.top + height * len(names)
        super().__init__(width, self.bottom + 22, title)

    def axis(self, measure: str, values: Sequence[np.ndarray], ticks: int) -> Scale | None:
        """Draw the axis for the finite ones of some values; None, and a note in its place, where there is none."""
        finite = np.concatenate(values)
        finite = finite[np.isfinite(finite)]
        if not finite.size:
            self.text(self.left, self.top + 14, "no finite value", 12, fill=SOFT)
            return None
        scale = _axis(finite.tolist(), measure, self.left, self.right)
        self.uprights(scale, ticks)
        return scale

    def uprights(self, scale: Scale, ticks: int) -> None:
        """Draw lines across the rows at about so many ticks of an axis, each with its number below."""
        for tick in scale.ticks(ticks):
            self.line(scale(tick), self.top, scale(tick), self.bottom)
            self.text(scale(tick), self.bottom + 15, _tick(tick), 10.5, "middle", SOFT)

    def rows(self, size: float, gap: float = 10.0) -> Iterator[tuple[float, str]]:
        """Write the names, letters of ``size`` that end ``gap`` before the axis: each row's middle and its name."""
        for number, label in enumerate(fit_labels(self.names, size, self.left - gap - 2)):
            name, y = self.names[number], self.top + self.row * (number + 0.5)
            self.text(self.left - gap, y + 4, label, size, "end", font_weight="600" if name == MODEL else "400")
            yield y, name


def box_plot(
    names: Sequence[str],
    values: Sequence[np.ndarray],
    measure: str,
    styles: Mapping[str, LineStyle],
    width: float = HALF,
) -> str:
    """One row for each name: its values as dots on a box from quartile to quartile.

    The line in the box is the median; whiskers reach to the last value within 1.5 times the box beyond it (Tukey).
    Infinite values and those that do not exist are counted at the right.
    """
    crowded = max(map(len, values)) > _CROWD
    height = 40.0 if crowded else 21.0 if len(names) <= 16 else 16.0
    chart = _RowChart(f"{MEASURES[measure].title} of each with the others", names, width, (84.0, 34.0), height)
    scale = chart.axis(measure, values, 6)
    if scale is None:
        return chart.svg()
    for (y, name), own in zip(chart.rows(11.5, 8.0), values, strict=True):
        if name == MODEL and len(names) > 1:
            chart.line(0, y - height / 2, width, y - height / 2, SOFT, 0.8)
        dots = own[np.isfinite(own)]
        if dots.size and not crowded:
            _box(chart, scale, y, height * 0.56, dots, _BAND)
        for place, value in enumerate(dots):
            tip = _with_unit(float(value), MEASURES[measure].unit)
            # Many marks are spread over the row, in the same way every time.
            high = y + (place * 7 % 13 - 6) * height / 40 if crowded else y
            mark, size = (chart.diamond, 4.6) if name == MODEL else (chart.dot, 3.4)
            mark(scale(value), high, size * (0.6 if crowded else 1.0), styles[name].hex, tip)
        if dots.size and crowded:
            _box(chart, scale, y, height * 0.72, dots, "none")
        left_out = [
            f"{mask.sum()} {what}" for mask, what in ((np.isinf(own), "∞"), (np.isnan(own), "none")) if mask.any()
        ]
        chart.text(width, y + 4, ", ".join(left_out), 10.5, "end", SOFT)
    return chart.svg()


def _box(drawing: Drawing, scale: Scale, y: float, height: float, values: np.ndarray, fill: str) -> None:
    low, median, high = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (high - low)
    ends = values[values >= low - reach].min(), values[values <= high + reach].max()
    drawing.line(scale(ends[0]), y, scale(ends[1]), y, SOFT, 1.1)
    for end in ends:
        drawing.line(scale(end), y - height / 4, scale(end), y + height / 4, SOFT, 1.1)
    drawing.rect(scale(low), y - height / 2, scale(high) - scale(low), height, fill, stroke=SOFT, stroke_width=1.1)
    drawing.line(scale(median), y - height / 2, scale(median), y + height / 2, INK, 2)


def case_chart(cases: Sequence[str], raters: Sequence[np.ndarray], model: Sequence[np.ndarray], measure: str) -> str:
    """One row for each case: a line over the finite values of the raters' pairs, their mean, and the model's mean."""
    chart = _RowChart(f"{MEASURES[measure].title} in each case", cases, WIDTH, (118.0, 12.0), 15.0)
    scale = chart.axis(measure, [*raters, *model], 10)
    if scale is None:
        return chart.svg()
    for (y, _), *values in zip(chart.rows(10.5), raters, model, strict=True):
        pairs, own = (each[np.isfinite(each)] for each in values)
        if pairs.size:
            chart.line(scale(pairs.min()), y, scale(pairs.max()), y, SOFT, 4, stroke_linecap="round")
            chart.dot(scale(pairs.mean()), y, 3.6, PAPER, f"raters: {MEASURES[measure].format(pairs.mean())}")
        if own.size:
            chart.diamond(scale(own.mean()), y, 5, _MODEL, f"model: {MEASURES[measure].format(own.mean())}")
    return chart.svg()


def volume_chart(volumes: Mapping[str, float], styles: Mapping[str, LineStyle]) -> str:
    """Everybody's volume as a bar from zero, the raters' mean as a line."""
    chart = _RowChart("Volumes in cc", list(volumes), WIDTH, (118.0, 70.0), 19.0)
    scale = Scale(0.0, max([*volumes.values(), 1e-3]) * 1.04, chart.left, chart.right)
    chart.uprights(scale, 8)
    for y, name in chart.rows(12):
        width = scale(volumes[name]) - chart.left
        color, tip = styles[name].hex, printable(name)
        chart.rect(chart.left, y - 5.5, width, 11, color, tip, stroke=INK, stroke_width=0.8)
        chart.text(chart.right + 8, y + 4, _with_unit(volumes[name], "cc"), 11)
    raters = [volume for name, volume in volumes.items() if name != MODEL]
    mean = scale(sum(raters) / len(raters))
    chart.line(mean, chart.top, mean, chart.bottom, INK, 1.4, stroke_dasharray="4 3")
    return chart.svg()


def votes_bar(volumes_cc: Sequence[float]) -> str:
    """How much was marked by one, two, ... all of the raters, as one bar: the darker, the more of them.

    Args:
        volumes_cc: by number of raters, from one.
    """
    total = sum(volumes_cc)
    drawing = Drawing(WIDTH, 54, "Volume by the number of raters who marked it")
    x, free = 0.0, 0.0
    for number, volume in enumerate(volumes_cc, start=1):
        width = WIDTH * volume / total if total else 0.0
        fill, dark = _blue(0.12 + 0.88 * (number - 1) / max(len(volumes_cc) - 1, 1))
        tip = f"{number} of {len(volumes_cc)}: {_with_unit(volume, 'cc')}"
        drawing.rect(x, 4, width, 26, fill, tip, stroke=INK, stroke_width=0.8)
        if width > 26:
            drawing.text(x + width / 2, 22, f"{volume / total:.0%}", 11.5, "middle", PAPER if dark else INK)
        label = f"{number}: {_with_unit(volume, 'cc')}"
        if volume and max(x, free) + len(label) * 6.2 <= WIDTH:
            drawing.text(max(x, free), 46, label, 11, fill=SOFT)
            free = max(x, free) + len(label) * 6.2 + 10
        x += width
    return drawing.svg()


def slice_strip(
    rows: Sequence[SliceRow], names: Sequence[str], ranks: Mapping[int, int], ends: tuple[str, str] | None
) -> str:
    """Slice by slice: who marks how much, how far all agree, and how much volume they disagree on.

    Args:
        rows: the slices, in rising order.
        names: the raters, then the model.
        ranks: for the slices that have a picture, its number.
        ends: what lies towards the first and the last slice, such as inferior and superior, or None.
    """
    left, right, lane = 136.0, 8.0, 15.0
    first, last = rows[0].index, rows[-1].index
    step = (WIDTH - left - right) / (last - first + 1)
    top, score = 22.0, 54.0
    dsc_foot = top + lane * len(names) + 16 + score
    bottom = dsc_foot + 16 + score
    drawing = Drawing(WIDTH, bottom + 34, "Agreement slice by slice")

    def place(index: int) -> float:
        return left + (index - first) * step

    # A lane for each name: the slices it marks, the darker the more area.
    largest = max(max(row.areas_mm2.values()) for row in rows)
    for number, (label, name) in enumerate(zip(fit_labels(names, 11, 122), names, strict=True)):
        y = top + number * lane
        drawing.text(128, y + lane - 4, label, 11, "end", font_weight="600" if name == MODEL else "400")
        drawing.line(left, y + lane - 1, place(last) + step, y + lane - 1)
        for row in rows:
            if area := row.areas_mm2[name]:
                fill, _ = _blue(0.25 + 0.75 * area / largest)
                tip = f"{name}, slice {row.index}: {area:.0f} mm²"
                drawing.rect(place(row.index), y + 1, step + 0.15, lane - 3, fill, tip)
    most = max(row.with_model_cc for row in rows)
    for foot, text, high in ((dsc_foot, "DSC (line: least)", "1"), (bottom, "disagreement (cc)", f"{most:.2g}")):
        drawing.line(left, foot, WIDTH - right, foot, SOFT)
        drawing.line(left, foot - score, WIDTH - right, foot - score)
        drawing.text(left - 26, foot - score / 2 + 4, text, 11, "end")
        drawing.text(left - 6, foot + 1, "0", 10, "end", SOFT)
        drawing.text(left - 6, foot - score + 8, high, 10, "end", SOFT)
    gap = min(1.0, step * 0.12)
    for row in rows:
        x, width = place(row.index) + gap, step - 2 * gap
        if not math.isnan(row.dsc_mean):
            tip = f"slice {row.index}: mean DSC {format_value(row.dsc_mean, '')}, least {format_value(row.dsc_min, '')}"
            drawing.rect(x, dsc_foot - score * row.dsc_mean, width, score * row.dsc_mean, _BAR, tip)
            least = dsc_foot - score + score * (1 - row.dsc_min)
            drawing.line(x, least, x + width, least, INK, 1.6)
        tall = score * row.with_model_cc / most if most else 0.0
        color, tip = _RANKED if row.index in ranks else _BAR, f"slice {row.index}: {row.with_model_cc:.3g} cc"
        drawing.rect(x, bottom - tall, width, tall, color, tip)
        if row.index in ranks:
            middle = place(row.index) + step / 2
            drawing.line(middle, top - 2, middle, bottom, INK, 0.7, stroke_dasharray="1.5 2.5")
            drawing.text(middle, top - 7, str(ranks[row.index]), 11, "middle", font_weight="700")
    every = next(n for k in range(6) for n in (10**k, 2 * 10**k, 5 * 10**k) if (last - first + 1) / n <= 20)
    for index in range(first, last + 1):
        if index % every == 0 or first == last:
            drawing.text(place(index) + step / 2, bottom + 14, str(index), 10.5, "middle", SOFT)
    drawing.text(128, bottom + 14, "slice", 11, "end")
    if ends:
        drawing.text(left, bottom + 30, f"← {ends[0]}", 11, fill=SOFT)
        drawing.text(place(last) + step, bottom + 30, f"{ends[1]} →", 11, "end", SOFT)
    return drawing.svg()


def line_sample(style: LineStyle) -> str:
    """A short piece of a contour's line, on the dark that contours are drawn on, for a legend."""
    drawing = Drawing(46, 14, "line sample")
    drawing.rect(0, 0, 46, 14, "#101216", rx=3)
    dash = {"stroke_dasharray": " ".join(map(str, style.dash))} if style.dash else {}
    drawing.line(4, 7, 42, 7, style.hex, style.width, **dash)
    return drawing.svg()
