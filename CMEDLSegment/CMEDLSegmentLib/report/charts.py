"""The report's charts, each a function from figures to SVG.

All of them work in gray: shade means amount, the model is a diamond and not only red, and figures stand beside.
A chart says what it left out (values that are infinite or do not exist) instead of leaving it out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..agreement.vote_map import SliceRow
from ..base.text import format_value
from ..io.delineation import MODEL
from ..metrics.measures import MEASURES
from ..metrics.statistics import RangeAnswer
from .style import LineStyle, fit_labels, line_styles, printable, text_width
from .svg import INK, PAPER, SOFT, Drawing, Scale

WIDTH = 720.0
_BLUES = ((247, 250, 253), (198, 219, 239), (107, 158, 207), (33, 96, 164), (8, 40, 92))
_BAND = "#e3e8ee"
_CROWD = 24
"""Values from which a row of a box plot is drawn higher, its marks beside each other and the box over them."""
_MODEL = line_styles([MODEL])[MODEL].hex


def heat_map(names: Sequence[str], matrix: np.ndarray, measure: str, width: float = WIDTH / 2 - 12) -> str:
    """Everybody against everybody: the darker, the less they agree.

    The scale reaches from perfect agreement to the worst value, but at least to a DSC of 0.5 or to 10 mm, so that
    small differences do not look like large ones.

    Args:
        names: of rows (reference) and columns (tested); the model, if there, is the last.
        matrix: (n, n).
        measure: whose values.
    """
    n = len(names)
    size = 11.0 if n <= 10 else 9.0
    left, top = (86.0, 62.0) if n <= 20 else (60.0, 46.0)
    cell = (width - left - 22) / n
    height = top + cell * n + 6
    drawing = Drawing(width, height, f"{MEASURES[measure].title}: everybody against everybody")
    rows, columns = fit_labels(names, size, left - 8), fit_labels(names, size, (top - 12) / 0.62)
    worst = worst_of(matrix, measure)
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        if cell >= size:
            drawing.text(left - 6, top + middle + size * 0.35, rows[i], size, "end")
            drawing.tilted(left + middle - 2, top - 5, columns[i], size)
        for j, other in enumerate(names):
            _cell(drawing, left + j * cell, top + i * cell, cell, float(matrix[i, j]), measure, worst, (name, other))
    if names[-1] == MODEL and n > 1:
        edge = (n - 1) * cell
        drawing.line(left + edge, top, left + edge, top + n * cell, INK, 1.6)
        drawing.line(left, top + edge, left + n * cell, top + edge, INK, 1.6)
    return drawing.svg()


def worst_of(matrix: np.ndarray, measure: str) -> float:
    """The end of the dark side of a measure's scale."""
    known = matrix[np.isfinite(matrix)]
    if MEASURES[measure].better == "high":
        return min(float(known.min()) if known.size else 1.0, 0.5)
    least = 10.0 if MEASURES[measure].unit == "mm" else 1.0
    return max(float(np.abs(known).max()) if known.size else 0.0, least)


def _cell(
    drawing: Drawing,
    x: float,
    y: float,
    side: float,
    value: float,
    measure: str,
    worst: float,
    who: tuple[str, str],
) -> None:
    own = who[0] == who[1]
    fill, dark = shade(math.nan if own else value, measure, worst)
    unit = MEASURES[measure].unit
    tip = f"{who[0]} / {who[1]}: {_with_unit(value, unit)}"
    drawing.rect(x, y, side, side, fill, tip, stroke=PAPER, stroke_width=1)
    text = format_value(value, unit, digits=2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0)
    size = min(12.0, side / 2.4, 0.9 * side / text_width(text, 1.0))
    if not own and size >= 6:
        ink = PAPER if dark else INK
        drawing.text(x + side / 2, y + side / 2 + size * 0.35, text, size, "middle", ink)


def shade(value: float, measure: str, worst: float) -> tuple[str, bool]:
    """The color of a value of a measure, pale where there is none, and whether text on it must be white.

    Args:
        worst: the end of the dark side; see :func:`worst_of`.
    """
    if math.isnan(value):
        return "#eceff2", False
    best = 1.0 if MEASURES[measure].better == "high" else 0.0
    return _blue(1.0 if math.isinf(value) else (abs(value) - best) / (worst - best))


