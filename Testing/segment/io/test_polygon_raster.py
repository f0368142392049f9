"""Filling polygons, against exact arithmetic, another library's point test, and areas."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from skimage.measure import points_in_poly

from CMEDLSegmentLib.io.polygon_raster import (
    combine_polygons,
    fill_exclusive,
    pixels_on_edge,
    same_polygon,
    winding_numbers,
)

SHAPE = (19, 23)


def turns(polygons: list[np.ndarray], shape: tuple[int, int] = SHAPE) -> list[np.ndarray]:
    return [winding_numbers(polygon, shape) for polygon in polygons]


def combined(polygons: list[np.ndarray], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return combine_polygons(polygons, turns(polygons, shape), shape)[0]


def disjoined(polygons: list[np.ndarray]) -> np.ndarray:
    return fill_exclusive(polygons, turns(polygons), SHAPE)


def square(low: float, high: float) -> np.ndarray:
    return np.array([[low, low], [low, high], [high, high], [high, low]])


def by_fractions(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Even-odd insides without the edges, and edges, pixel by pixel and exactly."""
    corners = [(Fraction(float(r)), Fraction(float(c))) for r, c in polygon]
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    inside, edge = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for row, column in np.ndindex(SHAPE):
        for (r0, c0), (r1, c1) in edges:
            if (r1 - r0) * (column - c0) == (c1 - c0) * (row - r0):
                edge[row, column] |= min(r0, r1) <= row <= max(r0, r1) and min(c0, c1) <= column <= max(c0, c1)
            if (r0 <= row) != (r1 <= row) and c0 + (row - r0) * (c1 - c0) / (r1 - r0) < column:
                inside[row, column] ^= True
    return inside & ~edge, edge


@pytest.mark.parametrize("seed", range(6))
def test_any_polygon_however_often_it_crosses_itself_is_filled_as_exact_arithmetic_says(seed):
    random = np.random.default_rng(seed)
    # Corners on quarters of pixels, some beyond the border: many edges run right through pixel centers.
    polygon = random.integers(-8, 100, (random.integers(3, 9), 2)) / 4
    inside, edge = by_fractions(polygon)
    odd = winding_numbers(polygon, SHAPE) % 2 == 1
    np.testing.assert_array_equal(odd & ~edge, inside)
    np.testing.assert_array_equal(pixels_on_edge(polygon, SHAPE), edge)
    np.testing.assert_array_equal(combined([polygon]), inside | edge)


@pytest.mark.parametrize("seed", range(6))
def test_another_librarys_point_test_agrees_away_from_the_edges(seed):
    polygon = np.random.default_rng(seed).uniform(-3, 25, (40, 2))
    centers = np.argwhere(np.ones(SHAPE, bool))
    expected = points_in_poly(centers, polygon).reshape(SHAPE)
    np.testing.assert_array_equal(winding_numbers(polygon, SHAPE) % 2 == 1, expected)


@pytest.mark.parametrize(
    "change", [lambda p: p[::-1], lambda p: np.roll(p, 3, axis=0), lambda p: np.vstack([p, p[:1]])]
)
def test_where_a_polygon_begins_ends_and_turns_does_not_matter(change):
    polygon = np.random.default_rng(4).integers(-8, 100, (9, 2)) / 4
    np.testing.assert_array_equal(combined([change(polygon)]), combined([polygon]))
    assert same_polygon(change(polygon), polygon, 1e-9)


def test_flipping_the_image_flips_what_is_marked_also_through_pixel_centers():
    polygon = np.random.default_rng(5).integers(0, 36, (7, 2)) / 2
    flipped = np.array(SHAPE) - 1 - polygon
    np.testing.assert_array_equal(combined([flipped]), combined([polygon])[::-1, ::-1])
    np.testing.assert_array_equal(combined([polygon[:, ::-1]], SHAPE[::-1]), combined([polygon]).T)


def test_a_center_0_0005_of_a_pixel_off_an_edge_is_on_it_and_0_002_is_not():
    for off, expected in ((0.0005, 9), (0.002, 1)):
        assert combined([square(4 + off, 6 - off)]).sum() == expected


