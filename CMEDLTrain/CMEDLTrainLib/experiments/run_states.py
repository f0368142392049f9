"""How far the runs of an experiment are, and what is known of a finished one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError

from ..evaluation.scoring import PatientFigures
from ..runs.run_folder import Run
from .plan import ExperimentRun

FINISHED, FAILED = "finished", "failed"
"""States of a cell beside those of a run: trained and scored; stopped by a loss that is not finite."""


@dataclass(frozen=True)
class RunStatus:
    """How far a cell is.

    Attributes:
        cell: which one.
        state: ``finished`` (trained and scored), ``trained``, ``failed``, or that of its run; ``not begun``.
        step, steps: of its training.
        seconds: spent in training.
        device: where, as the machine names it.
        contextual: whether the contextual loss was among its losses.
    """

    cell: ExperimentRun
    state: str
    step: int = 0
    steps: int | None = None
    seconds: float = 0.0
    device: str = ""
    contextual: bool = False


@dataclass(frozen=True, kw_only=True)
class FinishedRun(RunStatus):
    """A cell whose student was scored.

    Attributes:
        patients: its test patients that have a structure. Without one there is no DSC, or one of 0 as soon as a voxel
            is marked.
        validation: what the student reached on validation patients; None where that is not known.
        missed: the structures that the student missed, as :func:`.case_snapshots.missed_lesions` tells them.
        translated: of each test case the figures of its translated image; None where that is not measured.
        run: None of a cell that was kept.
    """

    patients: tuple[PatientFigures, ...]
    validation: dict[str, float] | None
    missed: tuple[dict[str, Any], ...]
    translated: dict[str, dict[str, float]] | None
    run: Run | None = None


def shared_runs(rows: Sequence[Sequence[FinishedRun]]) -> list[list[FinishedRun]]:
    """Of each row those on the folds and seeds that all rows have finished."""
    shared = set.intersection(*({(run.cell.fold, run.cell.seed) for run in row} for row in rows))
    return [[run for run in row if (run.cell.fold, run.cell.seed) in shared] for row in rows]


def read_entry(path: Path, name: str) -> Any:
    """An entry of a JSON file that was written when a run was scored.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))[name]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it, and run the experiment.") from error
