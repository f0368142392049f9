"""The table of a role's cases: sorted by any column, quick with hundreds of rows, the split chosen in its cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import qt
from slicer.i18n import tr as _

from CMEDLSegmentLib.io.cohort_table import SPLITS, Case
from CMEDLSegmentPanel.section import plainToolTip, signals_blocked
from CMEDLTrainLib.cohort.checks import ERROR, ExaminedCase, Finding

from .tables import fillSelector

PATIENT, CASE, SPLIT, STATE = range(4)
SPLIT_WIDTH, STATE_WIDTH = 78, 78
"""Pixels; names share the rest."""
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
        known: what the checks found; None while nothing is known.
        findings: all that is wrong with it, errors first.
    """

    case: Case
    split: str
    known: ExaminedCase | None = None
    findings: Sequence[Finding] = ()

    @cached_property
    def texts(self) -> list[str]:
        """What stands in each column."""
        return [self.case.patient, self.case.case, self.split, self.state]

    @cached_property
    def state(self) -> str:
        """How many errors there are, or else warnings."""
        errors = sum(finding.severity == ERROR for finding in self.findings)
        count = errors or len(self.findings)
        if not count:
            return _("Good") if self.known else _("Not checked")
        texts = (_("1 error"), _("{count} errors")) if errors else (_("1 warning"), _("{count} warnings"))
        return texts[count > 1].format(count=count)

    @cached_property
    def color(self) -> str | None:
        """Of the state; None for the usual one."""
        if not self.findings:
            return None if self.known else GRAY
        return RED if self.findings[0].severity == ERROR else AMBER

    @cached_property
    def details(self) -> str:
        """What is wrong, and what there is no column for."""
        lines = [finding.sentence for finding in self.findings]
        lines += [_("Patient {patient}, case {case}").format(patient=self.case.patient, case=self.case.case)]
        lines += [_("Image: {name}").format(name=self.case.image.name)]
        if self.known and self.known.segment:
            lines.append(_("Segment: {name}").format(name=self.known.segment))
        examined = self.known
        if examined and examined.spacing:
            spacing = " x ".join(f"{step:.3g}" for step in reversed(examined.spacing))
            text = _("Spacing: {spacing} mm; slices with the structure: {slices}; its volume: {cc:.2f} cc")
            lines.append(text.format(spacing=spacing, slices=examined.structure_slices, cc=examined.volume_cc))
        return "\n".join(lines)

    def key(self, column: int) -> tuple:
        """What the rows are sorted by."""
        if column == SPLIT:
            return ((*SPLITS, "").index(self.case.split),)
        if column == STATE:
            return ((RED, AMBER, GRAY, None).index(self.color), -len(self.findings))
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
        self._shown: list[tuple] = []
        self._sort, self._down = CASE, False
        self._box: tuple[int, qt.QComboBox] | None = None
        self._splitChosen, self._opened = splitChosen, opened
        header = table.horizontalHeader()
        header.setSectionResizeMode(PATIENT, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(CASE, qt.QHeaderView.Stretch)
        header.resizeSection(SPLIT, SPLIT_WIDTH)
        header.resizeSection(STATE, STATE_WIDTH)
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
        """Show ``rows``; only rows that have changed are touched."""
        self.editable = editable
        chosen = {case.case for case in self.selected}
        self._rows = sorted(rows, key=lambda row: row.key(self._sort), reverse=self._down)
        with signals_blocked(self.table):
            self.table.setUpdatesEnabled(False)
            if self.table.rowCount != len(rows):
                self.table.setRowCount(len(rows))
                del self._shown[len(rows) :]
            moved = [row.case.case for row in self._rows] != [shown[0][CASE] for shown in self._shown]
            for number, row in enumerate(self._rows):
                self._showRow(number, row)
            if moved and chosen:
                self.table.clearSelection()
                self._select(chosen)
            self.table.setUpdatesEnabled(True)

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
        fillSelector(box, splitTitles(), self._rows[row].case.split)
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
        shown = (row.texts, row.color, row.details)
        fresh = number >= len(self._shown)
        if not fresh and shown == self._shown[number]:
            return
        for column, text in enumerate(row.texts):
            if fresh:
                self.table.setItem(number, column, qt.QTableWidgetItem())
            item = self.table.item(number, column)
            item.setText(text)
            item.setToolTip(plainToolTip(row.details))
        item.setForeground(qt.QBrush(qt.QColor(row.color)) if row.color else qt.QBrush())
        if fresh:
            self._shown.append(shown)
        else:
            self._shown[number] = shown

    def _select(self, names: set[str]) -> None:
        """Select the rows of cases."""
        model = self.table.selectionModel()
        for number, row in enumerate(self._rows):
            if row.case.case in names:
                model.select(
                    self.table.model().index(number, 0), qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
                )
