"""The thorax phantom is the same for the same seed, in HU, of true size in mm, and truthful about its tumor."""

from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.phantom import Phantom, thorax_ct, thorax_mr

SIZE, SPACING = (48, 128, 128), (6.0, 3.0, 3.0)


@cache
def ct(seed: int = 0, tumor: str | None = "lung", noise: float = 16.0) -> Phantom:
    """A coarse CT phantom, made once."""
    return thorax_ct(seed, SIZE, SPACING, tumor, noise)


def ring(mask: np.ndarray, spacing: tuple[float, float, float], near: float, far: float) -> np.ndarray:
    """Voxels between two distances (mm) outside a mask."""
    away = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
    return (away > near) & (away <= far)


def test_same_seed_gives_the_same_voxels() -> None:
    again = thorax_ct(0, SIZE, SPACING)
    np.testing.assert_array_equal(again.image.array, ct().image.array)
    np.testing.assert_array_equal(again.mask, ct().mask)


def test_another_seed_is_another_patient() -> None:
    body, other = (phantom.image.array > -300 for phantom in (ct(0), ct(1)))
    assert 0.02 < np.mean(body != other) < 0.4
    assert not np.array_equal(ct(0).mask, ct(1).mask)


def test_it_is_a_ct_and_says_that_it_is_a_phantom() -> None:
    phantom = ct()
    assert phantom.image.modality == "CT"
    assert phantom.image.array.dtype == np.int16
    assert phantom.image.array.min() >= -1024
    assert phantom.mask.dtype == np.uint8
    assert phantom.mask.shape == phantom.image.array.shape == phantom.image.geometry.shape
    assert "phantom" in phantom.image.name
    assert "phantom" in phantom.description
    assert "demonstrations and tests only" in phantom.description


def test_air_lung_fat_soft_tissue_and_bone_have_their_hounsfield_units() -> None:
    quiet = thorax_ct(0, SIZE, SPACING, tumor=None, noise=0.0).image.array
    counts, edges = np.histogram(quiet, bins=np.arange(-1024, 1500, 8))
    middle = (edges[:-1] + edges[1:]) / 2

    def peak(low: float, high: float) -> float:
        part = (middle > low) & (middle < high)
        return float(middle[part][np.argmax(counts[part])])

    assert peak(-1024, -960) == pytest.approx(-1000, abs=10)
    assert peak(-920, -700) == pytest.approx(-855, abs=25)
    assert peak(-140, -60) == pytest.approx(-100, abs=15)
    assert peak(20, 90) == pytest.approx(50, abs=20)
    assert np.count_nonzero(quiet > 300) > 0.002 * quiet.size


def test_noise_has_the_spread_that_was_asked_for_and_is_correlated() -> None:
    noisy, quiet = ct(0, None, 20.0), ct(0, None, 0.0)
    middle = (slice(10, 20), slice(48, 80), slice(48, 80))
    noise = (noisy.image.array[middle] - quiet.image.array[middle]).astype(float)
    assert noise.std() == pytest.approx(20, rel=0.35)
    fine = thorax_ct(0, (2, 192, 192), (3.0, 0.7, 0.7), None, 20.0).image.array.astype(float)
    fine -= thorax_ct(0, (2, 192, 192), (3.0, 0.7, 0.7), None, 0.0).image.array
    assert np.corrcoef(fine[:, :, 1:].ravel(), fine[:, :, :-1].ravel())[0, 1] > 0.3


@pytest.mark.parametrize("seed", range(4))
def test_a_lung_tumor_is_soft_tissue_surrounded_by_lung(seed: int) -> None:
    phantom = ct(seed)
    array, mask = phantom.image.array, phantom.mask
    core = ndimage.binary_erosion(mask)
    assert 5 < np.median(array[core]) < 75
    around = array[ring(mask, SPACING, 4.0, 7.0)]
    assert np.mean(around < -500) > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_a_tumors_diameter_is_that_of_a_treated_one(seed: int) -> None:
    for place in ("lung", "chest-wall"):
        cc = ct(seed, place).mask.sum() * np.prod(SPACING) / 1000
        assert 20 < 2 * (3000 * cc / (4 * np.pi)) ** (1 / 3) < 42


@pytest.mark.parametrize("seed", range(3))
def test_a_chest_wall_tumor_lies_between_wall_and_lung(seed: int) -> None:
    phantom = ct(seed, "chest-wall")
    around = phantom.image.array[ring(phantom.mask, SPACING, 1.0, 7.0)]
    assert np.mean(around < -500) > 0.25
    assert np.mean(around > -200) > 0.15


@pytest.mark.parametrize("seed", range(3))
def test_a_mediastinal_tumor_has_little_contrast(seed: int) -> None:
    noise = 16.0
    at_border, in_lung = ct(seed, "mediastinum"), ct(seed, "lung")

    def contrast_to_noise(phantom: Phantom) -> float:
        """Between the tumor and what touches it, lung left out where the place is the mediastinum."""
        array = phantom.image.array.astype(float)
        outside = ring(phantom.mask, SPACING, 2.0, 7.0)
        if phantom is at_border:
            outside &= ndimage.uniform_filter(array, 3) > -200
        inside = ndimage.binary_erosion(phantom.mask, iterations=1)
        return float(abs(np.median(array[inside]) - np.median(array[outside])) / noise)

    array = at_border.image.array
    touching = ring(at_border.mask, SPACING, 1.0, 7.0)
    assert np.mean(array[touching] > -200) > 0.3
    assert contrast_to_noise(at_border) < 2.0
    assert contrast_to_noise(in_lung) > 20


