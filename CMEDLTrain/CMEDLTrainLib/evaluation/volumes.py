"""A student scored on whole volumes, through the same Segmenter that a clinician's click runs.

Per patient, slices pooled: the DSC over the slices that hold the structure, the DSC over all slices, and the false
volume on lung slices without the structure. None of them needs neighbouring slices, so they hold for volumes of
which only some slices were kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CMEDLSegmentLib.cohort import Case
from CMEDLSegmentLib.console import plain, table
from CMEDLSegmentLib.files import atomic_path
from CMEDLSegmentLib.progress import CancelCheck, Progress, never, part, silent

MEASURES = {
    "dsc_structure_slices": "DSC, a patient's slices with the structure pooled, mean over patients",
    "dsc_all_slices": "DSC, all slices of a patient pooled, mean over patients",
    "false_cc_per_empty_slice": "false volume per slice without the structure (cc), mean over patients",
}
"""What is summed up over cases, in words."""


@dataclass(frozen=True)
class CaseFigures:
    """Figures of one case; a DSC is None where neither contour marks anything."""

    case: str
    dsc_structure_slices: float | None
    """2 |A and B| / (|A| + |B|) over the slices that the expert marked."""
    dsc_all_slices: float | None
    """The same over every slice of the volume."""
    structure_slices: int
    empty_slices: int
    """Slices that the student looked at and the expert left empty."""
    false_cc_per_empty_slice: float | None
    """Volume marked on those, per slice, in cc; None where there is none."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a student on a cohort."""

    student: str
    weights_sha256: str
    threshold: float
    runtime: str
    cases: tuple[CaseFigures, ...]

    def values(self, name: str) -> np.ndarray:
        """One figure of all cases that have it."""
        found = (getattr(case, name) for case in self.cases)
        return np.array([value for value in found if value is not None], float)

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean, standard deviation, median and N over cases of each figure."""
        result = {}
        for name in MEASURES:
            values = self.values(name)
            if len(values):
                spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
                figures = {"mean": float(values.mean()), "std": spread, "median": float(np.median(values))}
                result[name] = {**figures, "n": len(values)}
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything, as ``evaluation.json`` holds it."""
        return {**asdict(self), "summary": self.summary()}

    def write(self, path: Path) -> None:
        """Write :meth:`to_json` to ``path``."""
        with atomic_path(path) as beside:
            beside.write_text(json.dumps(plain(self.to_json()), indent=2) + "\n", "utf-8")

    def report(self) -> str:
        """A table of the cases and a line for each summary."""
        rows = [[case.case, *(_shown(getattr(case, name)) for name in MEASURES)] for case in self.cases]
        lines = [table(["case", "DSC (its slices)", "DSC (all slices)", "false cc per empty slice"], rows), ""]
        for name, figures in self.summary().items():
            lines.append(f"{MEASURES[name]}: {figures['mean']:.3f} +- {figures['std']:.3f} (N = {figures['n']:.0f})")
        return "\n".join(lines)


def evaluate(
    student_file: Path,
    cases: Sequence[Case],
    device: str = "auto",
    progress: Progress = silent,
    cancelled: CancelCheck = never,
    runtime: str = "auto",
    precision: str = "auto",
) -> Evaluation:
    """Score a student on cases with masks.

    Raises:
        InputError: a case cannot be read, or the student does not fit it.
    """
    from CMEDLSegmentLib.segmentation import Segmenter
    from CMEDLSegmentLib.student import load_student
    from CMEDLSegmentLib.volume import read_mask, read_volume

    student = load_student(student_file)
    segmenter = Segmenter(student, device=device, runtime=runtime, precision=precision)
    figures = []
    for number, case in enumerate(cases):
        words = f"Case {number + 1} of {len(cases)}"
        step = part(progress, number / len(cases), (number + 1) / len(cases))
        volume = read_volume(case.image)
        expert = read_mask(case.mask, volume.geometry).array > 0

        def report(stage: str, fraction: float, step: Progress = step, words: str = words) -> None:
            step(f"{words}: {stage}", fraction)

        result = segmenter.segment(volume, progress=report, cancelled=cancelled)
        seen = result.probability.slices
        figures.append(score(case.case, result.label > 0, expert, volume.geometry, seen))
    return Evaluation(
        student=student.card.name,
        weights_sha256=student.card.weights_sha256,
        threshold=student.card.threshold,
        runtime=result.runtime,
        cases=tuple(figures),
    )


def score(case: str, found: np.ndarray, expert: np.ndarray, geometry: Any, seen: np.ndarray) -> CaseFigures:
    """Figures of one case.

    Args:
        case: its name.
        found, expert: bool (z, y, x) on the volume's grid.
        geometry: that grid (``CMEDLSegmentLib.volume.Geometry``).
        seen: axial indices of the slices that the student looked at.
    """
    from CMEDLSegmentLib.volume import axial_view

    found, expert = (axial_view(mask, geometry).array for mask in (found, expert))
    holds = expert.any(axis=(1, 2))
    empty = np.setdiff1d(seen, np.flatnonzero(holds))
    false_cc = None
    if len(empty):
        false_cc = float(np.count_nonzero(found[empty]) * geometry.voxel_cc / len(empty))
    return CaseFigures(
        case=case,
        dsc_structure_slices=_dice(found[holds], expert[holds]),
        dsc_all_slices=_dice(found, expert),
        structure_slices=int(holds.sum()),
        empty_slices=len(empty),
        false_cc_per_empty_slice=false_cc,
    )


def _dice(found: np.ndarray, expert: np.ndarray) -> float | None:
    total = np.count_nonzero(found) + np.count_nonzero(expert)
    return 2 * np.count_nonzero(found & expert) / total if total else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
