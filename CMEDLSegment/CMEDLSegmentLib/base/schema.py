"""Typed JSON: read into dataclasses, a wrong entry named by its dotted path, and written so that it comes back equal.

What an entry may be and what it means stand beside its field, in the metadata that :func:`setting` and :func:`required`
make. A field's type is a dataclass, ``bool``, ``int``, ``float``, ``str``, ``Any`` (whatever JSON holds), a tuple, list
or dict of these, or one of them or None. NaN, infinity and doubled keys are refused everywhere.

>>> @dataclass
... class Training:
...     epochs: int = setting(100, low=1, help="Passes over all patches.")
...     rates: tuple[float, ...] = ()
>>> read(Training, {"rates": [1, 0.5]})
Training(epochs=100, rates=(1.0, 0.5))
>>> write(read(Training, {"epochs": 7}))
{'epochs': 7, 'rates': []}
>>> read(Training, {"epochs": 0})
Traceback (most recent call last):
CMEDLSegmentLib.base.schema.SchemaError: 'epochs' must be a whole number from 1 on, not 0
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError

T = TypeVar("T")
_METADATA = "limits"


class SchemaError(InputError):
    """An entry is missing, unknown or not what it must be: its path in quotation marks, and what is wrong with it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"'{path}' {problem}" if path else problem)


@dataclass(frozen=True)
class Limits:
    """What an entry may be beyond its type.

    Attributes:
        low, high: least and most of a number, or of each number in a list or dict; None: no limit.
        choices: the texts that are allowed; empty: any.
        filled: whether a text needs a visible character, and a list an item.
        formerly: the entry's name in files of before, which are read too.
        help: what it means, for people.
    """

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    filled: bool = False
    formerly: str = ""
    help: str = ""


def setting(default: T, **stated: Any) -> T:
    """A field with a default and :class:`Limits`: ``epochs: int = setting(100, low=1, help="Of training.")``."""
    return dataclasses.field(default=default, metadata={_METADATA: Limits(**stated)})


def required(**stated: Any) -> Any:
    """A field without a default, with :class:`Limits`: ``threshold: float = required(low=0, high=1)``."""
    return dataclasses.field(metadata={_METADATA: Limits(**stated)})


@dataclass(frozen=True)
class Entry:
    """A field of a dataclass as JSON has it: its type, resolved, its limits, and whether it has to be there."""

    kind: Any
    limits: Limits
    required: bool

    @property
    def wanted(self) -> str:
        """What it must be, for people, such as ``a whole number from 1 to 100``."""
        return _wanted(self.kind, self.limits)


def entries(kind: Any) -> dict[str, Entry]:
    """The fields of a dataclass by name."""
    return _entries(kind)


