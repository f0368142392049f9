"""The cohorts of experiments, written into the work folder as tables that ``cmedl-train run`` reads too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from CMEDLSegmentLib.cohort import MODALITIES, SPLITS, Case, write_cohort
from CMEDLSegmentLib.errors import InputError
from CMEDLSegmentLib.progress import CancelCheck, Progress, never, silent, stop_if

from .plan import Experiment, data_folder

GROUPS = (*SPLITS, "teacher")
"""Of a cohort's patients: the student's in three splits, and those who are seen in the teacher's modality alone."""


def make_cohort(
    experiment: Experiment, work: Path, progress: Progress = silent, cancelled: CancelCheck = never
) -> tuple[Path, ...]:
    """The tables of the experiment's folds below ``work``; made unless they are there already.

    Raises:
        InputError: a cohort of no known kind, an entry that is missing, or data that is not there.
        Cancelled: the user did; what was made is not used then.
    """
    settings = dict(experiment.cohort)
    kind = settings.pop("kind", None)
    if kind not in MAKERS:
        raise InputError(f"The experiment {experiment.name} has no cohort of a kind among {', '.join(MAKERS)}.")
    folder = work / f"cohort-{experiment.cohort_id}"
    tables = tuple(folder / f"fold{number}.csv" for number in range(1, experiment.folds + 1))
    if not all(table.is_file() for table in tables):
        try:
            folds = MAKERS[kind](folder, progress, cancelled, **settings)
            for table, cases in zip(tables, folds, strict=True):
                write_cohort(table, cases)
        except (TypeError, KeyError) as error:
            raise InputError(
                f"The cohort of the experiment {experiment.name} is not described well: {error}."
            ) from error
    return tables


def phantoms(
    folder: Path,
    progress: Progress,
    cancelled: CancelCheck,
    *,
    seed: int,
    counts: Mapping[str, int],
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    tumor: str,
) -> Iterator[list[Case]]:
    """One fold of thorax phantoms: CT for the student, MR of other patients for the teacher.

    Args:
        folder: where images and masks go.
        progress, cancelled: told and asked before each phantom.
        seed: of the anatomies.
        counts: patients of each of ``GROUPS``.
        size, spacing: of the volumes, voxels and mm (z, y, x).
        tumor: where it sits; "mediastinum" has little contrast on CT and much on MR.
    """
    import numpy as np

    from CMEDLSegmentLib.phantom import thorax_ct, thorax_mr, write_phantom

    groups = [group for group in GROUPS for _ in range(counts[group])]
    cases = []
    for number, group in enumerate(groups):
        stop_if(cancelled)
        progress("Making phantoms", number / len(groups))
        modality, make = ("MR", thorax_mr) if group == "teacher" else ("CT", thorax_ct)
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        name = f"{modality.lower()}{number + 1:03d}"
        paths = write_phantom(folder / "images", make(own, tuple(size), tuple(spacing), tumor=tumor), name)
        cases.append(_case(name, group, modality, paths["image"], paths["mask"]))
    yield cases


def sts(
    folder: Path, progress: Progress, cancelled: CancelCheck, *, folds: list[Mapping[str, list[str]]], student: str
) -> Iterator[list[Case]]:
    """Soft-tissue sarcoma: each patient gives the CT or the T1 MR of its two registered scans, never both in a fold.

    Args:
        folder, progress, cancelled: not needed; nothing is copied.
        folds: of each fold the patients of each of ``GROUPS``, as the files are named.
        student: the student's modality, ``CT`` or ``MR``; the teacher's is the other one.
    """
    data = data_folder() / "sts"
    names = {"CT": "CT", "MR": "MR_T1"}
    teacher = next(modality for modality in MODALITIES if modality != student)
    for fold in folds:
        cases = []
        for group in GROUPS:
            modality = teacher if group == "teacher" else student
            for patient in fold[group]:
                stem = f"{patient}_{names[modality]}"
                paths = data / f"{stem}.nii.gz", data / f"{stem}_gtv.nii.gz"
                cases.append(_case(patient, group, modality, *paths))
        yield cases


def _case(patient: str, group: str, modality: str, image: Path, mask: Path) -> Case:
    role, split = ("teacher", "train") if group == "teacher" else ("student", group)
    return Case(patient, patient, modality, image, mask, role, split)


MAKERS = {"phantom": phantoms, "sts": sts}
"""By the ``kind`` of an experiment's cohort; the other entries are the maker's keywords."""