def test_a_mediastinal_tumor_leaves_the_airways_open() -> None:
    for seed in range(3):
        phantom = ct(seed, "mediastinum", 0.0)
        assert np.mean(phantom.image.array[phantom.mask > 0] < -700) < 0.01


def test_without_a_tumor_the_mask_is_empty() -> None:
    assert not ct(0, None).mask.any()
    assert "without a tumor" in ct(0, None).description


def test_the_anatomy_keeps_its_size_at_any_spacing() -> None:
    coarse = ct(0, "lung", 0.0)
    fine = thorax_ct(0, (96, 192, 192), (3.0, 2.0, 2.0), "lung", 0.0)

    def litres(phantom: Phantom) -> tuple[float, float]:
        body = np.count_nonzero(phantom.image.array > -250) * phantom.image.geometry.voxel_cc
        return body / 1000, phantom.mask.sum() * phantom.image.geometry.voxel_cc

    for a, b in zip(litres(coarse), litres(fine), strict=True):
        assert a == pytest.approx(b, rel=0.08)
    centers = [
        phantom.image.geometry.to_physical(np.argwhere(phantom.mask)[:, ::-1].astype(float)).mean(axis=0)
        for phantom in (coarse, fine)
    ]
    np.testing.assert_allclose(centers[0], centers[1], atol=1.5)


def test_a_field_smaller_than_the_body_shows_its_middle() -> None:
    whole = thorax_ct(0, (20, 128, 128), (6.0, 3.0, 3.0), None, 0.0).image
    part = thorax_ct(0, (20, 64, 64), (6.0, 3.0, 3.0), None, 0.0).image
    # The edges' softness is the same, so the cut shows the very same voxels.
    np.testing.assert_allclose(part.array, whole.array[:, 32:96, 32:96], atol=2)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 64, 64), (7, 33, 50), (3, 20, 300)])
def test_any_size_is_made(size: tuple[int, int, int]) -> None:
    assert thorax_ct(3, size, (5.0, 2.0, 1.3)).image.array.shape == size
    assert thorax_mr(3, size, (5.0, 2.0, 1.3)).image.array.shape == size


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": (0, 10, 10)}, "size"),
        ({"size": (10, 10)}, "size"),
        ({"spacing": (1.0, -1.0, 1.0)}, "spacing"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "spacing"),
        ({"tumor": "liver"}, "chest-wall"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        thorax_ct(**{"size": (4, 8, 8), **arguments})


def test_the_lungs_are_found_in_it() -> None:
    from CMEDLSegmentLib.inference.lungs import find_lungs

    phantom = ct(0)
    lungs = find_lungs(phantom.image.array, SPACING)
    assert 2500 < lungs.volume_cc < 7500
    slices = np.flatnonzero(phantom.mask.any(axis=(1, 2)))
    assert set(slices) <= set(lungs.slices.tolist())
    assert len(lungs.slices) > 0.6 * SIZE[0]


def test_the_mr_is_of_another_anatomy_with_a_tumor_brighter_than_muscle() -> None:
    phantom, twin = thorax_mr(0, SIZE, SPACING), ct(0)
    assert phantom.image.modality == "MR"
    assert phantom.image.array.min() >= 0
    assert not np.array_equal(phantom.mask, twin.mask)
    body, other = phantom.image.array > 120, twin.image.array > -300
    assert np.mean(body[24] != ndimage.binary_fill_holes(other[24])) > 0.02
    core = ndimage.binary_erosion(phantom.mask)
    assert core.any()
    tumor = np.median(phantom.image.array[core])
    lung = np.median(phantom.image.array[ring(phantom.mask, SPACING, 6.0, 12.0)])
    assert tumor > 3 * lung
    values = phantom.image.array[phantom.image.array > 80]
    # Muscle is the commonest dark tissue in the body, fat the commonest bright one.
    counts, edges = np.histogram(values, bins=np.arange(80, 420, 20))
    assert tumor > 1.4 * edges[np.argmax(counts)]


def test_the_mr_has_shading_and_noise_without_negative_side() -> None:
    phantom = thorax_mr(1, SIZE, SPACING, noise=20.0)
    corner = phantom.image.array[:, :8, :8].astype(float)
    # Of magnitude noise without signal: the mean is 1.25 times the spread of a channel.
    assert corner.mean() == pytest.approx(1.2533 * 20, rel=0.1)
    quiet = thorax_mr(1, SIZE, SPACING, noise=0.0).image.array[24].astype(float)
    # Subcutaneous fat is one tissue, so how its median differs from place to place is the coil's doing.
    quarters = [quiet[y, x] for y in (slice(0, 64), slice(64, 128)) for x in (slice(0, 64), slice(64, 128))]
    fat = [np.median(quarter[quarter > 0.75 * np.percentile(quarter, 99)]) for quarter in quarters]
    assert max(fat) > 1.03 * min(fat)


def test_a_usual_volume_takes_little_more_than_itself() -> None:
    size = (32, 256, 256)
    tracemalloc.start()
    thorax_ct(1, size, (9.0, 1.5, 1.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    voxels = int(np.prod(size))
    # Values in float32, the image in int16 and the mask: 7 bytes a voxel, and tables.
    assert peak < 7 * voxels + 60e6
