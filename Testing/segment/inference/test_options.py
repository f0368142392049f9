"""The options of segmenting are checked when they are made, wherever they come from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.options import Click, SegmentationOptions


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


@pytest.mark.parametrize("action", ["tumor", "add", "cut", "end"])
@pytest.mark.parametrize("point", [(-52.5, -30.0, -210.25), (0.0, 1e-3, 99999.0), (1 / 3, 2e4, -1e5)])
def test_a_click_reads_back_as_it_is_spelled(point: tuple[float, float, float], action: str) -> None:
    click = Click.parse(str(Click(point, action)))
    assert click.action == action
    assert click.point == pytest.approx(point, rel=1e-9)
    assert Click.parse(f" {action.upper()} : {', '.join(map(repr, point))}") == Click(point, action)


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "1;2;3", "1,2,three", "1,2,inf", "2e5,0,0", "move:1,2,3", ":1,2,3"]
)
def test_what_is_no_click_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Click.parse(text)
    assert f'"{text}"' in str(caught.value)
