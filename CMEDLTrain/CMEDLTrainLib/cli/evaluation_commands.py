"""``cmedl-train evaluate``: a run's student scored on whole volumes, by itself or against another student."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.cli.console import Bar, Interrupt, add_command, add_device, add_json, amount, emit_json
from CMEDLSegmentLib.io.cohort_table import read_cohort

from ..evaluation.evaluation_output import evaluation_folder, is_own_cohort, scored_cases, write_evaluation
from ..runs import run_folder
from .python_package import python_package_only


def register(commands: Any) -> None:
    """Add the command to the command line."""
    text = "score a run's student on whole volumes of the cohort's test patients"
    sub = add_command(commands, "evaluate", _evaluate, text)
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
    add_json(sub)


def _evaluate(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from CMEDLSegmentLib.models import registry

    from ..evaluation.comparison import check_structures
    from ..evaluation.evaluate import evaluate

    if options.figures:
        with python_package_only("The paper's figures"):
            from ..figures.evaluation_figures import Figures
    run = run_folder.open_run(options.run)
    if options.figures and run.configuration.network.prompt:
        raise InputError("The paper's figures are of students that read no clicks; leave --figures out.")
    student = run.finished_student()
    cohort = options.cohort or Path(run.configuration.cohort)
    cases = scored_cases(cohort, options.split)
    against = _student(options.against) if options.against else None
    if against is not None:
        # What is wrong with it shows now, and not after half of the work.
        check_structures(*(len(registry.load(file).card.labels) for file in (student, against)))
    figures, other, pictures = None, None, None
    folder = evaluation_folder(run, options.split)
    score = partial(evaluate, cases=cases, device=options.device, tolerance_mm=options.tolerance)
    # Of the bar: the run's student and the other one, then the pictures.
    scored = 0.8 if options.figures else 1.0
    half = scored / 2 if against is not None else scored
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        if options.figures:
            figures = Figures(run, folder, cases, read_cohort(cohort), options.device, against)
        result = score(student, progress=bar.part(0.0, half), on_case=figures.student if figures else None)
        if against is not None:
            other = score(against, progress=bar.part(half, scored), on_case=figures.compared if figures else None)
        if figures is not None:
            pictures = figures.finish(bar.part(scored, 1.0))
    written = write_evaluation(run, result, options.split, is_own_cohort(run, cohort), other, pictures)
    if options.json:
        emit_json(written)
        return 0
    print(result.report())
    if other is not None:
        print(f"\nAgainst {other.student}, on the same patients:")
        print("\n".join(row["sentence"] for row in written["against"]["comparisons"].values()))
    print(f"\nFigures and tables: {folder}")
    return 0


def _student(given: str) -> Path | str:
    """The student that ``--against`` names: that of a run's folder, a file's, or an installed one's."""
    return run_folder.open_run(Path(given)).finished_student() if Path(given).is_dir() else given
