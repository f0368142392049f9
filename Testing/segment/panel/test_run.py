"""From a click to a contour, and everything that can come between."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from segment.panel.bright import LARGE, SMALL, add_ct, balls, install_model
from segment.panel.conftest import FAKE, QUICK, click_segment, settle
from segment.process.processes import exists


def results() -> list:
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def marked(node) -> np.ndarray:
    """(z, y, x) of what the result's only segment marks on the CT's grid, by Slicer's own function."""
    import slicer

    ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), ct)


def choose(panel, app, name: str = "CT"):
    ct = add_ct(name)
    panel.parameters.ct = ct
    settle(panel, app)
    return ct


def begin(panel, app, python_slicer, seconds: int):
    """The CT, and a run on it that takes ``seconds`` and is in the middle of its work."""
    python_slicer(str(QUICK), str(seconds))
    ct = choose(panel, app)
    panel.ui.segmentButton.click()
    app.wait_until(lambda: panel.ui.stageLabel.text == "Segmenting on cpu")
    return ct


def test_a_click_leaves_a_red_contour_on_what_is_bright(panel, slicer_app, place: Path) -> None:
    choose(panel, slicer_app)
    assert panel.ui.segmentButton.enabled
    click_segment(panel, slicer_app)
    (node,) = results()
    assert node.GetName() == "CT bright"
    wrong = marked(node) != balls(LARGE, SMALL)
    assert wrong.sum() < 0.05 * balls(LARGE, SMALL).sum()
    red, green, blue = node.GetSegmentation().GetNthSegment(0).GetColor()
    assert red > 0.8 > 0.3 > max(green, blue)
    assert panel.parameters.result is node
    assert "Tumor: 3." in panel.ui.resultLabel.text
    assert panel.ui.segmentButton.text == "Segment tumor"
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_the_real_worker_with_a_real_network_marks_the_same(
    panel, slicer_app, python_slicer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_model(tmp_path / "students")
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "students"))
    python_slicer()
    choose(panel, slicer_app)
    panel.parameters.device = "cpu"
    click_segment(panel, slicer_app)
    (node,) = results()
    assert (marked(node) != balls(LARGE, SMALL)).sum() < 0.05 * balls(LARGE, SMALL).sum()


def test_a_second_click_makes_a_second_result_in_the_same_process(panel, slicer_app) -> None:
    choose(panel, slicer_app)
    click_segment(panel, slicer_app)
    (first,) = results()
    before, pid = marked(first).copy(), panel.logic.runner.client.pid
    panel.parameters.ownThreshold, panel.parameters.threshold = True, 0.9
    click_segment(panel, slicer_app)
    assert panel.logic.runner.client.pid == pid
    assert len(results()) == 2
    second = results()[1]
    assert panel.parameters.result is second
    assert second.GetName() != first.GetName()
    assert marked(second).sum() < before.sum()
    np.testing.assert_array_equal(marked(first), before)


def test_the_panel_tells_stage_times_and_log_while_it_runs(panel, slicer_app, python_slicer) -> None:
    python_slicer(str(QUICK), "2")
    choose(panel, slicer_app)
    panel.ui.segmentButton.click()
    assert panel.ui.segmentButton.text == "Cancel"
    assert panel.ui.progressWidget.visible
    slicer_app.wait_until(lambda: panel.ui.stageLabel.text == "Segmenting on cpu" and panel.ui.progressBar.value > 300)
    slicer_app.wait_until(lambda: "left" in panel.ui.timeLabel.text)
    slicer_app.wait_until(lambda: not panel.logic.busy)
    settle(panel, slicer_app)
    assert not panel.ui.progressWidget.visible
    assert "The model is quick." in panel.ui.logTextEdit.toPlainText()
    assert panel.ui.releaseButton.enabled
    pid = panel.logic.runner.client.pid
    panel.ui.releaseButton.click()
    slicer_app.wait_until(lambda: not exists(pid))
    assert not panel.ui.releaseButton.enabled


