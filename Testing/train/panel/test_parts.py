"""The four steps together: which one is next, and what they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.panel.conftest import choose, opened, settle, take, write_cases


def test_what_is_next_is_open_and_what_a_person_opens_besides_is_remembered(panel, cohort: Path, slicer_app) -> None:
    assert opened(panel) == ["cohort"]
    choose(panel, slicer_app, cohort)
    assert opened(panel) == ["training", "run"]
    panel.ui.cohortCollapsibleButton.collapsed = False
    choose(panel, slicer_app, cohort.with_name("empty"))
    assert opened(panel) == ["cohort"]
    slicer_app.close(panel)
    panel = slicer_app.open("CMEDLTrain")
    choose(panel, slicer_app, cohort)
    assert opened(panel) == ["cohort", "training", "run"]


@pytest.mark.parametrize(
    ("changes", "students", "teachers", "named"),
    [
        ({}, 0, 0, "3 CT cases"),
        ({}, 2, 0, "one more CT case"),
        ({}, 6, 0, "MR cases"),
        ({"method": "ct-only"}, 6, 0, "Start"),
        ({}, 6, 4, "Start"),
        ({"split": False}, 6, 4, "Split by patient"),
    ],
)
def test_what_the_cases_lack_is_next(panel, slicer_app, tmp_path, changes, students, teachers, named: str) -> None:
    panel.parameters.method = changes.get("method", "cmedl")
    write_cases(tmp_path / "cases", students, teachers, changes.get("split", True))
    choose(panel, slicer_app, tmp_path / "cases")
    slicer_app.wait_until(lambda: not panel.cohort._checks.busy)
    settle(panel, slicer_app)
    assert panel.ui.nextLabel.text.startswith("Next: ")
    assert named in panel.ui.nextLabel.text


def test_settings_are_remembered_in_the_scene_and_reach_the_configuration(panel, slicer_app) -> None:
    for box, name in ((panel.ui.presetComboBox, "tiny"), (panel.ui.segmentorComboBox, "mrrn")):
        take(box, slicer_app, name)
    panel.ui.epochsSpinBox.value = 7
    slicer_app.leave(panel)
    slicer_app.open("CMEDLTrain")
    settle(panel, slicer_app)
    settings = panel.logic.settings(panel.parameters)
    assert (settings.preset, settings.network.kind, settings.optimization.epochs) == ("tiny", "mrrn", 7)


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
