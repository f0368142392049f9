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
    from ..runs import Run

VOLUMES = {"dsc": "DSC", "surface_dice": "surface DSC", "hd95_mm": "HD95 (mm)"}
"""The measures of the results, and their titles."""
SLICES = {
    "dsc_structure_slices": "DSC, slices with the structure",
    "dsc": "DSC, all slices",
    "false_cc_per_empty_slice": "false cc on a slice without",
}
"""The same where slices are missing between those that there are: nothing that takes slices for neighbors."""
NOT_CONTIGUOUS = "Slices are missing between those that there are: no surfaces and no HD95, and DSC by slices."
FOUND = tuple[Cell, "tuple[PatientFigures, ...]"]


def shown(experiment: Experiment) -> dict[str, str]:
    """The measures of an experiment's results by their titles, the first one that of its tests."""
    return VOLUMES if experiment.contiguous else SLICES


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

    ``methods``: of each row with a finished cell the spread of each measure over patients, of several structures that
    of each one too, how many were missed, the best validation's figures (mean over its runs), the training time in
    minutes and the features of the contextual loss. ``comparisons``: of each row its reference minus itself.
    ``configuration``: each row's settings, without paths of this machine. ``cells``: how far each one is.
    """
    from ..evaluation.comparison import INTERVAL_METHOD, TEST_METHOD
    from ..evaluation.results import read_evaluation

    experiment = bench.experiment
    measures = tuple(shown(experiment))
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
            name: {
                **_figures(
                    found, measures, [one for one in cells if one.cell.row == name], configuration[name]["features"]
                ),
                "validation": _validation([bench.run_of(cell) for cell, _ in found]),
            }
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
        "measures": shown(experiment),
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "intervals": INTERVAL_METHOD,
        "test": TEST_METHOD,
        "configuration": configuration,
        "cells": [_told(one) for one in cells],
        "patients": {
            name: {
                " ".join(patient.cases): {
                    **{measure: patient.values[measure] for measure in measures},
                    **_of_labels(patient, measures),
                    "missed": bool(patient.missed),
                }
                for patient in _pooled(found)
            }
            for name, found in finished.items()
            if found
        },
    }


def _figures(
    found: Sequence[FOUND], measures: Sequence[str], cells: Sequence[Progressed], features: str
) -> dict[str, Any]:
    """One row's figures over patients; ``features`` are those of its settings, which not every method uses."""
    from ..evaluation.comparison import summary

    pooled = _pooled(found)
    several = summary(pooled)
    by_label = {label: summary(pooled, label) for label in _labels(pooled)}
    tested = [bool(patient.missed) for _, patients in found for patient in patients]
    trained = [one.seconds / 60 for one in cells if one.state == FINISHED]
    return {
        **{measure: several[measure] for measure in measures},
        **_where_several({label: {measure: one[measure] for measure in measures} for label, one in by_label.items()}),
        "missed": {"times": sum(tested), "of": len(tested)},
        "training_minutes": round(sum(trained) / len(trained), 1),
        "features": features if any(one.contextual for one in cells) else "none",
        "runs": len(found),
    }


def _labels(patients: Sequence[PatientFigures]) -> tuple[str, ...]:
    """The structures that were scored."""
    return tuple(patients[0].labels) if patients else ()


def _where_several(by_label: Mapping[str, Any]) -> dict[str, Any]:
    """``labels``, where there are several: of one structure alone everything is said already."""
    return {"labels": dict(by_label)} if len(by_label) > 1 else {}


def _of_labels(patient: PatientFigures, measures: Sequence[str]) -> dict[str, Any]:
    """A patient's single figures of each of several structures."""
    found = {label: {measure: one[measure] for measure in measures} for label, one in patient.labels.items()}
    return _where_several(found)


def _validation(students: Sequence[Run]) -> dict[str, float] | None:
    """The mean over runs of what their students reached on validation patients; None without a student's file."""
    from CMEDLSegmentLib.card import read_card

    cards = [read_card(run.student) for run in students if run.student.is_file()]
    best = [card.training["validation"] for card in cards if card.training.get("validation")]
    return {name: sum(one[name] for one in best) / len(best) for name in best[0]} if best else None


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


