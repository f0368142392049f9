"""The table of a role's cases: sorted by any column, quick with hundreds of rows, the split chosen in its cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import qt
from slicer.i18n import tr as _

from CMEDLSegmentLib.io.cohort_table import SPLITS, Case
from CMEDLSegmentPanel.section import plainToolTip
from CMEDLTrainLib.cohort.checks import ERROR, ExaminedCase, Finding

PATIENT, CASE, IMAGE, SEGMENT, SPACING, SLICES, VOLUME, SPLIT, STATE = range(9)
NAME_WIDTH = 76
"""Pixels at first of a column that may hold long names."""
RED, AMBER, GRAY = "#c0392b", "#b9770e", "#909090"
"""Of errors, warnings and what is not known yet; they can be read on light and on dark panels."""


def splitTitles() -> dict[str, str]:
    """What a person reads for each split."""
    return {**dict(zip(SPLITS, (_("train"), _("validation"), _("test")), strict=True)), "": _("none yet")}


@dataclass(frozen=True)
class Row:
    """A case as the table shows it.

    Attributes:
        case: its line in the cohort.
        split: its split in words, see :func:`splitTitles`.
        known: what was found; None while nothing is known.
        findings: all that is wrong with it, errors first.
    """

    case: Case
    split: str
    known: ExaminedCase | None = None
    findings: Sequence[Finding] = ()

    @cached_property
    def texts(self) -> list[str]:
        """What stands in each column."""
        case, seen = self.case, self.known
        spacing = " x ".join(f"{step:.3g}" for step in reversed(seen.spacing)) if seen and seen.spacing else ""
        return [
            case.patient,
            case.case,
            case.image.name,
            self.known.segment if self.known else "",
            spacing,
            str(seen.structure_slices) if seen else "",
            f"{seen.volume_cc:.2f}" if seen else "",
            self.split,
            self.state,
        ]

    @cached_property
    def state(self) -> str:
        """The findings in few words."""
        if self.findings:
            more = _(" (and {count} more)").format(count=len(self.findings) - 1) if len(self.findings) > 1 else ""
            return self.findings[0].sentence + more
        return _("Good") if self.known else _("Not checked yet")

    @cached_property
    def color(self) -> str | None:
        """Of the state; None for the usual one."""
        if not self.findings:
            return None if self.known else GRAY
        return RED if self.findings[0].severity == ERROR else AMBER

    def key(self, column: int) -> tuple:
        """What the rows are sorted by."""
        seen = self.known
        if column in (SPACING, SLICES, VOLUME):
            if seen is None:
                return ()
            return {SPACING: seen.spacing or (), SLICES: (seen.structure_slices,), VOLUME: (seen.volume_cc,)}[column]
        if column == SPLIT:
            return ((*SPLITS, "").index(self.case.split),)
        if column == STATE:
            return ((RED, AMBER, GRAY, None).index(self.color), self.state)
        return (self.texts[column].casefold(),)


class CasesTable:
    """One of the two tables.

    Args:
        table: the widget.
        splitChosen: called with the cases whose patients get a split, and the split.
        opened: called with a case that was double-clicked.
        selectionChanged: called when other rows are selected.
    """

    def __init__(
        self,
        table: qt.QTableWidget,
        splitChosen: Callable[[list[Case], str], None],
        opened: Callable[[Case], None],
        selectionChanged: Callable[[], None],
    ) -> None:
        self.table, self.editable = table, False
        self._rows: list[Row] = []
        self._texts: list[list[str]] = []
        self._sort, self._down = CASE, False
        self._box: tuple[int, qt.QComboBox] | None = None
        self._splitChosen, self._opened = splitChosen, opened
        header = table.horizontalHeader()
        for column, width in ((PATIENT, NAME_WIDTH), (CASE, NAME_WIDTH), (IMAGE, NAME_WIDTH), (SEGMENT, 60)):
            header.resizeSection(column, width)
        for column, width in ((SPACING, 88), (SLICES, 48), (VOLUME, 72), (SPLIT, 80)):
            header.resizeSection(column, width)
        # What is wrong is seen without scrolling.
        header.moveSection(STATE, IMAGE)
        header.moveSection(header.visualIndex(SPLIT), IMAGE)
        header.resizeSection(STATE, 150)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(CASE, qt.Qt.AscendingOrder)
        header.connect("sectionClicked(int)", self.onSort)
        table.connect("cellClicked(int,int)", self.onCellClicked)
        table.connect("cellDoubleClicked(int,int)", self.onCellDoubleClicked)
        table.connect("itemSelectionChanged()", selectionChanged)

    @property
    def selected(self) -> list[Case]:
        """The cases whose rows are selected."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self._rows[row].case for row in rows if row < len(self._rows)]

    def show(self, rows: Sequence[Row], editable: bool) -> None:
        """Show ``rows``; only cells whose text has changed are touched."""
        self.editable = editable
        chosen = {case.case for case in self.selected}
        self._rows = sorted(rows, key=lambda row: row.key(self._sort), reverse=self._down)
        table, blocked = self.table, self.table.blockSignals(True)
        table.setUpdatesEnabled(False)
        if table.rowCount != len(rows):
            table.setRowCount(len(rows))
            del self._texts[len(rows) :]
        moved = [row.case.case for row in self._rows] != [texts[CASE] for texts in self._texts]
        for number, row in enumerate(self._rows):
            self._showRow(number, row)
        if moved and chosen:
            table.clearSelection()
            self._select(chosen)
        table.setUpdatesEnabled(True)
        table.blockSignals(blocked)

    def onSort(self, column: int) -> None:
        """Sort by a column, or the other way round."""
        self._down = not self._down if column == self._sort else False
        self._sort = column
        order = qt.Qt.DescendingOrder if self._down else qt.Qt.AscendingOrder
        self.table.horizontalHeader().setSortIndicator(column, order)
        self.closeBox()
        self.show(self._rows, self.editable)

    def onCellClicked(self, row: int, column: int) -> None:
        """Offer the splits where the split was clicked."""
        self.closeBox()
        if column != SPLIT or not self.editable:
            return
        box = qt.QComboBox()
        titles = splitTitles()
        for name, title in titles.items():
            box.addItem(title, name)
        box.currentIndex = list(titles).index(self._rows[row].case.split)
        box.connect("activated(int)", self.onSplitChosen)
        self._box = row, box
        self.table.setCellWidget(row, SPLIT, box)
        box.showPopup()

    def onSplitChosen(self, index: int) -> None:
        """Give the split to the patients of the selected rows, the clicked one among them."""
        assert self._box is not None
        row, box = self._box
        split, clicked = box.itemData(index), self._rows[row].case
        self.closeBox()
        selected = self.selected
        self._splitChosen(selected if clicked in selected else [clicked], split)

    def onCellDoubleClicked(self, row: int, column: int) -> None:
        """Look at the case."""
        if column != SPLIT:
            self._opened(self._rows[row].case)

    def closeBox(self) -> None:
        """Take the splits that are offered away."""
        if self._box:
            row, box = self._box
            self._box = None
            box.hidePopup()
            self.table.removeCellWidget(row, SPLIT)

    def _showRow(self, number: int, row: Row) -> None:
        texts, color = row.texts, row.color
        state = [*texts, color or ""]
        before = self._texts[number] if number < len(self._texts) else None
        if state == before:
            return
        for column, text in enumerate(texts):
            if before is None:
                item = qt.QTableWidgetItem(text)
                if column in (SLICES, VOLUME):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self.table.setItem(number, column, item)
            elif text != before[column]:
                self.table.item(number, column).setText(text)
        item = self.table.item(number, STATE)
        if color or before:
            item.setForeground(qt.QBrush(qt.QColor(color)) if color else qt.QBrush())
        item.setToolTip(plainToolTip("\n".join(finding.sentence for finding in row.findings)))
        if before is None:
            self._texts.append(state)
        else:
            self._texts[number] = state

    def _select(self, names: set[str]) -> None:
        """Select the rows of cases."""
        model = self.table.selectionModel()
        for number, row in enumerate(self._rows):
            if row.case.case in names:
                model.select(
                    self.table.model().index(number, 0), qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
                )
