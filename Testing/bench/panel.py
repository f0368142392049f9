"""What a click in the panel costs: the time beside the segmentation, and how long the window does not answer.

    python Testing/bench/panel.py [--slices 300] [--repeats 5]

The module is opened in ``Testing/harness`` with a CT of 512 x 512 voxels, and Segment tumor is clicked once cold and
then warm, through the real worker process. A click lasts until the result is in the scene and chosen in the panel; its
overhead is what it lasts longer than the worker says that the segmentation took. The turns of the event loop meanwhile
are timed by their processor time, so that other work on the machine does not count: the longest one is how long the
window did not answer. The surface for the 3-D view is Slicer's own work and told beside it. The student is a small one,
whose tumor's size is a real one's. Best and worst of the repeats are told.

Results go to ``results/``, with the machine.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from measuring import Stopwatch, arguments_of, machine, spans, store

SPACING = (0.75, 0.75, 1.5)
"""mm along (x, y, z)."""
TUMORS = (((0.0, 0.0, 0.0), 20.0), ((25.0, -20.0, 40.0), 6.0))
"""Center (x, y, z) from the volume's and radius, mm."""


class Watch:
    """Processor time (ms) of the event loop's longest turn, of the surfaces in it, and of the longest rest."""

    def __init__(self, app) -> None:
        self.app = app
        self.longest_ms = self.longest_surface_ms = self.longest_rest_ms = self._surface_ms = 0.0

    def time_surfaces(self) -> None:
        """Tell Slicer's surface creation apart from what is ours."""
        from CMEDLSegmentPanel.scene import contour_views

        show = contour_views.show_surface

        def timed(node) -> None:
            with Stopwatch() as watch:
                show(node)
            self._surface_ms += watch.thread * 1000

        contour_views.show_surface = timed

    def turns(self, going_on) -> None:
        """Turn the event loop while ``going_on()``."""
        while going_on():
            self._surface_ms = 0.0
            with Stopwatch() as watch:
                self.app.process_events()
            used = watch.thread * 1000
            self.longest_ms = max(self.longest_ms, used)
            self.longest_surface_ms = max(self.longest_surface_ms, self._surface_ms)
            self.longest_rest_ms = max(self.longest_rest_ms, used - self._surface_ms)
            time.sleep(0.002)


def add_ct(slices: int):
    """A volume node of air with bright balls in its middle."""
    import numpy as np
    import slicer
    import vtk

    shape = (slices, 512, 512)
    array = np.full(shape, -900, dtype=np.int16)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    for center, radius in TUMORS:
        axes = zip((x, y, z), shape[::-1], SPACING, center, strict=True)
        array[sum(((i - (n - 1) / 2) * step - c) ** 2 for i, n, step, c in axes) <= radius**2] = 0
    matrix = vtk.vtkMatrix4x4()
    for axis, step in enumerate((-SPACING[0], -SPACING[1], SPACING[2])):
        matrix.SetElement(axis, axis, step)
    return slicer.util.addVolumeFromArray(array, matrix, "CT")


def click(app, panel) -> dict[str, float]:
    """One click and what it cost."""
    from CMEDLSegmentPanel.scene.result_nodes import provenance

    before, watch = panel.parameters.result, Watch(app)
    watch.time_surfaces()
    with Stopwatch() as whole:
        with Stopwatch() as clicked:
            panel.ui.segmentButton.click()
        watch.turns(lambda: panel.logic.busy)
    end = time.perf_counter() + 1.0
    # Tables and views follow the result.
    watch.turns(lambda: time.perf_counter() < end)
    result = panel.parameters.result
    if result is None or result is before:
        sys.exit(panel.ui.messageLabel.text)
    segmentation = float(provenance(result)["seconds"])
    return {
        "seconds": whole.seconds,
        "segmentation_seconds": segmentation,
        "overhead_seconds": whole.seconds - segmentation,
        "click_processor_ms": clicked.thread * 1000,
        "longest_turn_processor_ms": watch.longest_ms,
        "surface_processor_ms": watch.longest_surface_ms,
        "longest_turn_without_surface_processor_ms": watch.longest_rest_ms,
    }


def measure(app, slices: int, repeats: int) -> dict:
    """A cold click, then warm ones."""
    panel = app.open("CMEDLSegment")
    panel.parameters.ct = add_ct(slices)
    panel.parameters.model, panel.parameters.device = "bright", "cpu"
    # With its surface in the 3-D view, which is the most that the window has to do.
    panel.ui.overlayButton.click()
    app.process_events(1.0)
    cold = click(app, panel)
    warm = [click(app, panel) for _ in range(repeats)]
    return {"cold": cold, "warm": spans(warm)}


def main() -> None:
    arguments = arguments_of(__doc__, slices=300, repeats=5).parse_args()
    import harness
    from segment.panel.bright import install_model

    with tempfile.TemporaryDirectory() as folder:
        install_model(Path(folder, "students"))
        launcher = Path(folder, "PythonSlicer")
        launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
        os.environ["CMEDL_MODELS"] = str(Path(folder, "students"))
        os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])
        with harness.application() as app:
            figures = measure(app, arguments.slices, arguments.repeats)
    result = {
        "student": "bright is tumor, all slices",
        "shape": [arguments.slices, 512, 512],
        "repeats": arguments.repeats,
        "machine": machine(),
        **figures,
    }
    store(f"panel_{arguments.slices}", result)


if __name__ == "__main__":
    main()
