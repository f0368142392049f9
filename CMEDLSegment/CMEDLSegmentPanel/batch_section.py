"""Section "Several CTs": scans that are segmented one after the other beside the window, as in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.inference.batch import RESULTS
from CMEDLSegmentLib.inference.pipeline import check_writable
from CMEDLSegmentLib.io.cohort_table import write_cohort
from CMEDLSegmentLib.process.supervisor import Program

from . import dependencies, interpreter
from .poller import Poller
from .scene import batch_cases
from .scene.batch_cases import BatchScan
from .section import Section, buttonBox, followPath, inBackground, plainToolTip, rememberFold, setText, show_errors

TABLE = "cohort.csv"
FOLDER = "CMEDL/BatchFolder"


class BatchSection(Section):
    """The list of scans, the output folder, the button, and how it goes."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._scans: list[BatchScan] = []
        self._poller = Poller(panel.uiWidget)
        self._preparing = False
        self.ui.batchProgressBar.visible = False
        self.ui.batchPathLineEdit.currentPath = slicer.util.settingsValue(FOLDER, "")
        rememberFold(self.ui.batchCollapsibleButton)
        followPath(self.ui.batchPathLineEdit, lambda path: self.refreshSoon())
        self.ui.batchLoadedButton.connect("clicked(bool)", self.onLoaded)
        self.ui.batchFolderButton.connect("clicked(bool)", self.onFolder)
        self.ui.batchDatabaseButton.connect("clicked(bool)", self.onDatabase)
        self.ui.batchClearButton.connect("clicked(bool)", self.onClear)
        self.ui.batchButton.connect("clicked(bool)", self.onBatch)

    def refresh(self) -> None:
        """Show whether a batch can start or is under way."""
        busy = self._poller.busy
        self.ui.batchProgressBar.visible = busy
        for button in ("Loaded", "Folder", "Database", "Clear"):
            getattr(self.ui, f"batch{button}Button").enabled = not busy
        self.ui.batchClearButton.enabled = bool(self._scans) and not busy
        ready = bool(self._scans and self.ui.batchPathLineEdit.currentPath.strip()) and not self._preparing
        button = self.ui.batchButton
        button.text = _("Cancel") if busy else _("Segment all ({count})").format(count=len(self._scans))
        button.enabled = busy or ready
        button.toolTip = "" if button.enabled else _("Add CTs and choose a folder for the results.")

    def onLoaded(self, checked: bool = False) -> None:
        """Add the volumes of the scene."""
        self._add(batch_cases.loaded_scans)

    def onFolder(self, checked: bool = False) -> None:
        """Ask for a folder and add the scans in it."""
        chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder with CTs"))
        if chosen:
            self._add(lambda: inBackground(lambda: batch_cases.folder_scans(Path(chosen))))

    def onDatabase(self, checked: bool = False) -> None:
        """Let CT series of the DICOM database be chosen."""
        with show_errors(_("No CT was added.")):
            chosen = self._choose(batch_cases.database_scans())
            self._add(lambda: chosen)

    def onClear(self, checked: bool = False) -> None:
        """Empty the list."""
        self._scans = []
        self._showScans()

    def onBatch(self, checked: bool = False) -> None:
        """Start, or cancel what runs; what was done stays, and the next start goes on."""
        if self._poller.busy:
            self._poller.cancel()
            return
        with show_errors(_("The CTs could not be segmented.")):
            if dependencies.ensure("segment"):
                self._start(Path(self.ui.batchPathLineEdit.currentPath.strip()))
        self.refreshSoon()

    def cleanup(self) -> None:
        """The panel is closed for good: the batch ends, and can be gone on with."""
        self._poller.drop()

    def _add(self, scans: Callable[[], list[BatchScan]]) -> None:
        with show_errors(_("No CT was added.")):
            self._scans += [scan for scan in scans() if scan not in self._scans]
            self._showScans()

    def _showScans(self) -> None:
        box = self.ui.batchList
        box.clear()
        for scan in self._scans:
            item = qt.QListWidgetItem(scan.name)
            item.setToolTip(plainToolTip(str(scan.path or scan.name)))
            box.addItem(item)
        self.refreshSoon()

    def _choose(self, scans: list[BatchScan]) -> list[BatchScan]:
        """Ask which of them."""
        dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(_("CT series of the DICOM database"))
        page, buttons = qt.QListWidget(), buttonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
        for scan in scans:
            item = qt.QListWidgetItem(_("{name} ({count} files)").format(name=scan.name, count=len(scan.files)))
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Unchecked)
            page.addItem(item)
        buttons.connect("accepted()", dialog.accept)
        buttons.connect("rejected()", dialog.reject)
        rows = qt.QVBoxLayout(dialog)
        rows.addWidget(page)
        rows.addWidget(buttons)
        dialog.resize(520, 420)
        if not dialog.exec_():
            return []
        return [scan for row, scan in enumerate(scans) if page.item(row).checkState() == qt.Qt.Checked]

    def _start(self, folder: Path) -> None:
        slicer.app.userSettings().setValue(FOLDER, str(folder))
        parameters, scans = self.parameters, [batch_cases.with_voxels(scan) for scan in self._scans]
        check_writable(folder)
        self._preparing, self.ui.batchButton.enabled = True, False
        setText(self.ui.batchLabel, _("Preparing the CTs ..."))

        def prepare() -> None:
            # The folder first: scans of the scene are written into it.
            cases = batch_cases.collect_cases(scans, folder)
            write_cohort(folder / TABLE, cases)

        try:
            folder.mkdir(parents=True, exist_ok=True)
            inBackground(prepare)
        finally:
            self._preparing = False
            setText(self.ui.batchLabel, "")
        program = Program([interpreter.python()], interpreter.environment(), "CMEDLSegmentLib")
        options = ["--model", parameters.model, "--device", parameters.device]
        options += ["--threshold", f"{parameters.threshold:g}"] if parameters.ownThreshold else []
        options += ["--all-slices"] if parameters.allSlices else []
        options += ["--min-volume-cc", f"{parameters.minimumCc:g}"] if parameters.minimumCc else []
        command = program.start(["batch", *options, "-o", str(folder), "--", str(folder / TABLE)])
        self._poller.start(command, lambda result, error: self._finish(folder, result, error), self._progress)
        self.refresh()

    def _progress(self, stage: str, fraction: float) -> None:
        self.ui.batchProgressBar.value = round(1000 * fraction)
        setText(self.ui.batchLabel, stage)

    def _finish(self, folder: Path, result: dict[str, Any] | None, error: Exception | None) -> None:
        if isinstance(error, Cancelled):
            self._say(_("Cancelled. What was done stays in {folder}; press the button to go on.").format(folder=folder))
        elif error:
            self._say(str(error))
        else:
            assert result is not None
            words = {"done": _("done"), "kept": _("kept from before"), "failed": _("failed")}
            counts = ", ".join(f"{result[key]} {word}" for key, word in words.items() if result[key])
            self._say(
                _("{counts}. Segmentations and {table} are in {folder}.").format(
                    counts=counts, table=RESULTS, folder=folder
                )
            )
        self.refreshSoon()

    def _say(self, text: str) -> None:
        setText(self.ui.batchLabel, text)
        self.ui.batchLabel.toolTip = plainToolTip(text)
