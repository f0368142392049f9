"""``cmedl-train evaluate``: a run's student scored on whole volumes, by itself or against another student.

Only light modules are imported here, as in ``cli``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.progress import Progress, part
from CMEDLSegmentLib.cli.console import Bar, Interrupt, Parser, add_device, amount, emit_json
from CMEDLSegmentLib.io.cohort_table import Case, check_files_exist, read_cohort

from ..cohort.contents import table_digest
from ..runs import run_folder

if TYPE_CHECKING:
    from ..evaluation.evaluation_file import Evaluation

Action = Callable[[argparse.Namespace, Interrupt], int]


def register(add: Callable[[str, Action, str], Parser]) -> None:
    """Add the command to ``cmedl-train``; ``add`` makes a sub-command of a name, an action and a sentence."""
    sub = add("evaluate", _evaluate, "score a run's student on whole volumes of the cohort's test patients")
    sub.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    sub.add_argument("--against", metavar="STUDENT", help="compare with this student: a file, a name or a run's folder")
    sub.add_argument("--cohort", type=Path, metavar="COHORT.csv", help="another cohort than the run's own")
    sub.add_argument("--split", default="test", choices=("test", "validation"), help="default: test")
    sub.add_argument(
        "--tolerance",
        type=amount("a distance in mm"),
        default=2.0,
        metavar="MM",
        help="of the surface DSC, in mm (default: 2)",
    )
    sub.add_argument(
        "--figures",
        action="store_true",
        help="pictures of contours, features and t-SNE, and how good translated images are; takes minutes more",
    )
    add_device(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object on one line")


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
    own = Path(run.configuration().cohort)
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
    found = [1000.0 * seconds / steps for steps, seconds in stretches if 2 * steps >= longest]
    device = next((event["device"] for event in reversed(events) if event["event"] == "start"), None)
    return {"milliseconds_per_step": median(found) if found else None, "device": device}


def _evaluate(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from CMEDLSegmentLib.models.model_file import load_student

    from ..evaluation.comparison import check_structures
    from ..evaluation.evaluate import evaluate

    run = run_folder.open_run(options.run)
    student = run.finished_student()
    cohort = options.cohort or Path(run.configuration().cohort)
    cases = scored_cases(cohort, options.split)
    against = _student(options.against) if options.against else None
    if against is not None:
        # What is wrong with it shows now, and not after half of the work.
        check_structures(*(len(load_student(one).card.labels) for one in (student, against)))
    figures, other, pictures = None, None, None
    bar = Bar(sys.stderr, quiet=options.json)
    first, second, last = _shares(bar, against is not None, options.figures)
    score = partial(evaluate, cases=cases, device=options.device, cancelled=interrupt, tolerance_mm=options.tolerance)
    try:
        if options.figures:
            from ..figures.evaluation_figures import Figures

            figures = Figures(run, _folder(run, options.split), cases, read_cohort(cohort), options.device, against)
        result = score(student, progress=first, on_case=figures.student if figures else None)
        if against is not None:
            other = score(against, progress=second, on_case=figures.compared if figures else None)
        if figures is not None:
            pictures = figures.finish(last, interrupt)
    finally:
        bar.clear()
    told = write_evaluation(run, result, options.split, is_own_cohort(run, cohort), other, pictures)
    if options.json:
        emit_json(told)
        return 0
    print(result.report())
    if other is not None:
        print(f"\nAgainst {other.student}, on the same patients:")
        print("\n".join(found["sentence"] for found in told["against"]["comparisons"].values()))
    print(f"\nFigures and tables: {_folder(run, options.split)}")
    return 0


def _shares(bar: Progress, two: bool, figures: bool) -> tuple[Progress, Progress, Progress]:
    """The parts of the bar for the run's student, the other one, and the pictures at the end."""
    end = 0.8 if figures else 1.0
    middle = end / 2 if two else end
    return part(bar, 0.0, middle), part(bar, middle, end), part(bar, end, 1.0)


def _student(given: str) -> Path | str:
    """The student that ``--against`` names: that of a run's folder, a file's, or an installed one's."""
    return run_folder.open_run(Path(given)).finished_student() if Path(given).is_dir() else given


def _against(result: Evaluation, other: Evaluation) -> dict[str, Any]:
    from ..evaluation.comparison import TEST_METHOD, compare

    told = other.to_json()
    kept = ("student", "weights_sha256", "summary", "pooled", "missed", "roc", "milliseconds_per_slice")
    return {**{name: told[name] for name in kept}, "comparisons": compare(result, other), "test_method": TEST_METHOD}


def write_evaluation(
    run: run_folder.Run,
    result: Evaluation,
    split: str = "test",
    own_cohort: bool = True,
    other: Evaluation | None = None,
    pictures: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write what a run's student reached beside its checkpoints, and return it as ``evaluation.json`` has it.

    Args:
        run: whose student it is.
        result: its figures.
        split: of the cohort.
        own_cohort: whether the cohort is the one that the run learned from.
        other: the student that it is compared with.
        pictures: what :class:`.figures.Figures` says of those that it made.
    """
    from ..evaluation.evaluation_charts import charts
    from ..evaluation.evaluation_file import write_json

    told = {**result.to_json(), "split": split, "own_cohort": own_cohort, "training": training_speed(run)}
    if other is not None:
        told["against"] = _against(result, other)
    if pictures is not None:
        told["figures"] = pictures
    folder = _folder(run, split)
    texts = {name: found.csv() for name, found in result.tables().items()} | charts(result, other)
    for name, text in texts.items():
        with atomic_path(folder / name) as beside:
            beside.write_text(text, "utf-8")
    if other is None:
        (folder / "paired.svg").unlink(missing_ok=True)  # of an earlier comparison
    write_json(folder.with_suffix(".json"), told)
    return told


def _folder(run: run_folder.Run, split: str) -> Path:
    """Where tables and figures go; ``evaluation.json`` lies beside it, written last."""
    return run.folder / ("evaluation" if split == "test" else f"evaluation-{split}")
