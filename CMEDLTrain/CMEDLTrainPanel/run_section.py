"""Step 3, train: start, stop, resume, duplicate and delete the cohort's runs, and see how they are doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentPanel import dependencies
from CMEDLSegmentPanel.poller import Watch
from CMEDLSegmentPanel.section import Section, fitHeight, setText, show_errors, signals_blocked
from CMEDLTrainLib.runs import trainers
from CMEDLTrainLib.runs.run_list import Entry, RunList, delete, rivals

from .curves_menu import CurvesMenu
from .log_dialog import showLog
from .run_monitor import RunMonitor, RunViews
from .run_status import faultOf, previewLegend, progressOf, stateOf, statusOf
from .tables import fillTable

NAME, STATE, PROGRESS = range(3)
WIDTHS = {STATE: 130, PROGRESS: 96}
"""Pixels; the name has the rest."""
WATCH_MS = 2000
"""How often the runs are looked at while the panel is seen."""
STOP_S = 10.0
"""A trainer that was asked to stop and goes on for so long can be ended without its consent."""
PREVIEW_WIDTH = 350
"""Pixels at most of the preview in the panel."""

Look = tuple[list[Entry], "RunMonitor | None", bool]
"""The runs, the one that was read on in, and whether there is more of it to read."""


class RunSection(Section):
    """The list of runs, the buttons around it, and the run that is looked at.

    Attributes:
        entries: the runs, as they were at the last look.
        looked: whether the cohort's runs were looked at yet.
    """

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._list: RunList | None = None
        self.entries: list[Entry] = []
        self.looked = False
        self._monitor: RunMonitor | None = None
        self._curves = CurvesMenu(self.ui.curvesButton, self._showCurves)
        self._views = RunViews()
        self._pictured: Path | None = None
        self._watch = Watch(panel.uiWidget, WATCH_MS, self._look_again, self._looked)
        header = self.ui.runsTable.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column, width in WIDTHS.items():
            header.resizeSection(column, width)
        self.ui.runsTable.connect("cellClicked(int,int)", self.onRowClicked)
        for name, slot in {
            "start": self.onStart,
            "stop": self.onStop,
            "resume": self.onResume,
            "duplicate": self.onDuplicate,
            "delete": self.onDelete,
            "log": self.onLog,
            "runViews": self.onViews,
            "preview": self.onPreview,
        }.items():
            getattr(self.ui, f"{name}Button").connect("clicked(bool)", slot)
        self.ui.previewButton.visible = self.ui.previewLegendLabel.visible = False

    @property
    def chosen(self) -> Entry | None:
        """The run that the panel shows, if it is there."""
        return next((entry for entry in self.entries if entry.name == self.parameters.run), None)

    @property
    def _entry(self) -> Entry:
        """The run that the panel shows, for what is offered only while there is one."""
        entry = self.chosen
        assert entry is not None
        return entry

    def refresh(self) -> None:
        """Show what is known of the cohort's runs, and look at them anew."""
        cohort = Path(self.parameters.cohort) if self.parameters.cohort else None
        if cohort != (self._list and self._list.cohort):
            self._watch.stop()
            self._list, self.entries, self.looked = RunList(cohort) if cohort else None, [], False
        self._show()
        if self._list:
            self._watch.start()
            self._watch.look()

    def _look_again(self) -> Callable[[], Look]:
        """What a look reads, in a thread: the runs' folders, and on in the history of the run that is shown."""
        runs, monitor = self._list, self._monitor
        assert runs is not None
        return lambda: (runs.look(), monitor, bool(monitor and monitor.read()))

    def _looked(self, look: Look) -> None:
        self.entries, monitor, more = look
        self.looked = True
        if monitor and monitor is self._monitor:
            monitor.show(self._curves.ticked)
            self._curves.offer(monitor.names)
            self._showPreview(monitor)
        before = self._monitor
        self._show()
        # A long history is read bit by bit, and another one from its beginning.
        if more or self._monitor is not before:
            self._watch.look()

    def _showCurves(self) -> None:
        """Other curves were ticked."""
        if self._monitor:
            self._monitor.show(self._curves.ticked)

    def _show(self) -> None:
        entry = self.chosen
        self._fill()
        self._follow(entry)
        self._showButtons(entry)
        starting = entry is not None and self.starting(entry)
        self.ui.runWidget.visible = entry is not None or self._views.shown
        status = statusOf(entry, starting) if entry else ""
        setText(self.ui.runStatusLabel, status)
        self.ui.runStatusLabel.visible = bool(status)
        fault = faultOf(entry, starting) if entry else ""
        setText(self.ui.runFaultLabel, fault)
        self.ui.runFaultLabel.visible = bool(fault)
        self._showProgress(entry)
        self.panel.steps.refreshSoon()

    def onRowClicked(self, row: int, column: int) -> None:
        """Show another run."""
        self.parameters.run = self.entries[row].name

    def onStart(self, checked: bool = False) -> None:
        """Train in a new run, and show it in the views."""
        with show_errors(_("The run could not be started.")):
            settings = self.logic.settings(self.parameters)
            if not self._agreed(settings.device) or not dependencies.ensure("train"):
                return
            run = self.logic.start(self.parameters.cohort, settings, self.ui.runNameLineEdit.text.strip())
            self.ui.runNameLineEdit.text = ""
            self.parameters.run = run.folder.name
            self._views.show()
        self.refreshSoon()

    def onStop(self, checked: bool = False) -> None:
        """Ask the trainer to stop; end it where it was asked long enough ago."""
        entry = self._entry
        if self._overdue(entry):
            text = _("End the trainer of {run} now? What it did since its last checkpoint is lost.")
            if not slicer.util.confirmYesNoDisplay(text.format(run=entry.name)):
                return
        with show_errors(_("The run could not be stopped.")):
            trainers.end(entry.run) if self._overdue(entry) else trainers.stop(entry.run)
        self.refreshSoon()

    def onResume(self, checked: bool = False) -> None:
        """Go on with a run."""
        run = self._entry.run
        with show_errors(_("The run could not be resumed.")):
            if self._agreed(run.configuration.device) and dependencies.ensure("train"):
                self.logic.resume(run)
        self.refreshSoon()

    def onDuplicate(self, checked: bool = False) -> None:
        """Take the run's settings to step 2, to start another run with them or with changed ones."""
        with show_errors(_("The settings of this run cannot be taken.")):
            self.logic.take(self.parameters, self._entry.run.configuration)
            self.ui.trainingCollapsibleButton.collapsed = False

    def onDelete(self, checked: bool = False) -> None:
        """Move a run to the cohort's bin, after asking."""
        entry, runs = self._entry, self._list
        assert runs is not None
        text = _("Delete the run {run}? Its folder goes to the cohort's bin.").format(run=entry.name)
        if not slicer.util.confirmYesNoDisplay(text):
            return
        with show_errors(_("The run was not deleted.")):
            delete(entry.run, runs.cohort)
            self.parameters.run = ""
        self.refreshSoon()

    def onLog(self, checked: bool = False) -> None:
        """Show what the trainer printed."""
        showLog(self._entry.run)

    def onViews(self, checked: bool) -> None:
        """Show curves and preview in the views, or what was there before."""
        self._views.show() if checked else self._views.hide()
        self.refreshSoon()

    def onPreview(self, checked: bool = False) -> None:
        """Show the preview picture in a slice view."""
        self.onViews(True)

    def leave(self) -> None:
        """The panel is no longer seen."""
        super().leave()
        self._watch.stop()

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self._watch.stop()
        self._forget()

    def starting(self, entry: Entry) -> bool:
        """Whether its trainer was started here and has not told of itself yet."""
        return entry.holder is None and self.logic.trainers.alive(entry.run)

    def _agreed(self, device: str) -> bool:
        """Whether to train on a device, asked for where another run may use it."""
        others = rivals(self.entries, device)
        starting = [entry for entry in self.entries if not entry.holder and self.starting(entry)]
        names = ", ".join(entry.name for entry in (*others, *starting))
        text = _(
            "{names} may be using the same device: both would be slower, or run out of memory. Train all the same?"
        )
        return not names or slicer.util.confirmYesNoDisplay(text.format(names=names))

    def _overdue(self, entry: Entry) -> bool:
        """Whether a trainer of this machine was asked to stop and did not."""
        return entry.here and entry.asked is not None and time.time() - entry.asked > STOP_S

    def _follow(self, entry: Entry | None) -> None:
        """Follow the chosen run; what it told is shown when it has been read."""
        run = entry.run if entry and not entry.problem else None
        if self._monitor and self._monitor.run != run:
            self._forget()
            self._showPreview(None)
        if run and not self._monitor:
            self._monitor = RunMonitor(run)

    def _forget(self) -> None:
        if self._monitor:
            self._monitor.remove()
            self._monitor = None

    def _fill(self) -> None:
        states = {entry.name: stateOf(entry, self.starting(entry)) for entry in self.entries}
        rows = [[entry.name, states[entry.name], progressOf(entry.status)] for entry in self.entries]
        tips = [entry.problem or f"{entry.name} ({entry.method}): {states[entry.name]}" for entry in self.entries]
        table = self.ui.runsTable
        with signals_blocked(table):
            fillTable(table, rows, tips, figures=PROGRESS)
            fitHeight(table)
            if self.parameters.run in states:
                table.selectRow(list(states).index(self.parameters.run))
            else:
                table.clearSelection()
        table.visible = bool(rows)

    def _showButtons(self, entry: Entry | None) -> None:
        starting = entry is not None and self.starting(entry)
        busy = entry is not None and (entry.holder is not None or starting)
        asked = entry is not None and entry.holder is not None and entry.asked is not None
        overdue = entry is not None and asked and self._overdue(entry)
        self.ui.startButton.enabled = bool(self.parameters.cohort)
        self.ui.stopButton.enabled = entry is not None and entry.holder is not None and (overdue or not asked)
        setText(self.ui.stopButton, _("End now") if overdue else _("Stopping") if asked else _("Stop"))
        self.ui.resumeButton.enabled = entry is not None and not busy and entry.state in ("stopped", "crashed")
        self.ui.duplicateButton.enabled = entry is not None and not entry.problem
        self.ui.deleteButton.enabled = entry is not None and not busy
        self.ui.logButton.enabled = entry is not None
        self.ui.runViewsButton.enabled = entry is not None or self._views.shown
        self.ui.runViewsButton.checked = self._views.shown

    def _showProgress(self, entry: Entry | None) -> None:
        steps = entry.status.get("steps") if entry else None
        self.ui.runProgressBar.visible = bool(steps)
        if entry and steps:
            self.ui.runProgressBar.value = round(1000 * entry.status["step"] / steps)

    def _showPreview(self, monitor: RunMonitor | None) -> None:
        picture = monitor.picture if monitor else None
        if picture == self._pictured:
            return
        self._pictured = picture
        button = self.ui.previewButton
        button.visible = self.ui.previewLegendLabel.visible = picture is not None
        if monitor and picture:
            self.ui.previewLegendLabel.text = previewLegend(self.chosen.method if self.chosen else "")
            pixels = qt.QPixmap()
            pixels.loadFromData(monitor.pixels)
            width = min(PREVIEW_WIDTH, pixels.width())
            button.setIcon(qt.QIcon(pixels))
            button.setIconSize(qt.QSize(width, pixels.height() * width // pixels.width()))
