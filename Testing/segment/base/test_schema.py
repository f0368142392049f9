"""Typed JSON: what is written comes back equal, and each wrong entry is named by its path."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from CMEDLSegmentLib.base import schema
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import SchemaError, read, required, setting, write
from harness.damaged_json import NOT_AN_OBJECT, WRONG, damaged


@dataclass(frozen=True)
class Part:
    name: str = required(filled=True)
    pair: tuple[float, float] = setting((0.0, 1.0), low=-1, high=10)
    kind: str = setting("a", choices=("a", "b"))


@dataclass(frozen=True)
class Whole:
    count: int = required(low=1, high=9, formerly="number")
    parts: tuple[Part, ...] = required(filled=True)
    share: float = setting(0.5, low=0, help="Of all.")
    on: bool = False
    text: str = ""
    most: float | None = None
    exact: int | float = 0
    names: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    by_name: dict[str, Part] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


def random_whole(seed: int) -> Whole:
    """Every field with some value that it may have."""
    draw = random.Random(seed)
    texts = ["a", "", "é肺", "\n", "\ud800", 'say "no"']
    anything = [None, True, 3, -0.25, "x", [1, [2.5]], {"a": {"b": [None]}}]
    parts = [Part(draw.choice(["p", "q"]), (draw.uniform(-1, 10), 10.0), draw.choice("ab")) for _ in range(3)]
    return Whole(
        count=draw.randint(1, 9),
        parts=tuple(parts[: draw.randint(1, 3)]),
        share=draw.choice([0.0, 1e300, draw.random()]),
        on=draw.choice([True, False]),
        text=draw.choice(texts),
        most=draw.choice([None, -1e-300]),
        exact=draw.choice([1, 1.0, 10**30]),
        names=draw.sample(texts, draw.randint(0, 3)),
        weights={name: draw.gauss(0, 1e6) for name in draw.sample(texts, 2)},
        by_name=dict(zip(texts, parts, strict=False)),
        rest={name: draw.choice(anything) for name in draw.sample(texts, 3)},
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_what_is_written_comes_back_equal(sparse: bool) -> None:
    for seed in range(200):
        whole = random_whole(seed)
        again = read(Whole, schema.parse_object(json.dumps(write(whole, sparse))))
        assert again == whole
        assert type(again.exact) is type(whole.exact)
        assert read(Whole, whole) is whole


def test_what_a_damaged_object_is_read_to_comes_back_equal_and_all_else_is_refused_in_a_line() -> None:
    sentences = []
    for text in damaged(write(random_whole(1)), most=5000):
        try:
            whole = read(Whole, schema.parse_object(text))
        except (ValueError, SchemaError) as error:
            sentences.append(str(error))
        else:
            assert read(Whole, write(whole)) == whole
    assert len(sentences) > 500
    assert all(text.isprintable() and 0 < len(text) < 300 for text in sentences)


PLACES: dict[str, tuple[Any, ...]] = {
    "count": tuple(value for value in WRONG if value != 7),
    "share": (None, True, -0.1, math.nan, math.inf, 10**400, "0.5", []),
    "on": (None, 0, 1, "true", []),
    "text": (None, 3, ["a"]),
    "most": (True, "x", math.nan),
    "exact": (None, True, "1", math.inf),
    "names": (None, "ab", {}, [1], ["a", None]),
    "weights": (None, [], {"a": "x"}, {"a": None}, {1: 2.0}),
    "rest": (None, [], {"a": math.nan}, {"a": [{"b": math.inf}]}, {"a": {1: 2}}, {"a": b"bytes"}),
    "parts": (None, [], {}, "ab", [3], [{}], [{"name": " "}], [{"name": "a", "kind": "c"}]),
    "parts.0.pair": (None, [], [1], [1, 2, 3], [1, 11], [-2, 0], ["1", "2"], 1),
    "by_name": ([], {"a": 3}, {"a": {"name": ""}}),
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in PLACES.items() for value in values])
def test_each_wrong_entry_is_named_by_its_path(path: str, value: Any) -> None:
    tree = write(Whole(1, (Part("p"),)))
    node: Any = tree
    *groups, name = path.split(".")
    for group in groups:
        node = node[int(group) if group.isdigit() else group]
    node[name] = value
    with pytest.raises(SchemaError, match=rf"^'{path}[.']"):
        read(Whole, tree)


def test_missing_unknown_and_former_names() -> None:
    part = {"name": "p"}
    assert read(Whole, {"number": 2, "parts": [part]}) == Whole(2, (Part("p"),))
    for tree, path in (
        ({"parts": [part]}, "count"),
        ({"count": 1, "parts": [part, {}]}, r"parts\.1\.name"),
        ({"cuont": 1, "parts": [part]}, "cuont"),
        ({"count": 1, "parts": [part], "": 1}, "''"),
        ({"count": 1, "parts": [part], "é\n": 1}, r"'é\\n'"),
        ({"count": 1, "number": 1, "parts": [part]}, "number"),
        ({"count": 1, "parts": [{**part, "x": 1}]}, r"parts\.0\.x"),
    ):
        with pytest.raises(SchemaError, match=f"^'{path}' is"):
            read(Whole, tree)


def test_what_is_wanted_and_what_was_found_are_said() -> None:
    for tree, sentence in (
        ({"count": 12}, "'count' must be a whole number from 1 to 9, not 12"),
        ({"share": -1}, "'share' must be a number from 0 on, not -1"),
        ({"parts": []}, "'parts' must be a list of at least 1, each an object, not []"),
        ({"parts": [{"name": "a", "kind": "c"}]}, "'parts.0.kind' must be one of a, b, not 'c'"),
        (
            {"parts": [{"name": "a", "pair": 1}]},
            "'parts.0.pair' must be a list of 2, each a number from -1 to 10, not 1",
        ),
    ):
        with pytest.raises(SchemaError) as caught:
            read(Whole, {"count": 1, "parts": [{"name": "p"}], **tree})
        assert str(caught.value) == sentence
    entry = schema.entries(Whole)["share"]
    assert (entry.wanted, entry.limits.help, entry.required) == ("a number from 0 on", "Of all.", False)


@dataclass
class Checked:
    size: float
    names: tuple[str, ...]
    rest: dict[str, Any]

    def __post_init__(self) -> None:
        schema.conform(self, "checked")


def test_what_conforms_holds_copies_of_its_final_types() -> None:
    names, rest = ["a"], {"a": (1, 2)}
    checked = Checked(3, names, rest)
    names.append("b")
    rest["c"] = ()
    assert checked == Checked(3.0, ("a",), {"a": [1, 2]})
    assert type(checked.size) is float
    with pytest.raises(SchemaError, match=r"^'checked\.size'"):
        replace(checked, size="3")


@pytest.mark.parametrize("text", NOT_AN_OBJECT)
def test_a_file_without_one_object_is_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        schema.parse_object(text)
    path = tmp_path / "a.json"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"a\.json .*; try again\.$"):
        schema.read_object(path, "try again")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe{}")
    for name in ("absent", "binary", "."):
        with pytest.raises(InputError, match=str(tmp_path / name)):
            schema.read_object(tmp_path / name)


def test_deep_nesting_is_refused_in_python_too() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(SchemaError, match="deep"):
        read(Whole, {"count": 1, "parts": [{"name": "p"}], "rest": deep})
    while deep:  # freed level by level
        deep = deep["a"]
