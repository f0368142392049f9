"""The lesion candidates below the result: its connected pieces, the likely ones ticked, the others to be unfolded."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from .scene import contour_views
from .scene.lesion_candidates import LesionCandidate, LesionCandidates
from .scene.result_nodes import is_result
from .section import Section, fitHeight, plainToolTip, show_errors, signals_blocked, tickItem

KEEP, VOLUME, CONFIDENCE, SLICES = range(4)


def confidence(row: LesionCandidate) -> str:
    """The model's confidence in a candidate, and whether a person clicked it."""
    text = "-" if row.mean is None else f"{row.mean:.0%}"
    if not row.clicked:
        return text
    return _("clicked") if row.mean is None else _("{percent}, clicked").format(percent=text)


class CandidatesSection(Section):
    """The table of candidates and the buttons below it."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._rows: list[LesionCandidate] = []
        table = self.ui.candidatesTable
        for column in (KEEP, VOLUME, CONFIDENCE):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.connect("cellClicked(int,int)", self.onRowClicked)
        table.connect("cellChanged(int,int)", self.onCellChanged)
        self.ui.moreCandidatesButton.connect("toggled(bool)", self.changed)
        self.ui.keepAtCrosshairButton.connect("clicked(bool)", self.onKeepAtCrosshair)
        self.ui.keepAllButton.connect("clicked(bool)", self.onKeepAll)

    def refresh(self) -> None:
        """Fill the table with the pieces of the result that the panel shows."""
        result = self.parameters.result
        if not self.stale(result):
            return
        rows = LesionCandidates(result).rows if is_result(result) else []
        likely = [row for row in rows if row.likely or row.kept]
        more = self.ui.moreCandidatesButton
        # Where none is likely all are seen at once.
        more.visible = 0 < len(likely) < len(rows)
        more.text = (_("Hide {count} possible") if more.checked else _("{count} more possible")).format(
            count=len(rows) - len(likely)
        )
        self._rows = rows if more.checked or not likely else likely
        self.ui.keepAtCrosshairButton.enabled = len(rows) > 1
        self.ui.keepAllButton.enabled = any(not row.kept for row in self._rows)
        self._fill()
        if result:
            segmentation = result.GetSegmentation()
            self.follow(
                (segmentation, segmentation.SourceRepresentationModified),
                (segmentation, segmentation.SegmentAdded),
                (segmentation, segmentation.SegmentRemoved),
            )
        else:
            self.follow()

    def onRowClicked(self, row: int, column: int) -> None:
        """Go to the candidate, unless its tick was meant."""
        if column != KEEP:
            contour_views.jump(self._rows[row].center_ras)

    def onCellChanged(self, row: int, column: int) -> None:
        """A tick was set or taken away."""
        if column == KEEP:
            kept = self.ui.candidatesTable.item(row, KEEP).checkState() == qt.Qt.Checked
            with show_errors(_("The candidate could not be changed.")):
                LesionCandidates(self.parameters.result).keep(self._rows[row].number, kept)
            self.changed()

    def onKeepAtCrosshair(self, checked: bool = False) -> None:
        """Keep the candidate at the crosshair, and drop the others."""
        with show_errors(_("The candidates were not changed.")):
            LesionCandidates(self.parameters.result).keep_only_at(contour_views.crosshair())
        self.changed()

    def onKeepAll(self, checked: bool = False) -> None:
        """Take back every candidate that is listed."""
        with show_errors(_("The candidates were not changed.")):
            LesionCandidates(self.parameters.result).keep_all([row.number for row in self._rows])
        self.changed()

    def _fill(self) -> None:
        table = self.ui.candidatesTable
        table.visible = bool(self._rows)
        with signals_blocked(table):
            table.setRowCount(len(self._rows))
            for index, row in enumerate(self._rows):
                first, last = row.slices
                texts = {
                    VOLUME: f"{row.volume_cc:.2f}",
                    CONFIDENCE: confidence(row),
                    SLICES: str(first) if first == last else f"{first} - {last}",
                }
                peak = "" if row.peak is None else _(", peak probability {peak:.0%}").format(peak=row.peak)
                tip = plainToolTip(_("Candidate {number}{peak}").format(number=row.number, peak=peak))
                table.setItem(index, KEEP, tickItem(row.kept))
                for column, text in texts.items():
                    item = qt.QTableWidgetItem(text)
                    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                    item.setToolTip(tip)
                    table.setItem(index, column, item)
        fitHeight(table)
