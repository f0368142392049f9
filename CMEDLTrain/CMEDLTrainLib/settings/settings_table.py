"""All settings of a run in one list, each with what it means and the paper's value: for a table to choose from."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        words: what it means; may be empty where its name says it.
    """

    key: str
    value: Any
    paper: Any
    description: str

    @property
    def group(self) -> str:
        """The part of the key before the last point; empty at the top."""
        return self.key.rpartition(".")[0]

    def text(self, value: Any) -> str:
        """``value`` as ``--set`` takes it."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings_of(configuration: Configuration) -> list[Setting]:
    """Every setting that has no words of its own elsewhere, in the order of the tree."""
    paper = dict(_leaves(PRESETS["paper"]))
    description = dict(_description(configuration))
    return [
        Setting(key, value, paper.get(key), description.get(key, ""))
        for key, value in _leaves(configuration)
        if key not in CHOSEN_ELSEWHERE
    ]


def changes(configuration: Configuration, base: Configuration) -> list[str]:
    """What ``--set`` has to be given so that ``base`` becomes ``configuration``, but for what is chosen elsewhere."""
    before = dict(_leaves(base))
    return [
        f"{setting.key}={setting.text(setting.value)}"
        for setting in settings_of(configuration)
        if setting.value != before[setting.key]
    ]


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{where}{item.name}.")
        else:
            yield where + item.name, value


def _description(node: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """What the docstrings below the fields of a dataclass, and of those within it, say."""
    (tree,) = ast.parse(inspect.getsource(type(node))).body
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = inspect.cleandoc(str(after.value.value))
            yield where + field.target.id, text.replace("\n", " ").replace("``", "")
        value = getattr(node, field.target.id)
        if dataclasses.is_dataclass(value):
            yield from _description(value, f"{where}{field.target.id}.")
