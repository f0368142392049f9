"""The five folds of `msd_lung`, balanced by tumor size; written once, before any training of an experiment was run.

    python lung_folds.py DATA/msd_lung lung-folds.json

The patients are taken from the largest tumor to the smallest and dealt to the fold that is most behind; those of a
fold's other four fifths are dealt the same way to training and validation. Volumes are of the slices that the data has,
at its nominal spacing, good enough for this balance alone. The teacher's patients are those of another set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sts_folds import dealt, volume_cc

FOLDS = 5
SHARES = {"train": 0.82, "validation": 0.18}
"""Of the patients outside a fold's test fifth."""


def folds(data: Path) -> list[dict[str, list[str]]]:
    """The test, training and validation patients of each fold."""
    volumes = {path.name.removesuffix("_tumour.nii.gz"): volume_cc(path) for path in data.glob("*_tumour.nii.gz")}
    order = sorted(volumes, key=lambda patient: (-volumes[patient], patient))
    fifths = dealt(order, {f"fold{number}": 1 / FOLDS for number in range(FOLDS)})
    return [
        {"test": test, **dealt([patient for patient in order if patient not in test], SHARES)}
        for test in fifths.values()
    ]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(fold) for fold in folds(Path(sys.argv[1])))
    Path(sys.argv[2]).write_text(f"[\n{lines}\n]\n", "utf-8")
