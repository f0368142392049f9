"""The list of all settings: complete, with words, and good for ``--set``."""

from __future__ import annotations

from dataclasses import replace

from CMEDLTrainLib.settings.configuration import PRESETS, with_settings
from CMEDLTrainLib.settings.settings_table import CHOSEN_ELSEWHERE, settings_of


def test_each_setting_can_be_set_by_its_key_and_text() -> None:
    fast = PRESETS["fast"]
    found = {setting.key: setting for setting in settings_of(fast)}
    assert found["optimization.batch"].value == 6
    assert found["optimization.batch"].paper == 2
    same = with_settings(PRESETS["paper"], [f"{key}={one.text(one.value)}" for key, one in found.items()])
    assert replace(same, preset="fast") == fast


def test_nothing_is_left_out() -> None:
    text = PRESETS["paper"].to_json()
    names = {key.rpartition(".")[2] for key in CHOSEN_ELSEWHERE | {one.key for one in settings_of(PRESETS["paper"])}}
    groups = {one.group for one in settings_of(PRESETS["paper"])} - {""}
    for line in text.splitlines():
        if '": ' in line:
            assert line.split('"')[1] in names | groups, line


def test_words_are_those_of_the_source() -> None:
    description = {setting.key: setting.description for setting in settings_of(PRESETS["tiny"])}
    assert description["images.field"].startswith("Side of the square patch in pixels")
    assert "70 x 70" not in description["seed"]
    assert "equation 6" in description["translation.cycle"]
    assert "\n" not in "".join(description.values())
    assert sum(bool(text) for text in description.values()) > len(description) / 2
