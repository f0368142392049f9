"""What an experiment's finished runs add up to, without its files; and runs whose figures are made by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CMEDLTrainLib.evaluation.evaluation_file import Evaluation, write_json
from CMEDLTrainLib.evaluation.roc import Roc
from CMEDLTrainLib.evaluation.scoring import CaseFigures, PatientFigures
from CMEDLTrainLib.experiments.experiment_results import collect
from CMEDLTrainLib.experiments.finished_runs import finished_runs
from CMEDLTrainLib.experiments.plan import ExperimentRun
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from CMEDLTrainLib.runs import run_folder

EVENTS = (
    {"time": 100.0, "event": "start", "step": 0, "steps": 9},
    {"time": 160.0, "event": "stopped", "step": 4},
    {"time": 890.0, "event": "machine", "name": "x"},
    {"time": 900.0, "event": "start", "step": 4, "steps": 9},
    {"time": 960.0, "event": "finished", "step": 9},
)
"""Of a run that trained for two minutes."""


def results_of(runner: ExperimentRunner) -> dict[str, Any]:
    """The results as ``results.json`` has them."""
    cells = runner.progress()
    return collect(runner, cells, finished_runs(runner, cells))


def write_scored(runner: ExperimentRunner, cell: ExperimentRun, cases: Sequence[CaseFigures]) -> run_folder.Run:
    """A finished run's folder whose student reached these figures on patients of one case each."""
    labels = tuple(cases[0].labels)
    curves = {"": Roc(None, ())} | ({label: Roc(None, ()) for label in labels} if len(labels) > 1 else {})
    patients = tuple(PatientFigures.of([case]) for case in cases)
    figures = Evaluation("s", "0" * 64, 0.5, 2.0, "cpu", "torch", 1, None, labels, tuple(cases), patients, curves)
    run = run_folder.create(runner.run_of(cell).folder, runner.experiment.configuration(cell, Path("c.csv"), "cpu"))
    run.events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS), "utf-8")
    write_json(run.evaluation, figures.to_json())
    write_json(run.folder / "looks.json", {"cases": {}})
    return run
