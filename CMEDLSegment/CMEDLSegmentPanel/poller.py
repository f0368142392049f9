"""Work beside Slicer's window, in a process or a thread, and the timer that asks how it goes.

Slicer's event loop holds Python's lock while it is idle, so that a thread of Python gets on only while Python code of
the window waits for it. What numpy and scipy do meanwhile does not need the lock and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

import qt

from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.process.supervisor import Work

POLL_MS = 20
READING_S, COMPUTING_S = 0.001, 0.02
"""For how long a look gives threads the interpreter: those that read what a process says, and those that compute."""

Done = Callable[[Any, Any], None]
"""Called in the window's thread with the result and None, or with None and the error."""


def _ignore(*facts: object) -> None:
    """Nobody wants to know."""


class Poller:
    """Looks after one piece of work at a time, and tells of it in the window's thread.

    Args:
        parent: the panel, whose end is the timer's; None where there is none.
        given_s: for how long each look lets threads get on.
    """

    def __init__(self, parent: qt.QWidget | None = None, given_s: float = READING_S) -> None:
        self._work: Work | None = None
        self._done: Done = _ignore
        self._progress: Callable[..., None] = _ignore
        self._given_s = given_s
        self._timer = qt.QTimer(parent) if parent else qt.QTimer()
        self._timer.setInterval(POLL_MS)

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._work is not None

    def start(self, work: Work, done: Done, progress: Callable[..., None] = _ignore) -> None:
        """Look after ``work``; what was being done is dropped.

        Args:
            work: began already.
            done: called when it is over.
            progress: called with the stage as long as it is not.
        """
        self.drop()
        self._work, self._done, self._progress = work, done, progress
        # Not for good: the timer would keep this object.
        self._timer.connect("timeout()", self._look)
        self._timer.start()

    def cancel(self) -> None:
        """End what is being done, and tell so."""
        if self._work:
            self._work.cancel()
            self._look()

    def drop(self) -> None:
        """End what is being done; nobody is told."""
        if self._work:
            self._stop().cancel()

    def _stop(self) -> Work:
        work, self._work = self._work, None
        assert work is not None
        self._timer.stop()
        self._timer.disconnect("timeout()", self._look)
        self._done = self._progress = _ignore
        return work

    def _look(self) -> None:
        work, done = self._work, self._done
        assert work is not None
        wait([work], timeout=self._given_s)
        if not work.done():
            self._progress(*work.stage)
            return
        # It is over before anybody is told, so that the next one can begin.
        self._stop()
        error = work.exception()
        done(None if error else work.result(), error)


class Background(Poller):
    """One piece of work at a time in a thread: begun anew whenever the scene changes.

    Args:
        parent: the panel; its end is the timer's.
    """

    def __init__(self, parent: qt.QWidget) -> None:
        super().__init__(parent, COMPUTING_S)
        self._last: Future | None = None

    def run(
        self, work: Callable[[Progress], Any], done: Done, progress: Callable[[str, float], None] = _ignore
    ) -> None:
        """Begin; what was being done is dropped: it ends at its next step, and nobody is told.

        Args:
            work: touches no scene and no widget; it tells the progress that it gets where it is, now and then.
            done: called when it is over.
            progress: called in the window's thread with what the progress was told.
        """
        self.drop()
        # What was dropped ends first: two would write into one folder.
        job = self._last = _Job(work, self._last)
        self.start(job, done, progress)


class _Job(Work):
    """Work in a thread, which begins when the one before has ended."""

    def __init__(self, work: Callable[[Progress], Any], before: Future | None) -> None:
        super().__init__()
        self._dropped = False
        self._watched = Progress(self._tell, lambda: self._dropped)
        # A daemon: Slicer ends also while a share does not answer.
        Thread(target=self._run, args=(work, before), name="cmedl-background", daemon=True).start()

    def cancel(self) -> bool:
        """Let it end at its next step."""
        self._dropped = True
        return super().cancel()

    def _run(self, work: Callable[[Progress], Any], before: Future | None) -> None:
        if before:
            wait([before])
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = work(self._watched)
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(result)

    def _tell(self, stage: str, fraction: float) -> None:
        self._watched.stop_if_cancelled()
        self.stage = (stage, fraction)


class Watch:
    """Looks again and again at files that may lie on a slow share, in a thread: the window never waits for them.

    Args:
        parent: the panel; its end is the timer's.
        every_ms: how often.
        plan: called in the window's thread at each look; gives what is to be done in the other one, which touches no
            scene and no widget, or None where there is nothing to look at.
        seen: called in the window's thread with what that returned.
    """

    def __init__(
        self,
        parent: qt.QWidget,
        every_ms: int,
        plan: Callable[[], Callable[[], Any] | None],
        seen: Callable[[Any], None],
    ) -> None:
        self._plan, self._seen = plan, seen
        self._work, self._again = Background(parent), False
        self._timer = qt.QTimer(parent)
        self._timer.setInterval(every_ms)
        self._timer.connect("timeout()", self.look)

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self._work.busy

    def start(self) -> None:
        """Look from now on."""
        if not self._timer.active:
            self._timer.start()

    def stop(self) -> None:
        """Look no longer; what a look under way sees is not told."""
        self._timer.stop()
        self._work.drop()
        self._again = False

    def look(self) -> None:
        """Look now; where a look is under way once more after it, since that one may have begun too early."""
        if self._work.busy:
            self._again = True
            return
        work = self._plan()
        if work is not None:
            self._work.run(lambda progress: work(), self._done)

    def _done(self, found: Any, error: Exception | None) -> None:
        again, self._again = self._again, False
        if error:
            raise error
        self._seen(found)
        if again:
            self.look()
