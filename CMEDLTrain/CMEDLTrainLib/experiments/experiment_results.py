"""What an experiment found, from the cells that are finished: ``results.json`` and ``results.md``.

The figures of a row are over patients, each the mean over the row's seeds (and tested once, in one fold). Two rows are
compared on the folds and seeds that both have finished, on the same patients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.files import atomic_path

from ..evaluation.comparison import INTERVAL_METHOD, TEST_METHOD, compare_patients, summary
from ..evaluation.evaluation_file import write_json
from ..evaluation.scoring import PatientFigures, mean_curve, mean_values
from . import translation_results
from .finished_runs import RESULTS, finished_runs, run_to_json
from .plan import SYNTHESIS, Experiment, ExperimentRun
from .result_pictures import PANELS, ROC, write_panels, write_roc
from .result_tables import only_if_several, table_measures
from .results_page import markdown
from .run_states import FINISHED, FinishedRun, RunStatus, shared_runs
from .runner import ExperimentRunner


def write_results(runner: ExperimentRunner) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and their pictures to ``runner.out``; returns the first's."""
    experiment, folder = runner.experiment, runner.out
    cells = runner.progress()
    finished = finished_runs(runner, cells)
    results = collect(runner, cells, finished)
    tested = {name: [(run.run, run.patients) for run in runs if run.run] for name, runs in finished.items()}
    pictures = {
        ROC: write_roc({name: _pooled(runs) for name, runs in finished.items()}, folder),
        # Kept figures have no pictures: where no run is at hand, the picture that they came with stays.
        PANELS: write_panels(tested, experiment.region_of, folder)
        or (bool(runner.kept) and (folder / PANELS).is_file()),
    }
    write_json(folder / RESULTS, results)
    with atomic_path(folder / "results.md") as path:
        path.write_text(markdown(experiment, results, [name for name, drawn in pictures.items() if drawn]), "utf-8")
    return results


def collect(
    runner: ExperimentRunner, cells: Sequence[RunStatus], finished: Mapping[str, Sequence[FinishedRun]]
) -> dict[str, Any]:
    """The results of what is finished, in JSON's types; ``cells`` is how far each one is.

    ``methods``: of each row with a finished cell the spread of each measure over patients, of several structures that
    of each one too, how many were missed, the best validation's figures (mean over its runs), the training time in
    minutes and the features of the contextual loss. ``comparisons``: of each row its reference minus itself.
    ``configuration``: each row's settings, without paths of this machine. ``cells``: how far each one is, and the
    single figures of its patients.
    """
    experiment = runner.experiment
    by_cell = {run.cell: run for runs in finished.values() for run in runs}
    measures = tuple(table_measures(experiment))
    configuration = {name: _configuration(experiment, name) for name in experiment.rows}
    results: dict[str, Any] = {
        "title": experiment.title,
        "methods": {
            name: _figures(runs, measures, configuration[name]["features"]) for name, runs in finished.items() if runs
        },
        "reference": experiment.reference,
        "comparisons": {
            name: {"reference": row.reference, **compared}
            for name, row in experiment.rows.items()
            if name != row.reference and (compared := _compared(finished[row.reference], finished[name], measures))
        },
        "device": ", ".join(sorted({status.device for status in cells if status.device})),
        "complete": all(status.state == FINISHED for status in cells),
        "measures": table_measures(experiment),
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "intervals": INTERVAL_METHOD,
        "test": TEST_METHOD,
        "configuration": configuration,
        "cells": [run_to_json(experiment, status, by_cell.get(status.cell)) for status in cells],
        "missed": [lesion for runs in finished.values() for run in runs for lesion in run.missed],
    }
    if SYNTHESIS in experiment.measures:
        for name, row in results["methods"].items():
            row |= translation_results.figures(finished[name])
        for name, row in results["comparisons"].items():
            row["synthesis"] = translation_results.compared(finished[row["reference"]], finished[name], name)
    return results


def _figures(runs: Sequence[FinishedRun], measures: Sequence[str], features: str) -> dict[str, Any]:
    """One row's figures over patients; ``features`` are those of its settings, which not every method uses."""
    patients = _pooled(runs)
    whole = summary(patients)
    by_label = {label: summary(patients, label) for label in _labels(patients)}
    missed = [bool(patient.missed) for run in runs for patient in run.patients]
    minutes = [run.progressed.seconds / 60 for run in runs]
    # What the students reached on validation patients, of the runs that know.
    reached = [run.validation for run in runs if run.validation]
    measured = reached[0] if reached else ()
    return {
        **{measure: whole[measure] for measure in measures},
        **only_if_several({label: {measure: row[measure] for measure in measures} for label, row in by_label.items()}),
        "missed": {"times": sum(missed), "of": len(missed)},
        "training_minutes": round(sum(minutes) / len(minutes), 1),
        "features": features if any(run.progressed.contextual for run in runs) else "none",
        "runs": len(runs),
        "validation": {name: sum(run[name] for run in reached) / len(reached) for name in measured} or None,
    }


def _labels(patients: Sequence[PatientFigures]) -> tuple[str, ...]:
    """The structures that were scored."""
    return tuple(patients[0].labels) if patients else ()


def _pooled(runs: Sequence[FinishedRun]) -> list[PatientFigures]:
    """Each patient once: the mean over the runs that tested it; missed where any of them missed it."""
    tested: dict[tuple[str, ...], list[PatientFigures]] = {}
    for run in runs:
        for patient in run.patients:
            tested.setdefault(patient.cases, []).append(patient)
    return [
        replace(
            several[0],
            labels={label: mean_values(patient.labels[label] for patient in several) for label in several[0].labels},
            missed=tuple(label for label in several[0].labels if any(label in patient.missed for patient in several)),
            sensitivities=mean_curve(patient.sensitivities for patient in several),
        )
        for several in tested.values()
    ]


def _compared(
    reference: Sequence[FinishedRun], other: Sequence[FinishedRun], measures: Sequence[str]
) -> dict[str, Any] | None:
    """The reference minus another row on the folds and seeds of both; None where they share none.

    ``delta_dsc`` and ``p`` are those of the first measure, which is a DSC; of several structures ``labels`` has the
    same of each.
    """
    shared = shared_runs(reference, other)
    if not shared[0]:
        return None
    ours, theirs = map(_pooled, shared)

    def differences(own: Sequence[PatientFigures], others: Sequence[PatientFigures]) -> dict[str, Any]:
        by_measure = compare_patients(own, others)
        for compared in by_measure.values():
            compared.pop("sentence")
        first = by_measure[measures[0]]
        return {
            "delta_dsc": first["delta_mean"],
            "p": first["p"],
            "measures": {measure: by_measure[measure] for measure in measures},
        }

    def alone(patients: Sequence[PatientFigures], label: str) -> list[PatientFigures]:
        return [replace(patient, labels={label: patient.labels[label]}) for patient in patients]

    by_label = {label: differences(alone(ours, label), alone(theirs, label)) for label in _labels(ours)}
    return {**differences(ours, theirs), **only_if_several(by_label), "runs": len(shared[0])}


def _configuration(experiment: Experiment, row: str) -> dict[str, Any]:
    """A row's settings as they were run, less what differs from cell to cell and from machine to machine."""
    settings = {**experiment.settings, **experiment.rows[row].settings}
    cell = ExperimentRun(1, row, experiment.seeds[0])
    tree = asdict(experiment.configuration(cell, Path(), "auto"))
    for name in ("cohort", "device", "seed"):
        del tree[name]
    for name in experiment.files_of(cell):
        tree[name] = settings[name]
    return json.loads(json.dumps(tree))