def test_cancel_leaves_nothing_and_the_next_run_is_fine(panel, slicer_app, python_slicer, place: Path) -> None:
    begin(panel, slicer_app, python_slicer, 600)
    pid = panel.logic.runner.client.pid
    panel.ui.segmentButton.click()
    assert "Cancelled" in panel.ui.messageLabel.text
    slicer_app.wait_until(lambda: not exists(pid))
    settle(panel, slicer_app)
    assert panel.ui.segmentButton.text == "Segment tumor"
    assert results() == []
    # A thread takes the run's folder away.
    slicer_app.wait_until(lambda: list(place.iterdir()) == [])
    python_slicer(str(QUICK))
    click_segment(panel, slicer_app)
    assert len(results()) == 1


def test_a_killed_worker_is_told_and_the_next_run_is_fine(panel, slicer_app, python_slicer, place: Path) -> None:
    begin(panel, slicer_app, python_slicer, 600)
    os.kill(panel.logic.runner.client.pid, signal.SIGKILL)
    slicer_app.wait_until(lambda: not panel.logic.busy)
    settle(panel, slicer_app)
    assert "ended" in panel.ui.messageLabel.text
    assert panel.ui.messageLabel.visible
    assert panel.ui.segmentButton.enabled
    assert list(place.iterdir()) == []
    python_slicer(str(QUICK))
    click_segment(panel, slicer_app)
    assert len(results()) == 1
    assert not panel.ui.messageLabel.visible


@pytest.mark.parametrize(
    ("behavior", "words"),
    [("garbage_later", "no message"), ("sleep_later", "no sign of work"), ("exit_at_once", "start")],
)
def test_a_worker_that_misbehaves_is_told(behavior: str, words: str, panel, slicer_app, python_slicer) -> None:
    python_slicer(str(FAKE), behavior)
    choose(panel, slicer_app)
    panel.logic.runner.client._hang_seconds = 1.0
    click_segment(panel, slicer_app)
    assert words in panel.ui.messageLabel.text
    assert results() == []
    assert panel.ui.segmentButton.enabled


def test_a_temporary_folder_that_takes_no_file_is_told(panel, slicer_app, place: Path) -> None:
    place.rmdir()
    place.write_text("a file where the folder should be", "utf-8")
    choose(panel, slicer_app)
    click_segment(panel, slicer_app)
    assert panel.ui.messageLabel.text
    assert results() == []
    place.unlink()
    place.mkdir()
    click_segment(panel, slicer_app)
    assert len(results()) == 1


def test_a_volume_removed_while_it_is_segmented_ends_the_run(panel, slicer_app, python_slicer) -> None:
    import slicer

    ct = begin(panel, slicer_app, python_slicer, 600)
    slicer.mrmlScene.RemoveNode(ct)
    slicer_app.wait_until(lambda: not panel.logic.busy)
    settle(panel, slicer_app)
    assert "removed" in panel.ui.messageLabel.text
    assert results() == []
    assert not panel.ui.segmentButton.enabled


def test_a_scene_closed_while_a_run_is_under_way_ends_it(panel, slicer_app, python_slicer) -> None:
    import slicer

    begin(panel, slicer_app, python_slicer, 600)
    pid = panel.logic.runner.client.pid
    slicer.mrmlScene.Clear(0)
    slicer_app.wait_until(lambda: not panel.logic.busy and not exists(pid))
    settle(panel, slicer_app)
    assert results() == []
    assert panel.parameters.ct is None


def test_a_run_goes_on_while_another_module_is_open(panel, slicer_app, python_slicer) -> None:
    begin(panel, slicer_app, python_slicer, 1)
    slicer_app.leave(panel)
    assert panel.parameters is None
    slicer_app.wait_until(lambda: not panel.logic.busy)
    assert len(results()) == 1
    assert slicer_app.open("CMEDLSegment") is panel
    settle(panel, slicer_app)
    assert panel.parameters.result is results()[0]
    assert panel.ui.resultSelector.currentNode() is results()[0]
    assert not panel.ui.progressWidget.visible


def test_closing_the_module_ends_the_worker(panel, slicer_app, python_slicer, place: Path) -> None:
    begin(panel, slicer_app, python_slicer, 600)
    pid = panel.logic.runner.client.pid
    slicer_app.close(panel)
    slicer_app.wait_until(lambda: not exists(pid))
    assert results() == []
    assert list(place.iterdir()) == []
