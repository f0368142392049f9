"""``cmedl-segment compare`` from files to the report: five raters and the student on a CT of 512 x 512 x 150 voxels.

    python Testing/bench/agreement_report.py [--repeats 3]

Two structures: a lung tumor of some 40 cc, and both lungs. The raters are the phantom's: each draws the same truth
with habits of their own. Each run is a process of its own, so that its time is what a user waits and its peak memory
is all of it. Best and worst of the repeats are told, and stored in ``results/`` with the machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from measuring import Stopwatch, answer, arguments_of, machine, spans, store

from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.phantom import raters

GEOMETRY = Geometry((512, 512, 150), (0.8, 0.8, 2.5), (-205.0, -205.0, -300.0))
STRUCTURES = {
    "tumor": [((75, 200, 150), (23.0, 21.0, 19.0))],
    "lungs": [((75, 256, 140), (150.0, 85.0, 55.0)), ((75, 256, 370), (150.0, 85.0, 55.0))],
}
"""Ellipsoids: center (z, y, x) in voxels and half axes in mm."""
PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv.pop(1))
from measuring import memory_mb
from CMEDLSegmentLib import cli
assert cli.main(sys.argv[1:]) == 0
print(json.dumps({"processor_seconds": time.process_time(), "peak_memory_mb": memory_mb("VmHWM")}))
"""


def truth(ellipsoids) -> np.ndarray:
    """The structure that all raters draw, uint8 (z, y, x)."""
    axes = np.ogrid[tuple(slice(count) for count in GEOMETRY.shape)]
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    for center, half in ellipsoids:
        parts = zip(axes, center, half, GEOMETRY.spacing[::-1], strict=True)
        mask[sum(((axis - middle) * step / reach) ** 2 for axis, middle, reach, step in parts) < 1] = 1
    return mask


def make(folder: Path, mask: np.ndarray) -> list[object]:
    """The CT and everybody's segmentation in ``folder``; the arguments of the command."""
    image = np.random.default_rng(0).normal(-850, 40, mask.shape).astype(np.int16)
    image[mask > 0] += 870
    write_image(folder / "ct.nii.gz", image, GEOMETRY)
    arguments: list[object] = ["compare", folder / "ct.nii.gz", "-o", folder / "out", "--overwrite", "--json"]
    for name, drawn in raters(mask, GEOMETRY.spacing[::-1], n=6).items():
        path = folder / f"{name}.seg.nrrd"
        write_segmentation(path, drawn, GEOMETRY, [TUMOR], {})
        arguments += ["--candidate", path] if name == "Rater 6" else ["--rater", f"{name}={path}"]
    return arguments


def run(arguments: list[object]) -> dict[str, float]:
    """One run of the command: seconds and processor seconds, and the peak of its memory (Linux)."""
    with Stopwatch() as watch:
        figures = answer("-c", PROGRAM, Path(__file__).parent, *arguments)
    return {"seconds": watch.seconds, **figures}


def main() -> None:
    repeats = arguments_of(__doc__, repeats=3).parse_args().repeats
    result = {"raters": 5, "student": 1, "shape": list(GEOMETRY.shape), "machine": machine()}
    for structure, ellipsoids in STRUCTURES.items():
        mask = truth(ellipsoids)
        with tempfile.TemporaryDirectory() as folder:
            arguments = make(Path(folder), mask)
            runs = [run(arguments) for _ in range(repeats)]
        result[structure] = {"volume_cc": float(np.count_nonzero(mask) * GEOMETRY.voxel_cc), **spans(runs)}
    store("agreement_report", result)


if __name__ == "__main__":
    main()