def _blue(share: float) -> tuple[str, bool]:
    """The shade of a share (0 pale, 1 dark), and whether text on it must be white."""
    place = min(max(share, 0.0), 1.0) * (len(_BLUES) - 1)
    low = min(int(place), len(_BLUES) - 2)
    color = [round(a + (b - a) * (place - low)) for a, b in zip(_BLUES[low], _BLUES[low + 1], strict=True)]
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
            ends = sorted((scale(comparison.worst), scale(comparison.best)))
            tip = f"The raters' range: {format_value(comparison.worst, unit)} to {_with_unit(comparison.best, unit)}"
            drawing.rect(ends[0] - 7, y - 8, ends[1] - ends[0] + 14, 16, "#cdd6df", tip, rx=8)
        for name, value in comparison.raters.items():
            if math.isfinite(value):
                drawing.dot(scale(value), y, 5, styles[name].hex, f"{name}: {_with_unit(value, unit)}")
        if math.isfinite(comparison.model):
            tip = f"model: {_with_unit(comparison.model, unit)}"
            drawing.diamond(scale(comparison.model), y, 7.5, styles[MODEL].hex, tip)
        verdict = {True: "within", False: "outside", None: "no answer"}[comparison.within]
        x = WIDTH - right + 16
        drawing.text(x, y + 4, _with_unit(comparison.model, unit).strip(), 13, font_weight="600")
        drawing.text(WIDTH, y + 4, verdict, 12, "end", font_weight="600" if comparison.within is False else "400")
    return drawing.svg()


def _axis(values: Sequence[float], measure: str, start: float, stop: float) -> Scale:
    """An axis on which values have room; shares end at 1, distances begin at 0."""
    low, high = min(values), max(values)
    pad = max(0.15 * (high - low), 0.02 * (1.0 if not MEASURES[measure].unit else max(high, 1.0)))
    if MEASURES[measure].better == "high":
        return Scale(max(low - pad, 0.0), min(high + pad, 1.0), start, stop)
    return Scale(max(low - pad, 0.0), high + pad, start, stop)


def _with_unit(value: float, unit: str) -> str:
    return f"{format_value(value, unit)} {unit}"


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _uprights(drawing: Drawing, scale: Scale, count: int, top: float, bottom: float) -> None:
    """Lines across the rows at about ``count`` ticks of the axis, each with its number below."""
    for tick in scale.ticks(count):
        drawing.line(scale(tick), top, scale(tick), bottom)
        drawing.text(scale(tick), bottom + 15, _tick(tick), 10.5, "middle", SOFT)


def box_plot(
    names: Sequence[str],
    values: Sequence[np.ndarray],
    measure: str,
    styles: Mapping[str, LineStyle],
    width: float = WIDTH / 2 - 12,
) -> str:
    """One row for each name: its values as dots on a box from quartile to quartile.

    The line in the box is the median; whiskers reach to the last value within 1.5 times the box beyond it (Tukey).
    Infinite values and those that do not exist are counted at the right.
    """
    left, right, top = 84.0, 34.0, 8.0
    crowded = max(map(len, values)) > _CROWD
    row = 40.0 if crowded else 21.0 if len(names) <= 16 else 16.0
    bottom = top + row * len(names)
    drawing = Drawing(width, bottom + 22, f"{MEASURES[measure].title} of each with the others")
    finite = [each[np.isfinite(each)] for each in values]
    known = np.concatenate(finite)
    if not known.size:
        drawing.text(left, top + 14, "no finite value", 12, fill=SOFT)
        return drawing.svg()
    scale = _axis(known.tolist(), measure, left, width - right)
    _uprights(drawing, scale, 6, top, bottom)
    unit = MEASURES[measure].unit
    for number, (label, name) in enumerate(zip(fit_labels(names, 11.5, left - 10), names, strict=True)):
        y = top + row * (number + 0.5)
        if name == MODEL and number:
            drawing.line(0, y - row / 2, width, y - row / 2, SOFT, 0.8)
        drawing.text(left - 8, y + 4, label, 11.5, "end", font_weight="600" if name == MODEL else "400")
        dots = finite[number]
        if dots.size and not crowded:
            _box(drawing, scale, y, row * 0.56, dots, _BAND)
        for place, value in enumerate(dots):
            tip = _with_unit(float(value), unit)
            # Many marks are spread over the row, in the same way every time.
            high = y + (place * 7 % 13 - 6) * row / 40 if crowded else y
            mark, size = (drawing.diamond, 4.6) if name == MODEL else (drawing.dot, 3.4)
            mark(scale(value), high, size * (0.6 if crowded else 1.0), styles[name].hex, tip)
        if dots.size and crowded:
            _box(drawing, scale, y, row * 0.72, dots, "none")
        infinite, absent = int(np.isinf(values[number]).sum()), int(np.isnan(values[number]).sum())
        left_out = [f"{count} {what}" for count, what in ((infinite, "∞"), (absent, "none")) if count]
        drawing.text(width, y + 4, ", ".join(left_out), 10.5, "end", SOFT)
    return drawing.svg()


