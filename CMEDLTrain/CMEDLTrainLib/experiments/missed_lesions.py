"""The patients that students missed, one by one: how large the tumor is, where, and what was marked instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.run_folder import Run
from .case_snapshots import read_snapshots
from .plan import ExperimentRun
from .result_tables import markdown_table

HEADER = (
    "missed",
    "region",
    "method",
    "seed",
    "volume (cc)",
    "slices",
    "marked instead (cc)",
    "nearest (mm)",
    "highest probability",
)
LEGEND = (
    "Slices are counted from 0 at the inferior end; the nearest is the least distance from the structure to a voxel "
    "that the student marked, the highest probability that which it gave to a voxel of the structure."
)


def missed_lesions(cell: ExperimentRun, run: Run, regions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each structure that a scored run's student shares no voxel with, in JSON's types.

    See :func:`.case_snapshots.missed_structures`.

    Args:
        cell: what the run is of.
        run: its folder.
        regions: the part of the body by case.
    """
    of = {"row": cell.row, "fold": cell.fold, "seed": cell.seed}
    return [
        {"case": case, "region": regions.get(case), **of, **one}
        for case, kept in read_snapshots(run).items()
        for one in kept["missed"]
    ]


def missed_table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of what :func:`missed_lesions` told, a patient's lines together; empty where nobody was missed."""
    if not found:
        return []
    several = len({one["label"] for one in found}) > 1
    rows = [
        [
            f"{one['case']}, {one['label']}" if several else one["case"],
            one["region"] or "-",
            one["row"],
            str(one["seed"]),
            f"{one['structure_cc']:.1f}",
            "{} to {} of {}".format(*one["slices"]),
            f"{one['marked_cc']:.1f}" if one["marked_cc"] else "nothing",
            "-" if one["nearest_mm"] is None else f"{one['nearest_mm']:.0f}",
            f"{one['highest_probability']:.1g}",
        ]
        for one in sorted(found, key=lambda one: one["case"])
    ]
    return [*markdown_table(HEADER, rows), "", LEGEND, ""]
