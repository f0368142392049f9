"""Phantoms on disk: one case, or a whole cohort of unpaired images in two modalities. For demonstrations and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import InputError
from ..base.files import atomic_path
from ..base.progress import SILENT, Progress
from ..io.cohort_table import Case, write_cohort
from ..io.images import write_image
from .abdomen import abdomen
from .phantom_case import Phantom
from .thorax import thorax_ct, thorax_mr

PLACES = ("lung", "lung", "chest-wall", "lung", "mediastinum")
"""Where the tumors of a cohort's cases sit, in turn: mostly in the lung."""


def write_phantom(folder: Path | str, phantom: Phantom, name: str = "phantom") -> dict[str, Path]:
    """Write a phantom's image and truth as ``<name>.nii.gz`` and ``<name>_truth.nii.gz``, and what it is as text.

    Returns:
        The paths: "image", "mask" and "description".

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    paths = {
        "image": folder / f"{name}.nii.gz",
        "mask": folder / f"{name}_truth.nii.gz",
        "description": folder / f"{name}.txt",
    }
    write_image(paths["image"], phantom.image.array, phantom.image.geometry)
    write_image(paths["mask"], phantom.mask, phantom.image.geometry)
    labels = ", ".join(f"{value} {label}" for value, label in phantom.labels.items())
    with atomic_path(paths["description"]) as beside:
        beside.write_text(f"{phantom.description}\nLabels of the truth: {labels}.\n", encoding="utf-8")
    return paths


COHORTS = {
    # Of one seed these two are different patients already.
    "thorax": (("ct", "student", 9), ("mr", "teacher", 9)),
    "abdomen": (("t1", "student", 10), ("t2", "teacher", 11)),
}
"""By anatomy: of both roles the images' name, which is their folder's, and a number that keeps the patients apart."""


def write_cohort_phantoms(
    folder: Path | str,
    cases: int = 10,
    seed: int = 0,
    size: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
    progress: Progress = SILENT,
    anatomy: str = "thorax",
) -> Path:
    """Write ``cases`` phantoms of the role student and as many of the role teacher, of different patients.

    About a fifth of either role, one case at least, is for validation and as many for test; with fewer than three cases
    all of them train.

    Args:
        folder: where ``cohort.csv`` goes, and a folder for each role's images.
        cases: number of patients of either role.
        seed: the cohort; the same seed writes the same voxels.
        size: voxels (z, y, x); by default the anatomy's own.
        spacing: mm (z, y, x); by default the anatomy's own.
        progress: told before every case.
        anatomy: ``thorax``: tumors on CT (student) and on MR (teacher). ``abdomen``: four organs (``abdomen.ORGANS``)
            on T1 weighted MR (student) and on T2 weighted MR (teacher).

    Returns:
        The path of ``cohort.csv``, written last.

    Raises:
        InputError: a number makes no cohort, there is no such anatomy, or the folder cannot be written.
        Cancelled: the user did; there is no ``cohort.csv`` then.
    """
    if cases < 1:
        raise InputError(f"A cohort of {cases} cases is none; ask for one or more.")
    if anatomy not in COHORTS:
        raise InputError(f"There are no phantoms of '{anatomy}'; ask for one of {', '.join(COHORTS)}.")
    folder = Path(folder)
    given: dict[str, Any] = {name: value for name, value in (("size", size), ("spacing", spacing)) if value}
    rows: list[Case] = []
    for number, split in enumerate(_splits(cases)):
        for kind, role, stream in COHORTS[anatomy]:
            progress.stop_if_cancelled()
            progress(f"Making phantom {len(rows) + 1} of {2 * cases}", len(rows) / (2 * cases))
            # A seed of its own for every patient of every cohort.
            own = int(np.random.SeedSequence([seed, number, stream]).generate_state(1)[0])
            if anatomy == "abdomen":
                phantom = abdomen(kind.upper(), own, **given)
            else:
                make = thorax_ct if kind == "ct" else thorax_mr
                phantom = make(own, **given, tumor=PLACES[number % len(PLACES)])
            name = f"{kind}{number + 1:03d}"
            paths = write_phantom(folder / kind, phantom, name)
            modality = phantom.image.modality or ""
            rows.append(Case(f"phantom-{name}", name, modality, paths["image"], paths["mask"], role, split))
    table = folder / "cohort.csv"
    write_cohort(table, rows)
    return table


def _splits(cases: int) -> list[str]:
    """Split of every case of one role, the training ones first."""
    if cases < 3:
        return ["train"] * cases
    held = max(1, round(0.2 * cases))
    return ["train"] * (cases - 2 * held) + ["validation"] * held + ["test"] * held
