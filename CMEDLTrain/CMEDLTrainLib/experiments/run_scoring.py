"""Score a trained cell: its student on the test patients, and in the same pass all that its results are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference.segmenter import Segmentation
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.models.model_file import load_model

from ..computing.distribution import choose_device
from ..evaluation.case_view import CaseView
from ..evaluation.evaluate import evaluate
from ..evaluation.evaluation_file import write_json
from ..evaluation.evaluation_output import scored_cases, write_evaluation
from ..evaluation.teacher_inference import TeacherInference
from ..evaluation.translation_quality import PairQuality, pair_quality
from ..runs import run_folder
from ..training.train_run import slices_of
from .case_snapshots import CaseSnapshots
from .plan import LOOKS_FILE, SYNTHESIS_FILE


def is_scored(run: run_folder.Run, synthesis: bool) -> bool:
    """Whether all was told of a run's student; ``synthesis``: of its translation too."""
    files = [run.evaluation, run.folder / LOOKS_FILE, *([run.folder / SYNTHESIS_FILE] if synthesis else [])]
    return all(file.is_file() for file in files)


def score(
    run: run_folder.Run,
    cohort: Path,
    tolerance_mm: float,
    real: Mapping[str, Case] | None,
    device: str,
    progress: Progress,
) -> None:
    """Write ``evaluation.json``, ``looks.json`` and, where it is asked for, ``synthesis.json`` of a trained run.

    Args:
        run: with its student. One that came without its checkpoint shows no translation.
        cohort: the fold's table.
        tolerance_mm: of the surface DSC.
        real: of each test case its patient's real image of the teacher's modality, to measure the translation against;
            None where that is not asked for.

    Raises:
        InputError: the run or a case cannot be read.
        Cancelled: it was cancelled; nothing is written then but pictures.
    """
    student, chosen, teacher = load_model(run.student), choose_device(device), TeacherInference()
    if run.last.is_file():
        teacher = TeacherInference.of(run, student.build().to(chosen), chosen)
    partners = real or {}
    normalization = slices_of(run).normalizations["teacher"] if partners and teacher.translate else None
    snapshots = CaseSnapshots(run, teacher, partners, normalization)
    pairs: list[PairQuality] = []

    def on_case(case: Case, volume: Volume, expert: np.ndarray, result: Segmentation) -> None:
        view = CaseView(case.case, volume, expert, result, student.card)
        snapshots.add(view)
        if teacher.translate and normalization and case.case in partners:
            pair = pair_quality(view, partners[case.case], normalization, teacher.translate, teacher.device)
            pairs.extend([pair] if pair else [])

    write_evaluation(run, evaluate(run.student, scored_cases(cohort), device, progress, tolerance_mm, on_case))
    snapshots.write()
    if real is not None:
        write_json(run.folder / SYNTHESIS_FILE, {"pairs": pairs})
