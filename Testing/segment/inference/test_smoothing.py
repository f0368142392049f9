"""Probabilities that a model's card asks to be smoothed over the slices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference.probability import SMOOTHED_ROWS, smooth_over_slices
from CMEDLSegmentLib.inference.segmenter import Segmentation, Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.card_text import card_text
from segment.inference.small_models import a_card, a_model, blobs, linear


def smoothed(values: np.ndarray, deviation: float) -> np.ndarray:
    """Each slice the mean of all, weighted by the Gaussian of their distance; the ends go on for ever."""
    count, reach = len(values), int(3 * deviation + 0.5)
    result = np.zeros(values.shape)
    for z in range(count):
        offsets = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * (offsets / deviation) ** 2)
        for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
            result[z] += weight * values[np.clip(z + offset, 0, count - 1)].astype(float)
    return result


def segmented(volume: Volume, **changes: object) -> Segmentation:
    return Segmenter(a_model(a_card(**changes)), "cpu", start=linear(20.0, -0.1)).segment(volume)


def test_each_slice_becomes_the_weighted_mean_of_its_neighbors() -> None:
    values = np.random.default_rng(1).uniform(0, 1, (9, 2, SMOOTHED_ROWS + 5, 4)).astype(np.float16)
    smooth = values.copy()
    smooth_over_slices(smooth, np.arange(3, 12), 1.4)
    assert smooth.dtype == np.float16
    np.testing.assert_allclose(smooth, smoothed(values, 1.4), atol=1e-3)


def test_slices_with_others_between_them_do_not_mix() -> None:
    values = np.random.default_rng(2).uniform(0, 1, (7, 1, 6, 6)).astype(np.float16)
    smooth = values.copy()
    smooth_over_slices(smooth, np.array([2, 3, 4, 9, 20, 21, 22]), 1.0)
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        np.testing.assert_allclose(smooth[part], smoothed(values[part], 1.0), atol=1e-3)


def test_the_card_s_sigma_is_in_mm_of_the_volume_s_own_slices() -> None:
    volume = blobs()  # slices 2.5 mm apart
    plain, smooth = segmented(volume), segmented(volume, smoothing_mm=3.0)
    np.testing.assert_allclose(smooth.probability.values, smoothed(plain.probability.values, 1.2), atol=1e-3)
    assert (smooth.label == smooth.probability.segment(0.5)[0]).all()


def test_what_one_slice_shows_alone_goes_and_what_many_show_stays() -> None:
    array = np.full((24, 60, 50), -1000, dtype=np.int16)
    array[4:14, 10:25, 10:25] = 300
    array[19, 40:50, 30:40] = 300
    volume = Volume(array=array, geometry=Geometry((50, 60, 24), (1.0, 1.0, 2.0)), modality="CT")
    plain, smooth = segmented(volume), segmented(volume, smoothing_mm=3.0)
    assert sorted(component.n_slices for component in plain.components) == [1, 10]
    assert [component.n_slices for component in smooth.components] == [10]


def test_a_volume_stored_from_the_side_is_smoothed_along_its_axis_all_the_same() -> None:
    volume = blobs()
    turned = Volume(
        array=np.ascontiguousarray(volume.array.transpose(2, 0, 1)),
        geometry=Geometry((60, 24, 50), (0.9, 2.5, 1.1), volume.geometry.origin, (0, 0, 1, 1, 0, 0, 0, 1, 0)),
        modality="CT",
    )
    first, second = (segmented(each, smoothing_mm=3.0) for each in (volume, turned))
    assert (second.label == first.label.transpose(2, 0, 1)).all()


def test_smoothing_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        smooth_over_slices(
            np.zeros((3, 1, 8, 8), np.float16), np.arange(3), 1.0, progress=Progress(cancelled=lambda: True)
        )


def test_the_card_tells_of_it_where_there_is_any() -> None:
    card = a_card()
    assert "smoothed" not in card_text(card)
    assert "smoothed over the slices, sigma 3 mm" in card_text(dataclasses.replace(card, smoothing_mm=3.0))
