"""Resampling by matrices against closed forms and against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from CMEDLSegmentLib.inference.resampling import FieldSampler, ModelField, antialiased_matrix, interpolation_matrix
from CMEDLSegmentLib.models.normalization import IntensityMap

SAME = IntensityMap((-1.0, 1.0), (-1.0, 1.0))
"""Leaves intensities in -1..1 as they are."""


def a_field(**changes: object) -> ModelField:
    fields = {
        "shape": (120, 100),
        "spacing": (0.8, 0.7),
        "center": (58.3, 51.1),
        "pixels": 32,
        "pixel_mm": 1.5,
    }
    return ModelField(**{**fields, **changes})


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.37, 2.0, 2.9, 7.3])
def test_a_ramp_is_reproduced_exactly_at_any_scale(scale: float) -> None:
    positions = 40.0 + np.arange(12) * scale + 0.21
    sampled = antialiased_matrix(positions, scale, 200).astype(float) @ np.arange(200.0)
    np.testing.assert_allclose(sampled, positions, atol=2e-5)


@pytest.mark.parametrize("scale", [1.0, 1.9, 3.3])
def test_a_constant_stays_one_inside_and_fades_only_at_the_border(scale: float) -> None:
    positions = np.arange(-20.0, 120.0, scale)
    total = antialiased_matrix(positions, scale, 100).sum(axis=1)
    inside = (positions >= scale) & (positions <= 99 - scale)
    np.testing.assert_allclose(total[inside], 1.0, atol=1e-6)
    assert (total[(positions < -scale) | (positions > 99 + scale)] == 0).all()
    assert total.max() < 1.0 + 0.2


@pytest.mark.parametrize("pixel_mm", [0.5, 1.1, 1.5, 2.7])
def test_the_mass_of_a_gaussian_survives_and_its_center_stays(pixel_mm: float) -> None:
    pixels = round(96 / pixel_mm)
    field = a_field(shape=(160, 150), center=(80.0, 75.0), pixels=pixels, pixel_mm=pixel_mm)
    y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(field.shape, field.spacing, strict=True)), indexing="ij")
    center = np.array([70.0 * 0.8 + 0.3, 80.0 * 0.7 - 0.4])
    gaussian = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / (2 * 6.0**2))
    rows, columns = field.to_field
    sampled = rows @ gaussian @ columns.T
    assert sampled.sum() * pixel_mm**2 == pytest.approx(gaussian.sum() * 0.8 * 0.7, rel=2e-3)
    steps = (np.arange(pixels) - (pixels - 1) / 2) * pixel_mm
    sampled_center = np.array([sampled.sum(axis=1) @ steps, sampled.sum(axis=0) @ steps]) / sampled.sum()
    np.testing.assert_allclose(sampled_center + np.array([80.0 * 0.8, 75.0 * 0.7]), center, atol=1e-2)


def test_stripes_finer_than_the_models_pixels_average_out() -> None:
    stripes = np.tile([0.0, 1.0], 100)
    sampled = antialiased_matrix(np.arange(20.0, 180.0, 4.0), 4.0, 200) @ stripes
    np.testing.assert_allclose(sampled, 0.5, atol=0.02)


def test_without_downsampling_it_is_simpleitks_linear_resampling() -> None:
    rng = np.random.default_rng(1)
    field = a_field(spacing=(1.9, 1.7), shape=(60, 64), center=(30.2, 29.9), pixel_mm=1.5, pixels=48)
    image = rng.uniform(-1, 1, (1, *field.shape)).astype(np.float32)
    sampled = FieldSampler(field, SAME, "cpu")(image)[0, 0].numpy()

    source = sitk.GetImageFromArray(image[0])
    source.SetSpacing((1.7, 1.9))
    origin = [29.9 * 1.7 - 23.5 * 1.5, 30.2 * 1.9 - 23.5 * 1.5]
    expected = sitk.Resample(
        source, (48, 48), sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear, origin, (1.5, 1.5)
    )
    np.testing.assert_allclose(sampled, sitk.GetArrayFromImage(expected), atol=1e-5)


def test_the_way_back_is_simpleitks_linear_resampling_and_0_outside_the_field() -> None:
    rng = np.random.default_rng(2)
    field = a_field()
    probability = rng.uniform(0, 1, (32, 32)).astype(np.float32)
    rows, columns = field.to_native
    back = rows @ probability @ columns.T

    source = sitk.GetImageFromArray(probability)
    source.SetSpacing((1.5, 1.5))
    source.SetOrigin([51.1 * 0.7 - 15.5 * 1.5, 58.3 * 0.8 - 15.5 * 1.5])
    expected = sitk.Resample(
        source, (100, 120), sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear, (0.0, 0.0), (0.7, 0.8), (1, 0, 0, 1)
    )
    np.testing.assert_allclose(back, sitk.GetArrayFromImage(expected), atol=1e-5)
    assert back[0].max() == 0
    assert back[:, 0].max() == 0


def test_interpolation_reaches_half_a_sample_beyond_the_ends_and_not_further() -> None:
    matrix = interpolation_matrix(np.array([-0.6, -0.4, 2.25, 3.4, 3.6]), 4)
    np.testing.assert_allclose(
        matrix, [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0.75, 0.25], [0, 0, 0, 1], [0, 0, 0, 0]], atol=1e-6
    )


def test_outside_the_image_is_the_darkest_value() -> None:
    field = a_field(shape=(10, 10), spacing=(1.5, 1.5), center=(4.5, 4.5))
    sampled = FieldSampler(field, IntensityMap((-1000.0, 500.0), (-1.0, 1.0)), "cpu")(
        np.full((2, 10, 10), -250, dtype=np.int16)
    )
    assert sampled.shape == (2, 1, 32, 32)
    expected = np.full((32, 32), -1.0)
    expected[11:21, 11:21] = 0.0
    np.testing.assert_allclose(sampled[1, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint8", "float64", ">i2", "float32"])
def test_every_type_of_voxel_gives_what_the_normalization_itself_gives(dtype: str) -> None:
    rng = np.random.default_rng(3)
    slices = rng.uniform(0, 200, (2, 32, 32)).astype(dtype)
    kept = slices.copy()
    field = a_field(shape=(32, 32), spacing=(1.5, 1.5), center=(15.5, 15.5))
    landmarks = IntensityMap((10.0, 50.0, 60.0, 180.0), (-1.0, -0.5, 0.3, 1.0))
    sampled = FieldSampler(field, landmarks, "cpu")(slices)
    np.testing.assert_allclose(sampled[:, 0].numpy(), landmarks(slices), atol=1e-5)
    assert (slices == kept).all(), "the caller's voxels were changed"


def test_a_field_that_lies_beside_the_image_is_all_dark() -> None:
    field = a_field(center=(1000.0, 1000.0))
    sampled = FieldSampler(field, SAME, "cpu")(np.ones((1, 120, 100), dtype=np.float32))
    assert torch.equal(sampled, torch.full((1, 1, 32, 32), -1.0))
    rows, columns = field.to_native
    assert rows.max() == columns.max() == 0
