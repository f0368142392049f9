"""The cohorts of experiments, written into the work folder as tables that ``cmedl-train run`` reads too.

``phantom``: thoraces, CT for the student and MR of other patients for the teacher; ``tumor`` says where it sits, in the
mediastinum it has little contrast on CT and much on MR. ``organs``: abdomens with four organs, in the contrast of MR
``student`` (``T1`` or ``T2``), and in the other one of other patients for the teacher. Both are one fold, with
``counts`` of patients by group, volumes of ``size`` voxels and ``spacing`` mm (z, y, x), and anatomies from ``seed``.

``sts``: soft-tissue sarcoma; each patient gives the CT or the T1 MR of two registered scans, never both in a fold, the
student's of the modality ``student``. ``msd_lung``: lung tumors on CT; the teacher sees the T1 MR of all patients of
``sts``. Both have ``folds`` of patients by group, as the files are named; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.cohort_table import MODALITIES, SPLITS, Case, write_cohort
from CMEDLSegmentLib.io.volume import triple

from .plan import Experiment, data_folder

if TYPE_CHECKING:
    from CMEDLSegmentLib.phantom import Phantom

GROUPS = (*SPLITS, "teacher")
"""Of a cohort's patients: the student's in three splits, and those who are seen in the teacher's modality alone."""
DRAWS = 32
"""Anatomies that are drawn for one phantom at most, until one has a structure on the slices that are made."""
ENTRIES = {
    "phantom": ("counts", "seed", "size", "spacing", "tumor"),
    "organs": ("counts", "seed", "size", "spacing", "student"),
    "sts": ("folds", "student"),
    "msd_lung": ("folds",),
}
"""What an experiment says of its cohort, by the cohort's ``kind``."""


def make_cohort(experiment: Experiment, work: Path, progress: Progress = SILENT) -> tuple[Path, ...]:
    """The tables of the experiment's folds below ``work``; made unless they are there already.

    Raises:
        InputError: a cohort of no known kind, an entry that is missing, or data that is not there.
        Cancelled: the user did; what was made is not used then.
    """
    cohort = experiment.cohort
    _check(experiment.name, cohort)
    folder = work / f"cohort-{experiment.cohort_id}"
    tables = tuple(folder / f"fold{number}.csv" for number in range(1, experiment.folds + 1))
    if not all(table.is_file() for table in tables):
        if "counts" in cohort:
            write_cohort(tables[0], _phantoms(cohort, folder / "images", progress))
        else:
            for table, fold in zip(tables, cohort["folds"], strict=True):
                write_cohort(table, _fold(cohort, fold))
    return tables


def _check(name: str, cohort: Mapping[str, Any]) -> None:
    """Raise InputError unless a cohort has all entries of its kind and no other, and its groups are complete."""
    kind = cohort.get("kind")
    if kind not in ENTRIES:
        raise InputError(f"The experiment {name} has no cohort of a kind among {', '.join(ENTRIES)}.")
    groups = SPLITS if kind == "msd_lung" else GROUPS
    described = [*cohort.get("folds", ()), *([cohort["counts"]] if "counts" in cohort else [])]
    missing = [key for key in ENTRIES[kind] if key not in cohort]
    missing += [group for fold in described for group in groups if not isinstance(fold, Mapping) or group not in fold]
    unknown = sorted(cohort.keys() - {"kind", *ENTRIES[kind]})
    if missing or unknown:
        what = f"lacks '{missing[0]}'" if missing else f"has an unknown entry '{unknown[0]}'"
        raise InputError(
            f"The cohort of the experiment {name} {what}; one of kind {kind} has {', '.join(ENTRIES[kind])}."
        )


def _phantoms(cohort: Mapping[str, Any], images: Path, progress: Progress) -> list[Case]:
    """A phantom for each patient, written to the folder ``images``."""
    import numpy as np

    from CMEDLSegmentLib.phantom import write_phantom

    groups = [group for group in GROUPS for _ in range(cohort["counts"][group])]
    cases = []
    for number, group in enumerate(groups):
        progress.stop_if_cancelled()
        progress("Making phantoms", number / len(groups))
        # One whose structure lies outside of the slices is drawn anew; that changes no other one.
        seeds = np.random.SeedSequence([cohort["seed"], number]).generate_state(DRAWS)
        drawn = (_phantom(cohort, group, int(seed)) for seed in seeds)
        phantom = next((phantom for phantom in drawn if phantom.mask.any()), None)
        if phantom is None:
            raise InputError(f"Of {DRAWS} phantoms none has a structure on its slices; give the volumes a larger size.")
        modality = phantom.image.modality
        assert modality is not None
        name = f"{modality.lower()}{number + 1:03d}"
        paths = write_phantom(images, phantom, name)
        cases.append(_case(name, group, modality, paths["image"], paths["mask"]))
    return cases


def _phantom(cohort: Mapping[str, Any], group: str, seed: int) -> Phantom:
    from CMEDLSegmentLib.phantom import abdomen, thorax_ct, thorax_mr

    size, spacing = triple(cohort["size"]), triple(cohort["spacing"])
    if cohort["kind"] == "phantom":
        return (thorax_mr if group == "teacher" else thorax_ct)(seed, size, spacing, tumor=cohort["tumor"])
    contrast = cohort["student"]
    if group == "teacher":
        contrast = "T1" if contrast == "T2" else "T2"
    return abdomen(contrast, seed, size, spacing)


def _fold(cohort: Mapping[str, Any], fold: Mapping[str, list[str]]) -> list[Case]:
    """The cases of one fold, of files of the data folder."""
    data = data_folder()
    if cohort["kind"] == "sts":
        modality = dict.fromkeys(SPLITS, cohort["student"]) | {"teacher": _other(cohort["student"])}
        return [_sts_case(patient, group, modality[group]) for group in GROUPS for patient in fold[group]]
    names = sorted(path.name for path in (data / "sts").glob("*_MR_T1.nii.gz"))
    return [
        *(lung_case(data / "msd_lung", patient, split) for split in SPLITS for patient in fold[split]),
        *(_sts_case(name.removesuffix("_MR_T1.nii.gz"), "teacher", "MR") for name in names),
    ]


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
    teacher = _other(cohort["student"])
    return {patient: _sts_case(patient, "test", teacher) for patient in cohort["folds"][fold - 1]["test"]}


def lung_case(data: Path, patient: str, split: str) -> Case:
    """A patient of the folder ``msd_lung``, for the student."""
    return _case(patient, split, "CT", data / f"{patient}_ct.nii.gz", data / f"{patient}_tumour.nii.gz")


def _sts_case(patient: str, group: str, modality: str) -> Case:
    stem = str(data_folder() / "sts" / f"{patient}_{'MR_T1' if modality == 'MR' else modality}")
    return _case(patient, group, modality, Path(f"{stem}.nii.gz"), Path(f"{stem}_gtv.nii.gz"))


def _other(modality: str) -> str:
    return next(other for other in MODALITIES if other != modality)


def _case(patient: str, group: str, modality: str, image: Path, mask: Path) -> Case:
    role, split = ("teacher", "train") if group == "teacher" else ("student", group)
    return Case(patient, patient, modality, image, mask, role, split)
