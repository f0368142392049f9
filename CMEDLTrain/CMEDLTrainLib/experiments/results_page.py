"""``results.md``: what ``results.json`` holds, for a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .missed_lesions import missed_table
from .plan import SYNTHESIS, Experiment
from .result_tables import format_difference, format_p, format_spread, markdown_table, table_measures
from .run_states import FINISHED
from .translation_results import translation_table

NOT_CONTIGUOUS = "Slices are missing between those that there are: no surfaces and no HD95, and DSC by slices."
PICTURES = {
    "panels.png": "The best, the median and the worst patient by the mean DSC of the methods, of the runs that were at "
    "hand: the student in red, the expert in yellow; below it the translated image with the teacher in blue, where a "
    "method has them, and last the patient's real image, where translated images are measured.",
    "roc.svg": "Sensitivity of voxels at each false-positive rate, the mean over patients, and the area, which is the "
    "mean of the patients' areas.",
}


def markdown(experiment: Experiment, results: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The results for a reader; ``pictures`` are those that lie beside."""
    unfinished = [cell for cell in results["cells"] if cell["state"] != FINISHED]
    count = len(results["cells"])
    state = "Complete." if results["complete"] else f"Not complete: {len(unfinished)} of {count} runs are not finished."
    lines = [f"# {experiment.title}", "", experiment.about, "", state, ""]
    lines += [f"`cmedl-train experiment {experiment.name}` makes and continues these results.", ""]
    measures = table_measures(experiment)
    header = ["method", *measures.values(), "missed", "validation DSC", "features", "minutes a run", "runs"]
    lines += markdown_table(header, [_row(results, name, measures) for name in experiment.rows])
    lines += ["", _legend(experiment, results), ""]
    compared = results["comparisons"]
    if compared:
        header = ["difference", *measures.values(), "N"]
        rows = [
            [
                f"{row['reference']} minus {name}",
                *(_tested(row["measures"][measure]) for measure in measures),
                str(row["measures"][next(iter(measures))]["n"]),
            ]
            for name, row in compared.items()
        ]
        lines += [*markdown_table(header, rows), "", results["test"], ""]
    lines += _by_label(experiment, results)
    if SYNTHESIS in experiment.measures:
        lines += translation_table(results)
    for name in pictures:
        lines += [f"![{Path(name).stem}]({name})", "", PICTURES[name], ""]
    lines += missed_table(results["missed"])
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
        "A patient with no voxel in common with the expert is missed: DSC 0, and no HD95 where nothing was marked at "
        f"all. Validation DSC: {next(iter(results['measures'].values()))}, of the validation that chose the student, "
        "mean over patients and runs.",
        _chosen(results),
        results["intervals"],
        f"Trained on: {results['device'] or 'nothing yet'}.",
        results["note"],
    ]
    return " ".join(word for word in words if word)


def _chosen(results: Mapping[str, Any]) -> str:
    """Which row validation patients would choose; nothing before all of them can be."""
    first = next(iter(results["measures"]))
    found = {name: one["validation"][first] for name, one in results["methods"].items() if one["validation"]}
    if not results["complete"] or len(found) < 2:
        return ""
    return f"By validation patients `{max(found, key=found.__getitem__)}` is the best row."


def _row(results: Mapping[str, Any], name: str, measures: Mapping[str, str]) -> list[str]:
    figures = results["methods"].get(name)
    if figures is None:
        return [name, *["not finished"] * len(measures), "-", "-", "-", "-", "0"]
    validation = figures["validation"]
    return [
        name,
        *(format_spread(figures[measure]) for measure in measures),
        f"{figures['missed']['times']} of {figures['missed']['of']}",
        # Of the first measure, which is a DSC.
        f"{validation[next(iter(measures))]:.3f}" if validation else "-",
        figures["features"],
        f"{figures['training_minutes']:.1f}",
        str(figures["runs"]),
    ]


def _by_label(experiment: Experiment, results: Mapping[str, Any]) -> list[str]:
    """Tables of each of several structures, for the first and the last measure (DSC and HD95 of volumes)."""
    labels = {name: found["labels"] for name, found in results["methods"].items() if "labels" in found}
    if not labels:
        return []
    measures = list(table_measures(experiment).items())
    names = list(next(iter(labels.values())))
    lines = []
    for measure, title in (measures[0], measures[-1]):
        rows = [
            [
                name,
                *(format_spread(found[label][measure]) for label in names),
                format_spread(results["methods"][name][measure]),
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
        lines += [*markdown_table([title, *names, "mean over structures"], rows), ""]
    return lines


def _tested(measure: Mapping[str, Any]) -> str:
    """A difference and its p in one cell."""
    return f"{format_difference(measure)}, p {format_p(measure['p'])}"
