"""Experiments written for tests, their results without files, and runs whose figures are made by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CMEDLTrainLib.evaluation.evaluation_file import write_json
from CMEDLTrainLib.evaluation.roc import Roc
from CMEDLTrainLib.evaluation.scoring import CaseFigures
from CMEDLTrainLib.experiments.experiment_results import collect
from CMEDLTrainLib.experiments.finished_runs import finished_runs
from CMEDLTrainLib.experiments.plan import Experiment, ExperimentRun, read_experiment
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from CMEDLTrainLib.runs import run_folder
from gpu.plans import PHANTOMS, TINY
from train.evaluation.made_figures import evaluation

TREE = {
    "title": "Two rows",
    "cohort": PHANTOMS,
    "preset": "tiny",
    "settings": {**TINY, "optimization.epochs": 2},
    "rows": {"ct-only": {}, "strict": {"method": "ct-only", "settings": {"loss.recall": 0.3}}},
    "reference": "strict",
}
EVENTS = (
    {"time": 100.0, "event": "start", "step": 0, "steps": 9},
    {"time": 160.0, "event": "stopped", "step": 4},
    {"time": 890.0, "event": "machine", "name": "x"},
    {"time": 900.0, "event": "start", "step": 4, "steps": 9},
    {"time": 960.0, "event": "finished", "step": 9},
)
"""Of a run that trained for two minutes."""


def write_experiment(folder: Path, **changes: Any) -> Experiment:
    """:data:`TREE` with changes, written to a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.json").write_text(json.dumps({**TREE, **changes}), "utf-8")
    return read_experiment(str(folder))


def read_results(folder: Path) -> dict[str, Any]:
    """What ``results.json`` in a folder holds."""
    return json.loads((folder / "results.json").read_text("utf-8"))


def results_of(runner: ExperimentRunner) -> dict[str, Any]:
    """The results as ``results.json`` has them."""
    cells = runner.progress()
    return collect(runner, cells, finished_runs(runner, cells))


def write_scored(runner: ExperimentRunner, cell: ExperimentRun, cases: Sequence[CaseFigures]) -> run_folder.Run:
    """A finished run's folder whose student reached these figures on patients of one case each."""
    labels = tuple(cases[0].labels)
    curves = {"": Roc(None, ())} | ({label: Roc(None, ()) for label in labels} if len(labels) > 1 else {})
    run = run_folder.create(runner.run_of(cell).folder, runner.experiment.configuration(cell, Path("c.csv"), "cpu"))
    run.events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS), "utf-8")
    write_json(run.evaluation, evaluation(*cases, labels=labels, roc=curves).to_json())
    write_json(run.folder / "looks.json", {"cases": {}})
    return run
