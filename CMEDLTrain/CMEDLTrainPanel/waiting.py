"""One command of a program that the panel waits for, without keeping anybody waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLTrainLib.runs.programs import Command

POLL_MS = 100

Done = Callable[[dict[str, Any] | None, CMEDLError | None], None]
"""Called with the command's object and None, or with None and its error."""


class Waiting:
    """Looks after one command at a time.

    Args:
        parent: the panel; its end is the timer's.
        told: called with the stage in words and the fraction that is done, as long as it works.
    """

    def __init__(self, parent: qt.QWidget, told: Callable[[str, float], None]) -> None:
        self._told = told
        self._waiting: tuple[Command, Done] | None = None
        self._timer = qt.QTimer(parent)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._look)

    @property
    def busy(self) -> bool:
        """Whether a command is at work."""
        return self._waiting is not None

    def start(self, command: Command, done: Done) -> None:
        """Wait for ``command``; the one before is ended without a word."""
        self.close()
        self._waiting = command, done
        self._timer.start()

    def cancel(self) -> None:
        """End the command, and tell so."""
        if self._waiting:
            self._waiting[0].cancel()
            self._finish(*self._waiting)

    def close(self) -> None:
        """End the command; nobody is told."""
        self._timer.stop()
        if self._waiting:
            self._waiting[0].cancel()
            self._waiting = None

    def _look(self) -> None:
        assert self._waiting is not None
        command, done = self._waiting
        if command.done:
            self._finish(command, done)
        else:
            self._told(*command.stage)

    def _finish(self, command: Command, done: Done) -> None:
        # It is over before anybody is told, so that the next one can begin.
        self._timer.stop()
        self._waiting = None
        try:
            result = command.result()
        except CMEDLError as error:
            done(None, error)
        else:
            done(result, None)
