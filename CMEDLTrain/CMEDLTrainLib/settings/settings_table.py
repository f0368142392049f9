"""All settings of a run in one list, each with what it means and the paper's value: for a table to choose from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from CMEDLSegmentLib.base.schema import Entry, entries

from .configuration import PRESETS, Configuration

CHOSEN_ELSEWHERE = {"method", "preset", "cohort", "initial", "device", "labels", "format", "network.kind"}
"""Settings that the command line and the panel have words of their own for."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        key: as ``--set`` takes it, such as ``optimization.epochs``.
        value: what it is.
        paper: the paper's value.
        description: what it means; may be empty where its name says it.
        wanted: what it may be, such as ``a number from 0 to 1``.
    """

    key: str
    value: Any
    paper: Any
    description: str
    wanted: str

    @property
    def group(self) -> str:
        """The part of the key before the last point; empty at the top."""
        return self.key.rpartition(".")[0]

    def text(self, value: Any) -> str:
        """``value`` as ``--set`` takes it."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings_of(configuration: Configuration) -> list[Setting]:
    """Every setting that has no words of its own elsewhere, in the order of the tree."""
    paper = _values(PRESETS["paper"])
    return [
        Setting(key, value, paper[key], entry.limits.help, entry.wanted)
        for key, value, entry in _leaves(configuration)
        if key not in CHOSEN_ELSEWHERE
    ]


def changes(configuration: Configuration, base: Configuration) -> list[str]:
    """What ``--set`` has to be given so that ``base`` becomes ``configuration``, but for what is chosen elsewhere."""
    before = _values(base)
    return [
        f"{setting.key}={setting.text(setting.value)}"
        for setting in settings_of(configuration)
        if setting.value != before[setting.key]
    ]


def _values(configuration: Configuration) -> dict[str, Any]:
    return {key: value for key, value, _ in _leaves(configuration)}


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any, Entry]]:
    """Every setting's key and value, and what it may be."""
    for name, entry in entries(type(node)).items():
        value = getattr(node, name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{where}{name}.")
        else:
            yield where + name, value, entry
