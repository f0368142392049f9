"""What the sections of the panel have in common."""

from __future__ import annotations

import contextlib
import html
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import qt
import slicer
from slicer.util import VTKObservationMixin

from CMEDLSegmentLib.base.errors import CMEDLError

Result = TypeVar("Result")
MOST_ROWS = 12
"""Rows that a table shows without scrolling."""
SOON_MS = 50
"""Changes of the scene that come within this time are shown together: a drag of a slider makes many."""


class Section(VTKObservationMixin):
    """One section of the panel: its widgets, and what it follows in the scene while the module is open.

    Args:
        panel: the module's widget; it has ``uiWidget``, ``ui``, ``logic`` and ``parameters`` (None while nobody sees
            the panel).
    """

    def __init__(self, panel) -> None:
        VTKObservationMixin.__init__(self)
        self.panel = panel
        self.ui = panel.ui
        self.logic = panel.logic
        self._followed: list[tuple] = []
        self._stale = True
        self._shown: tuple[object, ...] = ()
        # A timer that belongs to the panel goes with it, and with it what it is connected to.
        self._soon = qt.QTimer(panel.uiWidget)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.connect("timeout()", self._refreshNow)

    @property
    def parameters(self):
        """The scene's parameter node, or None while the panel is not seen."""
        return self.panel.parameters

    def refresh(self) -> None:
        """Show what the scene and the parameter node say; called with a parameter node only."""
        raise NotImplementedError

    def follow(self, *pairs: tuple) -> None:
        """Call :meth:`changed` whenever one of the (VTK object, event) pairs happens; those before are let go."""
        if list(pairs) == self._followed:
            return
        self.removeObservers(self.changed)
        for followed, event in pairs:
            self.addObserver(followed, event, self.changed)
        self._followed = list(pairs)

    def changed(self, caller=None, event=None) -> None:
        """What the section shows has changed in the scene."""
        self._stale = True
        self.refreshSoon()

    def stale(self, *shown: object) -> bool:
        """Whether to look anew: something has changed since the last call, or ``shown`` is something else."""
        stale = self._stale or shown != self._shown
        self._stale, self._shown = False, shown
        return stale

    def refreshSoon(self) -> None:
        """Refresh once, when the changes that come now are over."""
        self._soon.start()

    def leave(self) -> None:
        """The panel is no longer seen, or the scene is closed: follow nothing."""
        self._soon.stop()
        self.removeObservers()
        self._followed, self._stale = [], True

    def cleanup(self) -> None:
        """The panel is closed for good."""

    def _refreshNow(self) -> None:
        if self.parameters:
            self.refresh()


def inBackground(work: Callable[[], Result]) -> Result:
    """The result of ``work``, which touches no scene and no widget and is done while Slicer goes on answering."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        while not running.done():
            slicer.app.processEvents()
            wait([running], timeout=0.02)
    return running.result()


@contextlib.contextmanager
def signals_blocked(widget) -> Iterator[None]:
    """Change what a widget shows without doing what a click does."""
    blocked = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(blocked)


@contextlib.contextmanager
def show_errors(message: str, waitCursor: bool = False) -> Iterator[None]:
    """Tell in a box what goes wrong: an error of ours by its sentence, a fault with its trace, and that one goes on."""
    failed = None
    with slicer.util.tryWithErrorDisplay(message, waitCursor=waitCursor):
        try:
            yield
        except CMEDLError as error:
            failed = error
    # Not before the usual cursor is back: nobody presses a button under an hourglass.
    if failed:
        logging.error("%s %s", message, failed)
        slicer.util.errorDisplay(f"{message}\n\n{failed}")


def rememberFold(button) -> None:
    """Open a ``ctkCollapsibleButton`` as this person left it, folded at first."""
    key = f"CMEDL/{button.objectName}"
    button.collapsed = not slicer.util.settingsValue(key, False, converter=slicer.util.toBool)
    button.connect("contentsCollapsed(bool)", lambda folded: slicer.app.userSettings().setValue(key, not folded))


def followPath(line, changed: Callable[[str], None]) -> None:
    """Call ``changed`` with a ``ctkPathLineEdit``'s path whenever it changes.

    CTK tells by one signal of a new path, and by another one that the line was emptied.
    """
    line.connect("currentPathChanged(QString)", lambda path: changed(path.strip()))
    line.connect("validInputChanged(bool)", lambda valid: None if valid else changed(""))


def rememberPath(line) -> None:
    """Put a ``ctkPathLineEdit``'s path at the head of its history; CTK never does so by itself."""
    # On the way CTK selects other entries of the history, and would tell of them as if somebody had chosen them.
    with signals_blocked(line):
        line.addCurrentPathToHistory()


def buttonBox(buttons: qt.QDialogButtonBox.StandardButtons) -> qt.QDialogButtonBox:
    """A dialog's buttons. The box is made empty, as PythonQt would take them for an orientation."""
    box = qt.QDialogButtonBox()
    box.setStandardButtons(buttons)
    return box


def plainToolTip(text: str) -> str:
    """A tool tip that shows ``text`` as it is: Qt takes a tip with a tag in it for HTML."""
    return f"<qt>{html.escape(text)}</qt>".replace("\n", "<br>") if text else ""


def fitHeight(table: qt.QTableWidget) -> None:
    """As high as the rows are, up to a limit: no empty paper below them."""
    columns = table.horizontalHeader()
    # As high as they are here: the style, the font and the screen decide.
    high = sum(table.rowHeight(row) for row in range(min(table.rowCount, MOST_ROWS)))
    high += columns.sizeHint.height() + 2 * table.frameWidth
    if columns.length() > table.viewport().width:
        high += table.horizontalScrollBar().sizeHint.height()
    table.setFixedHeight(high)


def tickItem(checked: bool) -> qt.QTableWidgetItem:
    """A table's cell with a tick that a person can change."""
    item = qt.QTableWidgetItem()
    item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    return item


def setText(widget, text: str) -> None:
    """Set a label's text only when it changes, so that the layout is not computed anew for nothing."""
    if widget.text != text:
        widget.text = text
