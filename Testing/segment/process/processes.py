"""What the tests ask of processes and clients."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.process.client import SegmentationRun, WorkerClient

PATIENCE = 120.0
"""Seconds; on a busy machine importing torch takes long."""
ANY = SegmentationOptions("any")
FAKE = Path(__file__).with_name("fake_python.py")


def a_volume(depth: int = 4) -> Volume:
    """A CT of (depth, 5, 6) voxels, half of them above 0 HU."""
    array = np.where(np.arange(depth * 30) % 2, 40, -1000).astype(np.int16).reshape(depth, 5, 6)
    return Volume(array, Geometry((6, 5, depth)), "CT")


def is_right(label: np.ndarray, volume: Volume) -> bool:
    """Whether ``label`` is what the quick model of ``fake_python.py`` makes of ``volume``."""
    return label.dtype == np.uint8 and np.array_equal(label, volume.array > 0)


def exists(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{process}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        # It has ended meanwhile, or this system tells nothing there.
        return not Path("/proc/self/stat").exists()
    return status.rpartition(")")[2].split()[0] != "Z"


def soon(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` becomes true, however slow the machine is."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def over(run: SegmentationRun) -> SegmentationRun:
    """The run when it is over; it is looked at as a panel's timer does."""
    assert soon(run.done)
    return run


def until_stage(run: SegmentationRun, text: str) -> None:
    """Look at the run until it is at the stage ``text``."""
    assert soon(lambda: run.done() or run.stage[0] == text)
    assert not run.done(), run.exception()


def at_work(client: WorkerClient) -> SegmentationRun:
    """A run whose worker is in the middle of its work."""
    run = client.start(a_volume(), ANY)
    until_stage(run, "Segmenting")
    return run
