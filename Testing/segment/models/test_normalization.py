"""Normalization against closed forms and numpy's percentiles."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.models.normalization import CT_WINDOW, Histogram, Normalization, fit_landmarks


def ramp(low: int = 0, high: int = 1000) -> np.ndarray:
    """Each whole intensity from ``low`` to ``high`` once, as int16 (z, y, x)."""
    return np.arange(low, high + 1, dtype=np.int16).reshape(1, 1, -1)


def anatomy(seed: int = 0, gain: float = 1.0) -> np.ndarray:
    """An MR-like volume: dark air, three tissues; another ``gain`` for another scanner."""
    rng = np.random.default_rng(seed)
    volume = rng.rayleigh(8.0, (12, 40, 40))
    for start, tissue in ((8, 150.0), (16, 300.0), (26, 420.0)):
        volume[:, 8:34, start : start + 8] = rng.normal(tissue, 20.0, (12, 26, 8))
    return np.clip(volume * gain, 0, None).astype(np.int16)


def test_the_window_is_linear_and_clipped() -> None:
    volume = np.array([-1024, -1000, -625, -250, 125, 500, 3071], np.int16)
    mapped = CT_WINDOW.fit(volume)(volume)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, [-1, -1, -0.5, 0, 0.5, 1, 1], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_every_numeric_type_is_mapped_and_left_as_it_was(dtype: type) -> None:
    volume = np.array([0, 50, 100], dtype)
    mapped = Normalization("window", 0, 100).fit(volume)(volume)
    np.testing.assert_allclose(mapped, [-1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(volume, np.array([0, 50, 100], dtype))


def test_percentiles_of_a_ramp_are_known() -> None:
    fitted = Normalization("percentile", 10.0, 90.0).fit(ramp())
    assert fitted.source == pytest.approx((100.0, 900.0))
    np.testing.assert_allclose(fitted(np.array([0, 100, 500, 900, 1000])), [-1, -1, 0, 1, 1], atol=1e-6)
    assert fitted.minimum == -1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_integer_percentiles_are_those_of_the_voxels(dtype: type) -> None:
    volume = np.random.default_rng(2).integers(0, 200, (7, 31, 33)).astype(dtype)
    wanted = [0, 0.5, 10, 37.3, 50, 99.5, 100]
    np.testing.assert_allclose(Histogram.of(volume).percentiles(wanted), np.percentile(volume, wanted), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_percentiles_are_those_of_the_voxels_to_a_millionth_of_the_range(dtype: type) -> None:
    volume = np.random.default_rng(3).gamma(2.0, 100.0, (9, 40, 41)).astype(dtype)
    wanted = [0, 1, 25, 50, 99, 100]
    error = np.abs(Histogram.of(volume).percentiles(wanted) - np.percentile(volume, wanted))
    assert error.max() < 2e-6 * np.ptp(volume)


def test_integers_over_a_huge_range_are_binned() -> None:
    volume = np.array([-(2**31), 0, 2**31 - 1], np.int32)
    np.testing.assert_allclose(Histogram.of(volume).percentiles([0, 50, 100]), volume, atol=2**32 / 2**20)


def test_the_foreground_is_above_the_mean() -> None:
    assert Histogram.of(ramp()).foreground().values[0] == 501.0


def test_six_orientations_of_a_volume_give_one_map() -> None:
    volume = anatomy().astype(np.float32) * 0.37
    normalization = Normalization("percentile", 1.0, 99.0)
    maps = {normalization.fit(volume.transpose(axes)[::-1]) for axes in itertools.permutations(range(3))}
    assert len(maps) == 1


LANDMARKS = Normalization("percentile", 0.0, 100.0, ((50.0, 400.0), (100.0, 1000.0)))


def test_landmarks_move_a_ramp_piece_by_piece() -> None:
    # Foreground of 0..1000 is 501..1000, so its percentiles 50 and 100 are 750.5 and 1000.
    fitted = LANDMARKS.fit(ramp())
    assert fitted.source == pytest.approx((0.0, 750.5, 1000.0))
    np.testing.assert_allclose(fitted(np.array([-50, 0, 375.25, 750.5, 875.25, 1000, 2000])) * 500 + 500,
                               [0, 0, 200, 400, 700, 1000, 1000], atol=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    ("maximum", "source", "goal"),
    [(700.0, (0.0, 750.5, 875.25), 400.0), (1600.0, (0.0, 750.5, 1000.0, 1249.5), 1000.0)],
)
def test_a_maximum_cuts_below_the_last_landmark_and_goes_on_with_the_slope_above_it(
    maximum: float, source: tuple[float, ...], goal: float
) -> None:
    fitted = Normalization("percentile", 0.0, 100.0, LANDMARKS.landmarks, maximum).fit(ramp())
    assert fitted.source == pytest.approx(source)
    np.testing.assert_allclose(fitted(np.array([*source[-2:], 2000.0])), [2 * goal / maximum - 1, 1, 1], atol=1e-6)


def test_standardization_removes_a_scanners_gain() -> None:
    volumes = [anatomy(seed, gain) for seed, gain in enumerate((0.5, 1.0, 1.7, 2.6))]
    normalization = fit_landmarks(volumes)
    tissue = [normalization.fit(volume)(volume)[:, 8:34, 18:22].mean() for volume in volumes]
    assert np.ptp(tissue) < 0.02
    raw = [CT_WINDOW.fit(volume)(volume)[:, 8:34, 18:22].mean() for volume in volumes]
    assert np.ptp(raw) > 0.4


def test_standardization_barely_depends_on_the_air_around_the_patient() -> None:
    volume = anatomy()
    wide = np.pad(volume, ((0, 0), (15, 15), (15, 15)), mode="wrap")
    wide[:, :15] = wide[:, -15:] = wide[:, :, :15] = wide[:, :, -15:] = 8
    normalization = fit_landmarks([volume])
    narrow, wide_map = normalization.fit(volume), normalization.fit(wide)
    tissues = np.array([150.0, 300.0, 420.0])
    np.testing.assert_allclose(narrow(tissues), wide_map(tissues), atol=0.06)


def test_learned_landmarks_are_the_mean_of_the_volumes_in_their_own_units() -> None:
    # Foregrounds 501..1000 and 1001..2000 start at 0: percentiles 50 and 100 are 750.5, 1000 and 1500.5, 2000.
    normalization = fit_landmarks([ramp(0, 1000), ramp(0, 2000)], 0.0, 100.0, (50.0,))
    shape = (750.5 / 1000 + 1500.5 / 2000) / 2
    assert normalization.landmarks == (
        (50.0, pytest.approx(shape * 1500.0)),
        (100.0, pytest.approx(1500.0)),
    )


def test_learned_landmarks_return_the_only_volume_unchanged() -> None:
    volume = anatomy(5)
    normalization = fit_landmarks(iter([volume]), maximum=400.0)
    standard = (normalization.fit(volume)(volume) + 1) * 200.0
    dark = np.percentile(volume, 1.0)
    np.testing.assert_allclose(standard, np.clip(volume - dark, 0, 400), atol=0.01)


def test_landmarks_that_fall_on_one_intensity_send_it_to_the_brightest_of_their_goals() -> None:
    # Foreground: 100 (60 voxels) and 200 (40 voxels); its percentiles 40 and 50 are both 100.
    volume = np.repeat([0, 100, 200], [100, 60, 40]).astype(np.int16)
    landmarks = ((40.0, 300.0), (50.0, 400.0), (100.0, 1000.0))
    mapped = Normalization("percentile", 0.0, 100.0, landmarks).fit(volume)(np.array([0, 100, 200]))
    np.testing.assert_allclose(mapped, [-1, 2 * 400 / 1000 - 1, 1], atol=1e-6)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_a_volume_of_few_levels_is_standardized(levels: int) -> None:
    volume = np.random.default_rng(0).integers(0, levels, (4, 20, 20)).astype(np.uint8) * 40
    normalization = fit_landmarks([anatomy()])
    mapped = normalization.fit(volume)(np.unique(volume))
    assert np.isfinite(mapped).all()
    assert (np.diff(mapped) > 0).all()
    assert (mapped[0], mapped[-1]) == (-1.0, pytest.approx(1.0))


@pytest.mark.parametrize("normalization", [Normalization("percentile", 1.0, 99.0), LANDMARKS])
def test_a_volume_of_one_intensity_or_none_to_learn_from_is_refused(normalization: Normalization) -> None:
    with pytest.raises(InputError):
        normalization.fit(np.full((3, 4, 5), 7, np.int16))
    with pytest.raises(InputError):
        fit_landmarks([])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused(value: float) -> None:
    volume = np.zeros((3, 4, 5), np.float32)
    volume[1, 2, 3] = value
    with pytest.raises(InputError, match="NaN"):
        Normalization("percentile", 1.0, 99.0).fit(volume)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("gamma", 0, 1), "kind"),
        (("window", 500, -1000), "high"),
        (("window", "0", 1), "low"),
        (("window", 0, float("inf")), "high"),
        (("percentile", -1, 50), "low"),
        (("percentile", 1, 101), "high"),
        (("window", 0, 1, ((1.0, 1.0),)), "landmarks"),
        (("percentile", 1, 99, ((50.0, 3.0),)), "landmarks"),
        (("percentile", 1, 99, ((60.0, 3.0), (50.0, 4.0), (99.0, 5.0))), "landmarks"),
        (("percentile", 1, 99, ((50.0, 6.0), (99.0, 5.0))), "landmarks"),
        (("percentile", 1, 99, ((99.0,),)), "landmarks"),
        (("percentile", 1, 99, ((99.0, 0.0),)), "landmarks"),
        (("percentile", 1, 99, (), 100.0), "maximum"),
        (("percentile", 1, 99, ((99.0, 5.0),), 0.0), "maximum"),
    ],
)
def test_each_wrong_field_is_named(arguments: tuple, field: str) -> None:
    with pytest.raises(ModelError, match=rf"'normalization\.{field}\b"):
        Normalization(*arguments)


def test_the_histogram_of_a_large_volume_takes_little_memory() -> None:
    volume = np.zeros((300, 256, 256), np.int16)
    volume[::3] = 700
    tracemalloc.start()
    Normalization("percentile", 1.0, 99.0).fit(volume)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Its 20 million voxels would take 157 MB as float64.
    assert peak < 80e6
