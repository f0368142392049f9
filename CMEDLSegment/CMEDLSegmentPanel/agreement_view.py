"""What the section "Agreement with experts" shows: the raters' figures, the matrix, and the strip of slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import qt
from slicer.i18n import tr as _

from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentLib.metrics.measures import MEASURES

from .section import fitHeight, plainToolTip

if TYPE_CHECKING:
    from CMEDLSegmentLib.agreement.raters import Agreement
    from CMEDLSegmentLib.metrics.statistics import Spread

SHOWN = ("dsc", "hd95_mm")
"""The measures that the table of raters has columns for; the matrix shows any."""

COLOR, NAME, VOLUME, FIRST = range(4)
NARROWEST, NAMES_WIDTH = 44, 110
"""Pixels of a column of the matrix, and at most of the names beside it."""

BLUE, ORANGE = (0, 114, 178), (230, 159, 0)
"""Of what everybody and of what only some marked; every kind of color vision tells them apart, also in gray."""
GRAY, PALE, HERE = (150, 150, 150), (235, 235, 235), (30, 30, 30)


def displayName(name: str) -> str:
    """A rater's name for people."""
    return _("Model") if name == MODEL else name


def figure(measure: str, value: float) -> str:
    """A value of a measure in few characters."""
    return MEASURES[measure].format(value, digits=1 if MEASURES[measure].unit else 2)


def fillRaters(table: qt.QTableWidget, agreement: Agreement, colors: Sequence[tuple], fresh: bool) -> None:
    """A row for everybody, and one for the raters among each other.

    Args:
        table: the widget.
        agreement: what is shown.
        colors: of the contours, 0 to 1, in the order of the rows.
        fresh: whether the figures are those of the present contours; else they are gray.
    """
    rows = agreement.raters
    several = len(agreement.rater_names) > 1
    table.setRowCount(len(rows) + several)
    for number, row in enumerate(rows):
        swatch = _cell(table, number, COLOR, "")
        if fresh:
            swatch.setBackground(qt.QBrush(qt.QColor.fromRgbF(*colors[number])))
        _cell(table, number, NAME, displayName(row.name), fresh=fresh)
        _cell(table, number, VOLUME, f"{row.volume_cc:.1f}", fresh=fresh, right=True)
        for column, measure in enumerate(SHOWN, start=FIRST):
            _spread(table, number, column, measure, row.values[measure], fresh)
    if several:
        last = len(rows)
        _cell(table, last, COLOR, "")
        _cell(table, last, NAME, _("All raters"), fresh=fresh, bold=True)
        volume = agreement.volume
        cc = _cell(table, last, VOLUME, f"{volume.mean:.1f}", fresh=fresh, right=True, bold=True)
        cc.setToolTip(plainToolTip(_spreadTip(_("Volume (cc)"), volume)))
        for column, measure in enumerate(SHOWN, start=FIRST):
            _spread(table, last, column, measure, agreement.spread[measure], fresh, bold=True)
    fitHeight(table)


def _spread(
    table: qt.QTableWidget, row: int, column: int, measure: str, spread: Spread, fresh: bool, bold: bool = False
) -> None:
    text = figure(measure, spread.mean)
    if spread.n > 1:
        text += f" \u00b1 {figure(measure, spread.std)}"
    if spread.excluded:
        text += " *"
    item = _cell(table, row, column, text, fresh=fresh, right=True, bold=bold)
    item.setToolTip(plainToolTip(_spreadTip(f"{MEASURES[measure].title}. {MEASURES[measure].definition}", spread)))


def _spreadTip(title: str, spread: Spread) -> str:
    lines = [title]
    if spread.n > 1:
        lines.append(
            _("Mean {mean:.3g}, standard deviation {std:.2g}, coefficient of variation {cv:.0%}, {n} values").format(
                mean=spread.mean, std=spread.std, cv=spread.cv, n=spread.n
            )
        )
    if spread.excluded:
        lines.append(_("* {count} left out, because they have no finite value").format(count=spread.excluded))
    return "\n".join(lines)


