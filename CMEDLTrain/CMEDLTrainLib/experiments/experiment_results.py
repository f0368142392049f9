"""What an experiment found, from the cells that are finished: ``results.json`` and ``results.md``.

The figures of a row are over patients, each the mean over the row's seeds (and tested once, in one fold). Two rows are
compared on the folds and seeds that both have finished, on the same patients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.files import atomic_path

from ..evaluation.comparison import INTERVAL_METHOD, TEST_METHOD, compare_patients, summary
from ..evaluation.evaluation_file import write_json
from ..evaluation.scoring import PatientFigures
from . import translation_results
from .finished_runs import RESULTS, finished_runs, run_to_json
from .plan import SYNTHESIS, Experiment, ExperimentRun
from .result_pictures import PANELS, ROC, write_panels, write_roc
from .results_page import markdown, only_if_several, table_measures
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
    known = {run.cell: run for runs in finished.values() for run in runs}
    measures = table_measures(experiment)
    configuration = {name: _configuration(experiment, name) for name in experiment.rows}
    results: dict[str, Any] = {
        "title": experiment.title,
        "methods": {
            name: _figures(runs, measures, configuration[name]["features"]) for name, runs in finished.items() if runs
        },
        "reference": experiment.reference,
        "comparisons": {
            name: {"reference": row.reference, **_compared(shared, measures)}
            for name, row in experiment.rows.items()
            if name != row.reference and all(shared := shared_runs([finished[row.reference], finished[name]]))
        },
        "device": ", ".join(sorted({status.device for status in cells if status.device})),
        "complete": all(status.state == FINISHED for status in cells),
        "measures": measures,
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "intervals": INTERVAL_METHOD,
        "test": TEST_METHOD,
        "configuration": configuration,
        "cells": [run_to_json(experiment, known.get(status.cell, status)) for status in cells],
        "missed": [lesion for runs in finished.values() for run in runs for lesion in run.missed],
    }
    if SYNTHESIS in experiment.measures:
        for name, row in results["methods"].items():
            row |= translation_results.figures(finished[name])
        for name, row in results["comparisons"].items():
            row["synthesis"] = translation_results.compared(finished[row["reference"]], finished[name], name)
    return results


def _figures(runs: Sequence[FinishedRun], measures: Mapping[str, str], features: str) -> dict[str, Any]:
    """One row's figures over patients; ``features`` are those of its settings, which not every method uses."""
    patients = _pooled(runs)

    def spreads(label: str | None = None) -> dict[str, Any]:
        by_measure = summary(patients, label)
        return {measure: by_measure[measure] for measure in measures}

    missed = [bool(patient.missed) for run in runs for patient in run.patients]
    validations = [run.validation for run in runs if run.validation]
    validation = {
        name: sum(reached[name] for reached in validations) / len(validations) for name in (*validations, {})[0]
    }
    return {
        **spreads(),
        **only_if_several({label: spreads(label) for label in _labels(patients)}),
        "missed": {"times": sum(missed), "of": len(missed)},
        "training_minutes": round(sum(run.seconds / 60 for run in runs) / len(runs), 1),
        "features": features if any(run.contextual for run in runs) else "none",
        "runs": len(runs),
        "validation": validation or None,
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
    return [PatientFigures.of(several) for several in tested.values()]


def _compared(shared: Sequence[Sequence[FinishedRun]], measures: Mapping[str, str]) -> dict[str, Any]:
    """The reference minus another row, both on the same folds and seeds.

    ``delta_dsc`` and ``p`` are those of the first measure, which is a DSC; of several structures ``labels`` has the
    same of each.
    """
    ours, theirs = map(_pooled, shared)

    def differences(label: str | None = None) -> dict[str, Any]:
        by_measure = compare_patients(ours, theirs, label=label)
        for compared in by_measure.values():
            del compared["sentence"]
        kept = {measure: by_measure[measure] for measure in measures}
        first = next(iter(kept.values()))
        return {"delta_dsc": first["delta_mean"], "p": first["p"], "measures": kept}

    by_label = {label: differences(label) for label in _labels(ours)}
    return {**differences(), **only_if_several(by_label), "runs": len(shared[0])}


def _configuration(experiment: Experiment, row: str) -> dict[str, Any]:
    """A row's settings as they were run, less what differs from cell to cell and from machine to machine."""
    settings = experiment.settings_of(row)
    cell = ExperimentRun(1, row, experiment.seeds[0])
    tree = asdict(experiment.configuration(cell, Path(), "auto"))
    for name in ("cohort", "device", "seed"):
        del tree[name]
    for name in experiment.files_of(cell):
        tree[name] = settings[name]
    return json.loads(json.dumps(tree))
