"""Contours on slices: where they lie, which slices are shown, and pictures of odd cases."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED
from CMEDLSegmentLib.report.contour_drawing import (
    Contour,
    View,
    comparison,
    contour_panel,
    outlines,
    slice_dice,
    telling_slices,
    whole_view,
)


def near(panel, color: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    """Where a panel has about a color, (y, x)."""
    return np.all(np.abs(np.asarray(panel).astype(int) - color) < tolerance, axis=2)


def area(line: np.ndarray) -> float:
    """Area within a closed outline, by the shoelace formula."""
    y, x = line[:-1].T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def disc(shape: tuple[int, int], center: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def test_an_outline_encloses_the_masks_area_and_a_hole_has_its_own():
    ring = disc((60, 60), (30, 30), 20) & ~disc((60, 60), (30, 30), 8)
    lines = sorted(outlines(ring), key=area)
    assert len(lines) == 2
    assert area(lines[1]) - area(lines[0]) == pytest.approx(np.count_nonzero(ring), rel=0.02)
    np.testing.assert_allclose((lines[1].min(axis=0) + lines[1].max(axis=0)) / 2, (30, 30))


def test_an_outline_at_the_slices_border_is_closed():
    (line,) = outlines(np.ones((4, 5), bool))
    np.testing.assert_array_equal(line[0], line[-1])
    assert 18 < area(line) < 20  # the four corners are rounded off


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0), (0.7, 1.4)])
def test_a_contour_lies_where_the_anatomy_is_drawn(spacing):
    # A bright disc of 20 mm on black: the contour must hug the edge of its picture, at any spacing and zoom.
    shape = (round(120 / spacing[0]), round(120 / spacing[1]))
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = ((y * spacing[0] - 70) ** 2 + (x * spacing[1] - 45) ** 2) <= 20**2
    image = np.where(mask, 500.0, -1000.0)
    view = View((70 / spacing[0], 45 / spacing[1]), 80.0, 80.0)
    plain = np.asarray(contour_panel(image, spacing, [], view=view))[..., 0] > 127
    plain[:, :30] = plain[:, -30:] = False  # the letters for right and left
    drawn = near(contour_panel(image, spacing, [Contour(mask, MODEL_RED, 1.5)], view=view), MODEL_RED)
    rows, columns = np.nonzero(drawn)
    shown_rows, shown_columns = np.nonzero(plain)
    pixels = 420 / 80  # per mm
    voxel = max(spacing) * pixels
    assert abs(rows.min() - shown_rows.min()) < voxel
    assert abs(rows.max() - shown_rows.max()) < voxel
    assert abs(columns.min() - shown_columns.min()) < voxel
    assert rows.mean() == pytest.approx(210, abs=voxel / 2)
    assert columns.mean() == pytest.approx(210, abs=voxel / 2)
    assert rows.max() - rows.min() == pytest.approx(40 * pixels, abs=2 * voxel)


def test_the_window_decides_what_is_black_and_white_and_outside_is_black():
    image = np.full((10, 20), 100.0)
    panel = np.asarray(contour_panel(image, (1, 1), [], window=(0, 200)))
    assert panel[210, 210, 0] == pytest.approx(127, abs=2)
    assert panel[40, 210].max() == 0


def test_the_scale_bar_has_its_length():
    panel = contour_panel(np.full((100, 100), -1000.0), (1.0, 1.0), [], bar_mm=50)
    bright = np.all(np.asarray(panel) > 200, axis=2)
    assert bright.sum(axis=1).max() == pytest.approx(50 * 420 / 100, abs=2)


def test_a_whole_view_holds_the_longer_side():
    view = whole_view((100, 50), (2.0, 3.0))
    assert (view.width_mm, view.center) == (200.0, (49.5, 24.5))


def test_slice_dice_is_that_of_each_slice():
    a, b = np.zeros((3, 4, 4)), np.zeros((3, 4, 4))
    a[0, :2], b[0, :1], a[1, 0, 0] = 1, 1, 1
    np.testing.assert_allclose(slice_dice(a, b), [2 / 3, 0, np.nan])


def test_the_largest_the_best_and_the_worst_slice_are_told():
    expert, model = np.zeros((6, 20, 20), bool), np.zeros((6, 20, 20), bool)
    for z, radius in enumerate((0, 5, 8, 6, 1, 0)):
        expert[z] = disc((20, 20), (10, 10), radius) if radius else False
    model[1] = disc((20, 20), (10, 12), 5)
    model[2] = disc((20, 20), (10, 10), 7)
    model[3] = expert[3]
    model[4] = expert[4]
    model[5] = disc((20, 20), (4, 4), 2)
    assert telling_slices(model, expert) == [("largest", 2), ("best", 3), ("worst", 5)]


@pytest.mark.parametrize("model_marks", [True, False])
@pytest.mark.parametrize("expert_marks", [True, False])
def test_a_comparison_shows_red_and_yellow_where_there_is_something(model_marks, expert_marks):
    image = np.full((5, 40, 40), -900, dtype=np.int16)
    model, expert = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    model[1:4, 10:20, 10:20] = model_marks
    expert[1:4, 14:24, 14:24] = expert_marks
    picture = comparison(image, (3, 2, 2), model, expert, "Title", ["Note."])
    panels = np.asarray(picture)[64 + 30 :]
    assert near(panels, MODEL_RED).any() == model_marks
    assert near(panels, EXPERT_YELLOW).any() == expert_marks
