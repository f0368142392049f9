"""``cmedl-segment compare`` from files to the report: five raters and the student on a CT of 512 x 512 x 150 voxels.

    python Testing/bench/agreement_report.py [--repeats 3]

Two structures: a lung tumor of some 40 cc, and both lungs. The raters are the phantom's: each draws the same truth
with habits of their own. Each run is a process of its own, so that its time is what a user waits and its peak memory
is all of it. Best and worst of the repeats are told. On a machine that is busy with other things only the processor
time means something.

Results go to ``Testing/bench/results/``, with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
# In place of this script's own folder, whose segmentation.py would hide the tests' room of that name.
sys.path[:1] = [str(REPOSITORY / "CMEDLSegment"), str(REPOSITORY / "Testing" / "bench")]

from segmentation import machine

from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.phantom.simulated_raters import raters

RESULTS = Path(__file__).resolve().parent / "results"
GEOMETRY = Geometry((512, 512, 150), (0.8, 0.8, 2.5), (-205.0, -205.0, -300.0))
STRUCTURES = {
    "tumor": [((75, 200, 150), (23.0, 21.0, 19.0))],
    "lungs": [((75, 256, 140), (150.0, 85.0, 55.0)), ((75, 256, 370), (150.0, 85.0, 55.0))],
}
"""Ellipsoids: center (z, y, x) in voxels and half axes in mm."""


def truth(ellipsoids) -> np.ndarray:
    """The structure that all raters draw, uint8 (z, y, x)."""
    axes = np.ogrid[tuple(slice(count) for count in GEOMETRY.shape)]
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    for center, half in ellipsoids:
        parts = zip(axes, center, half, GEOMETRY.spacing[::-1], strict=True)
        mask[sum(((axis - middle) * step / reach) ** 2 for axis, middle, reach, step in parts) < 1] = 1
    return mask


def make(folder: Path, ellipsoids) -> list[str]:
    """The CT and everybody's segmentation in ``folder``; the arguments of the command."""
    mask = truth(ellipsoids)
    image = np.random.default_rng(0).normal(-850, 40, mask.shape).astype(np.int16)
    image[mask > 0] += 870
    write_image(folder / "ct.nii.gz", image, GEOMETRY)
    arguments = [str(folder / "ct.nii.gz")]
    for name, drawn in raters(mask, GEOMETRY.spacing[::-1], n=6).items():
        path = folder / f"{name}.seg.nrrd"
        write_segmentation(path, drawn, GEOMETRY, [TUMOR], {})
        arguments += ["--candidate", str(path)] if name == "Rater 6" else ["--rater", f"{name}={path}"]
    return arguments


def run(arguments: list[str], folder: Path) -> dict[str, float]:
    """One run of the command: seconds and processor seconds, and the peak of its memory in MB (Linux)."""
    code = (
        "import json, sys, time; from pathlib import Path; from CMEDLSegmentLib import cli; "
        "ended = cli.main(sys.argv[1:]); lines = Path('/proc/self/status').read_text().splitlines(); "
        "peak = next(line for line in lines if line.startswith('VmHWM')).split()[1]; "
        "print(json.dumps([ended, time.process_time(), int(peak) / 1024]))"
    )
    command = [sys.executable, "-c", code, "compare", *arguments, "-o", str(folder / "out"), "--json", "--overwrite"]
    begin = time.perf_counter()
    told = subprocess.run(
        command, cwd=REPOSITORY / "CMEDLSegment", capture_output=True, encoding="utf-8", check=True
    ).stdout
    seconds = time.perf_counter() - begin
    ended, used, peak = json.loads(told.splitlines()[-1])
    if ended:
        sys.exit(told)
    return {"seconds": seconds, "processor_seconds": used, "peak_memory_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    figures = {}
    for structure, ellipsoids in STRUCTURES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = make(folder, ellipsoids)
            runs = [run(command, folder) for _ in range(arguments.repeats)]
        figures[structure] = {
            "volume_cc": float(np.count_nonzero(truth(ellipsoids)) * GEOMETRY.voxel_cc),
            **{key: {"best": min(r[key] for r in runs), "worst": max(r[key] for r in runs)} for key in runs[0]},
        }
    told = {**machine("cpu"), "load_average": os.getloadavg()}
    result = {"raters": 5, "student": 1, "shape": list(GEOMETRY.shape), "machine": told, **figures}
    text = json.dumps(result, indent=1)
    print(text)
    (RESULTS / "agreement_report.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
