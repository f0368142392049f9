"""``results.md``: what ``results.json`` holds, for a reader; and how figures are written in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation.scoring import measure_title
from .plan import SYNTHESIS, Experiment
from .run_states import FINISHED
from .translation_results import MEASURES as TRANSLATION_MEASURES

VOLUMES = {name: measure_title(name) for name in ("dsc", "surface_dice", "auc", "hd95_mm")}
"""The measures of the results, and their titles."""
SLICES = {
    "dsc_structure_slices": "DSC, slices with the structure",
    "dsc": "DSC, all slices",
    "auc": "AUC",
    "false_cc_per_empty_slice": "false cc on a slice without",
}
"""The same where slices are missing between those that there are: nothing that takes slices for neighbors."""
NOT_CONTIGUOUS = "Slices are missing between those that there are: no surfaces and no HD95, and DSC by slices."
PICTURES = {
    "panels.png": "The best, the median and the worst patient by the mean DSC of the methods, of the runs that were at "
    "hand: the student in red, the expert in yellow; below it the translated image with the teacher in blue, where a "
    "method has them, and last the patient's real image, where translated images are measured.",
    "roc.svg": "Sensitivity of voxels at each false-positive rate, the mean over patients, and the area, which is the "
    "mean of the patients' areas.",
}
TRANSLATION_LEGEND = (
    "Each test patient's translated image against the real one of the same patient, which nothing learned from, on the "
    "same grid: intensities as the networks see them (-1 to 1), where both images are."
)
MISSED_HEADER = (
    *("missed", "region", "method", "seed", "volume (cc)", "slices", "marked instead (cc)", "nearest (mm)"),
    "highest probability",
)
MISSED_LEGEND = (
    "Slices are counted from 0 at the inferior end; the nearest is the least distance from the structure to a voxel "
    "that the student marked, the highest probability that which it gave to a voxel of the structure."
)


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
    lines += [_legend(experiment, results), ""]
    if results["comparisons"]:
        first = next(iter(measures))
        rows = [
            [name, *(_tested(row["measures"][measure]) for measure in measures), str(row["measures"][first]["n"])]
            for name, row in _differences(results).items()
        ]
        lines += [*markdown_table(["difference", *measures.values(), "N"], rows), results["test"], ""]
    lines += _by_label(measures, results)
    if SYNTHESIS in experiment.measures and results["methods"]:
        lines += _translations(results)
    for name in pictures:
        lines += [f"![{Path(name).stem}]({name})", "", PICTURES[name], ""]
    if results["missed"]:
        lines += _missed(results["missed"])
    if unfinished:
        line = "- {row}, fold {fold}, seed {seed}: {state}, step {step} of {steps}"
        cells = [line.format_map({**cell, "steps": cell["steps"] or "unknown"}) for cell in unfinished]
        lines += ["Not finished:", "", *cells, ""]
    return "\n".join(lines)


def _legend(experiment: Experiment, results: Mapping[str, Any]) -> str:
    first, title = next(iter(results["measures"].items()))
    reached = {name: row["validation"][first] for name, row in results["methods"].items() if row["validation"]}
    best = ""
    if results["complete"] and len(reached) > 1:  # before that it could be another one
        best = f"By validation patients `{max(reached, key=reached.__getitem__)}` is the best row."
    sentences = [
        "Mean ± standard deviation over the patients with a structure, each the mean over its runs; [95 % interval of "
        "the mean]; median; N.",
        f"Surface DSC at {results['tolerance_mm']:g} mm." if experiment.contiguous else NOT_CONTIGUOUS,
        "A patient with no voxel in common with the expert is missed: DSC 0, and no HD95 where nothing was marked at "
        f"all. Validation DSC: {title}, of the validation that chose the student, mean over patients and runs.",
        best,
        results["intervals"],
        f"Trained on: {results['device'] or 'nothing yet'}.",
        results["note"],
    ]
    return " ".join(filter(None, sentences))


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


def _differences(results: Mapping[str, Any]) -> dict[str, Any]:
    """The comparisons by what is subtracted from what."""
    return {f"{row['reference']} minus {name}": row for name, row in results["comparisons"].items()}


def _tested(measure: Mapping[str, Any]) -> str:
    """A difference and its p in one cell."""
    return f"{format_difference(measure)}, p {format_p(measure['p'])}"


def _by_label(measures: Mapping[str, str], results: Mapping[str, Any]) -> list[str]:
    """Tables of each of several structures, for the first and the last measure (DSC and HD95 of volumes)."""
    methods = {name: row for name, row in results["methods"].items() if "labels" in row}
    if not methods:
        return []
    labels = list(next(iter(methods.values()))["labels"])
    lines = []
    first, *_, last = measures.items()
    for measure, title in (first, last):
        rows = [
            [name, *(format_spread(part[measure]) for part in (*(row["labels"][label] for label in labels), row))]
            for name, row in methods.items()
        ]
        rows += [
            [name, *(_tested(part["measures"][measure]) for part in (*row["labels"].values(), row))]
            for name, row in _differences(results).items()
        ]
        lines += markdown_table([title, *labels, "mean over structures"], rows)
    return lines


def _translations(results: Mapping[str, Any]) -> list[str]:
    """The tables of each row's translated images, and how they differ."""
    names, measures = list(TRANSLATION_MEASURES), TRANSLATION_MEASURES.values()
    titles = [f"{measure.title} ({measure.unit})" if measure.unit else measure.title for measure in measures]
    rows = [[method, *(format_spread(row[name]) for name in names)] for method, row in results["methods"].items()]
    lines = [*markdown_table(["translation", *titles], rows), TRANSLATION_LEGEND, ""]
    differences = [
        [
            method,
            *(format_difference(row["synthesis"][name]) for name in names),
            *(format_p(row["synthesis"][name]["p"]) for name in names),
            str(row["synthesis"]["ssim"]["n"]),
        ]
        for method, row in _differences(results).items()
        if row["synthesis"]
    ]
    if differences:
        tests = [f"p ({measure.title})" for measure in measures]
        lines += markdown_table(["difference", *titles, *tests, "N"], differences)
    return lines


