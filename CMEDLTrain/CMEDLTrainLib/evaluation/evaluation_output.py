"""What an evaluation reads and writes of a run: the cases to score, and ``RUN/evaluation`` with its tables and charts.

Only light modules are imported here, for the command line.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.io.cohort_table import Case, check_files_exist, read_cohort

from ..cohort.contents import table_digest
from ..runs import run_folder

if TYPE_CHECKING:
    from .evaluation_file import Evaluation


def scored_cases(cohort: Path, split: str = "test") -> list[Case]:
    """The student's cases of one split of a cohort.

    Raises:
        InputError: the table cannot be used, or has no such case, or files of one are missing. Those of other cases
            need not be there.
    """
    table = read_cohort(cohort, required=("mask",), check_files=False)
    cases = [case for case in table if case.split == split and case.role != "teacher"]
    if not cases:
        raise InputError(f"The cohort {cohort} has no student case with split '{split}'; mark some in the table.")
    check_files_exist(cohort, cases)
    return cases


def is_own_cohort(run: run_folder.Run, cohort: Path) -> bool:
    """Whether a cohort's table has the cases, the roles and the splits that the run learned from, wherever it lies.

    Raises:
        InputError: the table cannot be used.
    """
    own = Path(run.configuration.cohort)
    if cohort.resolve() == own:
        return True
    noted = [event["table_sha256"] for event in run.read_events() if event["event"] == "cohort"]
    if not noted and own.is_file():  # a run of before this was noted
        noted = [table_digest(read_cohort(own, check_files=False))]
    return bool(noted) and table_digest(read_cohort(cohort, check_files=False)) == noted[-1]


def training_speed(run: run_folder.Run) -> dict[str, Any]:
    """``milliseconds_per_step`` of a run's training and its ``device``; None where the run was too short to tell.

    The median over stretches from a report or a validation's end to the next report, of those at least half as long
    as the longest: validations are not in it, in short epochs the writing of a checkpoint is.
    """
    events = run.read_events()
    stretches = [
        (after["step"] - before["step"], after["time"] - before["time"])
        for before, after in pairwise(events)
        if before["event"] in ("step", "epoch") and after["event"] == "step" and after["step"] > before["step"]
    ]
    longest = max((steps for steps, _ in stretches), default=0)
    times = [1000.0 * seconds / steps for steps, seconds in stretches if 2 * steps >= longest]
    device = next((event["device"] for event in reversed(events) if event["event"] == "start"), None)
    return {"milliseconds_per_step": median(times) if times else None, "device": device}


def write_evaluation(
    run: run_folder.Run,
    result: Evaluation,
    split: str = "test",
    own_cohort: bool = True,
    other: Evaluation | None = None,
    pictures: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write what a run's student reached beside its checkpoints, and return it as ``evaluation.json`` has it.

    ``own_cohort``: whether the cohort is the one that the run learned from; ``other``: the student that it is compared
    with; ``pictures``: what :class:`.figures.Figures` says of those that it made.
    """
    from .comparison import TEST_METHOD
    from .evaluation_charts import charts
    from .evaluation_file import compare, write_json

    tree = {**result.to_json(), "split": split, "own_cohort": own_cohort, "training": training_speed(run)}
    if other is not None:
        theirs = other.to_json()
        kept = ("student", "weights_sha256", "summary", "pooled", "missed", "roc", "milliseconds_per_slice")
        against = {name: theirs[name] for name in kept}
        tree["against"] = {**against, "comparisons": compare(result, other), "test_method": TEST_METHOD}
    if pictures is not None:
        tree["figures"] = pictures
    folder = evaluation_folder(run, split)
    texts = {name: table.csv() for name, table in result.tables().items()} | charts(result, other)
    for name, text in texts.items():
        with atomic_path(folder / name) as beside:
            beside.write_text(text, "utf-8")
    if other is None:
        (folder / "paired.svg").unlink(missing_ok=True)  # of an earlier comparison
    write_json(folder.with_suffix(".json"), tree)
    return tree


def evaluation_folder(run: run_folder.Run, split: str) -> Path:
    """Where tables and figures go; ``evaluation.json`` lies beside it, written last."""
    return run.folder / ("evaluation" if split == "test" else f"evaluation-{split}")
