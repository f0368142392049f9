"""How a run starts and what it holds in memory as its cohort grows: table, contents, slice store and sampler.

    python Testing/bench/cohort.py [--cases 10000] [--smaller 1000] [--json]

Makes two cohorts of tiny synthetic cases, prepares their slices, and starts anew on each in a process of its own: from
the table on the disk to the first batch of either role, then an epoch of batches. Memory is the resident memory of that
process, less what it had before it read the table. Results go to ``Testing/bench/results/``, or, with ``--json``, to
the terminal alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(REPOSITORY / "CMEDLSegment"), str(REPOSITORY / "CMEDLTrain")]

import numpy as np

from CMEDLSegmentLib.io.cohort_table import Case, read_cohort, write_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.cohort.preparation import prepare
from CMEDLTrainLib.cohort.sampling import Sampler
from CMEDLTrainLib.cohort.store import Store
from CMEDLTrainLib.settings.configuration import Images

RESULTS = Path(__file__).resolve().parent / "results"
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


def opened(folder: Path) -> tuple[float, Store, list[Sampler]]:
    """The seconds to the store of a cohort, made if it is not there, and its first batches; a sampler for each role."""
    begin = time.perf_counter()
    cases = read_cohort(folder / "cohort.csv", required=("mask", "role", "split"), check_files=False)
    store = prepare(cases, IMAGES, 1, folder / "slices")
    samplers = [Sampler(store, "train", role, BATCH, "patient", 0) for role in ("student", "teacher")]
    for sampler in samplers:
        store.read(sampler(0))
    return time.perf_counter() - begin, store, samplers


def resident() -> dict[str, float]:
    """MB of this process, all of it and without the files that it maps."""
    lines = (line.split() for line in Path("/proc/self/status").read_text("ascii").splitlines())
    found = {line[0].rstrip(":"): int(line[1]) / 1024 for line in lines if line[0] in ("VmRSS:", "RssAnon:")}
    return {"all": found["VmRSS"], "own": found["RssAnon"]}


def start(folder: Path) -> dict[str, object]:
    """What a start on a prepared cohort takes; to be called once in a process."""
    before = resident()
    seconds, store, samplers = opened(folder)
    begun = resident()
    steps = max(sampler.steps_per_epoch for sampler in samplers)
    begin = time.perf_counter()
    for step in range(steps):
        for sampler in samplers:
            store.read(sampler(step))
    after = resident()
    return {
        "patches": len(store.patches),
        "store_mb": sum(file.stat().st_size for file in store.folder.iterdir()) / 2**20,
        "start_seconds": seconds,
        "mb_after_the_start": {kind: begun[kind] - before[kind] for kind in before},
        "mb_after_an_epoch": {kind: after[kind] - before[kind] for kind in before},
        "milliseconds_a_step": 1000 * (time.perf_counter() - begin) / steps,
    }


def measure(count: int) -> dict[str, object]:
    """Make a cohort, prepare it, start on it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, count)
        seconds = opened(folder)[0]
        command = [sys.executable, __file__, "--start", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
        return {"cases": count, "preparation_seconds": seconds, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--smaller", type=int, default=1_000)
    parser.add_argument("--json", action="store_true", help="print the results and write no file")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        print(json.dumps(start(arguments.start)))
        return
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()}
    result = {"machine": machine, "cohorts": [measure(arguments.smaller), measure(arguments.cases)]}
    if not arguments.json:
        (RESULTS / "cohort.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
