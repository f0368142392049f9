"""Contours on the telling slices of each case, with the translated image beside (Figs. 3, 8 and 9 of the paper).

A case is one picture: its worst, median and best slice in columns; in rows the student's contour on its image, the
teacher's on the pseudo-teacher image where there is one, and that of a compared student. All panels of a picture have
one scale, and intensities are shown as the networks see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, RATER_COLORS, Color
from CMEDLSegmentLib.report.contour_drawing import (
    BACKGROUND,
    BRIGHT,
    DIM,
    GAP,
    Contour,
    View,
    contour_panel,
    font,
    legend,
    zoom,
)

from ..evaluation.case_view import CaseView

COMPARED_GREEN: Color = RATER_COLORS[2]
SIDE = 300
"""Pixels along each side of a panel."""
COLUMNS = 3
TITLE, CAPTION = 44, 28
"""Heights in pixels of a picture's title and of a panel's caption."""
MARGIN_MM, SMALLEST_MM = 25.0, 110.0
"""What is shown around the contours, and at least: enough of the chest to see where one is."""
NORMALIZED_WINDOW = (-1.0, 1.0)
"""Intensities after normalization."""


def telling_slices(scores: np.ndarray) -> list[tuple[str, int]]:
    """Of n scores the positions of the worst, the median (the lower of two) and the best; fewer where n is."""
    order = np.argsort(scores, kind="stable")
    if len(order) < COLUMNS:
        return list(zip(("worst", "best"), order.tolist(), strict=False)) if len(order) > 1 else [("only", 0)]
    return [("worst", int(order[0])), ("median", int(order[(len(order) - 1) // 2])), ("best", int(order[-1]))]


def contours(view: CaseView, z: int, labels: np.ndarray, color: Color) -> tuple[Contour, ...]:
    """The expert's contours on axial slice ``z``, and above them those of ``labels`` (y, x)."""
    expert = [Contour(mask, EXPERT_YELLOW, 1.6) for mask in view.contour_masks(view.expert[z])]
    return (*expert, *(Contour(mask, color, 1.6) for mask in view.contour_masks(labels)))


def squares_around(view: CaseView, slices: Sequence[int]) -> list[View]:
    """Squares of one size around what expert and student marked on each of the slices."""
    marked = ((view.expert[z] > 0) | (view.predicted[z] > 0) for z in slices)
    around = [zoom(mask, view.spacing, MARGIN_MM, SMALLEST_MM) for mask in marked]
    side = max(square.width_mm for square in around)
    return [View(square.center, side, side) for square in around]


def draw_panel(
    image: np.ndarray, drawn: Sequence[Contour], caption: str, view: View, spacing: tuple[float, float]
) -> Image.Image:
    """A native slice (y, x) in -1..1 with contours under its caption; ``spacing`` (y, x) in mm."""
    picture = Image.new("RGB", (SIDE, CAPTION + SIDE), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((SIDE / 2, CAPTION / 2), caption, BRIGHT, font(15), anchor="mm")
    panel = contour_panel(image, spacing, drawn, (SIDE, SIDE), view, NORMALIZED_WINDOW, bar_mm=20)
    picture.paste(panel, (0, CAPTION))
    return picture


def side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels beside each other, with room for as many as a row has."""
    picture = Image.new("RGB", (GAP + COLUMNS * (SIDE + GAP), CAPTION + SIDE + GAP), BACKGROUND)
    for column, drawn in enumerate(panels):
        picture.paste(drawn, (GAP + column * (SIDE + GAP), 0))
    return picture


def with_title(title: str, entries: Sequence[tuple[str, Color]], rows: Sequence[Image.Image]) -> Image.Image:
    """Rows below each other, under a title and a legend of colors."""
    picture = Image.new("RGB", (rows[0].width, TITLE), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    legend(draw, picture.width - GAP, TITLE / 2, entries)
    draw.text((GAP, TITLE / 2), shortened(title, picture.width // 2), BRIGHT, font(19), anchor="lm")
    return stack([picture, *rows])


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, aligned at the left."""
    size = max(picture.width for picture in pictures), sum(picture.height for picture in pictures)
    whole, top = Image.new("RGB", size, BACKGROUND), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def draw_overview(ranked: Sequence[tuple[str, Path]]) -> Image.Image:
    """The saved pictures of some cases below each other, each under a line that says which it is.

    Args:
        ranked: what a picture is, such as "worst of 12 cases", and its file.
    """
    parts = []
    for rank, path in ranked:
        with Image.open(path) as picture:
            parts += [text_line(rank, picture.width), picture.convert("RGB")]
    return stack(parts)


def text_line(text: str, width: int, height: int = CAPTION, size: int = 16) -> Image.Image:
    """A line of text at the left of a strip, in pixels."""
    line = Image.new("RGB", (width, height), BACKGROUND)
    ImageDraw.Draw(line).text((GAP, height / 2), text, DIM, font(size), anchor="lm")
    return line


def shortened(text: str, width: int, size: int = 19) -> str:
    """``text``, its end replaced by an ellipsis where it is wider than ``width`` pixels."""
    measured = font(size)
    if measured.getlength(text) <= width:
        return text
    while text and measured.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def score_caption(caption: str, score: float) -> str:
    """``caption`` with a DSC behind, where there is one."""
    return f"{caption}, DSC {score:.2f}" if np.isfinite(score) else caption
