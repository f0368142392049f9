"""The cohorts of the click model: five folds of patients and nodules, and one of all of them.

    python cohort.py DATA WORK

``DATA`` has ``msd_lung`` and ``lidc_raters``. Into ``WORK`` go the images, which are made here, and the tables
``fold1.csv`` to ``fold5.csv`` and ``final.csv``:

- of a patient of ``msd_lung`` the slices around the tumor, one run of neighbors: its other slices lie elsewhere;
- of a nodule of ``lidc_raters`` the crop with HU guessed as in the experiment ``raters``, and what two raters mark;
- phantoms, for training alone: they show where a tumor ends, which ``msd_lung`` hardly does.

The test patients of ``msd_lung`` are those of ``lung-folds.json``; of its validation patients most train here. Nodules
are divided by patient, in the order of their names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.io.cohort_table import Case, write_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume, write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLTrainLib.experiments.rater_study import hounsfield

LARGEST_STEP = 4
"""Slice numbers of ``msd_lung`` that differ by no more are neighbors; true distances are lost."""
AGREED = 2
"""Raters who mark a voxel of a nodule."""
FOLDS = 5
VALIDATION = 3
"""Patients of either set that choose the epoch: few, because training needs all others."""
PHANTOMS, FIRST_SEED = 12, 7100
AROUND = 12
"""Slices beyond a phantom's tumor."""


def lung_cases(data: Path, work: Path) -> Iterator[Case]:
    """A case for each patient of ``msd_lung``."""
    for entry in json.loads((data / "index.json").read_text("utf-8")):
        name = entry["case"]
        volume = read_volume(data / f"{name}_ct.nii.gz")
        mask = read_mask(data / f"{name}_tumour.nii.gz", volume.geometry).array > 0
        # Axial order is that of the files: from the first axis up.
        runs = np.split(np.arange(len(mask)), np.flatnonzero(np.diff(entry["slices"]) > LARGEST_STEP) + 1)
        kept = max(runs, key=lambda run: int(mask[run].sum()))
        yield _written(work, name, name, volume.array[kept], mask[kept], volume.geometry)


def nodule_cases(data: Path, work: Path) -> Iterator[Case]:
    """A case for each nodule of ``lidc_raters``; nodules of one person have one patient."""
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        crop = read_volume(folder / "image_8bit.nii.gz")
        votes = sum(read_mask(folder / f"rater{n}.nii.gz", crop.geometry).array > 0 for n in range(1, 5))
        patient = folder.name.partition("_")[0]
        array = hounsfield(crop.array.astype(np.uint8)).clip(-1000, 1500)
        yield _written(work, folder.name, patient, array, np.asarray(votes) >= AGREED, crop.geometry)


def phantom_cases(work: Path) -> Iterator[Case]:
    """Phantoms whose tumor has slices beyond both ends."""
    for number in range(PHANTOMS):
        random = np.random.default_rng(FIRST_SEED + number)
        thickness = float(random.choice([2.0, 3.0, 4.0]))
        size = (round(330 / thickness), 256, 256)
        location = ("lung", "lung", "chest-wall", "mediastinum")[number % 4]
        phantom = thorax_ct(FIRST_SEED + number, size, (thickness, 1.5, 1.5), tumor=location)
        marked = np.flatnonzero(phantom.mask.any(axis=(1, 2)))
        kept = slice(max(0, int(marked[0]) - AROUND), int(marked[-1]) + AROUND + 1)
        name = f"phantom{number + 1:02d}"
        yield _written(work, name, name, phantom.image.array[kept], phantom.mask[kept] > 0, phantom.image.geometry)


def _written(work: Path, name: str, patient: str, array: np.ndarray, mask: np.ndarray, geometry: Geometry) -> Case:
    """A case with its files in ``work``; the grid keeps its spacing, not its origin."""
    grid = Geometry(size=tuple(reversed(array.shape)), spacing=geometry.spacing)  # type: ignore[arg-type]
    image, label = work / f"{name}_ct.nii.gz", work / f"{name}_tumor.nii.gz"
    write_image(image, np.round(array).astype(np.int16), grid)
    write_image(label, mask.astype(np.uint8), grid)
    return Case(patient, name, "CT", image, label, "student", "train")


def folds(lung: list[Case], nodules: list[Case], groups: list[dict[str, list[str]]]) -> Iterator[list[Case]]:
    """The cases of each fold with their splits."""
    patients = list(dict.fromkeys(case.patient for case in nodules))
    for number, group in enumerate(groups):
        test = patients[number::FOLDS]
        others = [patient for patient in patients if patient not in test]
        chosen = (*group["validation"][:VALIDATION], *spread(others))
        split = dict.fromkeys((*group["test"], *test), "test") | dict.fromkeys(chosen, "validation")
        yield [replace(case, split=split.get(case.patient, "train")) for case in (*lung, *nodules)]


def spread(patients: list[str]) -> list[str]:
    """As many as validate, from all over a list."""
    return patients[len(patients) // (2 * VALIDATION) :: len(patients) // VALIDATION][:VALIDATION]


def main(data: Path, work: Path) -> None:
    """Write images and tables."""
    work.mkdir(parents=True, exist_ok=True)
    lung = list(lung_cases(data / "msd_lung", work))
    nodules = list(nodule_cases(data / "lidc_raters", work))
    phantoms = list(phantom_cases(work))
    groups = json.loads((Path(__file__).parent.parent / "lung-folds.json").read_text("utf-8"))
    for number, cases in enumerate(folds(lung, nodules, groups), start=1):
        write_cohort(work / f"fold{number}.csv", [*cases, *phantoms])
    chosen = {name for cases in (lung, nodules) for name in spread(list(dict.fromkeys(c.patient for c in cases)))}
    final = [replace(case, split="validation" if case.patient in chosen else "train") for case in (*lung, *nodules)]
    write_cohort(work / "final.csv", [*final, *phantoms])


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:3]))
