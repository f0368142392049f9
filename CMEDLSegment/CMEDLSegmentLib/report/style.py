"""How raters look in the report: colors, line patterns, and labels that fit.

Everybody is told apart three times: by color (see ``colors.py``), by line pattern, which carries a print in gray, and
by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..base.colors import MODEL_RED, RATER_COLORS, Color
from ..io.delineation import MODEL

DASHES: tuple[tuple[float, ...], ...] = ((), (9, 5), (2.5, 3.5), (10, 4, 2.5, 4), (18, 6))
"""Lengths of lines and gaps in pixels. Five, so that with six colors the pairs repeat after thirty raters."""

_SMALL, _CAPITAL, _WIDE = 0.61, 0.73, 1.0
"""Width of a letter as a share of the type's size: of most, of capitals, and of East Asian ones; of a wide font."""


@dataclass(frozen=True)
class LineStyle:
    """How one rater's contour is drawn; the model's is the only wide red one."""

    color: Color
    dash: tuple[float, ...]
    width: float

    @property
    def hex(self) -> str:
        """The color as HTML writes it."""
        return "#{:02x}{:02x}{:02x}".format(*self.color)


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each of ``names``, in their order; :data:`MODEL` is the model."""
    raters = [name for name in names if name != MODEL]
    styles = {
        name: LineStyle(RATER_COLORS[k % len(RATER_COLORS)], DASHES[k % len(DASHES)], 2.0)
        for k, name in enumerate(raters)
    }
    if MODEL in names:
        styles[MODEL] = LineStyle(MODEL_RED, (), 3.0)
    return styles


def printable(text: str) -> str:
    """Text that every writer of UTF-8, XML and HTML takes: control characters and lone surrogates replaced."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text)


def text_width(text: str, size: float) -> float:
    """How wide a text of type of ``size`` is at most, about, in the same unit; no font is asked."""
    return size * sum(
        _WIDE if unicodedata.east_asian_width(letter) in "WF" else _CAPITAL if letter.isupper() else _SMALL
        for letter in text
        if not unicodedata.combining(letter)
    )


def display_name(name: str) -> str:
    """What somebody is called where people read it."""
    return "model" if name == MODEL else name


def fit_labels(names: Sequence[str], size: float, room: float) -> list[str]:
    """The names, those that are wider than ``room`` cut; cut names that became the same get a number."""
    cut: list[str] = []
    for number, name in enumerate(names, start=1):
        name = printable(display_name(name))
        label = _cut(name, size, room)
        if label != name and (label in cut or label in names):
            ending = f"…{number}"
            label = _cut(name, size, room - text_width(ending, size)).removesuffix("…") + ending
        cut.append(label)
    return cut


def _cut(name: str, size: float, room: float) -> str:
    if text_width(name, size) <= room:
        return name
    while name and text_width(name + "…", size) > room:
        name = name[:-1]
    return name.rstrip() + "…"
