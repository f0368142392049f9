"""The patients of msd_lung in three fixed parts, drawn once by this seed before any training was run.

    python split.py DATA/msd_lung cohort.csv [second.csv]

The first cohort has 30 training, 7 validation and 12 test patients. In the second one, for the last stage of training,
five of the seven validation patients train too. The test patients are the same in both.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from CMEDLSegmentLib.io.cohort_table import Case, write_cohort
from CMEDLTrainLib.experiments.experiment_cohorts import lung_case

SEED = 2026
TEST, VALIDATION, LAST_VALIDATION = 12, 7, 2


def cohort(data: Path, validation: int = VALIDATION) -> list[Case]:
    """The cohort of ``data`` (the folder msd_lung): 12 test, ``validation`` (at most 7) patients, and training."""
    names = sorted(entry["case"] for entry in json.loads((data / "index.json").read_text("utf-8")))
    shuffled = random.Random(SEED).sample(names, len(names))
    split = dict.fromkeys(shuffled[:TEST], "test")
    split |= dict.fromkeys(shuffled[TEST + VALIDATION - validation : TEST + VALIDATION], "validation")
    return [lung_case(data, name, split.get(name, "train")) for name in names]


if __name__ == "__main__":
    for path, count in zip(sys.argv[2:], (VALIDATION, LAST_VALIDATION), strict=False):
        write_cohort(Path(path), cohort(Path(sys.argv[1]).resolve(), count))
