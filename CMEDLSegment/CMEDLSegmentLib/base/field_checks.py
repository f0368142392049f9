"""Checks of a model card's fields: each returns the value in its final type or says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import ModelError


def shown(value: object) -> str:
    """``value`` as a short quotation for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def wrong(field: str, wanted: str, value: object) -> ModelError:
    """The error for a field that holds something else than ``wanted``."""
    return ModelError(f"the card's field '{field}' must be {wanted}, not {shown(value)}.")


def text(value: object, field: str, empty: bool = False) -> str:
    """A string; ``empty`` allows one without a visible character."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise wrong(field, "a text" if empty else "a text that is not empty", value)
    return value


def choice(value: object, field: str, choices: Sequence[str]) -> str:
    """One of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(field, "one of " + ", ".join(f"'{item}'" for item in choices), value)
    return value


def number(value: object, field: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number, ``low <= value <= high``."""
    # bool is an int in Python, but "threshold": true in a card is a mistake.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(field, "a number", value)
    if not math.isfinite(value) or not low <= value <= high:
        if math.isinf(low) and math.isinf(high):
            raise wrong(field, "a finite number", value)
        bounds = f"of at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise wrong(field, f"a number {bounds}", value)
    return float(value)


def integer(value: object, field: str, low: int, high: int) -> int:
    """A whole number, ``low <= value <= high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(field, f"a whole number between {low} and {high}", value)
    return value


def items(value: object, field: str, at_least: int = 0) -> tuple[Any, ...]:
    """A list (or tuple) of ``at_least`` items, as a tuple."""
    if not isinstance(value, (list, tuple)) or len(value) < at_least:
        raise wrong(field, "a list" if not at_least else f"a list of at least {at_least}", value)
    return tuple(value)


def mapping(value: object, field: str) -> dict[str, Any]:
    """A JSON object, as a copy in which tuples are lists, so that a card equals itself after a round trip."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise wrong(field, "an object with text keys", value)
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"the card's field '{field}' cannot be stored as JSON ({error}).") from error


def only(value: object, field: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """A JSON object with every ``required`` key and none beside those and the ``optional`` ones."""
    found = mapping(value, field)
    required = tuple(required)
    prefix = f"{field}." if field else ""
    for key in required:
        if key not in found:
            raise ModelError(f"the card's field '{prefix}{key}' is missing.")
    unknown = sorted(set(found) - set(required) - set(optional))
    if unknown:
        raise ModelError(f"the card has a field '{prefix}{unknown[0]}' that this program does not know.")
    return found
