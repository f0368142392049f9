"""The options of segmenting are checked when they are made, wherever they come from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.options import SegmentationOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", Path("a.safetensors")),
        ("device", None),
        ("threshold", "0.5"),
        ("threshold", math.nan),
        ("all_slices", 1),
        ("minimum_cc", math.inf),
    ],
)
def test_a_value_of_a_wrong_kind_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"'{name}'"):
        SegmentationOptions(**{name: value})