def _compared(reference: Sequence[FOUND], other: Sequence[FOUND], measures: Sequence[str]) -> dict[str, Any] | None:
    """The reference minus another row on the folds and seeds of both; None where they share none.

    ``delta_dsc`` and ``p`` are those of the first measure, which is a DSC; of several structures ``labels`` has the
    same of each.
    """
    from ..evaluation.comparison import compare_patients

    both = {(cell.fold, cell.seed) for cell, _ in reference} & {(cell.fold, cell.seed) for cell, _ in other}
    if not both:
        return None
    ours, theirs = (
        _pooled([one for one in found if (one[0].fold, one[0].seed) in both]) for found in (reference, other)
    )

    def differences(*pair: Sequence[PatientFigures]) -> dict[str, Any]:
        by_measure = compare_patients(*pair)
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
    return {**differences(ours, theirs), **_where_several(by_label), "runs": len(both)}


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
    measures = shown(experiment)
    header = ["method", *measures.values(), "missed", "validation DSC", "features", "minutes a run", "runs"]
    lines += told_table(header, [_row(results, name, measures) for name in experiment.rows])
    lines += ["", _legend(experiment, results), ""]
    compared = results["comparisons"]
    if compared:
        header = ["difference", *_compared_columns(measures)]
        lines += [*told_table(header, [_comparison(name, found, measures) for name, found in compared.items()]), ""]
        lines += [results["test"], ""]
    lines += _by_label(experiment, results)
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
        *([f"Surface DSC at {results['tolerance_mm']:g} mm."] if experiment.contiguous else [NOT_CONTIGUOUS]),
        "A patient with no voxel in common with the expert is missed and has a DSC of 0 and no HD95. Validation DSC: "
        f"{next(iter(results['measures'].values()))}, of the validation that chose the student, mean over patients "
        "and runs.",
        results["intervals"],
        f"Trained on: {results['device'] or 'nothing yet'}.",
        results["note"],
    ]
    return " ".join(word for word in words if word)


def _row(results: Mapping[str, Any], name: str, measures: Mapping[str, str]) -> list[str]:
    figures = results["methods"].get(name)
    if figures is None:
        return [name, *["not finished"] * len(measures), "-", "-", "-", "-", "0"]
    told = [told_spread(figures[measure]) for measure in measures]
    missed = f"{figures['missed']['times']} of {figures['missed']['of']}"
    minutes = f"{figures['training_minutes']:.1f}"
    return [name, *told, missed, _validated(figures, measures), figures["features"], minutes, str(figures["runs"])]


def _validated(figures: Mapping[str, Any], measures: Mapping[str, str]) -> str:
    """The validation's figure of the first measure, which is a DSC."""
    best = figures["validation"]
    return "-" if best is None else f"{best[next(iter(measures))]:.3f}"


def _by_label(experiment: Experiment, results: Mapping[str, Any]) -> list[str]:
    """Tables of each of several structures, for the first and the last measure (DSC and HD95 of volumes)."""
    labels = {name: found["labels"] for name, found in results["methods"].items() if "labels" in found}
    if not labels:
        return []
    measures = list(shown(experiment).items())
    names = list(next(iter(labels.values())))
    lines = []
    for measure, title in (measures[0], measures[-1]):
        rows = [
            [
                name,
                *(told_spread(found[label][measure]) for label in names),
                told_spread(results["methods"][name][measure]),
            ]
            for name, found in labels.items()
        ]
        rows += [
            [
                f"{found['reference']} minus {name}",
                *(_tested(one["measures"][measure]) for one in (*found["labels"].values(), found)),
            ]
            for name, found in results["comparisons"].items()
        ]
        lines += [*told_table([title, *names, "mean over structures"], rows), ""]
    return lines


def told_spread(figures: Mapping[str, Any]) -> str:
    """A cell of a table: mean, standard deviation, interval, median and N."""
    if not figures["n"]:
        return "-"
    low, high = figures["ci95"] or (figures["mean"], figures["mean"])
    return (
        f"{figures['mean']:.3f} ± {figures['std']:.3f} [{low:.3f}, {high:.3f}]; {figures['median']:.3f}; {figures['n']}"
    )


def _compared_columns(measures: Mapping[str, str]) -> list[str]:
    first, *_, last = measures.values()
    return [*measures.values(), f"p ({first})", f"p ({last})", "N"]


def _comparison(name: str, found: Mapping[str, Any], measures: Mapping[str, str]) -> list[str]:
    compared = [found["measures"][measure] for measure in measures]
    p = [told_p(one["p"]) for one in (compared[0], compared[-1])]
    return [f"{found['reference']} minus {name}", *map(told_delta, compared), *p, str(compared[0]["n"])]


def _tested(measure: Mapping[str, Any]) -> str:
    """A difference and its p in one cell."""
    return f"{told_delta(measure)}, p {told_p(measure['p'])}"


def told_delta(measure: Mapping[str, Any]) -> str:
    """A cell: the mean difference and its interval."""
    if measure["delta_mean"] is None:
        return "-"
    interval = "" if not measure["ci95"] else " [{:+.3f}, {:+.3f}]".format(*measure["ci95"])
    return f"{measure['delta_mean']:+.3f}{interval}"


def told_p(value: float | None) -> str:
    """A cell: the p value of a test."""
    return "-" if value is None else f"{value:.3g}"


def told_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
