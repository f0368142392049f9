"""The measures of an experiment's tables, and how their figures are written in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.scoring import measure_title
from .plan import Experiment

VOLUMES = {name: measure_title(name) for name in ("dsc", "surface_dice", "auc", "hd95_mm")}
"""The measures of the results, and their titles."""
SLICES = {
    "dsc_structure_slices": "DSC, slices with the structure",
    "dsc": "DSC, all slices",
    "auc": "AUC",
    "false_cc_per_empty_slice": "false cc on a slice without",
}
"""The same where slices are missing between those that there are: nothing that takes slices for neighbors."""


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
