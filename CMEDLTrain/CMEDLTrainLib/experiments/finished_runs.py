"""What is known of a finished cell: read from its run's folder, or kept from results whose runs lie elsewhere.

``results.json`` has of each finished cell all that its figures are made of, but no pictures. So
``cmedl-train experiment NAME --keep`` goes on with what another machine has done, or after run folders were removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import read_object
from CMEDLSegmentLib.models.model_card import read_card

from ..evaluation.evaluation_file import read_evaluation
from ..evaluation.scoring import MEASURES, PatientFigures, mean_curve
from .case_snapshots import missed_lesions
from .plan import SYNTHESIS, Experiment, ExperimentRun
from .results_page import only_if_several, table_measures
from .run_states import FINISHED, FinishedRun, RunStatus
from .runner import ExperimentRunner
from .translation_results import read_translation_results

RESULTS = "results.json"


def finished_runs(runner: ExperimentRunner, cells: Sequence[RunStatus]) -> dict[str, list[FinishedRun]]:
    """Of each row its finished cells."""
    finished: dict[str, list[FinishedRun]] = {name: [] for name in runner.experiment.rows}
    for status in cells:
        if isinstance(status, FinishedRun):  # kept
            finished[status.cell.row].append(status)
        elif status.state == FINISHED:
            experiment, run = runner.experiment, runner.run_of(status.cell)
            here = FinishedRun(
                **vars(status),
                patients=tuple(patient for patient in read_evaluation(run.evaluation).patients if patient.marked),
                validation=read_card(run.student).training.get("validation") if run.student.is_file() else None,
                missed=tuple(missed_lesions(status.cell, run, experiment.region_of)),
                translated=read_translation_results(run) if SYNTHESIS in experiment.measures else None,
                run=run,
            )
            finished[status.cell.row].append(here)
    return finished


def run_to_json(experiment: Experiment, status: RunStatus) -> dict[str, Any]:
    """How far a cell is, in JSON's types; of a finished one all that :func:`kept_runs` makes it of again."""
    tree = {
        **vars(status.cell),
        "state": status.state,
        "step": status.step,
        "steps": status.steps,
        "training_minutes": round(status.seconds / 60, 1),
        "device": status.device,
    }
    if not isinstance(status, FinishedRun):
        return tree
    measures = table_measures(experiment)
    patients = []
    for patient in status.patients:
        labels = {label: {name: values[name] for name in measures} for label, values in patient.labels.items()}
        figures = {name: patient.values[name] for name in measures} | only_if_several(labels)
        patients.append({"cases": list(patient.cases), **figures, "missed": list(patient.missed)})
    curve = mean_curve(patient.sensitivities for patient in status.patients)
    return {
        **tree,
        "run": experiment.run_name(status.cell),
        "contextual": status.contextual,
        "validation": status.validation,
        "patients": patients,
        "sensitivities": [round(height, 5) for height in curve],
        **({} if status.translated is None else {"translated": status.translated}),
    }


def kept_runs(experiment: Experiment, folder: Path | None = None) -> dict[ExperimentRun, FinishedRun]:
    """The finished cells of the experiment's ``results.json``, by any machine, that it still asks for.

    The file is in ``folder``; None: beside the experiment's own.

    Raises:
        InputError: the file cannot be read, or is of a version that does not tell enough.
    """
    path = (folder or experiment.folder) / RESULTS
    if not path.is_file():
        return {}
    results = read_object(path)
    kept = {}
    try:
        if results["tolerance_mm"] != experiment.tolerance_mm or results["measures"] != table_measures(experiment):
            return {}
        for tree in results["cells"]:
            cell = ExperimentRun(tree["fold"], tree["row"], tree["seed"])
            if tree["state"] == FINISHED and cell in experiment.cells and tree["run"] == experiment.run_name(cell):
                kept[cell] = _kept(cell, tree, results)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} lacks or misspells {error}, so its figures cannot be kept; leave --keep out to make it anew."
        ) from error
    needed = SYNTHESIS in experiment.measures
    return {cell: run for cell, run in kept.items() if run.translated is not None or not needed}


def _kept(cell: ExperimentRun, tree: Mapping[str, Any], results: Mapping[str, Any]) -> FinishedRun:
    labels = results["configuration"][cell.row]["labels"]
    return FinishedRun(
        cell=cell,
        state=FINISHED,
        **{name: tree[name] for name in ("step", "steps", "device", "contextual")},
        seconds=60.0 * tree["training_minutes"],
        patients=tuple(_kept_patient(patient, labels, tree["sensitivities"]) for patient in tree["patients"]),
        validation=tree["validation"],
        missed=tuple(lesion for lesion in results["missed"] if vars(cell).items() <= lesion.items()),
        translated=tree.get("translated"),
    )


def _kept_patient(tree: Mapping[str, Any], labels: Sequence[str], curve: Sequence[float]) -> PatientFigures:
    """A patient of a kept cell; the cell's mean ROC curve stands for each one's, which has the same mean."""
    by_label = tree["labels"] if "labels" in tree else {labels[0]: tree}
    return PatientFigures(
        tuple(tree["cases"]),
        {label: {measure: values.get(measure) for measure in MEASURES} for label, values in by_label.items()},
        tuple(tree["missed"]),
        () if tree["auc"] is None else tuple(curve),
    )
