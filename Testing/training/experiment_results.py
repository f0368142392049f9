"""What an experiment's finished runs add up to, without its files."""

from typing import Any

from CMEDLTrainLib.experiments.finished import finished_cells
from CMEDLTrainLib.experiments.results import collect
from CMEDLTrainLib.experiments.running import Bench


def results_of(bench: Bench) -> dict[str, Any]:
    """The results as ``results.json`` has them."""
    cells = bench.progress()
    return collect(bench, cells, finished_cells(bench, cells))
