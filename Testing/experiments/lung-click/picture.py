"""The README's picture of a click: a phantom whose tumor ``lung-ct`` marked in part, the click, and the contour.

python picture.py FILE.png [SEED LOCATION]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED
from CMEDLSegmentLib.inference.clicks import segment
from CMEDLSegmentLib.inference.options import DEFAULTS, Click
from CMEDLSegmentLib.inference.pipeline import segmenters
from CMEDLSegmentLib.io.volume import axial_view
from CMEDLSegmentLib.metrics.surface_distance import dice
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLSegmentLib.report.contour_drawing import (
    BACKGROUND,
    BRIGHT,
    DIM,
    GAP,
    PANEL,
    Contour,
    contour_panel,
    font,
    legend,
    save_png,
    zoom,
)
from CMEDLTrainLib.evaluation.click_evaluation import central_click, lps

SEED, LOCATION = 8204, "chest-wall"
CLICK = (90, 220, 120)
TOP, BELOW = 48, 56


def main(path: Path, seed: int = SEED, location: str = LOCATION) -> None:
    """Draw it."""
    phantom = thorax_ct(seed, (110, 256, 256), (3.0, 1.5, 1.5), location)
    view = axial_view(phantom.image.array, phantom.image.geometry)
    expert = view.to_axial(phantom.mask) != 0
    place = central_click(expert)
    load = segmenters(DEFAULTS)
    automatic = view.to_axial(segment(phantom.image, DEFAULTS, load).label) != 0
    asked = replace(DEFAULTS, model="lung-click", clicks=(Click(lps(view, place)),))
    clicked = view.to_axial(segment(phantom.image, asked, load).label) != 0
    z, y, x = place
    near = zoom(expert[z], view.spacing[1:], margin_mm=30.0)
    canvas = Image.new("RGB", (GAP + 3 * (PANEL + GAP), TOP + PANEL + BELOW), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    titles = ("lung-ct alone", "one click", "lung-click")
    masks = (automatic, np.zeros_like(automatic), clicked)
    for column, (title, mask) in enumerate(zip(titles, masks, strict=True)):
        left = GAP + column * (PANEL + GAP)
        contours = [] if column == 1 else [Contour(expert[z], EXPERT_YELLOW, 1.6), Contour(mask[z], MODEL_RED, 1.6)]
        canvas.paste(contour_panel(view.array[z], view.spacing[1:], contours, view=near, bar_mm=10), (left, TOP))
        draw.text((left + PANEL / 2, TOP / 2), title, BRIGHT, font(20), anchor="mm")
        if column == 1:
            scale = PANEL / near.width_mm
            at_y = TOP + PANEL / 2 + (y - near.center[0]) * view.spacing[1] * scale
            at_x = left + PANEL / 2 + (x - near.center[1]) * view.spacing[2] * scale
            for ends in ((at_x - 12, at_y, at_x + 12, at_y), (at_x, at_y - 12, at_x, at_y + 12)):
                draw.line(ends, CLICK, 3)
    figures = ", ".join(
        f"{name} {dice(mask, expert):.2f}" for name, mask in (("lung-ct", automatic), ("lung-click", clicked))
    )
    note = f"DSC with the whole tumor: {figures}. A phantom, not a patient. Research use, not a medical device."
    draw.text((GAP, TOP + PANEL + BELOW / 2), note, DIM, font(17), anchor="lm")
    legend(draw, canvas.width - GAP, TOP + PANEL + BELOW / 2, (("model", MODEL_RED), ("expert", EXPERT_YELLOW)))
    save_png(canvas, path)
    print(figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(kind(text) for kind, text in zip((int, str), sys.argv[2:], strict=False)))
