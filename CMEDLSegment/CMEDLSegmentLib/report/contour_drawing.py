"""Pictures of slices with contours, drawn without a plotting library.

Slices are shown as a radiologist sees them: the patient's right on the left, the front on top. That is how
:class:`CMEDLSegmentLib.io.volume.AxialView` lays its arrays out. Everything is drawn three times too large and
then reduced, which makes smooth lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..base.boxes import bounding_box, box_shape
from ..base.colors import EXPERT_YELLOW, MODEL_RED
from ..base.files import atomic_path

LUNG_WINDOW = (-1000.0, 500.0)
"""HU from black to white: what the paper clips CT to."""

BACKGROUND = (16, 18, 22)
BRIGHT = (238, 240, 243)
DIM = (160, 166, 176)

OVERSAMPLING = 3
PANEL = 420
"""Pixels along each side of a panel in a comparison."""
GAP = 12
SMALLEST_ZOOM_MM = 70.0
ZOOM_MARGIN_MM = 18.0


@dataclass(frozen=True)
class Contour:
    """A delineation on one slice.

    Attributes:
        mask: (y, x), non-zero is inside.
        color: red, green, blue, 0 to 255.
        width: of the line, in pixels of the panel.
        dash: lengths of lines and gaps in turn, in pixels of the panel; empty for an unbroken line.
    """

    mask: np.ndarray
    color: tuple[int, int, int]
    width: float = 2.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class View:
    """What a panel shows of a slice: the center (y, x) in voxels, the width and the height in mm."""

    center: tuple[float, float]
    width_mm: float
    height_mm: float


def whole_view(shape: Sequence[int], spacing: Sequence[float]) -> View:
    """The view that just holds a whole slice; ``shape`` and ``spacing`` (mm) are (y, x)."""
    side = max(shape[0] * spacing[0], shape[1] * spacing[1])
    return View(((shape[0] - 1) / 2, (shape[1] - 1) / 2), side, side)


def contour_panel(
    image: np.ndarray,
    spacing: Sequence[float],
    contours: Sequence[Contour],
    size: tuple[int, int] = (PANEL, PANEL),
    view: View | None = None,
    window: tuple[float, float] = LUNG_WINDOW,
    bar_mm: float | None = None,
    frame: View | None = None,
    sides: tuple[str, str] = ("R", "L"),
) -> Image.Image:
    """One slice with contours on it.

    Args:
        image: (y, x) intensities.
        spacing: (y, x) in mm.
        contours: drawn in this order, the last on top.
        size: width and height of the panel in pixels.
        view: what part of the slice; None is all of it. Its shorter side in pixels decides the scale.
        window: intensities shown black and white.
        bar_mm: length of a scale bar; None for none.
        frame: a rectangle to draw, such as the view of another panel.
        sides: what the left and the right edge say of the patient.
    """
    view = view or whole_view(image.shape, spacing)
    width, height = (side * OVERSAMPLING for side in size)
    scale = min(width / view.width_mm, height / view.height_mm)  # pixels per mm
    step_y, step_x = 1 / (scale * spacing[0]), 1 / (scale * spacing[1])  # voxels per pixel

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        """Voxel coordinates (n, 2) as (y, x) to the panel's pixel coordinates (x, y)."""
        y = (points[:, 0] - view.center[0]) / step_y + height / 2
        x = (points[:, 1] - view.center[1]) / step_x + width / 2
        return list(zip(x.tolist(), y.tolist(), strict=True))

    low, high = window
    gray = np.clip((image.astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    # Pillow's coordinates have their zero at the corner of the first pixel, ours at its center.
    left = view.center[1] + 0.5 - step_x * width / 2
    top = view.center[0] + 0.5 - step_y * height / 2
    # Where the panel enlarges, the image needs no more samples than the panel has pixels; only lines do.
    coarse = OVERSAMPLING if OVERSAMPLING * max(step_x, step_y) <= 1 else 1
    resampled = Image.fromarray(gray).transform(
        (width // coarse, height // coarse),
        Image.Transform.AFFINE,
        (step_x * coarse, 0, left, 0, step_y * coarse, top),
        Image.Resampling.BICUBIC,
    )
    panel = Image.fromarray(np.clip(np.asarray(resampled), 0, 255).astype(np.uint8))
    panel = panel.resize((width, height), Image.Resampling.NEAREST).convert("RGB")
    draw = ImageDraw.Draw(panel)
    if frame is not None:
        half = np.array([frame.height_mm / spacing[0], frame.width_mm / spacing[1]]) / 2
        corners = place(np.array([frame.center - half, frame.center + half]))
        draw.rectangle([*corners[0], *corners[1]], outline=DIM, width=OVERSAMPLING)
    for contour in contours:
        for line in outlines(contour.mask):
            for dash in _dashes(np.array(place(line)), [length * OVERSAMPLING for length in contour.dash]):
                draw.line(dash, contour.color, round(contour.width * OVERSAMPLING), joint="curve")
    panel = panel.reduce(OVERSAMPLING)
    _annotate(panel, bar_mm, scale / OVERSAMPLING, sides)
    return panel


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines (n, 2) in voxel coordinates (y, x) of a mask's regions and holes.

    The outline runs half-way between inside and outside. Its stair steps are rounded off by a (1, 2, 1)
    average along the line, which moves it by less than a quarter of a voxel; outlines of a few voxels are
    left alone."""
    from skimage.measure import find_contours

    lines = []
    for line in find_contours(np.pad(np.asarray(mask) != 0, 1).astype(np.float32), 0.5):
        points = line[:-1] - 1  # the last point repeats the first
        if len(points) >= 16:
            points = (np.roll(points, 1, axis=0) + 2 * points + np.roll(points, -1, axis=0)) / 4
        lines.append(np.concatenate([points, points[:1]]))
    return lines


def _dashes(line: np.ndarray, dash: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The drawn dashes of a line (n, 2) that is broken into lines and gaps of the lengths ``dash``, in turn."""
    if not dash:
        return [list(map(tuple, line.tolist()))]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    ends = np.concatenate([[0.0], np.cumsum(np.resize(dash, int(along[-1] / sum(dash) + 1) * len(dash)))])
    dashes = []
    for start, stop in zip(ends[::2], ends[1::2], strict=False):
        if start < along[-1]:
            steps = np.concatenate([[start], along[(along > start) & (along < stop)], [min(stop, along[-1])]])
            places = (np.interp(steps, along, line[:, axis]).tolist() for axis in (0, 1))
            dashes.append(list(zip(*places, strict=True)))
    return dashes


def _annotate(panel: Image.Image, bar_mm: float | None, scale: float, sides: tuple[str, str]) -> None:
    """The sides of the patient, and a scale bar; ``scale`` in pixels per mm."""
    draw = ImageDraw.Draw(panel)
    width, height = panel.size
    dark: dict[str, Any] = {"stroke_width": 2, "stroke_fill": BACKGROUND}  # readable on bone as on air
    draw.text((8, height / 2), sides[0], DIM, font(15), anchor="lm", **dark)
    draw.text((width - 8, height / 2), sides[1], DIM, font(15), anchor="rm", **dark)
    if bar_mm is not None:
        length, y = bar_mm * scale, height - 14
        draw.rectangle([12, y - 3, 16 + length, y + 3], BACKGROUND)
        draw.rectangle([14, y - 1, 14 + length, y + 1], BRIGHT)
        draw.text((14 + length / 2, y - 6), f"{bar_mm / 10:g} cm", BRIGHT, font(14), anchor="mb", **dark)


def slice_dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """DSC of two masks (z, y, x) on each slice; NaN where both are empty."""
    # Slice by slice, because masks of long scans are large.
    common = np.array([np.count_nonzero((p != 0) & (q != 0)) for p, q in zip(a, b, strict=True)])
    total = np.count_nonzero(a, axis=(1, 2)) + np.count_nonzero(b, axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return 2 * common / total


def telling_slices(model: np.ndarray, expert: np.ndarray) -> list[tuple[str, int]]:
    """The slices worth showing: the one with the largest tumor, and the best and the worst of the others.

    The best is looked for among slices with at least a quarter of the largest area, since small ones say
    little; the worst among all that either has marked. Fewer than three are returned where there are no more.
    """
    score = slice_dice(model, expert)
    marked = np.flatnonzero(np.isfinite(score))
    if marked.size == 0:
        return [("middle slice", len(score) // 2)]
    area = np.count_nonzero(expert if expert.any() else model, axis=(1, 2))
    chosen = [("largest", int(np.argmax(area)))]
    others = [z for z in marked.tolist() if z != chosen[0][1]]
    large = [z for z in others if area[z] >= area.max() / 4]
    if large:
        chosen.append(("best", max(large, key=lambda z: score[z])))
        others.remove(chosen[1][1])
    if others:
        # Of equally bad ones the one with the larger error.
        def rank(z: int) -> tuple[float, int]:
            return score[z], -int(np.count_nonzero((model[z] != 0) != (expert[z] != 0)))

        chosen.append(("worst", min(others, key=rank)))
    return chosen


def comparison(
    image: np.ndarray,
    spacing: Sequence[float],
    model: np.ndarray,
    expert: np.ndarray,
    title: str,
    notes: Sequence[str],
) -> Image.Image:
    """The model's contour in red over the expert's in yellow, on the telling slices: whole, and close by.

    Args:
        image: (z, y, x) in axial order.
        spacing: (z, y, x) in mm.
        model, expert: masks of the image's shape.
        title: above the panels.
        notes: lines under the panels.
    """
    chosen = telling_slices(model, expert)
    score = slice_dice(model, expert)
    zooms = [zoom(expert[z] if expert[z].any() else model[z], spacing[1:]) for _, z in chosen]
    side = max(max(around.width_mm, around.height_mm) for around in zooms)
    top, caption = 64, 30
    columns = max(len(chosen), 2)
    width = GAP + columns * (PANEL + GAP)
    canvas = Image.new("RGB", (width, top + caption + 2 * (PANEL + GAP) + 24 * len(notes) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, top / 2), title, BRIGHT, font(24), anchor="lm")
    legend(draw, width - GAP, top / 2, (("model", MODEL_RED), ("expert", EXPERT_YELLOW)))
    for column, ((word, z), around) in enumerate(zip(chosen, zooms, strict=True)):
        left = GAP + column * (PANEL + GAP)
        agreement = f", DSC {score[z]:.2f}" if np.isfinite(score[z]) else ""
        place = (left + PANEL / 2, top + caption / 2)
        draw.text(place, f"{word}: slice {z} (0 to {len(image) - 1}){agreement}", BRIGHT, font(17), anchor="mm")
        contours = [Contour(expert[z], EXPERT_YELLOW, 1.6), Contour(model[z], MODEL_RED, 1.6)]
        near = View(around.center, side, side)
        whole = contour_panel(image[z], spacing[1:], contours, bar_mm=50, frame=near)
        canvas.paste(whole, (left, top + caption))
        close = contour_panel(image[z], spacing[1:], contours, view=near, bar_mm=10)
        canvas.paste(close, (left, top + caption + PANEL + GAP))
    for row, note in enumerate(notes):
        y = canvas.height - GAP - 24 * (len(notes) - row) + 12
        draw.text((GAP, y), note, DIM, font(17), anchor="lm")
    return canvas


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as beside:
        picture.save(beside, format="PNG")


def zoom(
    mask: np.ndarray,
    spacing: Sequence[float],
    margin_mm: float = ZOOM_MARGIN_MM,
    smallest_mm: float = SMALLEST_ZOOM_MM,
) -> View:
    """A square view around the region marked on a slice, the whole slice if none is; ``spacing`` (y, x) in mm."""
    box = bounding_box(mask)
    if box is None:
        return whole_view(mask.shape, spacing)
    extent = max(size * mm for size, mm in zip(box_shape(box), spacing, strict=True))
    side = max(extent + 2 * margin_mm, smallest_mm)
    y, x = ((part.start + part.stop - 1) / 2 for part in box)
    return View((y, x), side, side)


def legend(
    draw: ImageDraw.ImageDraw, right: float, y: float, entries: Sequence[tuple[str, tuple[int, int, int]]]
) -> None:
    """Line samples with their names, ending at ``right``."""
    letters = font(17)
    for name, color in reversed(entries):
        draw.text((right, y), name, BRIGHT, letters, anchor="rm")
        right -= draw.textlength(name, letters) + 8
        draw.line([(right - 28, y), (right, y)], color, 4)
        right -= 28 + 20


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font that comes with Pillow: no font of the system is needed."""
    return ImageFont.load_default(size)
