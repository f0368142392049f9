"""A student scored on whole volumes, through the same Segmenter that a clinician's click runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.inference import segmenter
from CMEDLSegmentLib.inference.segmenter import FieldSlices, Segmentation
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentLib.io.volume import Volume, axial_view
from CMEDLSegmentLib.metrics.measures import TOLERANCE_MM
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import Card

from .click_evaluation import click_case
from .click_figures import ClickFigures
from .evaluation_file import Evaluation
from .packed_case import SUFFIX, read_packed_case
from .roc import RocCounts
from .scoring import CaseFigures, PatientFigures, score

OnCase = Callable[[Case, Volume, np.ndarray, Segmentation], None]
"""Told of each case: the case, its volume, the expert's labels (z, y, x) on its grid, and its segmentation."""


def evaluate(
    student_file: Path | str,
    cases: Sequence[Case],
    device: str = "auto",
    progress: Progress = SILENT,
    tolerance_mm: float = TOLERANCE_MM,
    on_case: OnCase | None = None,
) -> Evaluation:
    """Score a student on cases with masks.

    Args:
        student_file: the student's file, or the name of an installed one.
        cases: of the student's modality, with masks; or such as :mod:`.packed_case` keeps.
        device: as that of ``Segmenter``, which chooses the fastest runtime there.
        tolerance_mm: of the surface DSC.
        on_case: told of each case while its volume is in memory, for pictures.

    Raises:
        InputError: there is no case, one cannot be read or has no mask, or the student does not fit it.
        DeviceError: as ``Segmenter``.
        Cancelled: it was cancelled.
    """
    if not cases:
        raise InputError("There is no case to score the student on; name at least one with a mask.")
    student = registry.load(student_file)
    labels = student.card.labels
    runner = segmenter.Segmenter(student, device=device)
    scored: list[CaseFigures] = []
    patients: dict[str, list[CaseFigures]] = {}
    # Of any structure, and where there are several of each: with the label's value.
    curves = {"": None} | ({label.name: label.value for label in labels} if len(labels) > 1 else {})
    counts = {name: RocCounts() for name in curves}
    milliseconds = []
    clicks: list[ClickFigures] = []
    for number, case in enumerate(cases):
        step = progress.part(number / len(cases), (number + 1) / len(cases))
        title = f"Case {number + 1} of {len(cases)}"
        volume, expert, given = _read(case, student.card)
        if student.card.prompt is None:
            result = runner.segment(given, progress=step.part(0.0, 0.9).under(title))
        else:
            central, own_clicks = click_case(runner, case.case, volume, expert, step.part(0.0, 0.9).under(title))
            if central is None:
                continue  # nothing to click on
            result = central
            clicks += own_clicks
        slices = result.probability.slices
        step(f"{title}: comparing with the expert", 0.9)
        own = _counted(result, axial_view(expert, volume.geometry).array, curves)
        for name in curves:
            counts[name].merge(own[name])
        # Of one label the curve of any structure is the label's.
        roc = {label.name: own.get(label.name, own[""]) for label in labels}
        figures = score(case.case, result.label, expert, volume.geometry, slices, labels, tolerance_mm, roc)
        scored.append(figures)
        patients.setdefault(case.patient, []).append(figures)
        milliseconds.append(1000.0 * result.timings["network"] / max(len(slices), 1))
        if on_case is not None:
            on_case(case, volume, expert, result)
    if not scored:
        raise InputError(f"No case has the structure that '{student.card.name}' could be asked for by a click.")
    return Evaluation(
        student=student.card.name,
        weights_sha256=student.card.weights_sha256,
        threshold=student.card.threshold,
        tolerance_mm=tolerance_mm,
        device=result.device,
        runtime=result.runtime,
        batch=runner.plan.batch,
        milliseconds_per_slice=float(np.median(milliseconds)),
        labels=tuple(label.name for label in labels),
        cases=tuple(scored),
        patients=tuple(map(PatientFigures.of, patients.values())),
        roc={name: curve.curve() for name, curve in counts.items()},
        clicks=tuple(clicks),
    )


def _read(case: Case, card: Card) -> tuple[Volume, np.ndarray, Volume | FieldSlices]:
    """A case's volume, the expert's labels (z, y, x) on its grid, and what the student of ``card`` is given of it.

    Raises:
        InputError: it cannot be read, has no mask, or was packed for other students.
    """
    if case.image.suffix == SUFFIX:
        packed = read_packed_case(case.image)
        return packed.volume(), packed.expert, packed.seen_by(card)
    if case.mask is None:
        raise InputError(f"The case {case.case} has no mask; an evaluation needs the expert's of every case.")
    volume = read_volume(case.image)
    return volume, read_mask(case.mask, volume.geometry).array, volume


def _counted(result: Segmentation, expert: np.ndarray, curves: Mapping[str, int | None]) -> dict[str, RocCounts]:
    """The voxels of one case by probability, for each of the curves; ``expert`` (z, y, x) in axial order.

    Those of the slices that the student looked at, and of slices that it passed over though the expert marked them,
    where its probability is 0. Other slices would only add voxels that nobody calls a structure.
    """
    passed = np.setdiff1d(np.flatnonzero(expert.any(axis=(1, 2))), result.probability.slices)
    counts = {}
    for name, value in curves.items():
        inside = expert != 0 if value is None else expert == value
        counts[name] = RocCounts()
        for z, plane in result.probability.planes(value):
            counts[name].add(plane, inside[z])
        for z in passed:
            counts[name].add(np.zeros(inside[z].shape, np.float16), inside[z])
    return counts