def _missed(lesions: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the structures that students missed, a patient's lines together."""
    several = len({lesion["label"] for lesion in lesions}) > 1
    rows = [
        [
            f"{lesion['case']}, {lesion['label']}" if several else lesion["case"],
            lesion["region"] or "-",
            lesion["row"],
            str(lesion["seed"]),
            f"{lesion['structure_cc']:.1f}",
            "{} to {} of {}".format(*lesion["slices"]),
            f"{lesion['marked_cc']:.1f}" if lesion["marked_cc"] else "nothing",
            "-" if lesion["nearest_mm"] is None else f"{lesion['nearest_mm']:.0f}",
            f"{lesion['highest_probability']:.1g}",
        ]
        for lesion in sorted(lesions, key=lambda lesion: lesion["case"])
    ]
    return [*markdown_table(MISSED_HEADER, rows), MISSED_LEGEND, ""]


def table_measures(experiment: Experiment) -> dict[str, str]:
    """The measures of an experiment's results by their titles, the first one that of its tests."""
    return VOLUMES if experiment.contiguous else SLICES


def only_if_several(by_label: Mapping[str, Any]) -> dict[str, Any]:
    """``labels``, where there are several: of one structure alone everything is said already."""
    return {"labels": dict(by_label)} if len(by_label) > 1 else {}


def format_spread(figures: Mapping[str, Any]) -> str:
    """A cell of a table: mean, standard deviation, interval, median and N."""
    if not figures["n"]:
        return "-"
    low, high = figures["ci95"] or (figures["mean"], figures["mean"])
    return (
        f"{figures['mean']:.3f} ± {figures['std']:.3f} [{low:.3f}, {high:.3f}]; {figures['median']:.3f}; {figures['n']}"
    )


def format_difference(measure: Mapping[str, Any]) -> str:
    """A cell: the mean difference and its interval."""
    if measure["delta_mean"] is None:
        return "-"
    interval = "" if not measure["ci95"] else " [{:+.3f}, {:+.3f}]".format(*measure["ci95"])
    return f"{measure['delta_mean']:+.3f}{interval}"


def format_p(value: float | None) -> str:
    """A cell: the p value of a test."""
    return "-" if value is None else f"{value:.3g}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, and an empty one."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]
