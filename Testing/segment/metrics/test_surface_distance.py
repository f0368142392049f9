"""Surfaces and how far they are apart, against a brute-force reference and the reference package's areas."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from CMEDLSegmentLib.base.boxes import bounding_box
from CMEDLSegmentLib.metrics.surface_distance import Grid, MaskSurface, SurfaceDistances, dice
from segment.agreement.masks import blobs, cube, marked


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.4, 0.6), (0.3, 3.0, 2.0)])
def test_distances_near_and_far_are_those_of_a_distance_transform(spacing):
    from scipy.ndimage import distance_transform_edt

    random = np.random.default_rng(4)
    # One reaches to within a voxel of the other and far beyond it.
    a, b = np.zeros((20, 90, 120), bool), np.zeros((20, 90, 120), bool)
    a[:, :30] = random.random((20, 30, 120)) < 0.01
    b[3:9, 28:31, 5:9] = True
    grid = Grid(bounding_box(a | b), spacing)
    boundaries = [MaskSurface(mask, grid).boundary for mask in (a, b)]
    for here, there in (boundaries, boundaries[::-1]):
        on_there = np.ones(grid.shape, bool)
        on_there.flat[there.places] = False
        order, distances = here.distances_to(there)
        expected = distance_transform_edt(on_there, sampling=spacing).flat[here.places[order]]
        assert len(order) == len(here)
        assert np.abs(distances - expected).max() < 1e-9
        assert (np.diff(distances) >= 0).all()


def test_contours_are_sought_on_their_own_slice_only():
    mask = np.zeros((3, 60, 60), bool)
    mask[0, 5, 5] = mask[2, 5, 5] = True
    other = np.zeros_like(mask)
    other[0, 5, 55] = other[1, 5, 5] = True
    grid = Grid(bounding_box(mask | other), (0.1, 1.0, 1.0))
    distances = MaskSurface(mask, grid).contours.distances_to(MaskSurface(other, grid).contours)[1]
    assert distances.tolist() == [50.0, math.inf]


def test_element_areas_equal_the_reference_packages_table_for_all_256_codes():
    tables = pytest.importorskip("surface_distance.lookup_tables", reason="pip install surface-distance")
    spacing = (3.0, 0.7, 1.1)
    areas = tables.create_table_neighbour_code_to_surface_area(spacing)
    for code in range(1, 255):
        block = np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)
        mask = np.zeros((4, 4, 4), bool)
        mask[1:3, 1:3, 1:3] = block
        # Each of the 27 corners around the block looks at its own eight voxels; add up the package's areas.
        expected = sum(
            areas[int((tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL * mask[i : i + 2, j : j + 2, k : k + 2]).sum())]
            for i, j, k in np.ndindex(3, 3, 3)
        )
        assert marked(mask, spacing).areas.sum() == pytest.approx(expected, abs=1e-6)


def test_the_surface_of_a_complement_is_the_same_surface():
    mask = blobs(3)[0]
    mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    hole = np.pad(mask, 6)
    shell = np.pad(np.ones(tuple(n + 10 for n in mask.shape), bool), 1) & ~hole
    inner, outer, box = (marked(m, (1.0, 1.0, 1.0)).areas.sum() for m in (hole, shell, hole | shell))
    assert outer == pytest.approx(inner + box)


def test_a_share_that_is_reached_but_for_rounding_is_reached():
    distances = np.array([0.0] * 19 + [5.0])
    for area in np.random.default_rng(0).random(50):
        areas = np.full(20, area)
        assert SurfaceDistances(((distances, areas),) * 2).hausdorff(95.0) == 0.0


def test_dice_of_a_shifted_cube_is_the_shared_part():
    a, b = cube((10, 20, 20), (2, 5, 5), 4), cube((10, 20, 20), (2, 5, 6), 4)
    assert dice(a, b) == pytest.approx(2 * 4 * 4 * 3 / (64 + 64))
    assert dice(a[3], b[3]) == pytest.approx(2 * 4 * 3 / (16 + 16))
    assert math.isnan(dice(0 * a, 0 * a))
    assert dice(0 * a, b) == 0.0


def test_importing_the_room_imports_no_heavy_library():
    code = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "import CMEDLSegmentLib.agreement\n"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'skimage', 'torch', 'SimpleITK')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
