"""How long work tells where it is and learns that it should stop: one object that goes down with it."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled


def _nobody(stage: str, fraction: float) -> None:
    """Whom work tells that nobody watches."""


class Progress:
    """Who watches a job.

    Args:
        tell: called with the stage in words and the fraction (0 to 1) of the whole job that is done.
        cancelled: returns True as soon as the job should stop; asked often, from the thread that works.
    """

    def __init__(
        self, tell: Callable[[str, float], None] = _nobody, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._tell = tell
        self.cancelled = cancelled

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell where the job is."""
        self._tell(stage, fraction)

    def stop_if_cancelled(self) -> None:
        """Called between the steps of a job.

        Raises:
            Cancelled: the job should stop.
        """
        if self.cancelled():
            raise Cancelled("The work was cancelled; no result was written.")

    def part(self, start: float, stop: float) -> Progress:
        """For one part of the job: its 0..1 becomes ``start``..``stop`` of the whole."""
        return Progress(lambda stage, fraction: self(stage, start + (stop - start) * fraction), self.cancelled)

    def under(self, title: str) -> Progress:
        """The stages of this job with ``title`` before each; it must not name a patient."""
        return Progress(lambda stage, fraction: self(f"{title}: {stage}", fraction), self.cancelled)


SILENT = Progress()
"""For work that nobody watches or stops."""