def test_a_circle_marks_its_area():
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = 150.3 + 140 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    assert combined([circle], (300, 300)).sum() == pytest.approx(np.pi * 140**2, rel=2e-3)


def test_a_polygon_within_another_is_a_hole_and_one_within_the_hole_an_island():
    nested = [square(1.5, 15.5), square(4.5, 12.5), square(7.5, 9.5)]
    expected = np.zeros(SHAPE, bool)
    expected[2:16, 2:16] = True
    expected[5:13, 5:13] = False
    expected[8:10, 8:10] = True
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        polygons = [nested[k] for k in order]
        np.testing.assert_array_equal(combined(polygons), expected)
        np.testing.assert_array_equal(disjoined(polygons), expected)
    assert combine_polygons(nested, turns(nested), SHAPE)[1:] == (2, False)


def test_the_pixels_on_the_border_of_a_hole_are_inside():
    expected = np.zeros(SHAPE, bool)
    expected[1:16, 1:16] = True
    expected[6:11, 6:11] = False
    np.testing.assert_array_equal(combined([square(1, 15), square(5, 11)]), expected)
    np.testing.assert_array_equal(disjoined([square(1, 15), square(5, 11)]), expected)


def test_polygons_that_overlap_in_part_are_both_inside_unless_they_are_to_be_disjoined():
    a, b = square(1.5, 9.5), square(6.5, 14.5)
    marked, _, overlapping = combine_polygons([a, b], turns([a, b]), SHAPE)
    assert overlapping
    assert marked.sum() == 64 + 64 - 9
    assert disjoined([a, b]).sum() == 64 + 64 - 18


def test_polygons_that_share_an_edge_do_not_overlap():
    halves = [square(2, 8), np.add(square(2, 8), [0, 6])]
    marked, _, overlapping = combine_polygons(halves, turns(halves), SHAPE)
    assert not overlapping
    assert marked.sum() == 7 * 13


def test_a_keyhole_leaves_its_hole_and_no_gap_along_its_channel():
    outer, hole = square(2, 14), square(6, 10)
    for inner in (hole, hole[::-1]):
        channel = np.concatenate([outer[:1], inner, inner[:1], outer])
        expected = combined([outer, hole])
        np.testing.assert_array_equal(combined([channel]), expected)
    # A channel of 0.0002 pixels, as wide as rounding makes it, through pixel centers.
    wide = np.array([[8.0001, 2], [14, 2], [14, 14], [2, 14], [2, 2], [7.9999, 2]])
    wide = np.concatenate([wide, [[7.9999, 6], [6, 6], [6, 10], [10, 10], [10, 6], [8.0001, 6]]])
    np.testing.assert_array_equal(combined([wide]), combined([outer, hole]))


def test_the_winding_tells_a_crossing_and_a_double_loop_from_a_simple_polygon_and_a_keyhole():
    outer, hole = square(2.5, 14.5), square(6.5, 10.5)
    crossing = outer[[0, 2, 1, 3]]
    twice = np.concatenate([outer, square(4.5, 12.5)])
    keyhole = np.concatenate([outer[:1], hole[::-1], hole[-1:], outer])
    signs = [np.unique(turn) for turn in turns([outer, crossing, twice, keyhole])]
    assert [len(values) for values in signs] == [2, 3, 3, 2]
    assert np.abs(signs[2]).max() == 2


def test_one_polygon_written_twice_is_known_with_other_points_and_rounding_but_not_a_thin_ring():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = 9 + 7 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    denser = np.concatenate([circle, (circle + np.roll(circle, -1, axis=0)) / 2], axis=1).reshape(-1, 2)
    assert same_polygon(circle, np.round(denser[::-1], 2), 0.05)
    assert not same_polygon(circle, 9 + (circle - 9) * 0.97, 0.05)
    assert not same_polygon(circle, np.add(circle, [0.2, 0.0]), 0.05)
    notched = np.insert(square(2, 8), 2, [[5, 8], [5, 5], [5.1, 8]], axis=0)
    assert not same_polygon(square(2, 8), notched, 0.05)


def test_a_polygon_wholly_beside_the_image_marks_nothing_of_it():
    for shift in ([30, 0], [-30, 0], [0, 40], [0, -40]):
        assert not combined([np.add(square(2, 8), shift)]).any()
