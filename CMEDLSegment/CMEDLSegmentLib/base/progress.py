"""How long work tells where it is and learns that it should stop."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled

Progress = Callable[[str, float], None]
"""Called with the stage in words and the fraction (0 to 1) of the whole job that is done."""

CancelCheck = Callable[[], bool]
"""Returns True as soon as the job should stop."""


def silent(stage: str, fraction: float) -> None:
    """A progress callback for callers who do not watch."""


def never() -> bool:
    """A cancel check for jobs that nobody can cancel."""
    return False


def stop_if(cancelled: CancelCheck) -> None:
    """Raise :class:`Cancelled` when ``cancelled()`` is true; called between the steps of a job."""
    if cancelled():
        raise Cancelled("The work was cancelled; no result was written.")


def part(progress: Progress, start: float, stop: float) -> Progress:
    """A callback for one part of a job: its 0..1 becomes ``start``..``stop`` of the whole."""
    return lambda stage, fraction: progress(stage, start + (stop - start) * fraction)
