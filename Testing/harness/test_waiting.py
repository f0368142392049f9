"""Waiting as Slicer's window does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def steps() -> Iterator[Callable[[], int]]:
    """How many steps a thread has made that needs Python's lock for each."""
    made, ends = [0], threading.Event()

    def work() -> None:
        while not ends.is_set():
            made[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    yield lambda: made[0]
    ends.set()
    thread.join()


def made_in(steps: Callable[[], int], wait: Callable[[float], None], seconds: float = 0.4) -> int:
    before = steps()
    wait(seconds)
    return steps() - before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PySide6 lets threads run")
def test_a_thread_gets_on_only_while_python_code_of_the_window_runs(slicer_app, steps) -> None:
    import qt

    free = made_in(steps, time.sleep)
    assert made_in(steps, slicer_app.process_events) < 0.2 * free
    timer = qt.QTimer()
    timer.setInterval(20)
    timer.connect("timeout()", lambda: time.sleep(0.02))
    timer.start()
    assert made_in(steps, slicer_app.process_events) > 0.2 * free
    timer.stop()


def test_a_condition_is_seen_when_it_comes_true(slicer_app) -> None:
    import qt

    fired: list[str] = []
    qt.QTimer.singleShot(20, lambda: fired.append("once"))
    slicer_app.wait_until(lambda: fired)
    ends = time.monotonic() + 0.1
    slicer_app.wait_until(lambda: time.monotonic() > ends, seconds=5)
    with pytest.raises(TimeoutError):
        slicer_app.wait_until(lambda: False, seconds=0.05)
