"""The three folds of `sts`, balanced by tumor size and body region; written once, before any training was run.

    python sts_folds.py DATA/sts sts-folds.json sts-regions.json

Within each region the patients are taken from the largest tumor to the smallest and dealt to the fold that is most
behind; those of a fold's other two thirds are dealt the same way to training, validation and the teacher, so that no
patient has two parts. The regions were read from the pictures, roughly, for this balance and to tell where the tumors
are that a student missed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import SimpleITK as sitk

TRUNK = (2, 3, 5, 7, 18, 21, 36, 37, 40)
"""Pelvis, back, shoulder and chest wall."""
LOWER_LEG_OR_ARM = (8, 10, 19, 25, 28, 32, 35)
"""The others are in the thigh."""
FOLDS = 3
SHARES = {"train": 0.45, "validation": 0.15, "teacher": 0.40}
"""Of the patients outside a fold's test third."""


def region(patient: str) -> str:
    """The part of the body that a patient (``STS_001``) has the tumor in."""
    number = int(patient.rpartition("_")[2])
    return "trunk" if number in TRUNK else "lower leg or arm" if number in LOWER_LEG_OR_ARM else "thigh"


def volume_cc(mask: Path) -> float:
    """The volume of a mask."""
    image = sitk.ReadImage(str(mask))
    x, y, z = image.GetSpacing()
    return float(sitk.GetArrayViewFromImage(image).astype(bool).sum() * x * y * z / 1000)


def dealt(patients: Sequence[str], shares: Mapping[str, float]) -> dict[str, list[str]]:
    """Patients in their order, each to the part that is most behind its share."""
    parts: dict[str, list[str]] = {name: [] for name in shares}
    for number, patient in enumerate(patients, start=1):
        most_behind = max(shares, key=lambda name: shares[name] * number - len(parts[name]))
        parts[most_behind].append(patient)
    return {name: sorted(members) for name, members in parts.items()}


def folds(data: Path) -> list[dict[str, list[str]]]:
    """The test, training, validation and teacher patients of each fold."""
    patients = [path.name.removesuffix("_CT_gtv.nii.gz") for path in data.glob("*_CT_gtv.nii.gz")]
    volumes = {patient: volume_cc(data / f"{patient}_CT_gtv.nii.gz") for patient in patients}
    order = sorted(patients, key=lambda patient: (region(patient), -volumes[patient]))
    thirds = dealt(order, {f"fold{number}": 1 / FOLDS for number in range(FOLDS)})
    result = []
    for test in thirds.values():
        others = [patient for patient in order if patient not in test]
        result.append({"test": test, **dealt(others, SHARES)})
    return result


def regions(patients: Sequence[str]) -> dict[str, list[str]]:
    """The patients of each region."""
    groups: dict[str, list[str]] = {}
    for patient in sorted(patients):
        groups.setdefault(region(patient), []).append(patient)
    return groups


if __name__ == "__main__":
    made = folds(Path(sys.argv[1]))
    lines = ",\n".join(json.dumps(fold) for fold in made)
    Path(sys.argv[2]).write_text(f"[\n{lines}\n]\n", "utf-8")
    everybody = [patient for fold in made for patient in fold["test"]]
    Path(sys.argv[3]).write_text(json.dumps(regions(everybody), indent=2) + "\n", "utf-8")
