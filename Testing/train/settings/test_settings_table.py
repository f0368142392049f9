"""The list of all settings: complete, with words, and good for ``--set``."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLTrainLib.settings.configuration import PRESETS, from_json, with_settings
from CMEDLTrainLib.settings.settings_table import CHOSEN_ELSEWHERE, settings_of
from harness.damaged_json import WRONG, outcomes


def test_each_setting_can_be_set_by_its_key_and_text() -> None:
    fast = PRESETS["fast"]
    by_key = {setting.key: setting for setting in settings_of(fast)}
    assert by_key["optimization.batch"].value == 6
    assert by_key["optimization.batch"].paper == 2
    same = with_settings(PRESETS["paper"], [f"{key}={entry.text(entry.value)}" for key, entry in by_key.items()])
    assert replace(same, preset="fast") == fast


def test_nothing_is_left_out() -> None:
    text = PRESETS["paper"].to_json()
    table = settings_of(PRESETS["paper"])
    names = {key.rpartition(".")[2] for key in CHOSEN_ELSEWHERE | {entry.key for entry in table}}
    groups = {entry.group for entry in table} - {""}
    for line in text.splitlines():
        if '": ' in line:
            assert line.split('"')[1] in names | groups, line


def test_each_setting_says_what_it_means_and_what_it_may_be() -> None:
    by_key = {setting.key: setting for setting in settings_of(PRESETS["tiny"])}
    assert by_key["images.field"].description.startswith("Side of the square patch in pixels")
    assert by_key["images.field"].wanted == "a whole number from 16 to 4096"
    assert by_key["optimization.precision"].wanted == "one of fp32, bf16"
    assert "equation 6" in by_key["translation.cycle"].description
    assert sum(bool(entry.description) for entry in by_key.values()) > len(by_key) / 2


def test_a_damaged_configuration_is_refused_or_read_to_one_that_comes_back_equal() -> None:
    configurations = outcomes(from_json, json.loads(PRESETS["fast"].to_json()), InputError)
    assert configurations
    for configuration in configurations:
        assert from_json(configuration.to_json()) == with_settings(configuration, []) == configuration


@pytest.mark.parametrize("value", [json.dumps(value) for value in WRONG])
def test_any_value_of_any_setting_is_taken_or_refused_by_name(value: str) -> None:
    for setting in settings_of(PRESETS["paper"]):
        try:
            changed = with_settings(PRESETS["paper"], [f"{setting.key}={value}"])
        except InputError as error:
            assert f"'{setting.key}" in str(error)  # noqa: PT017 - either is right
        else:
            assert with_settings(changed, []) == changed
