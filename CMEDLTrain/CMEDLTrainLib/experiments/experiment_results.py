"""What an experiment found, from the cells that are finished: ``results.json`` and ``results.md``.

The figures of a row are over patients, each the mean over the row's seeds (and tested once, in one fold). Two rows are
compared on the folds and seeds that both have finished, on the same patients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.files import atomic_path

from .finished_runs import RESULTS, finished_runs, run_to_json
from .plan import SYNTHESIS, Experiment, ExperimentRun
from .result_tables import only_if_several, table_measures
from .run_states import FINISHED, FinishedRun, RunStatus, shared_runs
from .runner import ExperimentRunner

if TYPE_CHECKING:
    from ..evaluation.scoring import PatientFigures


def write_results(bench: ExperimentRunner) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and their pictures to ``bench.out``; returns the first's."""
    from ..evaluation.evaluation_file import write_json
    from .result_pictures import PANELS, ROC, write_panels, write_roc
    from .results_page import markdown

    experiment, folder = bench.experiment, bench.out
    cells = bench.progress()
    finished = finished_runs(bench, cells)
    results = collect(bench, cells, finished)
    tested = {name: [(one.run, one.patients) for one in found if one.run] for name, found in finished.items()}
    pictures = {
        ROC: write_roc({name: _pooled(found) for name, found in finished.items()}, folder),
        # Kept figures have no pictures: where no run is at hand, the picture that they came with stays.
        PANELS: write_panels(tested, experiment.regions, folder) or (bool(bench.kept) and (folder / PANELS).is_file()),
    }
    write_json(folder / RESULTS, results)
    with atomic_path(folder / "results.md") as path:
        path.write_text(markdown(experiment, results, [name for name, drawn in pictures.items() if drawn]), "utf-8")
    return results


def collect(
    bench: ExperimentRunner, cells: Sequence[RunStatus], finished: Mapping[str, Sequence[FinishedRun]]
) -> dict[str, Any]:
    """The results of what is finished, in JSON's types; ``cells`` is how far each one is.

    ``methods``: of each row with a finished cell the spread of each measure over patients, of several structures that
    of each one too, how many were missed, the best validation's figures (mean over its runs), the training time in
    minutes and the features of the contextual loss. ``comparisons``: of each row its reference minus itself.
    ``configuration``: each row's settings, without paths of this machine. ``cells``: how far each one is, and the
    single figures of its patients.
    """
    from ..evaluation.comparison import INTERVAL_METHOD, TEST_METHOD

    experiment = bench.experiment
    by_cell = {one.cell: one for found in finished.values() for one in found}
    measures = tuple(table_measures(experiment))
    configuration = {name: _configuration(experiment, name) for name in experiment.rows}
    results = {
        "title": experiment.title,
        "methods": {
            name: {**_figures(found, measures, configuration[name]["features"]), "validation": _validation(found)}
            for name, found in finished.items()
            if found
        },
        "reference": experiment.reference,
        "comparisons": {
            name: {"reference": row.reference, **compared}
            for name, row in experiment.rows.items()
            if name != row.reference and (compared := _compared(finished[row.reference], finished[name], measures))
        },
        "device": ", ".join(sorted({one.device for one in cells if one.device})),
        "complete": all(one.state == FINISHED for one in cells),
        "measures": table_measures(experiment),
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "intervals": INTERVAL_METHOD,
        "test": TEST_METHOD,
        "configuration": configuration,
        "cells": [run_to_json(experiment, one, by_cell.get(one.cell)) for one in cells],
        "missed": [miss for found in finished.values() for one in found for miss in one.missed],
    }
    if SYNTHESIS in experiment.measures:
        _add_synthesis(finished, results)
    return results


def _add_synthesis(finished: Mapping[str, Sequence[FinishedRun]], results: dict[str, Any]) -> None:
    """The figures of translated images, in their rows and comparisons."""
    from .translation_results import compared, figures

    for name, row in results["methods"].items():
        row |= figures(finished[name])
    for name, row in results["comparisons"].items():
        row["synthesis"] = compared(finished[row["reference"]], finished[name], name)


def _figures(found: Sequence[FinishedRun], measures: Sequence[str], features: str) -> dict[str, Any]:
    """One row's figures over patients; ``features`` are those of its settings, which not every method uses."""
    from ..evaluation.comparison import summary

    pooled = _pooled(found)
    several = summary(pooled)
    by_label = {label: summary(pooled, label) for label in _labels(pooled)}
    tested = [bool(patient.missed) for one in found for patient in one.patients]
    trained = [one.progressed.seconds / 60 for one in found]
    return {
        **{measure: several[measure] for measure in measures},
        **only_if_several({label: {measure: one[measure] for measure in measures} for label, one in by_label.items()}),
        "missed": {"times": sum(tested), "of": len(tested)},
        "training_minutes": round(sum(trained) / len(trained), 1),
        "features": features if any(one.progressed.contextual for one in found) else "none",
        "runs": len(found),
    }


def _labels(patients: Sequence[PatientFigures]) -> tuple[str, ...]:
    """The structures that were scored."""
    return tuple(patients[0].labels) if patients else ()


def _validation(found: Sequence[FinishedRun]) -> dict[str, float] | None:
    """The mean over runs of what their students reached on validation patients; None where no run knows."""
    best = [one.validation for one in found if one.validation]
    return {name: sum(one[name] for one in best) / len(best) for name in best[0]} if best else None


def _pooled(found: Sequence[FinishedRun]) -> list[PatientFigures]:
    """Each patient once: the mean over the runs that tested it; missed where any of them missed it."""
    from ..evaluation.scoring import mean_curve, mean_values

    runs: dict[tuple[str, ...], list[PatientFigures]] = {}
    for one in found:
        for patient in one.patients:
            runs.setdefault(patient.cases, []).append(patient)
    return [
        replace(
            several[0],
            labels={label: mean_values(one.labels[label] for one in several) for label in several[0].labels},
            missed=tuple(label for label in several[0].labels if any(label in one.missed for one in several)),
            sensitivities=mean_curve(one.sensitivities for one in several),
        )
        for several in runs.values()
    ]


def _compared(
    reference: Sequence[FinishedRun], other: Sequence[FinishedRun], measures: Sequence[str]
) -> dict[str, Any] | None:
    """The reference minus another row on the folds and seeds of both; None where they share none.

    ``delta_dsc`` and ``p`` are those of the first measure, which is a DSC; of several structures ``labels`` has the
    same of each.
    """
    from ..evaluation.comparison import compare_patients

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
