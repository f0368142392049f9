"""The measures of agreement, against closed forms, a brute-force reference and the reference package."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from CMEDLSegmentLib.agreement import compare, dice, measure, surface_distances
from CMEDLSegmentLib.errors import InputError


def hd95(a, b, spacing) -> float:
    return measure(a, b, spacing).values["hd95_mm"]


def surface_dice(a, b, spacing, tolerance_mm: float) -> float:
    return measure(a, b, spacing, tolerance_mm).values["surface_dice"]


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], side: int) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(first, first + side) for first in start)] = 1
    return mask


def sphere(shape: tuple[int, int, int], radius_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= radius_mm**2


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Two overlapping irregular masks that also touch the edge of the volume, and a spacing."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    field = gaussian_filter(random.normal(size=(14, 20, 24)), 2)
    other = field + 0.4 * gaussian_filter(random.normal(size=field.shape), 2)
    return field > 0.05, other > 0.05, tuple(random.uniform(0.6, 4.0, 3))


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float], tolerance_mm: float):
    """HD95 and surface Dice written down anew: loops, all pairs, the area of each 2 x 2 x 2 block."""
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


def test_dice_of_a_shifted_cube_is_the_shared_part():
    a, b = cube((10, 20, 20), (2, 5, 5), 4), cube((10, 20, 20), (2, 5, 6), 4)
    assert dice(a, b) == pytest.approx(2 * 4 * 4 * 3 / (64 + 64))


def test_volume_counts_voxels_of_any_label_in_cc():
    mask = 3 * cube((9, 9, 9), (1, 1, 1), 5)
    assert measure(mask, mask, (2.0, 0.5, 4.0)).volume_a_cc == pytest.approx(125 * 4.0 / 1000)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hd95_of_a_shifted_cube_is_the_shift_in_mm_along_each_axis(axis: int):
    spacing = (3.0, 1.0, 1.5)
    start = [6, 6, 6]
    start[axis] += 2
    a, b = cube((30, 30, 30), (6, 6, 6), 12), cube((30, 30, 30), tuple(start), 12)
    # The face that moved holds more than a twentieth of the area, so its shift is the 95th percentile.
    assert hd95(a, b, spacing) == pytest.approx(2 * spacing[axis])


def test_surface_dice_of_a_shifted_cube_steps_from_the_unmoved_sides_to_all():
    a, b = cube((60, 60, 60), (5, 5, 5), 40), cube((60, 60, 60), (8, 5, 5), 40)
    assert surface_dice(a, b, (1, 1, 1), 3.0) == 1.0
    # Two of six faces moved; the unmoved four overlap but for strips of 3 in 40 at the moved ends.
    assert surface_dice(a, b, (1, 1, 1), 0.5) == pytest.approx(4 * 37 / 40 / 6, abs=0.02)


def test_nested_spheres_are_as_far_apart_as_their_radii_differ():
    spacing = (2.0, 1.0, 1.0)
    inner, outer = sphere((40, 80, 80), 20.0, spacing), sphere((40, 80, 80), 28.0, spacing)
    assert hd95(inner, outer, spacing) == pytest.approx(8.0, abs=1.0)
    assert surface_dice(inner, outer, spacing, 10.0) == 1.0
    assert surface_dice(inner, outer, spacing, 5.0) == 0.0
    assert dice(inner, outer) == pytest.approx(2 * 20**3 / (20**3 + 28**3), abs=0.01)
    distances = surface_distances(inner, outer, spacing)
    # The steps of a binary sphere make its surface larger than the sphere's, however fine the grid.
    assert 1.0 < distances.a_areas.sum() / (4 * math.pi * 20**2) < 1.2


def test_surface_area_of_a_box_is_exact_but_for_its_bevelled_edges():
    spacing = (2.5, 0.8, 1.2)
    mask = np.zeros((40, 80, 60), bool)
    mask[5:35, 10:70, 10:50] = True
    area = surface_distances(mask, mask, spacing).a_areas.sum()
    sides = 30 * 2.5, 60 * 0.8, 40 * 1.2
    closed_form = 2 * (sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2])
    assert 0.97 * closed_form < area < closed_form


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_a_brute_force_over_all_pairs(seed: int):
    a, b, spacing = blobs(seed)
    expected_hd95, expected_surface_dice = brute_force(a, b, spacing, 1.5)
    assert hd95(a, b, spacing) == pytest.approx(expected_hd95, abs=1e-6)
    assert surface_dice(a, b, spacing, 1.5) == pytest.approx(expected_surface_dice, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(8))
def test_measures_equal_the_reference_package(seed: int):
    reference = pytest.importorskip("surface_distance", reason="pip install surface-distance")
    a, b, spacing = blobs(seed)
    expected = reference.compute_surface_distances(a, b, spacing)
    assert hd95(a, b, spacing) == pytest.approx(reference.compute_robust_hausdorff(expected, 95), abs=1e-9)
    assert surface_dice(a, b, spacing, 2.0) == pytest.approx(
        reference.compute_surface_dice_at_tolerance(expected, 2.0), abs=1e-9
    )
    assert dice(a, b) == pytest.approx(reference.compute_dice_coefficient(a, b))


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
        assert surface_distances(mask, mask, spacing).a_areas.sum() == pytest.approx(expected, abs=1e-6)


def test_a_mask_at_the_volumes_edge_measures_the_same_as_one_inside():
    a, b, spacing = blobs(1)
    inside = [np.pad(mask, 4) for mask in (a, b)]
    assert a[0].any()
    assert b[:, :, -1].any()
    assert compare(a, b, spacing) == compare(*inside, spacing)


def test_measures_do_not_depend_on_the_order_of_the_two_masks():
    a, b, spacing = blobs(2)
    assert hd95(a, b, spacing) == hd95(b, a, spacing)
    assert surface_dice(a, b, spacing, 1.0) == pytest.approx(surface_dice(b, a, spacing, 1.0))


def test_the_surface_of_a_complement_is_the_same_surface():
    mask = blobs(3)[0]
    mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    hole = np.pad(mask, 6)
    shell = np.pad(np.ones(tuple(n + 10 for n in mask.shape), bool), 1) & ~hole
    inner, outer = (surface_distances(m, m, (1, 1, 1)).a_areas.sum() for m in (hole, shell))
    box = surface_distances(hole | shell, hole | shell, (1, 1, 1)).a_areas.sum()
    assert outer == pytest.approx(inner + box)


def test_equal_masks_agree_fully():
    mask = cube((8, 8, 8), (2, 2, 2), 3)
    assert compare(mask, mask, (2.0, 1.0, 1.0), 0.0) == {
        "dsc": 1.0,
        "surface_dice": 1.0,
        "hd95_mm": 0.0,
        "volume_a_cc": pytest.approx(0.054),
        "volume_b_cc": pytest.approx(0.054),
        "tolerance_mm": 0.0,
    }


def test_a_single_voxel_has_a_surface():
    a, b = cube((5, 5, 9), (2, 2, 2), 1), cube((5, 5, 9), (2, 2, 6), 1)
    assert hd95(a, b, (1, 1, 2)) == pytest.approx(8.0)
    assert dice(a, b) == 0.0


def test_two_empty_masks_have_undefined_agreement():
    empty = np.zeros((4, 5, 6), np.uint8)
    figures = compare(empty, empty, (1, 1, 1))
    assert all(math.isnan(figures[name]) for name in ("dsc", "surface_dice", "hd95_mm"))
    assert figures["volume_a_cc"] == figures["volume_b_cc"] == 0


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_mask_shares_nothing_and_is_infinitely_far(swap: bool):
    pair = [np.zeros((9, 9, 9), np.uint8), cube((9, 9, 9), (2, 2, 2), 4)]
    figures = compare(*(reversed(pair) if swap else pair), (1, 1, 1))
    assert (figures["dsc"], figures["surface_dice"], figures["hd95_mm"]) == (0.0, 0.0, math.inf)


@pytest.mark.parametrize(
    ("a", "b", "spacing", "word"),
    [
        (np.zeros((3, 3, 3)), np.zeros((3, 3, 4)), (1, 1, 1), "shape"),
        (np.zeros((3, 3)), np.zeros((3, 3)), (1, 1, 1), "3-D"),
        (np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), (1, 0, 1), "spacing"),
        (np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), (1, 1), "spacing"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(a, b, spacing, word: str):
    with pytest.raises(InputError, match=word):
        hd95(a, b, spacing)


def test_four_raters_of_a_real_nodule_agree_as_its_masks_say(data_root):
    sitk = pytest.importorskip("SimpleITK")
    folder = data_root / "lidc_raters" / "LIDC-IDRI-0497_nodule-0"
    masks = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"rater{n}.nii.gz"))) > 0 for n in (1, 2, 3, 4)]
    pairs = [dice(masks[i], masks[j]) for i in range(4) for j in range(i)]
    assert np.mean(pairs) == pytest.approx(0.62, abs=0.02)


def test_importing_the_room_imports_no_heavy_library():
    code = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "import CMEDLSegmentLib.agreement\n"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'skimage', 'torch', 'SimpleITK')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
