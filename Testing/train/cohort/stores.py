"""A slice store made in a test: discs brighter than their noisy surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.models.normalization import CT_WINDOW
from CMEDLTrainLib.cohort.store import LEVELS, Store, write_store
from CMEDLTrainLib.settings.configuration import Images


def disc_store(
    folder: Path,
    patients: int = 6,
    slices: int | Sequence[int] = 4,
    field: int = 32,
    contrast: float = 0.8,
    teachers: int = 0,
    validation: int = 2,
) -> Store:
    """Patients p0, p1, ...; the last ``validation`` are validation; the first slice of each has no disc.

    ``slices`` is the number of each patient, or one for all. ``teachers`` more patients train the teacher, in whose
    modality the surroundings are bright and discs dark.
    """
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:field, :field]
    counts = [slices] * (patients + teachers) if isinstance(slices, int) else slices
    parts = []
    for patient, count in enumerate(counts):
        teaches = patient >= patients
        images, masks = [], []
        for index in range(count):
            center, radius = random.uniform(field * 0.3, field * 0.7, 2), random.uniform(4, 7)
            mask = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2
            mask &= index > 0
            image = np.clip(-0.5 + contrast * mask + random.normal(0, 0.1, mask.shape), -1, 1)
            image = -image if teaches else image
            images.append(np.round(image * LEVELS).astype(np.int16))
            masks.append(mask.astype(np.uint8))
        split = "train" if teaches or patient < patients - validation else "validation"
        role, modality = ("teacher", "MR") if teaches else ("student", "CT")
        case = Case(f"p{patient}", f"c{patient}", modality, Path("image"), None, role, split)
        parts.append((case, np.arange(count), np.stack(images), np.stack(masks)))
    folder.mkdir(parents=True)
    modalities = {"student": "CT", "teacher": "MR"}
    write_store(folder, parts, Images(field=field), modalities, dict.fromkeys(modalities, CT_WINDOW))
    return Store(folder)
