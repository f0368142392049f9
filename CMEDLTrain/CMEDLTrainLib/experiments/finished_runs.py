"""What is known of a finished cell: read from its run's folder, or kept from results whose runs lie elsewhere.

``results.json`` has of each finished cell all that its figures are made of, but no pictures. So
``cmedl-train experiment NAME --keep`` goes on with what another machine has done, or after run folders were removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import read_object

from .plan import SYNTHESIS, Experiment, ExperimentRun
from .result_tables import only_if_several, table_measures
from .run_states import FINISHED, FinishedRun, RunStatus
from .runner import ExperimentRunner

if TYPE_CHECKING:
    from ..evaluation.scoring import PatientFigures

RESULTS = "results.json"


def finished_runs(runner: ExperimentRunner, cells: Sequence[RunStatus]) -> dict[str, list[FinishedRun]]:
    """Of each row its finished cells."""
    finished: dict[str, list[FinishedRun]] = {name: [] for name in runner.experiment.rows}
    for one in cells:
        if one.state == FINISHED:
            kept = runner.kept.get(one.cell)
            if kept is None or one is not kept.progressed:
                kept = _read(runner, one)
            finished[one.cell.row].append(kept)
    return finished


def _read(runner: ExperimentRunner, progressed: RunStatus) -> FinishedRun:
    """A cell from its run's folder."""
    from CMEDLSegmentLib.models.model_card import read_card

    from ..evaluation.evaluation_file import read_evaluation
    from .case_snapshots import missed_lesions
    from .translation_results import read_translation_results

    experiment, run = runner.experiment, runner.run_of(progressed.cell)
    return FinishedRun(
        progressed,
        tuple(patient for patient in read_evaluation(run.evaluation).patients if patient.marked),
        read_card(run.student).training.get("validation") if run.student.is_file() else None,
        tuple(missed_lesions(progressed.cell, run, experiment.region_of)),
        read_translation_results(run) if SYNTHESIS in experiment.measures else None,
        run,
    )


def run_to_json(experiment: Experiment, one: RunStatus, finished: FinishedRun | None) -> dict[str, Any]:
    """How far a cell is, in JSON's types; of a finished one all that :func:`kept_runs` makes it of again."""
    from ..evaluation.scoring import mean_curve

    tree = {
        "fold": one.cell.fold,
        "row": one.cell.row,
        "seed": one.cell.seed,
        "state": one.state,
        "step": one.step,
        "steps": one.steps,
        "training_minutes": round(one.seconds / 60, 1),
        "device": one.device,
    }
    if finished is None:
        return tree
    curve = mean_curve(patient.sensitivities for patient in finished.patients)
    measures = tuple(table_measures(experiment))
    return {
        **tree,
        "run": experiment.run_name(one.cell),
        "contextual": one.contextual,
        "validation": finished.validation,
        "patients": [_told_patient(patient, measures) for patient in finished.patients],
        "sensitivities": [round(height, 5) for height in curve],
        **({} if finished.translated is None else {"translated": finished.translated}),
    }


def _told_patient(patient: PatientFigures, measures: Sequence[str]) -> dict[str, Any]:
    """A patient's figures; of several structures those of each one too."""
    labels = {label: {measure: one[measure] for measure in measures} for label, one in patient.labels.items()}
    whole = {measure: patient.values[measure] for measure in measures}
    return {"cases": list(patient.cases), **whole, **only_if_several(labels), "missed": list(patient.missed)}


def kept_runs(experiment: Experiment, folder: Path | None = None) -> dict[ExperimentRun, FinishedRun]:
    """The finished cells of the experiment's ``results.json``, by any machine, that it still asks for.

    Args:
        experiment: which one.
        folder: where the file is; None: beside the experiment's own.

    Raises:
        InputError: the file cannot be read, or is of a version that does not tell enough.
    """
    path = (folder or experiment.folder) / RESULTS
    if not path.is_file():
        return {}
    results = read_object(path)
    found = {}
    try:
        if results["tolerance_mm"] != experiment.tolerance_mm or results["measures"] != table_measures(experiment):
            return {}
        for tree in results["cells"]:
            cell = ExperimentRun(tree["fold"], tree["row"], tree["seed"])
            if tree["state"] == FINISHED and cell in experiment.cells and tree["run"] == experiment.run_name(cell):
                found[cell] = _kept(cell, tree, results)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} lacks or misspells {error}, so its figures cannot be kept; leave --keep out to make it anew."
        ) from error
    needed = SYNTHESIS in experiment.measures
    return {cell: one for cell, one in found.items() if one.translated is not None or not needed}


def _kept(cell: ExperimentRun, tree: Mapping[str, Any], results: Mapping[str, Any]) -> FinishedRun:
    own = {"fold": cell.fold, "row": cell.row, "seed": cell.seed}
    labels = results["configuration"][cell.row]["labels"]
    return FinishedRun(
        RunStatus(
            cell,
            FINISHED,
            tree["step"],
            tree["steps"],
            60.0 * tree["training_minutes"],
            tree["device"],
            tree["contextual"],
        ),
        tuple(_kept_patient(patient, labels, tree["sensitivities"]) for patient in tree["patients"]),
        tree["validation"],
        tuple(one for one in results["missed"] if own.items() <= one.items()),
        tree.get("translated"),
    )


def _kept_patient(tree: Mapping[str, Any], labels: Sequence[str], curve: Sequence[float]) -> PatientFigures:
    """A patient of a kept cell; the cell's mean ROC curve stands for each one's, which has the same mean."""
    from ..evaluation.scoring import MEASURES, PatientFigures

    by_label = tree["labels"] if "labels" in tree else {labels[0]: tree}
    return PatientFigures(
        tuple(tree["cases"]),
        {label: {measure: one.get(measure) for measure in MEASURES} for label, one in by_label.items()},
        tuple(tree["missed"]),
        () if tree["auc"] is None else tuple(curve),
    )
