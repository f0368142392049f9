"""What a run's trainers printed."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentPanel.section import buttonBox
from CMEDLTrainLib.runs.run_folder import Run
from CMEDLTrainLib.runs.trainers import LOG, log_end

WIDTH, HEIGHT = 760, 420


def showLog(run: Run) -> None:
    """Show the end of the run's log, and where all of it is, until the dialog is closed."""
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.setWindowTitle(_("Log of {run}").format(run=run.folder.name))
    dialog.resize(WIDTH, HEIGHT)
    path = qt.QLabel(str(run.folder / LOG))
    path.setTextFormat(qt.Qt.PlainText)
    path.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
    page = qt.QPlainTextEdit()
    page.setReadOnly(True)
    page.setLineWrapMode(qt.QPlainTextEdit.NoWrap)
    lines = log_end(run)
    page.setPlainText("\n".join(lines) or _("No trainer was started from Slicer in this run."))
    # The end is what matters.
    page.moveCursor(qt.QTextCursor.End)
    buttons = buttonBox(qt.QDialogButtonBox.Close)
    buttons.connect("rejected()", dialog.reject)
    rows = qt.QVBoxLayout(dialog)
    for widget in (path, page, buttons):
        rows.addWidget(widget)
    dialog.exec_()
    dialog.deleteLater()
