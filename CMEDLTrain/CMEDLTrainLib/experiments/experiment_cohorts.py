"""The cohorts of experiments, written into the work folder as tables that ``cmedl-train run`` reads too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.cohort_table import MODALITIES, SPLITS, Case, write_cohort

from .plan import Experiment, data_folder

if TYPE_CHECKING:
    from CMEDLSegmentLib.phantom import Phantom

GROUPS = (*SPLITS, "teacher")
"""Of a cohort's patients: the student's in three splits, and those who are seen in the teacher's modality alone."""
DRAWS = 32
"""Anatomies that are drawn for one phantom at most, until one has a structure on the slices that are made."""
Triple = tuple[float, float, float]


def make_cohort(experiment: Experiment, work: Path, progress: Progress = SILENT) -> tuple[Path, ...]:
    """The tables of the experiment's folds below ``work``; made unless they are there already.

    Raises:
        InputError: a cohort of no known kind, an entry that is missing, or data that is not there.
        Cancelled: the user did; what was made is not used then.
    """
    settings = dict(experiment.cohort)
    kind = settings.pop("kind", None)
    if kind not in MAKERS:
        raise InputError(f"The experiment {experiment.name} has no cohort of a kind among {', '.join(MAKERS)}.")
    _check(experiment.name, kind, settings)
    folder = work / f"cohort-{experiment.cohort_id}"
    tables = tuple(folder / f"fold{number}.csv" for number in range(1, experiment.folds + 1))
    if not all(table.is_file() for table in tables):
        folds = MAKERS[kind](folder, progress, **settings)
        for table, cases in zip(tables, folds, strict=True):
            write_cohort(table, cases)
    return tables


def _check(name: str, kind: str, settings: Mapping[str, Any]) -> None:
    """Raise InputError unless ``settings`` are the keywords of a kind's maker, and its groups are complete."""
    parameters = inspect.signature(MAKERS[kind]).parameters.values()
    wanted = sorted(entry.name for entry in parameters if entry.kind is inspect.Parameter.KEYWORD_ONLY)
    groups = SPLITS if kind == "msd_lung" else GROUPS
    described = [*settings.get("folds", ()), *([settings["counts"]] if "counts" in settings else [])]
    missing = [key for key in wanted if key not in settings]
    missing += [group for fold in described for group in groups if not isinstance(fold, Mapping) or group not in fold]
    unknown = sorted(set(settings) - set(wanted))
    if missing or unknown:
        what = f"lacks '{missing[0]}'" if missing else f"has an unknown entry '{unknown[0]}'"
        raise InputError(f"The cohort of the experiment {name} {what}; one of kind {kind} has {', '.join(wanted)}.")


def phantoms(
    folder: Path,
    progress: Progress,
    *,
    seed: int,
    counts: Mapping[str, int],
    size: tuple[int, int, int],
    spacing: Triple,
    tumor: str,
) -> Iterator[list[Case]]:
    """One fold of thorax phantoms: CT for the student, MR of other patients for the teacher.

    Args:
        folder: where images and masks go.
        progress: see ``progress.py``.
        seed: of the anatomies.
        counts: patients of each of ``GROUPS``.
        size, spacing: of the volumes, voxels and mm (z, y, x).
        tumor: where it sits; "mediastinum" has little contrast on CT and much on MR.
    """
    from CMEDLSegmentLib.io.volume import triple
    from CMEDLSegmentLib.phantom import thorax_ct, thorax_mr

    def make(group: str, own: int) -> Phantom:
        draw = thorax_mr if group == "teacher" else thorax_ct
        return draw(own, triple(size), triple(spacing), tumor=tumor)

    yield _drawn(folder, progress, seed, counts, make)


def organs(
    folder: Path,
    progress: Progress,
    *,
    seed: int,
    counts: Mapping[str, int],
    size: tuple[int, int, int],
    spacing: Triple,
    student: str,
) -> Iterator[list[Case]]:
    """One fold of abdomen phantoms with four organs: one contrast of MR for the student, the other for the teacher.

    Args:
        folder, progress, seed, counts, size, spacing: as in :func:`phantoms`.
        student: the student's contrast, ``T1`` or ``T2``; the teacher sees the other one, of other patients.
    """
    from CMEDLSegmentLib.io.volume import triple
    from CMEDLSegmentLib.phantom import abdomen

    teacher = "T1" if student == "T2" else "T2"

    def make(group: str, own: int) -> Phantom:
        return abdomen(teacher if group == "teacher" else student, own, triple(size), triple(spacing))

    yield _drawn(folder, progress, seed, counts, make)