def fillMatrix(table: qt.QTableWidget, agreement: Agreement, measure: str, fresh: bool) -> None:
    """Everybody against everybody in one measure, as a heat map in the report's colors."""
    from CMEDLSegmentLib.report.charts import shade, worst_of

    names = agreement.names
    matrix = agreement.matrix(measure)
    worst = worst_of(matrix, measure)
    table.setRowCount(len(names))
    table.setColumnCount(len(names))
    table.verticalHeader().setMaximumWidth(NAMES_WIDTH)
    table.horizontalHeader().setMinimumSectionSize(NARROWEST)
    table.setVerticalHeaderLabels([displayName(name) for name in names])
    short = [_("M") if name == MODEL else str(number) for number, name in enumerate(names, start=1)]
    table.setHorizontalHeaderLabels(short)
    for row, reference in enumerate(names):
        # Columns are narrow: they carry numbers, which the rows explain.
        table.verticalHeaderItem(row).setText(f"{short[row]}  {displayName(reference)}")
        for header in (table.verticalHeaderItem(row), table.horizontalHeaderItem(row)):
            header.setToolTip(plainToolTip(displayName(reference)))
        for column, tested in enumerate(names):
            if row == column:
                _cell(table, row, column, "").setBackground(qt.QBrush(qt.QColor(*PALE)))
                continue
            value = float(matrix[row, column])
            item = _cell(table, row, column, figure(measure, value), fresh=fresh, center=True)
            item.setToolTip(plainToolTip(_pairTip(measure, reference, tested, value)))
            if fresh:
                color, dark = shade(value, measure, worst)
                item.setBackground(qt.QBrush(qt.QColor(color)))
                item.setForeground(qt.QBrush(qt.QColor("white" if dark else "black")))
    fitHeight(table)


def _pairTip(measure: str, reference: str, tested: str, value: float) -> str:
    known = MEASURES[measure]
    names = (displayName(reference), displayName(tested))
    pair = _("{a} and {b}") if known.symmetric else _("{b} against {a} as the reference")
    text = f"{value:.3f} {known.unit}".strip() if math.isfinite(value) else figure(measure, value)
    return f"{pair.format(a=names[0], b=names[1])}: {text}\n{known.title}. {known.definition}"


def _cell(
    table: qt.QTableWidget,
    row: int,
    column: int,
    text: str,
    fresh: bool = True,
    right: bool = False,
    center: bool = False,
    bold: bool = False,
) -> qt.QTableWidgetItem:
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled)
    item.setToolTip(plainToolTip(text))
    if right or center:
        item.setTextAlignment((qt.Qt.AlignRight if right else qt.Qt.AlignHCenter) | qt.Qt.AlignVCenter)
    if not fresh:
        item.setForeground(qt.QBrush(qt.QColor(*GRAY)))
    if bold:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    table.setItem(row, column, item)
    return item


class Strip:
    """One bar for each slice between the lowest and the highest marked one, and a line that says which one is seen."""

    BARS, MARKS = 0, 1
    HEIGHTS = (56, 10)

    def __init__(self, table: qt.QTableWidget) -> None:
        self._table = table
        self._first = 0
        self._marked: int | None = None
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.setRowCount(len(self.HEIGHTS))
        for row, height in enumerate(self.HEIGHTS):
            table.setRowHeight(row, height)

    def fill(self, some: Sequence[int], everybody: Sequence[int], tips: dict[int, str], fresh: bool) -> None:
        """Draw the bars.

        Args:
            some, everybody: for every slice of the case, the pixels that anybody and that everybody marked.
            tips: of the slices that are marked.
            fresh: whether the figures are those of the present contours.
        """
        used = sorted(tips)
        self._first, self._marked = (used[0] if used else 0), None
        self._table.setColumnCount(used[-1] - used[0] + 1 if used else 0)
        most = max((some[index] for index in used), default=1)
        for column in range(self._table.columnCount):
            index = column + self._first
            bar, mark = _cell(self._table, self.BARS, column, ""), _cell(self._table, self.MARKS, column, "")
            bar.setBackground(self._bar(some[index] / most, everybody[index] / most, fresh))
            for item in (bar, mark):
                item.setToolTip(plainToolTip(tips.get(index, "")))

    def slice(self, column: int) -> int:
        """The case's slice that a bar stands for."""
        return column + self._first

    def mark(self, index: int | None) -> None:
        """Show which slice is seen; None or one that nobody marked takes the mark away."""
        if index == self._marked:
            return
        for which, color in ((self._marked, None), (index, HERE)):
            item = None if which is None else self._table.item(self.MARKS, which - self._first)
            if item is not None:
                item.setBackground(qt.QBrush(qt.QColor(*color)) if color else qt.QBrush())
        self._marked = index

    def _bar(self, some: float, everybody: float, fresh: bool) -> qt.QBrush:
        """A brush that fills a cell from below: what everybody marked, and on it what only some did."""
        height = self.HEIGHTS[self.BARS]
        gradient = qt.QLinearGradient(0, 0, 0, height)
        top, edge = 1 - some, 1 - everybody
        lower, upper = (BLUE, ORANGE) if fresh else (GRAY, PALE)
        clear = qt.QColor(0, 0, 0, 0)
        # A pixel at least, so that a slice with little on it is still seen.
        top = min(top, 1 - 1.5 / height) if some else top
        hair = 1e-4
        for at, color in (
            (0.0, clear),
            (max(top - hair, 0.0), clear),
            (top, qt.QColor(*upper)),
            (max(edge - hair, top), qt.QColor(*upper)),
            (edge, qt.QColor(*lower)),
            (1.0, qt.QColor(*lower)),
        ):
            gradient.setColorAt(min(at, 1.0), color)
        return qt.QBrush(gradient)
