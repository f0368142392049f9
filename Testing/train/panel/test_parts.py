"""The four sections together: what they share, and a real trainer in the background."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings import configuration
from train.panel.conftest import choose, settle


def test_the_panel_carries_the_widgets_of_all_parts(panel) -> None:
    for name in ("studentTable", "methodComboBox", "runsTable", "outcomeLabel"):
        assert getattr(panel.ui, name).parent() is not None


def test_the_status_of_a_run_is_shown_in_words(filled, cohort: Path, slicer_app) -> None:
    run = run_folder.create(cohort / "runs" / "first", configuration.PRESETS["tiny"])
    run.report("step", step=30, steps=120, epoch=2, losses={"segmentation": 0.4321})
    filled.run.refresh()
    settle(filled, slicer_app)
    assert filled.ui.runsTable.item(0, 0).text() == "first"
    filled.run.onRowClicked(0, 0)
    settle(filled, slicer_app)
    assert "segmentation 0.4321" in filled.ui.runStatusLabel.text


def test_settings_are_remembered_in_the_scene_and_reach_the_configuration(panel, slicer_app) -> None:
    for box, name in ((panel.ui.presetComboBox, "tiny"), (panel.ui.segmentorComboBox, "mrrn")):
        box.currentIndex = [box.itemData(index) for index in range(box.count)].index(name)
        box.activated.emit(box.currentIndex)
    panel.ui.epochsSpinBox.value = 7
    slicer_app.leave(panel)
    slicer_app.open("CMEDLTrain")
    settle(panel, slicer_app)
    settings = panel.logic.settings(panel.parameters)
    assert (settings.preset, settings.network.kind, settings.optimization.epochs) == ("tiny", "mrrn", 7)


@pytest.mark.slow
def test_a_run_is_trained_in_a_process_of_its_own(panel, cohort: Path, slicer_app) -> None:
    choose(panel, slicer_app, cohort)
    settings = configuration.PRESETS["tiny"]
    panel.logic.settings = lambda parameters: replace(
        settings, device="cpu", images=replace(settings.images, field=32, slices="all")
    )
    panel.ui.startButton.click()
    run = run_folder.open_run(cohort / "runs" / "ct-only-1")
    slicer_app.wait_until(run.running)
    holder = json.loads(run.trainer.read_text("utf-8"))
    # Neither the end of this process's group nor its terminal reaches the trainer.
    assert os.getsid(holder["pid"]) != os.getsid(0)
    slicer_app.wait_until(lambda: run.status()["state"] == "finished")
    assert run.student.is_file()
    assert (cohort / "runs" / "slices").is_dir()


def test_a_run_of_a_cohort_that_cannot_be_trained_with_is_told(panel, tmp_path: Path, slicer_app) -> None:
    choose(panel, slicer_app, tmp_path)
    panel.ui.startButton.click()
    assert "could not be started" in slicer_app.messages[-1].text
    assert not (tmp_path / "runs").exists()


def test_a_panel_that_is_left_follows_nothing_and_holds_nothing(filled, cohort: Path, slicer_app) -> None:
    import qt

    assert (cohort / "cohort.lock").exists()
    slicer_app.leave(filled)
    assert not any(section.Observations for section in filled.sections)
    assert not (cohort / "cohort.lock").exists()
    timers = filled.uiWidget.findChildren(qt.QTimer)
    assert not [timer for timer in timers if timer.active]


def test_closing_the_scene_forgets_no_cohort_on_the_disk(filled, cohort: Path, slicer_app) -> None:
    import slicer

    slicer.mrmlScene.Clear(0)
    settle(filled, slicer_app)
    assert filled.parameters.cohort == ""
    assert filled.ui.studentTable.rowCount == 0
    choose(filled, slicer_app, cohort)
    assert filled.ui.studentTable.rowCount == 6
