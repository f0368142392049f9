"""Work in a thread beside Slicer's window: begun anew whenever the scene changes, or again and again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Any

import qt

from CMEDLSegmentLib.base.progress import Progress

POLL_MS, GIVEN_S = 20, 0.02
"""How often the window's thread looks after the work, and for how long it lets it have the interpreter.

Slicer's event loop holds Python's lock while it is idle, so that a thread gets on only while Python code of the window
waits for it. What numpy and scipy do meanwhile does not need the lock and goes on.
"""


@dataclass
class _Job:
    """One piece of work, as far as it is."""

    running: Future
    done: Callable[[Any, Any], None]
    told: Callable[[str, float], None]
    stage: tuple[str, float] = ("", 0.0)
    dropped: bool = False


class Background:
    """One piece of work at a time.

    Args:
        parent: the panel; its end is the timer's.
    """

    def __init__(self, parent: qt.QWidget) -> None:
        self._job: _Job | None = None
        self._last: Future | None = None
        self._timer = qt.QTimer(parent)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._job is not None

    def start(
        self,
        work: Callable[[Progress], Any],
        done: Callable[[Any, Exception | None], None],
        told: Callable[[str, float], None] = lambda stage, fraction: None,
    ) -> None:
        """Begin; what was being done is dropped.

        Args:
            work: touches no scene and no widget; it tells the progress that it gets where it is, now and then.
            done: called in the window's thread with the result and None, or with None and the error.
            told: called in the window's thread with what the progress was told.
        """
        self.drop()
        job, before = _Job(Future(), done, told), self._last

        def tell(stage: str, fraction: float) -> None:
            progress.stop_if_cancelled()
            job.stage = (stage, fraction)

        progress = Progress(tell, lambda: job.dropped)

        def run() -> None:
            # What was dropped ends first: two would write into one folder.
            if before:
                wait([before])
            if not job.running.set_running_or_notify_cancel():
                return
            try:
                result = work(progress)
            except BaseException as error:
                job.running.set_exception(error)
            else:
                job.running.set_result(result)

        self._job, self._last = job, job.running
        # A daemon: Slicer ends also while a share does not answer.
        Thread(target=run, name="cmedl-background", daemon=True).start()
        self._timer.start()

    def drop(self) -> None:
        """Forget what is being done; it ends at its next step, and nobody is told."""
        self._timer.stop()
        if self._job:
            self._job.dropped = True
            self._job.running.cancel()
            self._job = None

    def _poll(self) -> None:
        job = self._job
        assert job is not None
        wait([job.running], timeout=GIVEN_S)
        if not job.running.done():
            job.told(*job.stage)
            return
        self._timer.stop()
        self._job = None
        error = job.running.exception()
        job.done(None if error else job.running.result(), error)


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
            self._work.start(lambda progress: work(), self._done)

    def _done(self, found: Any, error: Exception | None) -> None:
        again, self._again = self._again, False
        if error:
            raise error
        self._seen(found)
        if again:
            self.look()
