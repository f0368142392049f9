"""How good the translated images of test patients are, whose real image of the teacher's modality exists (Table V).

An experiment with ``"measures": ["synthesis"]`` scores it with its students, and ``RUN/synthesis.json`` keeps it: for
each test patient KL divergence, SSIM and PSNR of the translated image against the real one on the same grid, see
:mod:`.evaluation.translation_quality`. The real images are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluation.comparison import difference, spread
from ..evaluation.scoring import patient_measure
from ..runs.run_folder import Run
from .plan import SYNTHESIS_FILE
from .run_states import FinishedRun, read_entry, shared_runs

MEASURES = {
    "kl": patient_measure("kl", "KL", "", "low", "KL divergence of intensities, real from translated"),
    "ssim": patient_measure("ssim", "SSIM", "", "high", "SSIM of translated and real image"),
    "psnr": patient_measure("psnr", "PSNR", "dB", "high", "PSNR of translated and real image (dB)"),
}
"""By their names in the results."""


def read_translation_results(run: Run) -> dict[str, dict[str, float]]:
    """Of each case a value of each of :data:`MEASURES`.

    Raises:
        InputError: it cannot be read.
    """
    pairs = read_entry(run.folder / SYNTHESIS_FILE, "pairs")
    return {pair["case"]: {"kl": pair["kl"], "ssim": pair["ssim"], "psnr": pair["psnr_db"]} for pair in pairs}


def figures(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """The spread of each measure over cases, each the mean over its runs."""
    cases = _pooled(runs)
    return {name: spread(values[name] for values in cases.values()) for name in MEASURES}


def compared(reference: Sequence[FinishedRun], other: Sequence[FinishedRun], name: str) -> dict[str, Any]:
    """The reference's values minus those of the row ``name``, on the cases, folds and seeds of both."""
    ours, theirs = map(_pooled, shared_runs([reference, other]))
    both = [case for case in ours if case in theirs]
    return {
        measure: difference(measure, [(ours[case][measure], theirs[case][measure]) for case in both], name, MEASURES)
        for measure in MEASURES
        if both
    }


def _pooled(runs: Sequence[FinishedRun]) -> dict[str, dict[str, float]]:
    """Each case once: the mean over the runs that translated it."""
    cases: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        for case, values in (run.translated or {}).items():
            cases.setdefault(case, []).append(values)
    return {
        case: {measure: float(np.mean([values[measure] for values in several])) for measure in MEASURES}
        for case, several in cases.items()
    }
