"""The section "Training": settings beside the paper's, and the estimate in the background."""

from __future__ import annotations

import importlib.metadata

import pytest

from CMEDLSegmentLib.base.errors import InputError
from train.panel.conftest import settle, take

KEY, VALUE, PAPER = range(3)
"""Columns of the table of settings."""


def row_of(panel, key: str) -> int:
    table = panel.ui.settingsTable
    return next(row for row in range(table.rowCount) if table.item(row, KEY).text() == key)


def type_value(panel, app, key: str, text: str) -> None:
    panel.ui.settingsTable.item(row_of(panel, key), VALUE).setText(text)
    settle(panel, app)


def test_all_settings_stand_beside_the_paper_s(panel, slicer_app) -> None:
    take(panel.ui.presetComboBox, slicer_app, "fast")
    settle(panel, slicer_app)
    table, row = panel.ui.settingsTable, row_of(panel, "optimization.batch")
    assert [table.item(row, column).text() for column in (VALUE, PAPER)] == ["6", "2"]
    table.setCurrentCell(row_of(panel, "translation.cycle"), KEY)
    assert "equation 6" in panel.ui.settingDescriptionLabel.text
    panel.ui.settingsFilterLineEdit.text = "CYCLE"
    assert table.isRowHidden(row)
    assert not table.isRowHidden(row_of(panel, "translation.cycle"))


@pytest.mark.parametrize(
    ("method", "there", "absent"),
    [
        ("ct-only", "loss.dice", ("translation.width", "distillation.hint", "features", "images.teacher_mr_maximum")),
        ("cmedl", "translation.cycle", ("translation.codes",)),
        ("vae-cmedl", "translation.codes", ("translation.cycle",)),
        ("pmri-cycle", "translation.cycle", ("distillation.hint", "features", "translation.contextual")),
        ("mutual", "distillation.temperature", ("distillation.hint",)),
    ],
)
def test_only_the_settings_of_the_method_are_shown(panel, slicer_app, method: str, there: str, absent) -> None:
    take(panel.ui.methodComboBox, slicer_app, method)
    settle(panel, slicer_app)
    table = panel.ui.settingsTable
    keys = {table.item(row, KEY).text() for row in range(table.rowCount)}
    assert there in keys
    assert not keys & set(absent)
    panel.ui.trainingCollapsibleButton.collapsed = panel.ui.allSettingsGroupBox.collapsed = False
    assert panel.ui.translationComboBox.visible == (method == "cmedl")


def test_a_changed_value_is_bold_reaches_the_run_and_is_taken_back(panel, slicer_app) -> None:
    table = panel.ui.settingsTable
    type_value(panel, slicer_app, "optimization.batch", "3")
    type_value(panel, slicer_app, "images.window_hu", "[-200, 300]")
    row = row_of(panel, "optimization.batch")
    assert table.item(row, VALUE).font().bold()
    settings = panel.logic.settings(panel.parameters)
    assert (settings.optimization.batch, settings.images.window_hu) == (3, (-200.0, 300.0))
    type_value(panel, slicer_app, "optimization.batch", "")
    assert table.item(row, VALUE).text() == "6"
    assert not table.item(row, VALUE).font().bold()
    panel.ui.resetSettingsButton.click()
    settle(panel, slicer_app)
    assert panel.logic.settings(panel.parameters).images.window_hu == (-1000.0, 500.0)
    assert not panel.ui.resetSettingsButton.enabled


def test_a_value_that_cannot_be_is_refused_in_words(panel, slicer_app) -> None:
    type_value(panel, slicer_app, "optimization.batch", "many")
    assert "'optimization.batch' must be a whole number" in slicer_app.messages[-1]
    assert panel.ui.settingsTable.item(row_of(panel, "optimization.batch"), VALUE).text() == "6"
    assert panel.parameters.changes == []


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [("preset", "coarse", "coarse"), ("labels", "A,,B", "labels"), ("changes", ["optimization.sleep=1"], "sleep")],
)
def test_a_saved_scene_with_what_is_not_known_is_told(panel, slicer_app, name: str, value, named: str) -> None:
    setattr(panel.parameters, name, value)
    settle(panel, slicer_app)
    assert named in panel.ui.trainingNoteLabel.text
    assert not panel.ui.estimateButton.enabled
    with pytest.raises(InputError):
        panel.logic.settings(panel.parameters)


def begin_estimate(panel, app, *changes: str) -> None:
    take(panel.ui.presetComboBox, app, "tiny")
    take(panel.ui.methodComboBox, app, "ct-only")
    take(panel.ui.trainingDeviceComboBox, app, "cpu")
    panel.parameters.changes = ["images.field=32", "images.slices=all", *changes]
    settle(panel, app)
    panel.ui.estimateButton.click()


def test_an_estimate_tells_memory_and_time_until_a_setting_changes(filled, slicer_app) -> None:
    begin_estimate(filled, slicer_app)
    assert filled.ui.estimateButton.text == "Cancel"
    slicer_app.wait_until(lambda: "a step with batch 4 on cpu" in filled.ui.estimateLabel.text)
    assert "Epochs: 2 at most" in filled.ui.estimateLabel.text
    assert filled.ui.estimateButton.text == "Estimate"
    assert not filled.ui.estimateProgressBar.visible
    filled.parameters.epochs = 5
    settle(filled, slicer_app)
    assert filled.ui.estimateLabel.text == ""


def test_what_an_estimate_refuses_is_told_and_a_cancelled_one_is_gone(filled, slicer_app) -> None:
    begin_estimate(filled, slicer_app, "network.arguments.width=0")
    slicer_app.wait_until(lambda: filled.ui.estimateButton.text == "Estimate")
    assert "width" in filled.ui.estimateLabel.text
    begin_estimate(filled, slicer_app)
    filled.ui.estimateButton.click()
    assert filled.ui.estimateLabel.text.startswith("Cancelled")
    assert filled.ui.estimateButton.text == "Estimate"


def test_missing_packages_are_asked_for_at_the_click(filled, slicer_app, monkeypatch: pytest.MonkeyPatch) -> None:
    from CMEDLSegmentPanel import dependencies

    real = importlib.metadata.version
    absent = {"torch"}

    def version(name: str) -> str:
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(InputError, match="torch"):
        filled.logic.estimate(filled.parameters)
    begin_estimate(filled, slicer_app)
    assert "PyTorch" in slicer_app.messages[-1].text
    assert filled.ui.estimateButton.text == "Estimate"
    monkeypatch.setattr(dependencies, "_install", lambda wanted: absent.clear())
    slicer_app.answer("no")
    filled.ui.estimateButton.click()
    assert filled.ui.estimateButton.text == "Cancel"
    filled.ui.estimateButton.click()
