"""The real worker process with a model so simple that no network is needed, for tests of what is around it.

Stands in for PythonSlicer: ``quick_worker.py SECONDS -u -m CMEDLSegmentLib.process.worker ...``, where SECONDS is how
long the model takes. It marks what the model of ``bright.py`` marks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

START = sys.argv.index("-u")
SECONDS = float(sys.argv[1]) if START > 1 else 0.0
# Where the worker is started, and where this file's room is.
sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parents[2])]

from CMEDLSegmentLib.process import worker  # noqa: E402
from CMEDLSegmentLib.process.protocol import Outcome  # noqa: E402
from CMEDLSegmentLib.process.voxel_transfer import read_volume  # noqa: E402
from segment.panel.bright import outcome_of  # noqa: E402


def segment(self, folder, task) -> Outcome:
    """What ``Worker._segment`` does, without a network."""
    volume = read_volume(folder, task.volume)
    for step in range(10):
        self._progress("Segmenting on cpu", step / 10)
        time.sleep(SECONDS / 10)
    print("The model is quick.")
    return outcome_of(volume, task.options, task.probability)


if __name__ == "__main__":
    worker.Worker._segment = segment
    sys.argv[1:] = sys.argv[START + 3 :]
    worker.main()
