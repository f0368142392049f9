"""The runs of a cohort's folder, each with its true state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.process import lock

from ..cohort.contents import stamp_of
from ..cohort.folder import RUNS, place_in_bin
from .history import History, latest
from .run_folder import Run
from .trainers import LOG, log_end


@dataclass(frozen=True)
class Entry:
    """A run as the list shows it.

    Attributes:
        run: its folder.
        method: what it trains.
        status: see :meth:`Run.status`; empty for a folder that cannot be read.
        problem: why it cannot be read; else empty.
        term: the loss term or network at which training failed; else empty.
        rates: the last throughput, memory and learning rate, see :class:`History`.
        holder: who trains it, see ``lock.py``; None where nobody does.
        said: the last lines that its trainers printed, see :func:`trainers.log_end`.
        asked: when its trainer was asked to stop, in seconds since 1970; None where it was not.
    """

    run: Run
    method: str
    status: dict[str, Any]
    problem: str = ""
    term: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    holder: dict[str, Any] | None = None
    said: list[str] = field(default_factory=list)
    asked: float | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.folder.name

    @property
    def state(self) -> str:
        """That of the status; empty where it cannot be read."""
        return str(self.status.get("state", ""))

    @property
    def here(self) -> bool:
        """Whether it is trained on this machine."""
        return self.holder is not None and lock.is_here(self.holder)


@dataclass
class _Known:
    """A run, what was read of it, and of which files: they are not read again until they change."""

    run: Run
    problem: str = ""
    history: History = field(default_factory=History)
    said: list[str] = field(default_factory=list)
    configured: str | None = None
    happened: str | None = None
    logged: str | None = None


class RunList:
    """The runs of a cohort, for somebody who looks again and again."""

    def __init__(self, cohort: Path) -> None:
        """``cohort``: its folder."""
        self.cohort = cohort
        self._known: dict[Path, _Known] = {}

    def look(self) -> list[Entry]:
        """The runs as they are now, in the order of their names."""
        folders = [path.parent for path in sorted((self.cohort / RUNS).glob("*/configuration.json"))]
        self._known = {folder: self._known.get(folder) or _Known(Run(folder)) for folder in folders}
        return [self._entry(known) for known in self._known.values()]

    def _entry(self, known: _Known) -> Entry:
        folder = known.run.folder
        configured, happened, logged = map(_stamp, (folder / "configuration.json", known.run.events, folder / LOG))
        if configured != known.configured:
            known.configured, known.run, known.problem = configured, Run(folder), ""
            try:
                known.run.configuration  # noqa: B018 - is read here
            except CMEDLError as error:
                known.problem = str(error)
        run = known.run
        if happened != known.happened:
            known.happened, known.history = happened, latest(run.events)
        if logged != known.logged:
            known.logged, known.said = logged, log_end(run)
        now: dict[str, Any] = {"holder": run.holder(), "said": known.said, "asked": run.stop_asked_at()}
        if known.problem:
            return Entry(run, "", {}, known.problem, **now)
        history = known.history
        return Entry(run, run.configuration.method, run.status_of(history), "", history.term, history.rates, **now)


def rivals(entries: Iterable[Entry], device: str) -> list[Entry]:
    """The runs that are trained on this machine and may use the same device.

    Args:
        entries: of the list.
        device: as it is configured; ``auto`` may be any.
    """
    return [entry for entry in entries if entry.here and _may_share(device, (entry.holder or {}).get("device", "auto"))]


def _may_share(device: str, other: str) -> bool:
    return "auto" in (device, other) or _full(device) == _full(other)


def _full(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def delete(run: Run, cohort: Path) -> Path:
    """Move a run that nobody trains to the cohort's bin; where it is now.

    Raises:
        InputError: it is being trained, or cannot be moved.
    """
    if run.running():
        raise InputError(f"The run {run.folder.name} is being trained; stop it first.")
    binned = place_in_bin(cohort, run.folder.name)
    try:
        binned.parent.mkdir(exist_ok=True)
        run.folder.rename(binned)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The run {run.folder.name} could not be moved to {binned} ({reason}).") from error
    return binned


def _stamp(path: Path) -> str:
    """What changes with the file's contents; empty where it is not there."""
    try:
        return stamp_of(path)
    except OSError:
        return ""
