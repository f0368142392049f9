"""``cmedl-train``: train a student from a cohort, resume, stop, watch, evaluate and export it.

Only light modules are imported here: a run's folder is written before torch is imported, so that even a run killed at
once can be resumed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.text import counted
from CMEDLSegmentLib.cli.console import (
    Bar,
    Command,
    Interrupt,
    Parser,
    add_command,
    add_json,
    command_line,
    command_parser,
    emit_json,
)
from CMEDLSegmentLib.io.cohort_table import read_cohort

from .. import __version__
from ..runs import run_folder
from . import cohort_commands as cohort
from . import evaluation_commands as evaluation
from . import experiment_commands as experiments
from .run_options import add_options, chosen

PROGRAM = "cmedl-train"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cmedl-train`` with ``argv`` (default: the process's own) and return the exit code."""
    return command_line(PROGRAM, parser, argv)


def parser() -> Parser:
    """The whole command line."""
    top, commands = command_parser(
        PROGRAM, "Train student networks for cmedl-segment.", __version__, "stopped before the end"
    )

    phantom = add_command(commands, "phantom", _phantom, "make a cohort of synthetic cases to try the program with")
    phantom.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder, new or empty")
    phantom.add_argument("--cases", type=_count, default=8, metavar="N", help="cases of either role (default: 8)")
    phantom.add_argument("--seed", type=int, default=0, help="of the anatomies (default: 0)")
    phantom.add_argument("--organs", action="store_true", help="abdomens on T1 and T2 MR with four organs, not tumors")

    cohort.register(commands)

    run = add_command(commands, "run", _run, "train a student in a new run folder")
    add_options(run)
    run.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="the run's folder, new or empty")

    estimate = add_command(commands, "estimate", _estimate, "try steps of a run and tell what it would take")
    add_options(estimate)
    estimate.add_argument("-o", "--output", type=Path, metavar="RUN", help="where the run would be: finds its slices")
    add_json(estimate)

    resume = _on_run(commands, "resume", _resume, "go on with a run that was stopped or killed")
    resume.add_argument("--cohort", type=Path, metavar="COHORT.csv", help="where the run's cohort was moved to")
    _on_run(commands, "stop", _stop, "ask a running trainer to stop after its current step")
    status = _on_run(commands, "status", _status, "tell how a run is doing")
    add_json(status)

    export = _on_run(commands, "export", _export, "write a run's student, with its card, to one file")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors")
    export.add_argument("--card", type=Path, metavar="JSON", help="entries of the model card: name, title, data ...")
    export.add_argument("--int8", action="store_true", help="calibrate int8 and keep it if it agrees with fp32")
    sizes = export.add_mutually_exclusive_group()
    sizes.add_argument("--full-precision", action="store_true", help="keep fp32 (default: half precision)")
    sizes.add_argument(
        "--small", action="store_true", help="weights in 8 bits, half the size again; says how they agree"
    )
    export.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_json(export)
    evaluation.register(commands)
    experiments.register(commands)
    return top


def _on_run(commands: Any, name: str, action: Command, text: str) -> Parser:
    sub = add_command(commands, name, action, text)
    sub.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    return sub


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of 1 or more')


def _phantom(options: argparse.Namespace, interrupt: Interrupt) -> int:
    from CMEDLSegmentLib.phantom import ORGANS, write_cohort_phantoms

    if run_folder.holds_something(options.output):
        raise InputError(f"{options.output} exists and is not empty; name a new folder for the cohort.")
    anatomy = "abdomen" if options.organs else "thorax"
    with Bar(sys.stderr, cancelled=interrupt) as bar:
        table = write_cohort_phantoms(options.output, options.cases, options.seed, None, None, bar, anatomy)
    images = "synthetic T1 and {0} synthetic T2 MR" if options.organs else "synthetic CT and {0} synthetic MR"
    print(f"{table} names {options.cases} {images.format(options.cases)} cases; they prove nothing.")
    if options.organs:
        print(f'Train with --labels "{",".join(ORGANS.values())}".')
    return 0


