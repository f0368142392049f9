"""Surfaces and how far they are apart, against a brute-force reference and the reference package's areas."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from CMEDLSegmentLib.base.boxes import bounding_box
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.metrics.measures import measure
from CMEDLSegmentLib.metrics.surface_distance import Grid, MaskSurface, SurfaceDistances, dice
from segment.agreement.masks import blobs, cube, marked, sphere


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float], tolerance_mm: float):
    """HD95 and surface DSC written down anew: loops, all pairs, the area of each 2 x 2 x 2 block."""
    from scipy.spatial.distance import cdist
    from skimage.measure import marching_cubes, mesh_surface_area

    def surface(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = np.pad(mask.astype(float), 1)
        points, areas = [], []
        for index in np.ndindex(*(n - 1 for n in mask.shape)):
            block = mask[tuple(slice(i, i + 2) for i in index)]
            if 0 < block.sum() < 8:
                if block.sum() > 4:
                    block = 1 - block
                vertices, faces, *_ = marching_cubes(block, 0.5, spacing=spacing, method="lorensen")
                points.append(np.multiply(index, spacing))
                areas.append(mesh_surface_area(vertices, faces))
        return np.array(points), np.array(areas)

    def percentile(distance: np.ndarray, area: np.ndarray) -> float:
        order = np.argsort(distance)
        total = 0.0
        for which in order:
            total += area[which]
            if total >= 0.95 * area.sum():
                return distance[which]
        return distance.max()

    (points_a, area_a), (points_b, area_b) = surface(a), surface(b)
    pairs = cdist(points_a, points_b)
    to_b, to_a = pairs.min(axis=1), pairs.min(axis=0)
    within = area_a[to_b <= tolerance_mm].sum() + area_b[to_a <= tolerance_mm].sum()
    return max(percentile(to_b, area_a), percentile(to_a, area_b)), within / (area_a.sum() + area_b.sum())


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_a_brute_force_over_all_pairs(seed: int):
    a, b, spacing = blobs(seed)
    expected_hd95, expected_surface_dice = brute_force(a, b, spacing, 1.5)
    found = measure(a, b, spacing, 1.5).values
    assert found["hd95_mm"] == pytest.approx(expected_hd95, abs=1e-6)
    assert found["surface_dice"] == pytest.approx(expected_surface_dice, abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.4, 0.6), (0.3, 3.0, 2.0)])
def test_distances_near_and_far_are_those_of_a_distance_transform(spacing):
    from scipy.ndimage import distance_transform_edt

    random = np.random.default_rng(4)
    # One reaches to within a voxel of the other and far beyond what is looked at before a tree is searched.
    a, b = np.zeros((20, 90, 120), bool), np.zeros((20, 90, 120), bool)
    a[:, :30] = random.random((20, 30, 120)) < 0.01
    b[3:9, 28:31, 5:9] = True
    grid = Grid(bounding_box(a | b), spacing)
    one, other = MaskSurface(a, grid), MaskSurface(b, grid)
    for here, there in ((one.boundary, other.boundary), (other.boundary, one.boundary)):
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


def test_surface_area_of_a_box_is_exact_but_for_its_bevelled_edges():
    spacing = (2.5, 0.8, 1.2)
    mask = np.zeros((40, 80, 60), bool)
    mask[5:35, 10:70, 10:50] = True
    sides = 30 * 2.5, 60 * 0.8, 40 * 1.2
    closed_form = 2 * (sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2])
    assert 0.97 * closed_form < marked(mask, spacing).areas.sum() < closed_form


def test_the_surface_of_a_binary_sphere_is_somewhat_larger_than_the_spheres():
    # Its steps make it so, however fine the grid.
    spacing = (2.0, 1.0, 1.0)
    areas = marked(sphere((40, 80, 80), 20.0, spacing), spacing).areas
    assert 1.0 < areas.sum() / (4 * math.pi * 20**2) < 1.2


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
        assert SurfaceDistances(distances, areas, distances, areas).hausdorff(95.0) == 0.0


def test_dice_of_a_shifted_cube_is_the_shared_part():
    a, b = cube((10, 20, 20), (2, 5, 5), 4), cube((10, 20, 20), (2, 5, 6), 4)
    assert dice(a, b) == pytest.approx(2 * 4 * 4 * 3 / (64 + 64))
    assert dice(a[3], b[3]) == pytest.approx(2 * 4 * 3 / (16 + 16))
    assert math.isnan(dice(0 * a, 0 * a))
    assert dice(0 * a, b) == 0.0


def test_masks_of_different_shapes_have_no_dice():
    with pytest.raises(InputError, match="shape"):
        dice(np.zeros((3, 3)), np.zeros((3, 4)))


def test_importing_the_room_imports_no_heavy_library():
    code = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "import CMEDLSegmentLib.agreement\n"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'skimage', 'torch', 'SimpleITK')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
