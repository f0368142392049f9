"""The experiments of the campaign: those beside this file, or the least of the same kind, to rehearse with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTING = HERE.parent
sys.path[:0] = [str(TESTING.parent / name) for name in ("CMEDLSegment", "CMEDLTrain")]

from CMEDLTrainLib.experiments.plan import Experiment, read_experiment  # noqa: E402

PARTS = {"sts": ("sts",), "lung": ("lung", "lung-final")}
"""The experiments of each part that trains."""
PHANTOMS = {
    "kind": "phantom",
    "seed": 3,
    "counts": {"train": 1, "validation": 1, "test": 2, "teacher": 1},
    "size": [6, 32, 32],
    "spacing": [8.0, 6.0, 6.0],
    "tumor": "mediastinum",
}
TINY = {
    "images.field": 32,
    "images.slices": "all",
    "optimization.epochs": 3,
    "optimization.batch": 2,
    "optimization.ema_half_life_steps": 0,
}


def read(name: str, tiny: bool = False) -> Experiment:
    """The experiment of a folder beside this file, or of anything that ``cmedl-train experiment`` takes.

    Args:
        name: the folder's.
        tiny: its rows and seeds with phantoms and the preset ``tiny``: seconds on a CPU.

    Raises:
        InputError: there is none.
    """
    beside = HERE / name
    experiment = read_experiment(str(beside) if beside.is_dir() else name)
    if not tiny:
        return experiment
    # The experiments of one part are told from each other by their patients.
    cohort = {**PHANTOMS, "seed": sum(map(ord, name))}
    return replace(experiment, cohort=cohort, preset="tiny", settings=TINY, regions={})
