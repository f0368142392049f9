"""The abdomen phantom has four organs on their sides, in two contrasts of opposite order."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.phantom import Phantom, abdomen

SIZE, SPACING = (40, 128, 128), (6.0, 3.0, 3.0)


@cache
def made(contrast: str, seed: int = 0) -> Phantom:
    return abdomen(contrast, seed, SIZE, SPACING)


def medians(phantom: Phantom) -> dict[int, float]:
    """Median of every label's inside."""
    image = phantom.image.array
    return {v: float(np.median(image[ndimage.binary_erosion(phantom.mask == v)])) for v in phantom.labels}


@pytest.mark.parametrize("seed", range(3))
def test_four_organs_of_human_size(seed: int) -> None:
    phantom = made("T1", seed)
    assert phantom.labels == {1: "Liver", 2: "Spleen", 3: "Left kidney", 4: "Right kidney"}
    assert set(np.unique(phantom.mask)) == {0, 1, 2, 3, 4}
    cc = {value: np.count_nonzero(phantom.mask == value) * 0.054 for value in phantom.labels}
    assert 800 < cc[1] < 2200
    assert 80 < cc[2] < 350
    assert all(80 < cc[value] < 260 for value in (3, 4))


def test_liver_and_right_kidney_are_on_the_patients_right() -> None:
    mask = made("T1").mask
    x = {value: ndimage.center_of_mass(mask == value)[2] for value in (1, 2, 3, 4)}
    # x grows to the left.
    assert max(x[1], x[4]) < 64 < min(x[2], x[3])


def test_the_contrasts_order_the_organs_as_their_sequences_do() -> None:
    t1, t2 = medians(made("T1")), medians(made("T2"))
    assert t1[1] > t1[2]
    assert t2[2] > t2[1]
    assert t2[3] > t2[1]
    fat = made("T1").image.array, made("T2").image.array
    assert np.percentile(fat[0], 95) > t1[1]
    assert np.median(fat[1][fat[1] > 60]) < t2[2]


def test_the_seed_is_the_patient() -> None:
    np.testing.assert_array_equal(made("T1").mask, made("T2").mask)
    np.testing.assert_array_equal(abdomen("T1", 0, SIZE, SPACING).image.array, made("T1").image.array)
    assert np.mean(made("T1", 0).mask != made("T1", 1).mask) > 0.005


def test_it_says_that_it_is_a_phantom() -> None:
    phantom = made("T2")
    assert phantom.image.modality == "MR"
    assert "phantom" in phantom.image.name
    assert "demonstrations and tests only" in phantom.description


def test_any_size_is_made_and_an_unknown_contrast_refused() -> None:
    assert abdomen("T1", 2, (1, 9, 30), (4.0, 3.0, 2.0)).mask.shape == (1, 9, 30)
    with pytest.raises(InputError, match="T1, T2"):
        abdomen("PD", 0, (2, 8, 8))
