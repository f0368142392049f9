"""What an experiment's finished runs add up to, without its files."""

from typing import Any

from CMEDLTrainLib.experiments.experiment_results import collect
from CMEDLTrainLib.experiments.finished_runs import finished_runs
from CMEDLTrainLib.experiments.runner import ExperimentRunner


def results_of(bench: ExperimentRunner) -> dict[str, Any]:
    """The results as ``results.json`` has them."""
    cells = bench.progress()
    return collect(bench, cells, finished_runs(bench, cells))
