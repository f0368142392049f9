"""How long a click takes on a 512 x 512 x 300 CT, the model being warm: in this process, and by way of the worker.

    python Testing/bench/click.py [--model lung-click] [--repeats 5]

The CT is a phantom, clicked in the deepest place of its tumor. Beside it the local threshold of an automatic model's
probability, which is kept and not counted. Every figure is the best of ``--repeats``. Results go to ``results/``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Stopwatch, arguments_of, machine, spans, store

SEED = 11


def main() -> None:
    """Measure and store."""
    parser = arguments_of(__doc__, repeats=5)
    parser.add_argument("--model", default="lung-click")
    options = parser.parse_args()
    from CMEDLSegmentLib.inference import clicks
    from CMEDLSegmentLib.inference.clicked_tumor import voxels_of
    from CMEDLSegmentLib.inference.options import Click, SegmentationOptions
    from CMEDLSegmentLib.inference.segmenter import Segmenter
    from CMEDLSegmentLib.models import registry
    from CMEDLSegmentLib.phantom import thorax_ct
    from CMEDLSegmentLib.process.client import WorkerClient

    phantom = thorax_ct(SEED, (300, 512, 512), (1.0, 0.75, 0.75))
    volume = phantom.image
    depth = phantom.mask.sum(axis=(1, 2)).argmax()
    rows, columns = np.nonzero(phantom.mask[depth])
    place = np.array([[columns.mean(), rows.mean(), depth]])
    click = Click(tuple(volume.geometry.to_physical(place)[0].tolist()))
    asked = SegmentationOptions(model=options.model, device="cpu", clicks=(click,))
    segmenter = Segmenter(registry.load(options.model), "cpu")
    automatic = Segmenter(registry.load(registry.DEFAULT), "cpu").segment(volume)
    (voxel,) = voxels_of([click], volume.geometry)
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        client = WorkerClient(python=[sys.executable], folder=Path(folder))
        ways = {
            "in this process": lambda: clicks.segment(volume, asked, lambda name: segmenter),
            "by the worker": lambda: client.start(volume, asked, False).result(),
            "local threshold": lambda: clicks.local_threshold(automatic.probability, click, voxel),
        }
        for way in ways.values():
            way()
        for _ in range(options.repeats):
            row = {}
            for name, way in ways.items():
                with Stopwatch() as watch:
                    way()
                row[name] = watch.seconds
            rows.append(row)
        client.close()
    result: Any = clicks.segment(volume, asked, lambda name: segmenter)
    slices = [component.n_slices for component in result.components]
    store("click", {"machine": machine(), "runtime": result.runtime, "slices": slices, "seconds": spans(rows)})


if __name__ == "__main__":
    main()