def _run(options: argparse.Namespace, interrupt: Interrupt) -> int:
    if not run_folder.first_process():
        return _train(run_folder.Run(options.output.resolve()), interrupt)  # the first one is making it
    read_cohort(options.cohort, required=("mask", "role", "split"), check_files=False)
    run = run_folder.create(options.output, chosen(options))
    return _train(run, interrupt)


def _estimate(options: argparse.Namespace, interrupt: Interrupt) -> int:
    settings = chosen(options)
    read_cohort(options.cohort, required=("mask", "role", "split"), check_files=False)
    with Bar(sys.stderr, quiet=options.json, cancelled=interrupt) as bar:
        bar("Starting", 0.0)
        from ..training.estimate import estimate

        slices = run_folder.slices_folder((options.output or options.cohort).resolve())
        needs = estimate(settings, slices, bar)
    emit_json(needs.to_json()) if options.json else print(needs.report())
    return 0


def _resume(options: argparse.Namespace, interrupt: Interrupt) -> int:
    first = run_folder.first_process()
    # The others read its settings when the first one has moved the cohort.
    run = run_folder.open_run(options.run) if first else run_folder.Run(options.run.resolve())
    if run.student.is_file() and run.status()["state"] == "finished":
        if first:
            print(f"The run is finished already; the student is {run.student}.")
        return 0
    if options.cohort is not None and first:
        read_cohort(options.cohort, required=("mask", "role", "split"), check_files=False)
        run.move_cohort(options.cohort)
    return _train(run, interrupt)


def _train(run: run_folder.Run, interrupt: Interrupt) -> int:
    first = run_folder.first_process()
    # No forecast: a run that is resumed is not at its beginning.
    with (
        Bar(sys.stderr, quiet=not first, forecast=False, cancelled=interrupt) as bar,
        run.held() if first else contextlib.nullcontext(),
    ):
        bar("Starting", 0.0)
        from ..training.train_run import train

        finished = train(run, bar)
    if not first:
        return 0 if finished else Cancelled.exit_code
    if finished:
        print(f"The student is {run.student}.")
        return 0
    print(f'Stopped; go on with "{PROGRAM} resume {run.folder}".')
    return Cancelled.exit_code


def _stop(options: argparse.Namespace, interrupt: Interrupt) -> int:
    run = run_folder.open_run(options.run)
    if not run.running():
        raise InputError(f"Nobody is training {run.folder}; there is nothing to stop.")
    from ..runs.trainers import stop

    stop(run)
    print("The trainer was asked to stop after its current step, or at once if it prepares slices on this machine.")
    return 0


def _status(options: argparse.Namespace, interrupt: Interrupt) -> int:
    status = run_folder.open_run(options.run).status()
    if options.json:
        emit_json(status)
        return 0
    epochs = counted(status["epoch"], "epoch")
    print(f"{status['state']}, step {status['step']} of {status['steps'] or 'unknown'}, {epochs} done")
    for title in ("losses", "validation"):
        figures = ", ".join(f"{name} {value:.3f}" for name, value in status[title].items())
        print(f"{title}: {figures or 'none yet'}")
    if status["seconds_left"] is not None:
        print(f"about {status['seconds_left'] / 60:.0f} min left")
    return 0


def _export(options: argparse.Namespace, interrupt: Interrupt) -> int:
    run = run_folder.open_run(options.run)
    if options.output.exists() and not options.overwrite:
        raise InputError(f"{options.output} exists; name another file, or give --overwrite to replace it.")
    entries: dict[str, Any] = {}
    if options.card is not None:
        try:
            entries = dict(json.loads(options.card.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"The card {options.card} cannot be read ({error}); give a JSON object.") from error
    from ..export import export

    stored = "float32" if options.full_precision else "int8" if options.small else "float16"
    sentence = export(run, options.output, entries, stored, options.int8)
    if options.json:
        emit_json({"student": options.output, "int8": sentence})
        return 0
    if sentence:
        print(sentence)
    print(f'{options.output} is ready; "cmedl-segment models install {options.output}" installs it.')
    return 0
