"""``cmedl-train experiment``: run what an experiment has not done yet, and rewrite its results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.cli.console import Bar, Interrupt, add_command, add_device, amount

from .python_package import python_package_only

if TYPE_CHECKING:
    from ..experiments.plan import ExperimentRun


def register(commands: Any) -> None:
    """Add the command to the command line."""
    text = "run what an experiment has not done yet, and rewrite its results"
    sub = add_command(commands, "experiment", _experiment, text)
    sub.add_argument("name", metavar="NAME|FILE", help="a folder of Testing/experiments, or an experiment's JSON file")
    sub.add_argument(
        "--work", type=Path, metavar="DIR", help="runs and slices (default: local, beside the experiment's folder)"
    )
    add_device(sub)
    sub.add_argument(
        "--budget",
        type=amount("a number of minutes"),
        metavar="MINUTES",
        help="stop after so long; 0 only rewrites the results",
    )
    sub.add_argument(
        "--keep",
        action="store_true",
        help="what results.json has of runs that are not in --work stays, and is not trained again",
    )
    sub.add_argument(
        "--pack",
        type=Path,
        metavar="FILE",
        help="what Testing/gpu/pack.py made of the data, which then need not be there; unpacked into --work",
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="where the results go (default: beside the experiment)")


def _experiment(options: argparse.Namespace, interrupt: Interrupt) -> int:
    with python_package_only("Experiments"):
        from ..experiments.experiment_results import write_results
        from ..experiments.finished_runs import kept_runs
        from ..experiments.packing import use_pack
        from ..experiments.plan import read_experiment
        from ..experiments.rater_study import read_raters_experiment, run_raters
        from ..experiments.runner import ExperimentRunner

    rated = read_raters_experiment(options.name)
    if rated is not None:  # takes minutes and is not done in parts
        with Bar(sys.stderr, cancelled=interrupt) as bar:
            results = run_raters(rated, options.device, bar)
        print(f"{len(results['nodules'])} nodules are scored; see {rated.folder / 'results.md'}.")
        return 0
    experiment = read_experiment(options.name)
    work = options.work or experiment.folder.parent / "local"
    if options.pack:
        use_pack(options.pack, work)
    kept = {}
    if options.keep:
        kept = kept_runs(experiment) | (kept_runs(experiment, options.out) if options.out else {})
    runner = ExperimentRunner(experiment, work, options.device, kept, options.out)

    with Bar(sys.stderr, cancelled=interrupt) as bar:

        def done(cell: ExperimentRun) -> None:
            bar.clear()
            print(f"{cell.name}: {runner.progress_of(cell).state}", flush=True)
            write_results(runner)

        finished = runner.work_off(None if options.budget is None else 60.0 * options.budget, done, bar)
    results = write_results(runner)
    states = [cell["state"] for cell in results["cells"]]
    print(f"{states.count('finished')} of {len(states)} runs are finished; see {runner.out / 'results.md'}.")
    return 0 if finished else Cancelled.exit_code