@functools.cache
def _entries(kind: Any) -> dict[str, Entry]:
    hints = typing.get_type_hints(kind)
    return {
        field.name: Entry(
            hints[field.name],
            field.metadata.get(_METADATA, Limits()),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in dataclasses.fields(kind)
    }


def read(kind: type[T], tree: object, where: str = "") -> T:
    """The dataclass ``kind`` that a JSON object describes.

    Args:
        tree: the object, as ``json`` loads it; tuples count as lists, and finished dataclasses are taken as they are.
        where: its own path.

    Raises:
        SchemaError: an entry is missing, unknown, of a wrong type or beyond its limits.
    """
    try:
        return _dataclass(kind, tree, where)
    except RecursionError as error:
        raise SchemaError(where, "is nested too deeply") from error


def conform(instance: Any, where: str = "") -> None:
    """Bring each field of a dataclass to its type, also of a frozen one: for ``__post_init__``.

    Lists become tuples, whole numbers floats, and mutable values copies, so that the instance equals what is read back.

    Raises:
        SchemaError: as :func:`read`.
    """
    try:
        for name, entry in entries(type(instance)).items():
            value = _value(entry.kind, getattr(instance, name), _below(where, name), entry.limits)
            object.__setattr__(instance, name, value)
    except RecursionError as error:
        raise SchemaError(where, "is nested too deeply") from error


def write(instance: Any, sparse: bool = False) -> dict[str, Any]:
    """The JSON object that :func:`read` makes ``instance`` of again; ``sparse``: without what has its default.

    Raises:
        SchemaError: JSON cannot hold it.
    """
    return {
        field.name: _plain(value, field.name)
        for field in dataclasses.fields(instance)
        if (value := getattr(instance, field.name)) != _default(field) or not sparse
    }


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object that a text holds.

    Raises:
        ValueError: it holds none, or one with NaN, infinity or a key twice.
    """
    try:
        tree = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_no_doubles)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(tree, dict):
        raise ValueError("it is not a JSON object")
    return tree


def read_object(path: Path, remedy: str = "restore it from a copy") -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InputError: it cannot be read or is damaged; the sentence names the file and the ``remedy``.
    """
    try:
        return parse_object(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error


@contextlib.contextmanager
def named(what: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Make a sentence of a :class:`SchemaError`, raised as ``kind``: ``with named("The setting"): ...``."""
    try:
        yield
    except SchemaError as error:
        raise kind(f"{what} {error}.") from error


def wrong(path: str, wanted: str, value: object) -> SchemaError:
    """The error for an entry that holds something else than what is wanted."""
    return SchemaError(path, f"must be {wanted}, not {shown(value)}")


def shown(value: object) -> str:
    """``value`` as a short quotation for a message."""
    return _QUOTE.repr(value)


_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxother = 60


def _below(path: str, key: str) -> str:
    name = key if key and key.isprintable() and len(key) <= 60 else shown(key)
    return f"{path}.{name}" if path else name


def _dataclass(kind: Any, tree: object, where: str) -> Any:
    if isinstance(tree, kind):
        return tree
    values, known, arguments = _object(tree, where), entries(kind), {}
    former = {old: name for name, entry in known.items() if (old := entry.limits.formerly) and name not in values}
    given = {former.get(key, key): key for key in values}
    # First, because a name that is misspelled is missing too.
    for name in sorted(given.keys() - known.keys()):
        raise SchemaError(_below(where, name), f"is not known; there are: {', '.join(known)}")
    for name, entry in known.items():
        if name in given:
            arguments[name] = _value(entry.kind, values[given[name]], _below(where, given[name]), entry.limits)
        elif entry.required:
            raise SchemaError(_below(where, name), "is missing")
    return kind(**arguments)


def _value(kind: Any, value: Any, path: str, stated: Limits) -> Any:
    """``value`` as the type ``kind``."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        kinds = [each for each in inner if each is not types.NoneType]
        return _value(type(value) if type(value) in kinds else kinds[-1], value, path, stated)
    if dataclasses.is_dataclass(origin):
        return _dataclass(kind, value, path)
    if origin is Any:
        return _plain(value, path)
    if origin is dict:
        return {key: _value(inner[1], item, _below(path, key), stated) for key, item in _object(value, path).items()}
    if origin in (tuple, list) and isinstance(value, (tuple, list)):
        each: Sequence[Any] = [inner[0]] * len(value) if origin is list or inner[-1] is Ellipsis else inner
        if len(value) == len(each) and (value or not stated.filled):
            items = enumerate(zip(each, value, strict=True))
            return origin(_item(*item, path, number, stated) for number, item in items)
    elif origin in (int, float) and isinstance(value, (int, origin)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = origin(value)
            if -math.inf < number < math.inf and _within(number, stated):
                return number
    elif origin is str and isinstance(value, str):
        if (value in stated.choices or not stated.choices) and (value.strip() or not stated.filled):
            return value
    elif origin is bool and isinstance(value, bool):
        return value
    raise wrong(path, _wanted(kind, stated), value)


def _item(kind: Any, value: Any, path: str, number: int, stated: Limits) -> Any:
    """An item of a list; a plain one goes by the list's name, which people know."""
    return _value(kind, value, path if kind in (bool, int, float, str) else f"{path}.{number}", stated)


def _within(number: float, stated: Limits) -> bool:
    return (stated.low is None or stated.low <= number) and (stated.high is None or number <= stated.high)


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise wrong(path, "an object", value)
    return dict(value)


def _plain(value: Any, path: str) -> Any:
    """A copy in JSON's own types."""
    if dataclasses.is_dataclass(value):
        return write(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, _below(path, key)) for key, item in _object(value, path).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item, f"{path}.{number}") for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(path, "a finite number", value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise wrong(path, "something that JSON can hold", value)


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _wanted(kind: Any, stated: Limits) -> str:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in inner if each is not types.NoneType]
        return _wanted(kinds[-1], stated) + (" or null" if types.NoneType in inner else "")
    if origin in (tuple, list):
        count = " of at least 1" if stated.filled else ""
        if origin is tuple and inner[-1] is not Ellipsis:
            count = f" of {len(inner)}"
        return f"a list{count}, each {_wanted(inner[0], stated)}"
    if origin in (int, float):
        name = "a whole number" if origin is int else "a number"
        low, high = ("" if end is None else f"{end:g}" for end in (stated.low, stated.high))
        if low and high:
            return f"{name} from {low} to {high}"
        return f"{name} from {low} on" if low else f"{name} up to {high}" if high else name
    if origin is str and stated.choices:
        return f"one of {', '.join(stated.choices)}"
    return {
        str: "a text that is not empty" if stated.filled else "a text",
        bool: "true or false",
        Any: "something that JSON can hold",
    }.get(origin, "an object")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it contains {text}")
    return number


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("it has a key twice")
    return tree
