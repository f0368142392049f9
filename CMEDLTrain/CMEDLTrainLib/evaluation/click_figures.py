"""Figures of simulated clicks, and what they come to over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .comparison import spread

CENTRAL, RANDOM = "central", "random"
RANDOM_CLICKS, SEED = 3, 0
"""Random clicks of a case, and what they are drawn with beside its number of voxels."""
FAILED = 0.3
"""A DSC below which a click is said to have failed."""


@dataclass(frozen=True)
class ClickFigures:
    """One simulated click; what was meant is the expert's largest connected piece.

    Attributes:
        case, kind: the case's name; ``central`` (the deepest place of the largest slice) or ``random``.
        point: LPS, mm.
        dsc, dsc_structure_slices: over all slices, and over those with the structure.
        overrun: slices marked beyond the structure, at the end with more of them.
        mended: the DSC after one correction in the middle of the largest error, of a central click; else None.
        seconds: from the volume in memory to the label.
    """

    case: str
    kind: str
    point: tuple[float, float, float]
    dsc: float
    dsc_structure_slices: float
    overrun: int
    seconds: float
    mended: float | None = None


def summarize(figures: Sequence[ClickFigures], patients: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Figures over patients for each kind of click, and of corrections; each patient the mean of its clicks.

    ``patients``: the names of each one's cases.
    """
    summary: dict[str, Any] = {"random_clicks": RANDOM_CLICKS, "seed": SEED, "failed_below": FAILED}
    for kind in (CENTRAL, RANDOM):
        own = [click for click in figures if click.kind == kind]
        summary[kind] = {
            "clicks": len(own),
            **{name: _spread(own, name, patients) for name in ("dsc", "dsc_structure_slices")},
            "failed": sum(click.dsc_structure_slices < FAILED for click in own),
            "overrun_of_more_than_2": sum(click.overrun > 2 for click in own),
            "largest_overrun": max((click.overrun for click in own), default=0),
            "seconds": float(np.median([click.seconds for click in own])) if own else None,
        }
    mended = [click for click in figures if click.mended is not None]
    summary["corrections"] = {
        "clicks": len(mended),
        "dsc_before": _spread(mended, "dsc", patients),
        "dsc_after": _spread(mended, "mended", patients),
    }
    return summary


def report(figures: Sequence[ClickFigures], patients: Sequence[Sequence[str]]) -> str:
    """The figures of :func:`summarize` in lines."""
    tree, lines = summarize(figures, patients), []
    for kind in (CENTRAL, RANDOM):
        own = tree[kind]
        mean, ends = own["dsc_structure_slices"]["mean"], own["dsc_structure_slices"]["ci95"]
        interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
        lines.append(
            f"{kind.capitalize()} clicks: DSC on its slices {mean:.3f}{interval} "
            f"(N = {own['dsc_structure_slices']['n']}); "
            f"{own['failed']} of {own['clicks']} below {FAILED:g}; {own['overrun_of_more_than_2']} marked more than 2 "
            f"slices beyond an end; {own['seconds']:.2f} s each"
        )
    mended = tree["corrections"]
    if mended["clicks"]:
        before, after = mended["dsc_before"]["mean"], mended["dsc_after"]["mean"]
        lines.append(f"One correction of the largest error: DSC {before:.3f} -> {after:.3f} (N = {mended['clicks']})")
    return "\n".join(lines)


def _spread(figures: Sequence[ClickFigures], name: str, patients: Sequence[Sequence[str]]) -> dict[str, Any]:
    own = [[getattr(click, name) for click in figures if click.case in cases] for cases in patients]
    return spread(float(np.mean(values)) for values in own if values)