def _drawn(
    folder: Path,
    progress: Progress,
    seed: int,
    counts: Mapping[str, int],
    make: Callable[[str, int], Phantom],
) -> list[Case]:
    """A phantom for each patient, made of a group and a seed of its own."""
    import numpy as np

    from CMEDLSegmentLib.phantom import write_phantom

    groups = [group for group in GROUPS for _ in range(counts[group])]
    cases = []
    for number, group in enumerate(groups):
        progress.stop_if_cancelled()
        progress("Making phantoms", number / len(groups))
        # One whose structure lies outside of the slices is drawn anew; that changes no other one.
        seeds = np.random.SeedSequence([seed, number]).generate_state(DRAWS)
        drawn = (make(group, int(own)) for own in seeds)
        phantom = next((phantom for phantom in drawn if phantom.mask.any()), None)
        if phantom is None:
            raise InputError(f"Of {DRAWS} phantoms none has a structure on its slices; give the volumes a larger size.")
        modality = phantom.image.modality
        assert modality is not None
        name = f"{modality.lower()}{number + 1:03d}"
        paths = write_phantom(folder / "images", phantom, name)
        cases.append(_case(name, group, modality, paths["image"], paths["mask"]))
    return cases


def sts(
    folder: Path, progress: Progress, *, folds: list[Mapping[str, list[str]]], student: str
) -> Iterator[list[Case]]:
    """Soft-tissue sarcoma: each patient gives the CT or the T1 MR of its two registered scans, never both in a fold.

    Args:
        folder, progress: not needed; nothing is copied.
        folds: of each fold the patients of each of ``GROUPS``, as the files are named.
        student: the student's modality, ``CT`` or ``MR``; the teacher's is the other one.
    """
    data = data_folder() / "sts"
    for fold in folds:
        yield [
            _sts_case(data, patient, group, _other(student) if group == "teacher" else student)
            for group in GROUPS
            for patient in fold[group]
        ]


def msd_lung(folder: Path, progress: Progress, *, folds: list[Mapping[str, list[str]]]) -> Iterator[list[Case]]:
    """Lung tumors on CT; the teacher sees the T1 MR of all patients of ``sts``, who have sarcomas of limbs and trunk.

    Args:
        folder, progress: not needed; nothing is copied.
        folds: of each fold the patients of each split, as the files are named.
    """
    data, other = data_folder() / "msd_lung", data_folder() / "sts"
    teachers = sorted(path.name.removesuffix("_MR_T1.nii.gz") for path in other.glob("*_MR_T1.nii.gz"))
    for fold in folds:
        students = [lung_case(data, patient, split) for split in SPLITS for patient in fold[split]]
        yield [*students, *(_sts_case(other, patient, "teacher", "MR") for patient in teachers)]


def lung_case(data: Path, patient: str, split: str) -> Case:
    """A patient of the folder ``msd_lung``, for the student."""
    return _case(patient, split, "CT", data / f"{patient}_ct.nii.gz", data / f"{patient}_tumour.nii.gz")


def _sts_case(data: Path, patient: str, group: str, modality: str) -> Case:
    stem = f"{patient}_{'MR_T1' if modality == 'MR' else modality}"
    return _case(patient, group, modality, data / f"{stem}.nii.gz", data / f"{stem}_gtv.nii.gz")


def _other(modality: str) -> str:
    return next(other for other in MODALITIES if other != modality)


def real_images(experiment: Experiment, fold: int) -> dict[str, Case]:
    """Of each test case of a fold (from 1), by name, its patient's real image of the teacher's modality.

    They are no part of the cohort: a translated image is measured against them, and nothing learns from them.

    Raises:
        InputError: in a cohort of this kind patients have one image each.
    """
    cohort = experiment.cohort
    if cohort["kind"] != "sts":
        raise InputError(
            f"The experiment {experiment.name} measures translated images, which needs both images of each test "
            "patient; only a cohort of the kind sts has them."
        )
    data, test = data_folder() / "sts", cohort["folds"][fold - 1]["test"]
    return {patient: _sts_case(data, patient, "test", _other(cohort["student"])) for patient in test}


def _case(patient: str, group: str, modality: str, image: Path, mask: Path) -> Case:
    role, split = ("teacher", "train") if group == "teacher" else ("student", group)
    return Case(patient, patient, modality, image, mask, role, split)


Maker = Callable[..., Iterator[list[Case]]]
MAKERS: dict[str, Maker] = {"phantom": phantoms, "organs": organs, "sts": sts, "msd_lung": msd_lung}
"""By the ``kind`` of an experiment's cohort; the other entries are the maker's keywords."""
