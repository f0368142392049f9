"""The examples in docstrings run, and there are some in each module that is named here."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    "agreement.consensus",
    "agreement.vote_map",
    "base.text",
    "inference.options",
    "io.volume",
    "metrics.measures",
    "metrics.statistics",
    "metrics.surface_distance",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str) -> None:
    result = doctest.testmod(import_module(f"CMEDLSegmentLib.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
