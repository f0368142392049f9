"""pip at work in processes beside the window, with a live log and Cancel; one installation at a time."""

from __future__ import annotations

import collections
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.process.process_group import end_group, own_group

from .section import buttonBox

POLL_MS = 200
WIDTH, HEIGHT = 640, 360
MOST_LINES = 5000
"""Kept in the dialog; a day of downloads has fewer."""
LAST_LINES = 20
"""Of what pip printed, for the application's log."""


class Installation:
    """Commands of pip, one after the other. The dialog keeps clicks from all other windows until they are done.

    Args:
        commands: each with its arguments.

    Attributes:
        dialog: the live log, and Cancel.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = collections.deque(commands)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="cmedl-pip-"))
        log = self._folder / "log"
        # Two, as pip's process shares the place in the file that it is given.
        self._printing, self._printed, self._rest = log.open("wb"), log.open("rb"), b""
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._cancelled = False
        self._code = 0
        self.dialog = self._made()
        self._loop = qt.QEventLoop()
        self._timer = qt.QTimer(self.dialog)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    def run(self) -> None:
        """Do it, and come back when it is over; Slicer goes on drawing and answering meanwhile.

        Raises:
            Cancelled: somebody pressed Cancel. Packages that were installed before that stay.
            InputError: a command failed; the message has pip's last words.
        """
        try:
            self._begin()
            self.dialog.show()
            self._timer.start()
            self._loop.exec_()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(_("pip could not be started ({reason}).").format(reason=reason)) from error
        finally:
            self._end()
        if self._cancelled:
            raise Cancelled(_("The installation was cancelled."))
        if self._code:
            logging.error("pip ended with code %s:\n%s", self._code, "\n".join(self._last))
            raise InputError(
                _(
                    "The Python packages could not be installed: {words}\nWithout a network, start Slicer with "
                    "PIP_NO_INDEX=1 and PIP_FIND_LINKS set to a folder with the wheels."
                ).format(words=self._last[-1] if self._last else _("pip said nothing"))
            )

    def cancel(self) -> None:
        """End pip and all that it started."""
        self._cancelled = True
        self._loop.quit()

    def _made(self) -> qt.QDialog:
        dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(_("CMEDL: installing Python packages"))
        dialog.setModal(True)
        dialog.resize(WIDTH, HEIGHT)
        bar = qt.QProgressBar()
        bar.setRange(0, 0)  # pip does not tell how much there is
        self._page = qt.QPlainTextEdit()
        self._page.setReadOnly(True)
        self._page.setMaximumBlockCount(MOST_LINES)
        buttons = buttonBox(qt.QDialogButtonBox.Cancel)
        buttons.connect("rejected()", dialog.reject)
        # Escape and the window's own button are Cancel too.
        dialog.connect("rejected()", self.cancel)
        rows = qt.QVBoxLayout(dialog)
        for widget in (bar, self._page, buttons):
            rows.addWidget(widget)
        return dialog

    def _begin(self) -> None:
        """Start the next command."""
        # What is half downloaded lies in a folder of ours, and goes with it.
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self._folder))
        self._process = subprocess.Popen(
            self._commands.popleft(),
            stdin=subprocess.DEVNULL,
            stdout=self._printing,
            stderr=subprocess.STDOUT,
            env={**os.environ, **places, "PYTHONUNBUFFERED": "1"},
            **own_group(),
        )

    def _poll(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        self._read()
        if code is None:
            return
        if code or not self._commands:
            self._code = code
            self._loop.quit()
        else:
            try:
                self._begin()
            except OSError as error:
                self._last.append(str(error))
                self._code = 1
                self._loop.quit()

    def _read(self) -> None:
        """Show the lines that were printed since the last time."""
        *lines, self._rest = (self._rest + self._printed.read()).replace(b"\r", b"\n").split(b"\n")
        for line in filter(None, (line.decode("utf-8", "replace").rstrip() for line in lines)):
            self._last.append(line)
            self._page.appendPlainText(line)

    def _end(self) -> None:
        self._timer.stop()
        self.dialog.hide()
        self.dialog.deleteLater()
        if self._process and self._process.poll() is None:
            end_group(self._process.pid)
            self._process.wait()
        self._printing.close()
        self._printed.close()
        shutil.rmtree(self._folder, ignore_errors=True)
