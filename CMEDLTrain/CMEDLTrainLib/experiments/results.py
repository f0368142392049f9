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

from CMEDLSegmentLib.files import atomic_path

from .plan import DATA, Cell, Experiment
from .running import FINISHED, Bench, Progressed

if TYPE_CHECKING:
    from ..evaluation.measures import PatientFigures

SHOWN = {"dsc": "DSC", "surface_dice": "surface DSC", "hd95_mm": "HD95 (mm)"}
"""The measures of the results, and their titles."""
FOUND = tuple[Cell, "tuple[PatientFigures, ...]"]


def write_results(bench: Bench) -> dict[str, Any]:
    """Write ``results.json`` and ``results.md`` beside the experiment's file; returns what the first holds."""
    from ..evaluation.results import write_json

    experiment = bench.experiment
    results = collect(bench)
    write_json(experiment.folder / "results.json", results)
    with atomic_path(experiment.folder / "results.md") as path:
        path.write_text(markdown(experiment, results), "utf-8")
    return results


def collect(bench: Bench) -> dict[str, Any]:
    """The results of what is finished, in JSON's types.

    ``methods``: of each row with a finished cell the spread of each measure over patients, how many were missed, the
    training time in minutes and the features of the contextual loss. ``comparisons``: of each row its reference minus
    itself. ``configuration``: each row's settings, without paths of this machine. ``cells``: how far each one is.
    """
    from ..evaluation.comparison import INTERVAL_METHOD, TEST_METHOD
    from ..evaluation.results import read_evaluation

    experiment = bench.experiment
    cells = [bench.progress_of(cell) for cell in experiment.cells]
    finished: dict[str, list[FOUND]] = {name: [] for name in experiment.rows}
    for one in cells:
        if one.state == FINISHED:
            read = read_evaluation(bench.run_of(one.cell).evaluation)
            # Without a structure there is no DSC, or one of 0 as soon as a voxel is marked.
            finished[one.cell.row].append((one.cell, tuple(patient for patient in read.patients if patient.marked)))
    configuration = {name: _configuration(experiment, name) for name in experiment.rows}
    return {
        "title": experiment.title,
        "methods": {
            name: _figures(found, [one for one in cells if one.cell.row == name], configuration[name]["features"])
            for name, found in finished.items()
            if found
        },
        "reference": experiment.reference,
        "comparisons": {
            name: {"reference": row.reference, **compared}
            for name, row in experiment.rows.items()
            if name != row.reference and (compared := _compared(finished[row.reference], finished[name]))
        },
        "device": ", ".join(sorted({one.device for one in cells if one.device})),
        "complete": all(one.state == FINISHED for one in cells),
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "intervals": INTERVAL_METHOD,
        "test": TEST_METHOD,
        "configuration": configuration,
        "cells": [_told(one) for one in cells],
        "patients": {
            name: {
                " ".join(patient.cases): {
                    **{measure: patient.values[measure] for measure in SHOWN},
                    "missed": bool(patient.missed),
                }
                for patient in _pooled(found)
            }
            for name, found in finished.items()
            if found
        },
    }


def _figures(found: Sequence[FOUND], cells: Sequence[Progressed], features: str) -> dict[str, Any]:
    """One row's figures over patients; ``features`` are those of its settings, which not every method uses."""
    from ..evaluation.comparison import summary

    several = summary(_pooled(found))
    tested = [bool(patient.missed) for _, patients in found for patient in patients]
    trained = [one.seconds / 60 for one in cells if one.state == FINISHED]
    return {
        **{measure: several[measure] for measure in SHOWN},
        "missed": {"times": sum(tested), "of": len(tested)},
        "training_minutes": round(sum(trained) / len(trained), 1),
        "features": features if any(one.contextual for one in cells) else "none",
        "runs": len(found),
    }


def _pooled(found: Sequence[FOUND]) -> list[PatientFigures]:
    """Each patient once: the mean over the runs that tested it; missed where any of them missed it."""
    from ..evaluation.measures import mean_values

    runs: dict[tuple[str, ...], list[PatientFigures]] = {}
    for _, patients in found:
        for patient in patients:
            runs.setdefault(patient.cases, []).append(patient)
    return [
        replace(
            several[0],
            labels={label: mean_values(one.labels[label] for one in several) for label in several[0].labels},
            missed=tuple(label for label in several[0].labels if any(label in one.missed for one in several)),
        )
        for several in runs.values()
    ]


