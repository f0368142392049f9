"""What the tests ask of processes and clients."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.process.client import WorkerClient
from CMEDLSegmentLib.process.protocol import Event, Failed, Finished, Request, Stage

PATIENCE = 120.0
"""Seconds; on a busy machine importing torch takes long."""
ANY = Request("any")
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


def last_event(client: WorkerClient, seen: list[Event] | None = None) -> Event:
    """Poll as a panel's timer does until the run is over."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for event in client.poll():
            if seen is not None:
                seen.append(event)
            if isinstance(event, Finished | Failed):
                return event
        time.sleep(0.02)
    raise AssertionError("The run did not end.")


def until_stage(client: WorkerClient, text: str) -> None:
    """Poll until the run is at the stage ``text``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if any(isinstance(event, Stage) and event.text == text for event in client.poll()):
            return
        time.sleep(0.02)
    raise AssertionError(f"The stage '{text}' did not come.")