def _box(drawing: Drawing, scale: Scale, y: float, height: float, values: np.ndarray, fill: str) -> None:
    low, median, high = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (high - low)
    ends = values[values >= low - reach].min(), values[values <= high + reach].max()
    drawing.line(scale(ends[0]), y, scale(ends[1]), y, SOFT, 1.1)
    for end in ends:
        drawing.line(scale(end), y - height / 4, scale(end), y + height / 4, SOFT, 1.1)
    width = scale(high) - scale(low)
    drawing.rect(scale(low), y - height / 2, width, height, fill, stroke=SOFT, stroke_width=1.1)
    drawing.line(scale(median), y - height / 2, scale(median), y + height / 2, INK, 2)


def case_chart(cases: Sequence[str], raters: Sequence[np.ndarray], model: Sequence[np.ndarray], measure: str) -> str:
    """One row for each case: a line over the finite values of the raters' pairs, their mean, and the model's mean."""
    left, right, row, top = 118.0, 12.0, 15.0, 8.0
    bottom = top + row * len(cases)
    drawing = Drawing(WIDTH, bottom + 22, f"{MEASURES[measure].title} in each case")
    pairs, own = ([each[np.isfinite(each)] for each in values] for values in (raters, model))
    known = np.concatenate([*pairs, *own])
    if not known.size:
        drawing.text(left, top + 14, "no finite value", 12, fill=SOFT)
        return drawing.svg()
    scale = _axis(known.tolist(), measure, left, WIDTH - right)
    _uprights(drawing, scale, 10, top, bottom)
    for number, label in enumerate(fit_labels(cases, 10.5, left - 12)):
        y = top + row * (number + 0.5)
        drawing.text(left - 10, y + 4, label, 10.5, "end")
        of_raters = pairs[number]
        if of_raters.size:
            drawing.line(scale(of_raters.min()), y, scale(of_raters.max()), y, SOFT, 4, stroke_linecap="round")
            drawing.dot(scale(of_raters.mean()), y, 3.6, PAPER, f"raters: {MEASURES[measure].format(of_raters.mean())}")
        if own[number].size:
            mean = own[number].mean()
            drawing.diamond(scale(mean), y, 5, _MODEL, f"model: {MEASURES[measure].format(mean)}")
    return drawing.svg()


