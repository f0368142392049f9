"""Step 4, model, second half: the model's card, installing it for CMEDLSegment, and one file for others."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentPanel import dependencies
from CMEDLSegmentPanel.input_section import BLOCKED
from CMEDLSegmentPanel.poller import Poller
from CMEDLSegmentPanel.section import Section, setText, show_errors
from CMEDLTrainLib.runs.run_folder import Run

from .tables import fillSelector, selected

CARD = "card.json"
"""What a person wrote on the card, in the run's folder; ``cmedl-train export --card`` takes it too."""
TEXTS = ("name", "title", "summary", "intended_use", "unintended_use")
SOURCE = ("name", "license", "attribution")
"""Entries of the card that the form has a line for, and of its first source of data."""
ENDING = ".safetensors"


class ModelSection(Section):
    """What becomes of the model of the run that the panel shows.

    Attributes:
        installed: names of the models that were installed here, by the hash of the run's weights.
    """

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._run: Run | None = None
        self._weights = ""
        self._work = Poller(panel.uiWidget)
        self.installed: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory | None = None
        self._current = ""
        self._versions: list[str] = []
        self._lines = {name: getattr(self.ui, f"card_{name}") for name in TEXTS}
        self._source = {name: getattr(self.ui, f"card_data_{name}") for name in SOURCE}
        self.ui.studentProgressBar.visible = False
        self.ui.card_name.connect("textChanged(QString)", self.refreshSoon)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.exportStudentButton.connect("clicked(bool)", self.onExport)
        self.ui.useVersionButton.connect("clicked(bool)", self.onUseVersion)
        self.ui.versionsComboBox.connect("activated(int)", lambda index: self._showButtons())
        self.ui.cancelStudentButton.connect("clicked(bool)", lambda checked: self._work.cancel())

    def refresh(self) -> None:
        """Show the card and the versions of the model's name."""
        run, card = self.panel.outcome.run, self.panel.outcome.card
        weights = card.weights_sha256 if card else ""
        if (run, weights) != (self._run, self._weights):
            self._run, self._weights = run, weights
            self._say("")
            self._fill(card)
        self.ui.studentWidget.visible = run is not None
        self._showVersions()
        self._showButtons()

    def onInstall(self, checked: bool = False) -> None:
        """Export the model with its card and install that file."""
        run = self._run
        assert run is not None
        with show_errors(_("The model was not installed.")):
            if not dependencies.ensure("train"):
                return
            # A folder for the file that is installed; gone when it is.
            self._folder = tempfile.TemporaryDirectory(prefix="cmedl-student-", ignore_cleanup_errors=True)
            card, file = self._write(run), Path(self._folder.name, f"student{ENDING}")
            int8 = self.ui.int8CheckBox.checked

            def installed(change: dict[str, Any], weights: str = self._weights, int8: str = "") -> None:
                self.installed[weights] = change["name"]
                self._installed(change, int8)

            def exported(result: dict[str, Any]) -> None:
                self._begin(self.logic.install(file), partial(installed, int8=result["int8"]))

            self._begin(self.logic.export(run, file, card, int8, overwrite=True), exported)

    def onExport(self, checked: bool = False) -> None:
        """Ask for a file and write the model with its card into it."""
        run = self._run
        assert run is not None
        with show_errors(_("Nothing was exported.")):
            if not dependencies.ensure("train"):
                return
            card = self._write(run)
            proposed, kinds = f"{self.ui.card_name.text.strip()}{ENDING}", _("Model (*.safetensors)")
            chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Export the model"), proposed, kinds)
            if not chosen:
                return
            path = Path(chosen)
            if path.suffix != ENDING:
                # The file dialog has asked about the name that was typed, not about this one.
                path = path.with_name(path.name + ENDING)
                if path.exists() and not slicer.util.confirmYesNoDisplay(_("Replace {path}?").format(path=path)):
                    return
            command = self.logic.export(run, path, card, self.ui.int8CheckBox.checked, overwrite=True)
            self._begin(
                command, lambda result: self._say(_lines(_("Exported to {path}").format(path=path), result["int8"]))
            )

    def onUseVersion(self, checked: bool = False) -> None:
        """Use the chosen version of the model again, or a later one."""
        with show_errors(_("The version was not changed.")):
            command = self.logic.rollback(self.ui.card_name.text.strip(), selected(self.ui.versionsComboBox))
            self._begin(command, self._installed)

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self._work.drop()
        self._forget()

    def _fill(self, card: Card | None) -> None:
        """Show what a person wrote on the card, else what the program knows."""
        texts = {name: getattr(card, name) if card else "" for name in TEXTS}
        source: dict[str, str] = {}
        if card and self._run:
            try:
                written = json.loads((self._run.folder / CARD).read_text("utf-8"))
                texts |= {name: str(written[name]) for name in TEXTS if name in written}
                source = dict(next(iter(written.get("data", ())), {}))
            except (OSError, ValueError, TypeError, AttributeError):
                pass  # nothing was written yet, or something that is no card: the form shows what is known
        for name, line in self._lines.items():
            line.text = texts[name]
            line.cursorPosition = 0
        for name, line in self._source.items():
            line.text = str(source.get(name, ""))

    def _write(self, run: Run) -> Path:
        """Write the form's entries into the run's folder.

        Raises:
            InputError: one is missing, or the folder cannot be written.
        """
        entries: dict[str, Any] = {name: line.text.strip() for name, line in self._lines.items()}
        empty = next((name for name, text in entries.items() if not text), None)
        if empty:
            self.ui.cardGroupBox.collapsed = False
            raise InputError(_("The card needs a {entry}; fill it in.").format(entry=empty.replace("_", " ")))
        source = {name: line.text.strip() for name, line in self._source.items()}
        if any(source.values()):
            if not all(source.values()):
                self.ui.cardGroupBox.collapsed = False
                raise InputError(_("Data need a name, a license and whom to thank; fill in all three, or none."))
            entries["data"] = [source]
        path = run.folder / CARD
        with atomic_path(path) as beside:
            beside.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return path

    def _begin(self, command, done: Callable[[dict[str, Any]], None]) -> None:
        """Wait for a command, and go on with its result or tell its error."""
        self._say("")
        self._work.start(command, partial(self._ended, done), self._working)
        self.ui.studentProgressBar.value = 0
        self._showButtons()

    def _ended(self, done: Callable[[dict[str, Any]], None], result: dict[str, Any] | None, error) -> None:
        if result is not None:
            try:
                done(result)
            except CMEDLError as failure:
                error = failure
        if error:
            self._say(str(error), BLOCKED)
        if not self._work.busy:
            self._forget()
        self.panel.refresh()
        self._showButtons()

    def _installed(self, change: dict[str, Any], int8: str = "") -> None:
        self._say(_lines(_("CMEDLSegment uses {name} {version} now.").format(**change), int8))

    def _working(self, stage: str, fraction: float) -> None:
        self._say(stage or _("Working"))
        self.ui.studentProgressBar.value = round(1000 * fraction)

    def _showVersions(self) -> None:
        """Offer the versions of the form's name, the newest first; a bundled one is the oldest."""
        kept = registry.versions(self.ui.card_name.text.strip()) if self._run else []
        titles, current = {}, next((entry.version for entry in kept if entry.current), "")
        for entry in reversed([entry for entry in kept if entry.card]):
            bundled = _(" (bundled)") if entry.origin == registry.BUNDLED else ""
            titles[entry.version] = entry.version + bundled + (_(" (in use)") if entry.current else "")
        if current != self._current or list(titles) != self._versions:
            self._current, self._versions = current, list(titles)
            fillSelector(self.ui.versionsComboBox, titles, current)
        self.ui.versionsWidget.visible = bool(titles)

    def _showButtons(self) -> None:
        busy = self._work.busy
        self.ui.studentProgressBar.visible = self.ui.cancelStudentButton.visible = busy
        ready = self._run is not None and not busy
        self.ui.installButton.enabled = self.ui.exportStudentButton.enabled = ready
        self.ui.versionsWidget.enabled = ready
        self.ui.useVersionButton.enabled = ready and selected(self.ui.versionsComboBox) not in ("", self._current)

    def _forget(self) -> None:
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def _say(self, text: str, style: str = "") -> None:
        setText(self.ui.studentLabel, text)
        self.ui.studentLabel.styleSheet = style
        self.ui.studentLabel.visible = bool(text)


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
