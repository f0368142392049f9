"""Cancel at random moments: while the worker starts, while it imports, while it works, just before its end."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from segment.panel.bright import add_ct, install_model
from segment.panel.conftest import QUICK, click_segment, settle
from segment.panel.test_run import results
from segment.process.processes import exists


def cancel_after(panel, app, place: Path, seconds: float) -> bool:
    """Click, wait, click again, and look that nothing is left; whether the run was still going on by then."""
    before = len(results())
    panel.ui.segmentButton.click()
    end = time.monotonic() + seconds
    app.wait_until(lambda: not panel.logic.busy or time.monotonic() > end)
    if not panel.logic.busy:
        assert len(results()) == before + 1
        # Each run has to start its worker anew, or all later ones would be over too soon.
        panel.ui.releaseButton.click()
        return False
    workers = set(panel.logic.runner.client._belongings.processes)
    panel.ui.segmentButton.click()
    assert not panel.logic.busy
    app.wait_until(lambda: not any(exists(worker.pid) for worker in workers))
    app.wait_until(lambda: not list(place.iterdir()))
    settle(panel, app)
    assert len(results()) == before
    assert panel.ui.segmentButton.text == "Segment tumor"
    return True


def cancel_often(panel, app, place: Path, times: int) -> None:
    """Cancel ``times`` runs within the time that the first one takes, then let one come to its end."""
    panel.parameters.ct = add_ct()
    panel.parameters.device = "cpu"
    settle(panel, app)
    begin = time.monotonic()
    click_segment(panel, app)
    whole = time.monotonic() - begin
    panel.ui.releaseButton.click()
    moments = random.Random(4)
    while times:
        times -= cancel_after(panel, app, place, moments.uniform(0.0, whole))
    count = len(results())
    click_segment(panel, app)
    assert len(results()) == count + 1


def test_cancel_at_three_random_moments(panel, slicer_app, python_slicer, place: Path) -> None:
    python_slicer(str(QUICK), "1")
    cancel_often(panel, slicer_app, place, 3)


@pytest.mark.slow
def test_cancel_at_twenty_random_moments_of_the_real_model(
    panel, slicer_app, python_slicer, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_model(tmp_path / "students")
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "students"))
    python_slicer()
    cancel_often(panel, slicer_app, place, 20)
