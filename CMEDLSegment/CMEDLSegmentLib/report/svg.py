"""A drawing in SVG, made of a few shapes: no plotting library, no script, sharp on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .style import printable

INK, SOFT, RULE, PAPER = "#1c2530", "#5a6572", "#d5dae0", "#ffffff"
"""Text, lesser text, lines, and the page."""


class Drawing:
    """Shapes on a canvas of ``width`` x ``height`` units; a unit is a pixel at the page's full width."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._title = title
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str = "", **style: object) -> None:
        """A filled rectangle; ``tip`` is shown under the mouse."""
        self._add("rect", tip, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), fill=fill, **style)

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str = RULE, width: float = 1.0, **style) -> None:
        """A straight line."""
        self._add("line", "", x1=x1, y1=y1, x2=x2, y2=y2, stroke=color, stroke_width=width, **style)

    def curve(self, points: Sequence[tuple[float, float]], color: str, width: float = 1.0, **style: object) -> None:
        """A line through points."""
        self._add("polyline", "", points=_joined(points), fill="none", stroke=color, stroke_width=width, **style)

    def dot(self, x: float, y: float, radius: float, fill: str, tip: str = "") -> None:
        """A rater's value: a disc with a dark rim, which also shows a pale color on paper."""
        self._add("circle", tip, cx=x, cy=y, r=radius, fill=fill, stroke=INK, stroke_width=0.9)

    def diamond(self, x: float, y: float, radius: float, fill: str, tip: str = "") -> None:
        """The model's value."""
        corners = _joined([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)])
        self._add("polygon", tip, points=corners, fill=fill, stroke=INK, stroke_width=0.9)

    def text(
        self, x: float, y: float, text: str, size: float = 12.0, anchor: str = "start", fill: str = INK, **style: object
    ) -> None:
        """A line of text; ``y`` is the baseline."""
        self._add("text", "", printable(text), x=x, y=y, font_size=size, text_anchor=anchor, fill=fill, **style)

    def svg(self) -> str:
        """The element, for a page of HTML or, as it stands, a file."""
        title = escape(printable(self._title))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(self.width)} {_number(self.height)}" '
            f'role="img" aria-label="{title}" font-family="Helvetica, Arial, sans-serif">'
            f"{''.join(self._parts)}</svg>"
        )

    def _add(self, element: str, tip: str, content: str = "", /, **attributes: object) -> None:
        written = " ".join(
            f'{name.replace("_", "-")}="{escape(_number(value) if isinstance(value, (int, float)) else str(value))}"'
            for name, value in attributes.items()
        )
        inner = (f"<title>{escape(printable(tip))}</title>" if tip else "") + escape(content)
        self._parts.append(f"<{element} {written}>{inner}</{element}>" if inner else f"<{element} {written}/>")


class Scale:
    """Values to places along an axis from ``start`` to ``stop``; what lies beyond the ends is put at them."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the ends, at most ``most``."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span))
        steps = (factor * power / 100 for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
        step = next(step for step in steps if span / step < most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 10) for k in range(first, last + 1)]


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
