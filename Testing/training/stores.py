"""A slice store made in a test: discs brighter than their noisy surroundings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.normalisation import CT_WINDOW
from CMEDLTrainLib.cohort.store import FORMAT, LEVELS, Patch, Store
from CMEDLTrainLib.configuration import Images


def disc_store(
    folder: Path, patients: int = 6, slices: int = 4, field: int = 32, contrast: float = 0.8, teachers: int = 0
) -> Store:
    """Patients p0, p1, ...; the last two are validation; the first slice of each has no disc.

    ``teachers`` more patients train the teacher, in whose modality the surroundings are bright and discs dark.
    """
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:field, :field]
    images, masks, patches = [], [], []
    for patient in range(patients + teachers):
        teaches = patient >= patients
        for index in range(slices):
            centre, radius = random.uniform(field * 0.3, field * 0.7, 2), random.uniform(4, 7)
            mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
            mask &= index > 0
            image = np.clip(-0.5 + contrast * mask + random.normal(0, 0.1, mask.shape), -1, 1)
            image = -image if teaches else image
            images.append(np.round(image * LEVELS).astype(np.int16))
            masks.append(mask.astype(np.uint8))
            role, split = "student", "validation" if patient >= patients - 2 else "train"
            if teaches:
                role, split = "teacher", "train"
            patches.append(Patch(f"p{patient}", f"c{patient}", role, split, index, int(mask.sum())))
    folder.mkdir(parents=True)
    np.save(folder / "patches.npy", np.stack(images))
    np.save(folder / "masks.npy", np.stack(masks))
    record = {
        "format": FORMAT,
        "images": asdict(Images(field=field)),
        "modalities": {"student": "CT", "teacher": "MR"},
        "normalisations": dict.fromkeys(("student", "teacher"), CT_WINDOW.to_dict()),
        "patches": [asdict(p) for p in patches],
    }
    (folder / "store.json").write_text(json.dumps(record))
    return Store(folder)
