"""Numbers, lists and tables as text: in sentences, for a terminal, as CSV, and in JSON's own types."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def counted(count: int, noun: str) -> str:
    """A number of things whose plural takes an s.

    >>> counted(1, "error"), counted(2, "error")
    ('1 error', '2 errors')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``: one word or more."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


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


def format_value(value: float, unit: str, signed: bool = False, digits: int | None = None) -> str:
    """A value as people read it: shares with three decimals, mm and cc with two; a true minus, ∞, a dash for NaN."""
    if math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    places = (2 if unit else 3) if digits is None else digits
    return f"{value:{'+' if signed else ''}.{places}f}".replace("-", "\N{MINUS SIGN}")


def format_p(p: float) -> str:
    """A p-value: four decimals, and never a plain zero."""
    return "< 0.0001" if p < 0.0001 else format_value(p, "", digits=4)


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


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV: every number so that reading gives it back exactly; nothing where a row lacks a column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_csv_cell, columns))
    writer.writerows([_csv_cell(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def _csv_cell(value: Any) -> str:
    """A null character in a name is replaced: the CSV writer of Python 3.10 refuses it."""
    if isinstance(value, float):
        return repr(float(value))
    return "" if value is None else str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")


def plain(value: Any, names: Mapping[str, str] | None = None) -> Any:
    """``value`` in JSON's own types.

    Paths become text, tuples lists, dataclasses objects, numpy's scalars and arrays plain, NaN and infinities null.

    Args:
        value: what is to be written.
        names: what fields of dataclasses are called there, where that is not their name.

    >>> plain({"size": (2, 3), "dsc": float("nan")})
    {'size': [2, 3], 'dsc': None}
    """
    if dataclasses.is_dataclass(value):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        value = {(names or {}).get(name, name): item for name, item in fields.items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, names) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist(), names)
    number = float(value)
    return number if math.isfinite(number) else None
