"""Phantoms on disk: one case, or a whole cohort of unpaired CT and MR. For demonstrations and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cohort import Case, write_cohort
from ..errors import InputError
from ..files import atomic_path
from ..progress import CancelCheck, Progress, never, silent, stop_if
from ..volume import write_image
from .result import Phantom
from .thorax import thorax_ct, thorax_mr

PLACES = ("lung", "lung", "chest-wall", "lung", "mediastinum")
"""Where the tumours of a cohort's cases sit, in turn: mostly in the lung."""


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


def write_cohort_phantoms(
    folder: Path | str,
    cases: int = 10,
    seed: int = 0,
    size: tuple[int, int, int] = (96, 256, 256),
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    progress: Progress = silent,
    cancelled: CancelCheck = never,
) -> Path:
    """Write ``cases`` CT (role student) and as many MR (role teacher) phantoms of different patients.

    About a fifth of either modality, one case at least, is for validation and as many for test; with fewer than
    three cases all of them train.

    Args:
        folder: where ``cohort.csv`` and the folders ``ct`` and ``mr`` go.
        cases: number of patients of either modality.
        seed: the cohort; the same seed writes the same voxels.
        size: voxels (z, y, x).
        spacing: mm (z, y, x).
        progress: told after every case.
        cancelled: asked before every case.

    Returns:
        The path of ``cohort.csv``, written last.

    Raises:
        InputError: a number makes no cohort, or the folder cannot be written.
        Cancelled: the user did; there is no ``cohort.csv`` then.
    """
    if cases < 1:
        raise InputError(f"A cohort of {cases} cases is none; ask for one or more.")
    folder = Path(folder)
    splits = _splits(cases)
    rows: list[Case] = []
    makers = (("CT", "student", thorax_ct), ("MR", "teacher", thorax_mr))
    for number in range(cases):
        for modality, role, make in makers:
            stop_if(cancelled)
            place = PLACES[number % len(PLACES)]
            # A seed of its own for every patient of every cohort.
            own = int(np.random.SeedSequence([seed, number, len(modality + role)]).generate_state(1)[0])
            phantom = make(own, size, spacing, tumor=place)
            name = f"{modality.lower()}{number + 1:03d}"
            paths = write_phantom(folder / modality.lower(), phantom, name)
            rows.append(
                Case(
                    patient=f"phantom-{name}",
                    case=name,
                    modality=modality,
                    image=paths["image"],
                    mask=paths["mask"],
                    role=role,
                    split=splits[number],
                )
            )
            progress("Making phantoms", len(rows) / (2 * cases))
    table = folder / "cohort.csv"
    write_cohort(table, rows)
    return table


def _splits(cases: int) -> list[str]:
    """Split of every case of one modality, the training ones first."""
    if cases < 3:
        return ["train"] * cases
    held = max(1, round(0.2 * cases))
    return ["train"] * (cases - 2 * held) + ["validation"] * held + ["test"] * held
