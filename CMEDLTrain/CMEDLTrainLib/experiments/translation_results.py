"""How good the translated images of test patients are, whose real image of the teacher's modality exists (Table V).

An experiment with ``"measures": ["synthesis"]`` scores it with its students, and ``RUN/synthesis.json`` keeps it: for
each test patient KL divergence, SSIM and PSNR of the translated image against the real one on the same grid, see
:mod:`.evaluation.synthesis`. The real images are used for nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.segmenter import Segmentation
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.metrics.measures import Measure
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.models.normalization import Normalization

from ..evaluation.case_view import CaseView
from ..evaluation.comparison import difference, spread
from ..evaluation.evaluation_file import write_json
from ..evaluation.teacher_inference import TeacherInference
from ..evaluation.translation_quality import PairQuality, pair_quality
from ..runs.run_folder import Run
from .plan import SYNTHESIS_FILE, ExperimentRun
from .result_tables import format_difference, format_p, format_spread, markdown_table

MEASURES = {
    one.name: one
    for one in (
        Measure("kl", "KL", "", "low", False, "KL divergence of intensities, real from translated, mean over patients"),
        Measure("ssim", "SSIM", "", "high", True, "SSIM of translated and real image, mean over patients"),
        Measure("psnr", "PSNR", "dB", "high", True, "PSNR of translated and real image (dB), mean over patients"),
    )
}
"""By their names in the results."""
LEGEND = (
    "Each test patient's translated image against the real one of the same patient, which nothing learned from, on the "
    "same grid: intensities as the networks see them (-1 to 1), where both images are."
)
FOUND = tuple[ExperimentRun, dict[str, dict[str, float]]]
"""A finished cell, and of each of its test cases a value of each of the measures."""


class TranslationScorer:
    """Takes each case as it is scored.

    Args:
        run: a run whose method translates, or not; then nothing is told.
        card: of its student.
        teaching: its translation.
        real: by the name of a case its patient's real image of the teacher's modality.
        normalization: of that modality, as in the run's training; None where the method does not translate.
    """

    def __init__(
        self,
        run: Run,
        card: Card,
        teaching: TeacherInference,
        real: Mapping[str, Case],
        normalization: Normalization | None,
    ) -> None:
        self._run, self._card, self._teaching, self._real = run, card, teaching, real
        self._normalization = normalization
        self._pairs: list[PairQuality] = []

    def __call__(self, case: Case, volume: Volume, expert: np.ndarray, result: Segmentation) -> None:
        """A case that the student has segmented; see :data:`.evaluation.volumes.OnCase`."""
        translate, real = self._teaching.translate, self._real.get(case.case)
        if translate is None or real is None or self._normalization is None:
            return
        seen = CaseView(case.case, volume, expert, result, self._card)
        device = self._teaching.device
        found = pair_quality(seen, volume.geometry, real, self._normalization, translate, device)
        self._pairs += [] if found is None else [found]

    def write(self) -> None:
        """Tell what there is, when all cases came."""
        write_json(self._run.folder / SYNTHESIS_FILE, {"pairs": [vars(pair) for pair in self._pairs]})


def read_translation_results(run: Run) -> dict[str, dict[str, float]]:
    """Of each case a value of each of :data:`MEASURES`.

    Raises:
        InputError: it cannot be read.
    """
    path = run.folder / SYNTHESIS_FILE
    try:
        pairs = json.loads(path.read_text("utf-8"))["pairs"]
        return {one["case"]: {"kl": one["kl"], "ssim": one["ssim"], "psnr": one["psnr_db"]} for one in pairs}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it, and run the experiment.") from error


def figures(found: Sequence[FOUND]) -> dict[str, Any]:
    """The spread of each measure over cases, each the mean over its runs."""
    pooled = _pooled(found)
    return {name: spread(one[name] for one in pooled.values()) for name in MEASURES}


def compared(reference: Sequence[FOUND], other: Sequence[FOUND], name: str) -> dict[str, Any]:
    """The reference's values minus those of the row ``name``, on the cases, folds and seeds of both."""
    runs = {(cell.fold, cell.seed) for cell, _ in reference} & {(cell.fold, cell.seed) for cell, _ in other}
    ours, theirs = (
        _pooled([one for one in found if (one[0].fold, one[0].seed) in runs]) for found in (reference, other)
    )
    both = [case for case in ours if case in theirs]
    if not both:
        return {}
    return {
        measure: difference(measure, [(ours[case][measure], theirs[case][measure]) for case in both], name, MEASURES)
        for measure in MEASURES
    }


def _pooled(found: Sequence[FOUND]) -> dict[str, dict[str, float]]:
    """Each case once: the mean over the runs that translated it."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _, cases in found:
        for case, values in cases.items():
            runs.setdefault(case, []).append(values)
    return {
        case: {measure: float(np.mean([values[measure] for values in several])) for measure in MEASURES}
        for case, several in runs.items()
    }


def translation_table(results: Mapping[str, Any]) -> list[str]:
    """The tables of an experiment's ``results.json``: each row's translations, and how they differ; empty without."""
    if not results["methods"]:
        return []
    titles = [one.title + (f" ({one.unit})" if one.unit else "") for one in MEASURES.values()]
    rows = [[name, *(format_spread(row[measure]) for measure in MEASURES)] for name, row in results["methods"].items()]
    lines = [*markdown_table(["translation", *titles], rows), "", LEGEND, ""]
    differences = [
        [
            f"{row['reference']} minus {name}",
            *(format_difference(row["synthesis"][measure]) for measure in MEASURES),
            *(format_p(row["synthesis"][measure]["p"]) for measure in MEASURES),
            str(row["synthesis"]["ssim"]["n"]),
        ]
        for name, row in results["comparisons"].items()
        if row["synthesis"]
    ]
    if differences:
        header = ["difference", *titles, *(f"p ({one.title})" for one in MEASURES.values()), "N"]
        lines += [*markdown_table(header, differences), ""]
    return lines