def volume_chart(volumes: Mapping[str, float], styles: Mapping[str, LineStyle]) -> str:
    """Everybody's volume as a bar from zero, the raters' mean as a line."""
    left, right, row, top = 118.0, 70.0, 19.0, 8.0
    bottom = top + row * len(volumes)
    drawing = Drawing(WIDTH, bottom + 22, "Volumes in cc")
    scale = Scale(0.0, max([*volumes.values(), 1e-3]) * 1.04, left, WIDTH - right)
    _uprights(drawing, scale, 8, top, bottom)
    for number, (label, name) in enumerate(zip(fit_labels(list(volumes), 12, left - 12), volumes, strict=True)):
        y = top + row * (number + 0.5)
        drawing.text(left - 10, y + 4, label, 12, "end", font_weight="600" if name == MODEL else "400")
        bar = scale(volumes[name]) - left
        drawing.rect(left, y - 5.5, bar, 11, styles[name].hex, printable(name), stroke=INK, stroke_width=0.8)
        drawing.text(WIDTH - right + 8, y + 4, _with_unit(volumes[name], "cc"), 11)
    raters = [volume for name, volume in volumes.items() if name != MODEL]
    mean = scale(sum(raters) / len(raters))
    drawing.line(mean, top, mean, bottom, INK, 1.4, stroke_dasharray="4 3")
    return drawing.svg()


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
    lanes_top, score = 22.0, 54.0
    dsc_top = lanes_top + lane * len(names) + 16
    cc_top = dsc_top + score + 16
    bottom = cc_top + score
    drawing = Drawing(WIDTH, bottom + 34, "Agreement slice by slice")

    def place(index: int) -> float:
        return left + (index - first) * step

    _lanes(drawing, rows, names, place, step, lanes_top, lane)
    most = max(row.with_model_cc for row in rows)
    for base, text, low, high in (
        (dsc_top + score, "DSC (line: least)", "0", "1"),
        (bottom, "disagreement (cc)", "0", f"{most:.2g}"),
    ):
        drawing.line(left, base, WIDTH - right, base, SOFT)
        drawing.line(left, base - score, WIDTH - right, base - score)
        drawing.text(left - 26, base - score / 2 + 4, text, 11, "end")
        drawing.text(left - 6, base + 1, low, 10, "end", SOFT)
        drawing.text(left - 6, base - score + 8, high, 10, "end", SOFT)
    gap = min(1.0, step * 0.12)
    for row in rows:
        x, width = place(row.index) + gap, step - 2 * gap
        tip = f"slice {row.index}: mean DSC {format_value(row.dsc_mean, '')}, least {format_value(row.dsc_min, '')}"
        if not math.isnan(row.dsc_mean):
            tall = score * row.dsc_mean
            drawing.rect(x, dsc_top + score - tall, width, tall, "#9db7d3", tip)
            least = dsc_top + score * (1 - row.dsc_min)
            drawing.line(x, least, x + width, least, INK, 1.6)
        tall = score * row.with_model_cc / most if most else 0.0
        ranked = row.index in ranks
        drawing.rect(
            x,
            bottom - tall,
            width,
            tall,
            "#21466f" if ranked else "#9db7d3",
            f"slice {row.index}: {row.with_model_cc:.3g} cc",
        )
        if ranked:
            middle = place(row.index) + step / 2
            drawing.line(middle, lanes_top - 2, middle, bottom, INK, 0.7, stroke_dasharray="1.5 2.5")
            drawing.text(middle, lanes_top - 7, str(ranks[row.index]), 11, "middle", font_weight="700")
    _slice_axis(drawing, first, last, place, step, bottom, ends)
    return drawing.svg()


def _lanes(drawing: Drawing, rows: Sequence[SliceRow], names: Sequence[str], place, step, top, lane) -> None:
    """A lane for each name: the slices it marks, the darker the more area."""
    largest = max(max(row.areas_mm2.values()) for row in rows)
    for number, (label, name) in enumerate(zip(fit_labels(names, 11, 122), names, strict=True)):
        y = top + number * lane
        drawing.text(128, y + lane - 4, label, 11, "end", font_weight="600" if name == MODEL else "400")
        drawing.line(place(rows[0].index), y + lane - 1, place(rows[-1].index) + step, y + lane - 1)
        for row in rows:
            area = row.areas_mm2[name]
            if area:
                fill, _ = _blue(0.25 + 0.75 * area / largest)
                tip = f"{name}, slice {row.index}: {area:.0f} mm²"
                drawing.rect(place(row.index), y + 1, step + 0.15, lane - 3, fill, tip)


def _slice_axis(drawing: Drawing, first: int, last: int, place, step, y, ends: tuple[str, str] | None) -> None:
    every = next(n for k in range(6) for n in (10**k, 2 * 10**k, 5 * 10**k) if (last - first + 1) / n <= 20)
    for index in range(first, last + 1):
        if index % every == 0 or first == last:
            drawing.text(place(index) + step / 2, y + 14, str(index), 10.5, "middle", SOFT)
    drawing.text(128, y + 14, "slice", 11, "end")
    if ends:
        drawing.text(place(first), y + 30, f"← {ends[0]}", 11, fill=SOFT)
        drawing.text(place(last) + step, y + 30, f"{ends[1]} →", 11, "end", SOFT)


def line_sample(style: LineStyle) -> str:
    """A short piece of a contour's line, on the dark that contours are drawn on, for a legend."""
    drawing = Drawing(46, 14, "line sample")
    drawing.rect(0, 0, 46, 14, "#101216", rx=3)
    dash = {"stroke_dasharray": " ".join(map(str, style.dash))} if style.dash else {}
    drawing.line(4, 7, 42, 7, style.hex, style.width, **dash)
    return drawing.svg()
