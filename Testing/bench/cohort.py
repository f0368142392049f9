"""How a run starts and what it holds in memory as its cohort grows: table, contents, slice store and sampler.

    python Testing/bench/cohort.py [--cases 10000] [--smaller 1000] [--json]

Makes two cohorts of tiny synthetic cases, prepares their slices, and starts anew on each in a process of its own: from
the table on the disk to the first batch of either role, then an epoch of batches. Memory is what that process has
resident, with and without the files that it maps, less what it had before it read the table. Results go to ``results/``
with the machine, or, with ``--json``, to the terminal alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from measuring import Stopwatch, answer, arguments_of, machine, memory_mb, store

from CMEDLSegmentLib.io.cohort_table import Case, read_cohort, write_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.cohort.preparation import prepare
from CMEDLTrainLib.cohort.sampling import Sampler
from CMEDLTrainLib.cohort.store import Store
from CMEDLTrainLib.settings.configuration import Images

IMAGES = Images(spacing_mm=2.0, field=32, slices="all")
SHAPE = (8, 32, 32)
BATCH = 16


def make(folder: Path, count: int) -> None:
    """``count`` cases, two thirds the student's; each a copy of one file with voxels of its own."""
    geometry = Geometry(SHAPE[::-1], (2.0, 2.0, 5.0))
    image = np.random.default_rng(0).integers(-900, 300, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 10:20, 10:20] = 1
    write_image(folder / "image.nii", image, geometry)
    write_image(folder / "mask.nii", mask, geometry)
    template = (folder / "image.nii").read_bytes()
    cases = []
    for number in range(count):
        own = folder / f"{number:05d}"
        own.mkdir()
        (own / "ct.nii").write_bytes(template[:-4] + number.to_bytes(4, "little"))
        (own / "gtv.nii").write_bytes((folder / "mask.nii").read_bytes())
        role, split = "teacher" if number % 3 == 2 else "student", "validation" if number % 10 == 0 else "train"
        cases.append(Case(f"p{number}", f"c{number}", "CT", own / "ct.nii", own / "gtv.nii", role, split))
    write_cohort(folder / "cohort.csv", cases)


def first_batches(folder: Path) -> tuple[Store, list[Sampler]]:
    """The store of a cohort, made if it is not there, and a sampler for each role, after its first batch."""
    cases = read_cohort(folder / "cohort.csv", required=("mask", "role", "split"), check_files=False)
    slices = prepare(cases, IMAGES, 1, folder / "slices")
    samplers = [Sampler(slices, "train", role, BATCH, "patient", 0) for role in ("student", "teacher")]
    for sampler in samplers:
        slices.read(sampler(0))
    return slices, samplers


def resident() -> dict[str, float]:
    """MB of this process, all of it and without the files that it maps."""
    return {"all": memory_mb("VmRSS"), "own": memory_mb("RssAnon")}


def start(folder: Path) -> dict[str, object]:
    """What a start on a prepared cohort takes; to be called once in a process."""
    before = resident()
    with Stopwatch() as starting:
        slices, samplers = first_batches(folder)
    begun = resident()
    steps = max(sampler.steps_per_epoch for sampler in samplers)
    with Stopwatch() as epoch:
        for step in range(steps):
            for sampler in samplers:
                slices.read(sampler(step))
    after = resident()
    return {
        "patches": len(slices.patches),
        "store_mb": sum(file.stat().st_size for file in slices.folder.iterdir()) / 1e6,
        "start_seconds": starting.seconds,
        "mb_after_the_start": {kind: begun[kind] - before[kind] for kind in before},
        "mb_after_an_epoch": {kind: after[kind] - before[kind] for kind in before},
        "milliseconds_a_step": 1000 * epoch.seconds / steps,
    }


def measure(count: int) -> dict[str, object]:
    """Make a cohort, prepare it, start on it."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), count)
        with Stopwatch() as preparation:
            first_batches(Path(folder))
        return {"cases": count, "preparation_seconds": preparation.seconds, **answer(__file__, "--start", folder)}


def main() -> None:
    parser = arguments_of(__doc__, cases=10_000, smaller=1_000)
    parser.add_argument("--json", action="store_true", help="print the results and write no file")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        print(json.dumps(start(arguments.start)))
        return
    result = {"machine": machine(), "cohorts": [measure(arguments.smaller), measure(arguments.cases)]}
    if arguments.json:
        print(json.dumps(result))
    else:
        store("cohort", result)


if __name__ == "__main__":
    main()