def _compared(reference: Sequence[FOUND], other: Sequence[FOUND]) -> dict[str, Any] | None:
    """The reference minus another row on the folds and seeds of both; None where they share none."""
    from ..evaluation.comparison import compare_patients

    both = {(cell.fold, cell.seed) for cell, _ in reference} & {(cell.fold, cell.seed) for cell, _ in other}
    if not both:
        return None
    ours, theirs = (
        _pooled([one for one in found if (one[0].fold, one[0].seed) in both]) for found in (reference, other)
    )
    by_measure = compare_patients(ours, theirs)
    for compared in by_measure.values():
        compared.pop("sentence")
    return {
        "delta_dsc": by_measure["dsc"]["delta_mean"],
        "p": by_measure["dsc"]["p"],
        "measures": {measure: by_measure[measure] for measure in SHOWN},
        "runs": len(both),
    }


def _configuration(experiment: Experiment, row: str) -> dict[str, Any]:
    """A row's settings as they were run, less what differs from cell to cell and from machine to machine."""
    settings = {**experiment.settings, **experiment.rows[row].settings}
    cell = Cell(1, row, experiment.seeds[0])
    tree = asdict(experiment.configuration(cell, Path(), "auto"))
    for name in ("cohort", "device", "seed"):
        del tree[name]
    for name in ("features", "initial"):
        if str(settings.get(name, "")).startswith(DATA):
            tree[name] = settings[name]
    return json.loads(json.dumps(tree))


def _told(one: Progressed) -> dict[str, Any]:
    return {
        "fold": one.cell.fold,
        "row": one.cell.row,
        "seed": one.cell.seed,
        "state": one.state,
        "step": one.step,
        "steps": one.steps,
        "training_minutes": round(one.seconds / 60, 1),
        "device": one.device,
    }


def markdown(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """The results for a reader."""
    unfinished = [cell for cell in results["cells"] if cell["state"] != FINISHED]
    count = len(results["cells"])
    state = "Complete." if results["complete"] else f"Not complete: {len(unfinished)} of {count} runs are not finished."
    lines = [f"# {experiment.title}", "", experiment.about, "", state, ""]
    lines += [f"`cmedl-train experiment {experiment.name}` makes and continues these results.", ""]
    header = ["method", *SHOWN.values(), "missed", "features", "minutes a run", "runs"]
    lines += _table(header, [_row(results, name) for name in experiment.rows])
    lines += ["", _legend(experiment, results), ""]
    compared = results["comparisons"]
    if compared:
        header = ["difference", *SHOWN.values(), "p (DSC)", "p (HD95)", "N"]
        lines += [*_table(header, [_comparison(name, found) for name, found in compared.items()]), ""]
        lines += [results["test"], ""]
    if unfinished:
        lines += ["Not finished:", ""]
        lines += [
            f"- {cell['row']}, fold {cell['fold']}, seed {cell['seed']}: {cell['state']}, step {cell['step']} of "
            f"{cell['steps'] or 'unknown'}"
            for cell in unfinished
        ]
        lines.append("")
    return "\n".join(lines)


def _legend(experiment: Experiment, results: Mapping[str, Any]) -> str:
    words = [
        "Mean ± standard deviation over the patients with a structure, each the mean over its runs; [95 % interval of "
        "the mean]; median; N.",
        f"Surface DSC at {results['tolerance_mm']:g} mm. A patient with no voxel in common with the expert is missed: "
        "DSC 0, no HD95.",
        results["intervals"],
        f"Trained on: {results['device'] or 'nothing yet'}.",
        results["note"],
    ]
    return " ".join(word for word in words if word)


def _row(results: Mapping[str, Any], name: str) -> list[str]:
    figures = results["methods"].get(name)
    if figures is None:
        return [name, *["not finished"] * len(SHOWN), "-", "-", "-", "0"]
    shown = [_spread(figures[measure]) for measure in SHOWN]
    missed = f"{figures['missed']['times']} of {figures['missed']['of']}"
    return [name, *shown, missed, figures["features"], f"{figures['training_minutes']:.1f}", str(figures["runs"])]


def _spread(figures: Mapping[str, Any]) -> str:
    if not figures["n"]:
        return "-"
    low, high = figures["ci95"] or (figures["mean"], figures["mean"])
    return (
        f"{figures['mean']:.3f} ± {figures['std']:.3f} [{low:.3f}, {high:.3f}]; {figures['median']:.3f}; {figures['n']}"
    )


def _comparison(name: str, found: Mapping[str, Any]) -> list[str]:
    measures = found["measures"]
    deltas = [_delta(measures[measure]) for measure in SHOWN]
    p = [_p(measures[measure]["p"]) for measure in ("dsc", "hd95_mm")]
    return [f"{found['reference']} minus {name}", *deltas, *p, str(measures["dsc"]["n"])]


def _delta(measure: Mapping[str, Any]) -> str:
    if measure["delta_mean"] is None:
        return "-"
    interval = "" if not measure["ci95"] else " [{:+.3f}, {:+.3f}]".format(*measure["ci95"])
    return f"{measure['delta_mean']:+.3f}{interval}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
