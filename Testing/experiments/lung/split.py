"""The patients of msd_lung in three fixed parts, drawn once by this seed before any training was run."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from CMEDLSegmentLib.cohort import Case, write_cohort

SEED = 2026
TEST, VALIDATION = 12, 7


def cohort(data: Path) -> list[Case]:
    """The cohort of ``data`` (the folder msd_lung): 12 test, 7 validation and 30 training patients."""
    names = sorted(entry["case"] for entry in json.loads((data / "index.json").read_text("utf-8")))
    shuffled = random.Random(SEED).sample(names, len(names))
    split = dict.fromkeys(shuffled[:TEST], "test")
    split |= dict.fromkeys(shuffled[TEST : TEST + VALIDATION], "validation")
    return [
        Case(
            name,
            name,
            "CT",
            data / f"{name}_ct.nii.gz",
            data / f"{name}_tumour.nii.gz",
            "student",
            split.get(name, "train"),
        )
        for name in names
    ]


if __name__ == "__main__":
    write_cohort(Path(sys.argv[2]), cohort(Path(sys.argv[1]).resolve()))
