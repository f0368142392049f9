"""The runs of a cohort's folder, each with its true state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.errors import CMEDLError

from .runs import Run, open_run

RUNS = "runs"
"""The folder of a cohort that its runs are in."""


@dataclass(frozen=True)
class Entry:
    """A run as the list shows it.

    Attributes:
        run: its folder.
        method: what it trains.
        status: see :meth:`Run.status`; empty for a folder that cannot be read.
        problem: why it cannot be read; else empty.
    """

    run: Run
    method: str
    status: dict[str, Any]
    problem: str = ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.folder.name


def runs_of(cohort: Path) -> list[Entry]:
    """The runs in ``cohort``'s folder, in the order of their names."""
    return [_entry(path.parent) for path in sorted((cohort / RUNS).glob("*/configuration.json"))]


def _entry(folder: Path) -> Entry:
    try:
        run = open_run(folder)
        return Entry(run, run.configuration().method, run.status())
    except CMEDLError as error:
        return Entry(Run(folder), "", {}, str(error))
