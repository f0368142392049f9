"""Section "Run": start, stop and resume the cohort's runs, and see how they are doing."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from CMEDLSegmentPanel.section import Section, setText, told
from CMEDLTrainLib.run_list import Entry, runs_of

NAME, STATE, METHOD, PROGRESS = range(4)
WATCH_MS = 2000
"""How often the runs are looked at while the panel is seen."""


class RunSection(Section):
    """The list of runs and the buttons around it."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._entries: list[Entry] = []
        self._watch = qt.QTimer(panel.uiWidget)
        self._watch.setInterval(WATCH_MS)
        self._watch.connect("timeout()", self.refreshSoon)
        self.ui.runsTable.connect("cellClicked(int,int)", self.onRowClicked)
        self.ui.startButton.connect("clicked(bool)", self.onStart)
        self.ui.stopButton.connect("clicked(bool)", self.onStop)
        self.ui.resumeButton.connect("clicked(bool)", self.onResume)

    @property
    def chosen(self) -> Entry | None:
        """The run that the panel shows, if it is there."""
        return next((entry for entry in self._entries if entry.name == self.parameters.run), None)

    def refresh(self) -> None:
        """Read the runs of the cohort and show them."""
        cohort = self.parameters.cohort
        self._entries = runs_of(Path(cohort)) if cohort else []
        self._fill()
        entry = self.chosen
        running = entry is not None and entry.status.get("state") == "running"
        self.ui.startButton.enabled = bool(cohort)
        self.ui.stopButton.enabled = running
        self.ui.resumeButton.enabled = entry is not None and entry.status.get("state") in ("stopped", "crashed")
        setText(self.ui.runStatusLabel, self._words(entry) if entry else "")
        self._watch.start() if cohort else self._watch.stop()

    def onRowClicked(self, row: int, column: int) -> None:
        """Show another run."""
        self.parameters.run = self._entries[row].name

    def onStart(self, checked: bool = False) -> None:
        """Train in a new run."""
        with told(_("The run could not be started.")):
            settings = self.logic.settings(self.parameters)
            run = self.logic.start(self.parameters.cohort, settings, self.ui.runNameLineEdit.text.strip())
            self.ui.runNameLineEdit.text = ""
            self.parameters.run = run.folder.name
        self.refreshSoon()

    def onStop(self, checked: bool = False) -> None:
        """Ask the trainer to stop after its current step."""
        self.chosen.run.ask_to_stop()

    def onResume(self, checked: bool = False) -> None:
        """Go on with a run."""
        with told(_("The run could not be resumed.")):
            self.logic.resume(self.chosen.run)
        self.refreshSoon()

    def leave(self) -> None:
        """The panel is no longer seen."""
        super().leave()
        self._watch.stop()

    def _fill(self) -> None:
        table = self.ui.runsTable
        table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            status = entry.status
            progress = f"{status['step']} / {status['steps'] or '?'}" if status else ""
            texts = {NAME: entry.name, STATE: status.get("state", "?"), METHOD: entry.method, PROGRESS: progress}
            for column, text in texts.items():
                table.setItem(row, column, qt.QTableWidgetItem(text))

    def _words(self, entry: Entry) -> str:
        """How a run is doing."""
        if entry.problem:
            return entry.problem
        status = entry.status
        lines = [_("State: {state}, epoch {epoch}").format(state=status["state"], epoch=status["epoch"])]
        if status["seconds_left"] is not None:
            lines.append(_("Minutes left: {minutes:.0f}").format(minutes=status["seconds_left"] / 60))
        for title, figures in ((_("Loss"), status["losses"]), (_("Validation"), status["validation"])):
            lines += [f"{title}, {name}: {value:.4g}" for name, value in figures.items()]
        return "\n".join(lines)
