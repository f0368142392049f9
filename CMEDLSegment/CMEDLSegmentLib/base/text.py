"""How things are said: in sentences, in tables for a terminal, in JSON's own types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def counted(count: int, noun: str) -> str:
    """A number of things whose plural takes an s.

    >>> counted(1, "error"), counted(2, "error")
    ('1 error', '2 errors')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds for a person.

    >>> duration(7), duration(125), duration(4200)
    ('7 s', '2 min 05 s', '1 h 10 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text under a header; columns of figures are aligned to the right.

    >>> print(table(("case", "cc"), [("p01", "38.0"), ("p02", "2.5")]))
    case    cc
    ----  ----
    p01   38.0
    p02    2.5
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [bool(rows) and all(_is_figure(value) for value in column[1:]) for column in columns]

    def line(values: Sequence[str]) -> str:
        cells = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def _is_figure(value: str) -> bool:
    return re.fullmatch(r"-?[\d.]*|nan|-?inf", value) is not None


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: paths as text, tuples as lists, numpy's scalars plain, NaN as null.

    >>> plain({"size": (2, 3), "dsc": float("nan")})
    {'size': [2, 3], 'dsc': None}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    number = float(value)
    return number if number - number == 0 else None
