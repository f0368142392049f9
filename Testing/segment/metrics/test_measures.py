"""All measures: against other packages, closed forms, what must not change them, and empty masks."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.vote_map import VoteMap
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.metrics.lesions import match_lesions
from CMEDLSegmentLib.metrics.measures import MEASURES, MaskPairs, compare, measure
from CMEDLSegmentLib.metrics.surface_distance import dice
from segment.agreement.masks import blobs, cube, ellipsoid, nodules, sphere

SYMMETRIC = [name for name, known in MEASURES.items() if known.symmetric]
DISTANCES = [name for name in SYMMETRIC if MEASURES[name].unit == "mm"]


def reference(a: np.ndarray, b: np.ndarray, spacing, tolerance_mm: float) -> dict[str, float]:
    """What the surface-distance package says, and what follows from its lists of distances and areas."""
    package = pytest.importorskip("surface_distance", reason="pip install surface-distance")
    surfaces = package.compute_surface_distances(a, b, spacing)
    to_b, to_a = surfaces["distances_gt_to_pred"], surfaces["distances_pred_to_gt"]
    area_a, area_b = surfaces["surfel_areas_gt"], surfaces["surfel_areas_pred"]
    together, areas = np.concatenate([to_b, to_a]), np.concatenate([area_a, area_b])
    order = np.argsort(together)
    share = np.cumsum(areas[order]) / areas.sum()
    return {
        "dsc": package.compute_dice_coefficient(a, b),
        "surface_dice": package.compute_surface_dice_at_tolerance(surfaces, tolerance_mm),
        "hd95_mm": package.compute_robust_hausdorff(surfaces, 95),
        "hd_mm": package.compute_robust_hausdorff(surfaces, 100),
        "masd_mm": sum(package.compute_average_surface_distance(surfaces)) / 2,
        "assd_mm": (to_b @ area_a + to_a @ area_b) / areas.sum(),
        "hd95_pooled_mm": together[order][np.searchsorted(share, 0.95)],
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_raters_of_each_real_nodule_measure_as_in_the_reference_package(data_root, every: bool):
    pairs = itertools.cycle(itertools.combinations(range(4), 2))
    for (name, masks, spacing), pair in zip(nodules(data_root), pairs, strict=False):
        rated = MaskPairs(masks, spacing, 1.0)
        for i, j in itertools.permutations(range(4), 2) if every else [pair]:
            measured = rated.pair(i, j).values
            for key, expected in reference(masks[i], masks[j], spacing, 1.0).items():
                assert measured[key] == pytest.approx(expected, abs=1e-6), (name, i, j, key)


def boundary_voxels(mask: np.ndarray, spacing) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("first", "tolerance_mm"), [(0, 0.0), (50, 0.7), (100, 2.0), (150, 5.0)])
def test_two_hundred_random_pairs_measure_as_in_the_reference_package(first: int, tolerance_mm: float):
    for seed in range(first, first + 50):
        a, b, spacing = blobs(seed)
        measured = measure(a, b, spacing, tolerance_mm).values
        for name, expected in reference(a, b, spacing, tolerance_mm).items():
            assert measured[name] == pytest.approx(expected, abs=1e-6), (seed, name)


@pytest.mark.parametrize("seed", range(20))
def test_boundary_voxels_measure_as_in_a_search_over_all_of_them(seed: int):
    from scipy.spatial.distance import cdist

    a, b, spacing = blobs(seed)
    pairs = cdist(boundary_voxels(a, spacing), boundary_voxels(b, spacing))
    to_b, to_a = pairs.min(axis=1), pairs.min(axis=0)
    measured = measure(a, b, spacing).values
    assert measured["hd_unweighted_mm"] == pytest.approx(max(to_b.max(), to_a.max()), abs=1e-9)
    assert measured["hd95_unweighted_mm"] == pytest.approx(
        max(np.percentile(to_b, 95), np.percentile(to_a, 95)), abs=1e-9
    )
    assert measured["hd95_pooled_unweighted_mm"] == pytest.approx(np.percentile(np.hstack([to_b, to_a]), 95), abs=1e-9)
    assert measured["assd_unweighted_mm"] == pytest.approx(np.hstack([to_b, to_a]).mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_overlap_measures_as_in_simpleitk(seed: int):
    sitk = pytest.importorskip("SimpleITK")
    a, b, spacing = blobs(seed)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    # SimpleITK's target is its second image.
    overlap.Execute(images[1], images[0])
    measured = measure(a, b, spacing).values
    assert measured["dsc"] == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-9)
    assert measured["jaccard"] == pytest.approx(overlap.GetJaccardCoefficient(), abs=1e-9)
    assert measured["sensitivity"] == pytest.approx(1 - overlap.GetFalseNegativeError(), abs=1e-9)
    assert measured["precision"] == pytest.approx(1 - overlap.GetFalseDiscoveryRate(), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_shape_measures_as_in_simpleitk(seed: int):
    sitk = pytest.importorskip("SimpleITK")
    random = np.random.default_rng(seed)
    spacing = tuple(random.uniform(0.7, 3.0, 3))
    # Of solid shapes: SimpleITK takes a mask's inside, too, for where the other is 0 away.
    a, b = (ellipsoid((24, 40, 40), random.uniform(8, 14, 3), spacing, random.uniform(-3, 3, 3)) for _ in range(2))
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    shapes = []
    for image in images:
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(image)
        shapes.append(shape)
    measured = measure(a, b, spacing)
    assert measured.values["hd_unweighted_mm"] == pytest.approx(hausdorff.GetHausdorffDistance(), abs=1e-4)
    assert measured.values["centroid_distance_mm"] == pytest.approx(
        math.dist(shapes[0].GetCentroid(1), shapes[1].GetCentroid(1)), abs=1e-6
    )
    volumes = [shape.GetPhysicalSize(1) / 1000.0 for shape in shapes]
    assert (measured.volume_a_cc, measured.volume_b_cc) == pytest.approx(volumes)
    assert measured.values["volume_difference_cc"] == pytest.approx(volumes[1] - volumes[0])
    assert measured.values["relative_volume_difference"] == pytest.approx(volumes[1] / volumes[0] - 1)


@pytest.mark.slow
def test_as_in_monai(data_root):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics", reason="pip install --no-deps monai")
    cases = [blobs(seed) for seed in range(200)]
    cases += [(masks[0], masks[1], spacing) for _, masks, spacing in nodules(data_root)]
    for a, b, spacing in cases:
        measured = measure(a, b, spacing, 2.0).values
        reference_mask, tested_mask = (torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (a, b))
        given = {"y_pred": tested_mask, "y": reference_mask, "include_background": True, "spacing": spacing}
        expected = {
            "dsc": metrics.compute_dice(tested_mask, reference_mask),
            "jaccard": metrics.compute_iou(tested_mask, reference_mask),
            "surface_dice": metrics.compute_surface_dice(**given, class_thresholds=[2.0], use_subvoxels=True),
            "hd_unweighted_mm": metrics.compute_hausdorff_distance(**given),
            "hd95_unweighted_mm": metrics.compute_hausdorff_distance(**given, percentile=95),
            "assd_unweighted_mm": metrics.compute_average_surface_distance(**given, symmetric=True),
        }
        for name, value in expected.items():
            # MONAI counts in single precision, and a percentile's place among the distances, too.
            precision = 1e-4 if name == "hd95_unweighted_mm" else 1e-6
            assert measured[name] == pytest.approx(float(value), rel=1e-7, abs=precision), (spacing, name)


@pytest.mark.slow
def test_as_in_medpy(data_root):
    medpy = pytest.importorskip("medpy.metric.binary", reason="pip install --no-deps medpy")
    cases = [blobs(seed) for seed in range(200)]
    cases += [(masks[0], masks[1], spacing) for _, masks, spacing in nodules(data_root)]
    for a, b, spacing in cases:
        measured = measure(a, b, spacing).values
        assert measured["dsc"] == pytest.approx(medpy.dc(b, a), abs=1e-9)
        assert measured["hd_unweighted_mm"] == pytest.approx(medpy.hd(b, a, spacing), abs=1e-9)
        assert measured["hd95_pooled_unweighted_mm"] == pytest.approx(medpy.hd95(b, a, spacing), abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cube_shifted_along_an_axis(axis: int):
    spacing, side, shift = (3.0, 1.0, 1.5), 12, 2
    start = [6, 6, 6]
    start[axis] += shift
    measured = measure(cube((30, 30, 30), (6, 6, 6), side), cube((30, 30, 30), tuple(start), side), spacing).values
    shared = (side - shift) / side
    assert measured["dsc"] == pytest.approx(shared)
    assert measured["sensitivity"] == measured["precision"] == pytest.approx(shared)
    assert measured["jaccard"] == pytest.approx((side - shift) / (side + shift))
    # The face that moved holds more than a twentieth of the area, so its shift is the 95th percentile, too.
    for name in ("hd_mm", "hd95_mm", "hd95_pooled_mm", "hd_unweighted_mm", "centroid_distance_mm"):
        assert measured[name] == pytest.approx(shift * spacing[axis]), name
    assert measured["volume_difference_cc"] == measured["relative_volume_difference"] == 0.0


def test_surface_dice_of_a_shifted_cube_steps_from_the_unmoved_sides_to_all():
    a, b = cube((60, 60, 60), (5, 5, 5), 40), cube((60, 60, 60), (8, 5, 5), 40)
    assert measure(a, b, (1, 1, 1), 3.0).values["surface_dice"] == 1.0
    # Two of six faces moved; the unmoved four overlap but for strips of 3 in 40 at the moved ends.
    assert measure(a, b, (1, 1, 1), 0.5).values["surface_dice"] == pytest.approx(4 * 37 / 40 / 6, abs=0.02)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 0.8, 1.25)])
def test_nested_spheres_are_as_far_apart_as_their_radii_differ(spacing):
    shape = tuple(int(64 / step) for step in spacing)
    measured = measure(sphere(shape, 20.0, spacing), sphere(shape, 28.0, spacing), spacing, 10.0)
    for name in ("hd95_mm", "hd_mm", "assd_mm", "masd_mm", "hd95_unweighted_mm", "assd_unweighted_mm"):
        assert measured.values[name] == pytest.approx(8.0, abs=max(spacing)), name
    assert measured.values["surface_dice"] == 1.0
    assert measured.values["centroid_distance_mm"] == pytest.approx(0.0, abs=1e-9)
    assert measured.values["precision"] == pytest.approx((20 / 28) ** 3, abs=0.01)
    assert measured.values["sensitivity"] == 1.0
    assert measured.values["dsc"] == pytest.approx(2 * 20**3 / (20**3 + 28**3), abs=0.01)
    assert measured.values["relative_volume_difference"] == pytest.approx((28 / 20) ** 3 - 1, rel=0.02)
    assert measured.volume_b_cc == pytest.approx(4 / 3 * math.pi * 2.8**3, rel=0.01)
    assert measure(sphere(shape, 20.0, spacing), sphere(shape, 28.0, spacing), spacing, 5.0).values["surface_dice"] == 0


def test_a_single_voxel_has_a_surface():
    measured = measure(cube((5, 5, 9), (2, 2, 2), 1), cube((5, 5, 9), (2, 2, 6), 1), (1, 1, 2)).values
    assert (measured["dsc"], measured["hd95_mm"], measured["hd_unweighted_mm"]) == (0.0, 8.0, 8.0)


def test_added_path_is_what_is_missing_of_the_references_contours():
    a, b = np.zeros((4, 20, 20), bool), np.zeros((4, 20, 20), bool)
    a[1:3, 5:11, 5:11] = True
    b[1, 5:11, 5:9] = True
    # On the first slice the right side, and of the two sides beside it what b ends before; its right side cuts through
    # a's inside and replaces none of a's. On the second slice all of a's contour.
    missing = 6 + 2 * 1 + 20
    assert measure(a, b, (3.0, 0.5, 2.0)).values["added_path_length_mm"] == pytest.approx(missing * 1.0)
    # The other way round only b's right side, but for its two corners, has to be added.
    assert measure(b, a, (3.0, 0.5, 2.0)).values["added_path_length_mm"] == pytest.approx(4 * 1.0)


@pytest.mark.parametrize("seed", range(6))
def test_slices_measure_as_they_would_one_by_one(seed: int):
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    a, b, spacing = blobs(seed)
    # Some slices with one empty, and one with both.
    a[1] = b[2] = a[-1] = b[-1] = False
    rows = {row["slice"]: row for row in MaskPairs((a, b), spacing).slices(0, 1)}
    assert list(rows) == [z for z in range(len(a)) if a[z].any() or b[z].any()]
    pixel = spacing[1] * spacing[2]
    for z, row in rows.items():
        assert row["dsc"] == pytest.approx(2 * (a[z] & b[z]).sum() / (a[z].sum() + b[z].sum()))
        assert (row["area_a_mm2"], row["area_b_mm2"]) == pytest.approx((a[z].sum() * pixel, b[z].sum() * pixel))
        assert row["disagreement_mm2"] == pytest.approx((a[z] ^ b[z]).sum() * pixel)
        contours = [mask & ~binary_erosion(mask) for mask in (a[z], b[z])]
        added = (contours[0] & ~contours[1]).sum() * math.sqrt(pixel)
        assert row["added_path_length_mm"] == pytest.approx(added)
        if a[z].any() and b[z].any():
            pairs = cdist(*(np.argwhere(contour) * spacing[1:] for contour in contours))
            assert row["hd_mm"] == pytest.approx(max(pairs.min(axis=0).max(), pairs.min(axis=1).max()))
        else:
            assert row["hd_mm"] == math.inf
    volume = measure(a, b, spacing).values
    assert sum(row["added_path_length_mm"] for row in rows.values()) == pytest.approx(volume["added_path_length_mm"])


@pytest.mark.parametrize("seed", range(8))
def test_what_is_symmetric_does_not_change_with_the_order_and_the_rest_does(seed: int):
    a, b, spacing = blobs(seed)
    forward, backward = measure(a, b, spacing), measure(b, a, spacing)
    for name in SYMMETRIC:
        assert forward.values[name] == backward.values[name], name
    assert forward.values["sensitivity"] == backward.values["precision"]
    assert forward.values["volume_difference_cc"] == -backward.values["volume_difference_cc"]
    assert (forward.volume_a_cc, forward.volume_b_cc) == (backward.volume_b_cc, backward.volume_a_cc)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_measures_do_not_change_with_a_flipped_axis(seed: int, axis: int):
    a, b, spacing = blobs(seed)
    flipped = measure(np.flip(a, axis), np.flip(b, axis), spacing).values
    assert flipped == pytest.approx(measure(a, b, spacing).values, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_measures_do_not_change_with_exchanged_axes_but_for_what_looks_at_slices(seed: int):
    a, b, spacing = blobs(seed)
    turned = measure(a.transpose(2, 0, 1), b.transpose(2, 0, 1), (spacing[2], *spacing[:2])).values
    for name, value in measure(a, b, spacing).values.items():
        if name != "added_path_length_mm":
            assert turned[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("seed", range(8))
def test_surface_dice_grows_with_the_tolerance_up_to_all(seed: int):
    a, b, spacing = blobs(seed)
    measured = [measure(a, b, spacing, tolerance).values for tolerance in (0.0, 0.3, 0.7, 1.5, 4.0, 1000.0)]
    shares = [values["surface_dice"] for values in measured]
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] < shares[-1] == 1.0
    for name in DISTANCES:
        assert len({values[name] for values in measured}) == 1, name


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_at_the_volumes_edge_measures_the_same_as_one_inside(seed: int):
    a, b, spacing = blobs(seed)
    assert any(mask.take(end, axis).any() for mask in (a, b) for end in (0, -1) for axis in range(3))
    inside = [np.pad(mask, ((3, 9), (40, 2), (1, 50))) for mask in (a, b)]
    measured, expected = measure(*inside, spacing), measure(a, b, spacing)
    assert measured.values == pytest.approx(expected.values, abs=1e-9)
    moved = [{**row, "slice": row["slice"] + 3} for row in MaskPairs((a, b), spacing).slices(0, 1)]
    assert MaskPairs(inside, spacing).slices(0, 1) == moved


def test_who_else_is_compared_changes_nothing():
    masks = [*blobs(0)[:2], np.zeros_like(blobs(0)[0])]
    masks.append(np.zeros_like(masks[0]))
    masks[-1][0, 0, 0] = masks[-1][-1, -1, -1] = True
    spacing = blobs(0)[2]
    together = MaskPairs(masks, spacing, 1.0)
    for i, j in itertools.product(range(4), repeat=2):
        assert together.pair(i, j).values == pytest.approx(
            measure(masks[i], masks[j], spacing, 1.0).values, abs=1e-9, nan_ok=True
        )


def test_any_label_and_any_layout_of_the_array_is_a_mask():
    a, b, spacing = blobs(1)
    expected = measure(a, b, spacing)
    assert measure(7 * a.astype(np.int16), np.asfortranarray(b.astype(np.float32)), spacing) == expected
    assert expected.volume_a_cc == pytest.approx(a.sum() * math.prod(spacing) / 1000.0)


def test_equal_masks_agree_fully():
    mask = cube((8, 8, 8), (2, 2, 2), 3)
    for name, value in measure(mask, mask, (2.0, 1.0, 1.0), 0.0).values.items():
        assert value == (1.0 if MEASURES[name].better == "high" else 0.0), name
    assert compare(mask, mask, (2.0, 1.0, 1.0), 0.0) == {
        "dsc": 1.0,
        "surface_dice": 1.0,
        "hd95_mm": 0.0,
        "volume_a_cc": pytest.approx(0.054),
        "volume_b_cc": pytest.approx(0.054),
        "tolerance_mm": 0.0,
    }


def test_two_empty_masks_have_nothing_to_agree_on():
    empty = np.zeros((4, 5, 6), np.uint8)
    masks = MaskPairs((empty, empty), (1, 1, 1))
    measured = masks.pair(0, 1)
    assert measured.empty == "both"
    assert list(measured.values) == list(MEASURES)
    assert all(math.isnan(value) for value in measured.values.values())
    assert (measured.volume_a_cc, measured.volume_b_cc) == (0.0, 0.0)
    assert masks.box is None
    assert masks.slices(0, 1) == []


def test_an_empty_mask_shares_nothing_is_infinitely_far_and_lacks_what_is_undefined():
    empty, mask = np.zeros((9, 9, 9), np.uint8), cube((9, 9, 9), (2, 2, 2), 4)
    masks = MaskPairs((empty, mask), (1, 1, 1))
    without_reference, without_tested = masks.pair(0, 1), masks.pair(1, 0)
    assert (without_reference.empty, without_tested.empty) == ("a", "b")
    for measured in (without_reference.values, without_tested.values):
        assert (measured["dsc"], measured["jaccard"], measured["surface_dice"]) == (0.0, 0.0, 0.0)
        assert all(measured[name] == math.inf for name in DISTANCES)
    undefined = [name for name, value in without_reference.values.items() if math.isnan(value)]
    assert undefined == ["sensitivity", "relative_volume_difference"]
    assert without_reference.values["precision"] == without_reference.values["added_path_length_mm"] == 0.0
    assert [name for name, value in without_tested.values.items() if math.isnan(value)] == ["precision"]
    assert without_tested.values["sensitivity"] == 0.0
    assert without_tested.values["relative_volume_difference"] == -1.0
    assert without_tested.values["volume_difference_cc"] == pytest.approx(-0.064)
    # On each of four slices the border of a square of four.
    assert without_tested.values["added_path_length_mm"] == pytest.approx(4 * 12)
    assert [row["hd_mm"] for row in masks.slices(0, 1)] == [math.inf] * 4


@pytest.mark.parametrize(
    "compare_masks",
    [
        lambda a, b: measure(a, b, (1, 1, 1)),
        lambda a, b: match_lesions(a, b, (1, 1, 1)),
        lambda a, b: VoteMap.of([a, b]),
        dice,
    ],
)
def test_masks_of_different_shapes_are_refused(compare_masks):
    with pytest.raises(InputError, match=r"\(3, 3, 4\)"):
        compare_masks(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)))


@pytest.mark.parametrize(
    ("dimensions", "spacing"), [(2, (1, 1, 1)), (3, (1, 0, 1)), (3, (1, 1)), (3, (1, math.nan, 1))]
)
def test_masks_and_spacings_that_are_not_of_a_volume_are_refused(dimensions: int, spacing):
    with pytest.raises(InputError, match="2-D" if dimensions == 2 else re.escape(str(spacing))):
        measure(np.zeros((3,) * dimensions), np.zeros((3,) * dimensions), spacing)


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance_mm: float):
    with pytest.raises(InputError, match=str(tolerance_mm)):
        MaskPairs([np.zeros((3, 3, 3))], (1, 1, 1), tolerance_mm)


def test_every_measure_says_what_it_is():
    assert list(MEASURES)[:4] == ["dsc", "surface_dice", "hd95_mm", "assd_mm"]
    for name, known in MEASURES.items():
        assert known.name == name
        assert known.definition.endswith(".")
        assert name.endswith(f"_{known.unit}") or not known.unit
    variants = [known.variant for known in MEASURES.values()]
    assert variants == sorted(variants)
    assert len({known.definition for known in MEASURES.values()}) == len(MEASURES)
