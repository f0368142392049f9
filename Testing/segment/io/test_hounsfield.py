"""What passes as Hounsfield units and what is refused, in words that tell the user what it looks like."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.lungs import check_hounsfield
from segment.inference.chest import SHAPE, chest


@pytest.fixture(scope="module")
def ct() -> np.ndarray:
    """A chest with spine and noise, int16 HU."""
    drawn = chest("trachea", "bowel", "table")
    drawn.tube(0, SHAPE[0] - 1, 500, 80, 0, 18, 18)
    return drawn.image()


def test_a_chest_ct_passes_whatever_its_type_also_a_single_slice(ct: np.ndarray):
    for kind in (np.int16, np.int32, np.float32, np.float64):
        assert check_hounsfield(ct.astype(kind)) == []
    assert check_hounsfield(ct[30:31]) == []


@pytest.mark.parametrize("filling", [-1024, -2000, -3024])
def test_filling_outside_a_round_field_of_view_passes(ct: np.ndarray, filling: int):
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    assert check_hounsfield(np.where((rows - 99.5) ** 2 + (columns - 99.5) ** 2 < 90**2, ct, filling)) == []


def test_contrast_medium_and_metal_pass(ct: np.ndarray):
    bright = ct.copy()
    bright[:, 95:110, 90:105] = 350
    bright[:, 120:128, 60:70] = 3071
    bright[:, 118:130, 70:80] = -1024
    assert check_hounsfield(bright) == []


def test_a_ct_clipped_below_bone_passes_with_a_warning(ct: np.ndarray):
    assert "clipped" in check_hounsfield(np.clip(ct, -1000, 200))[0]


@pytest.mark.parametrize(("offset", "advice"), [(1024, "subtract 1024"), (-1024, "add 1024"), (1000, "subtract 10")])
def test_a_ct_without_its_intercept_is_recognized(ct: np.ndarray, offset: int, advice: str):
    with pytest.raises(InputError, match=advice):
        check_hounsfield(ct + offset)


def test_a_ct_without_its_intercept_is_recognized_under_negative_filling_and_in_unsigned_storage(ct: np.ndarray):
    filled = (ct + 1024).astype(np.int16)
    filled[:, :12, :12] = -2000
    for stored in (filled, (np.clip(ct, -1024, None) + 1024).astype(np.uint16)):
        with pytest.raises(InputError, match="subtract 1024"):
            check_hounsfield(stored)


WINDOWED = {
    "8-bit": lambda share: (255 * share).astype(np.uint8),
    "normalized": lambda share: share,
    "a normalized": lambda share: 2 * share - 1,
}


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_windowed_picture_and_normalized_values_are_refused_as_that(ct: np.ndarray, kind: str):
    with pytest.raises(InputError, match=kind):
        check_hounsfield(WINDOWED[kind]((np.clip(ct, -1000, 500) + 1000.0) / 1500))


def test_a_ct_of_another_slope_is_refused(ct: np.ndarray):
    with pytest.raises(InputError, match="Hounsfield"):
        check_hounsfield(ct * 0.5)


@pytest.mark.parametrize("value", [0, -1000, 40])
@pytest.mark.parametrize("shape", [(4, 30, 30), (1, 1, 1)])
def test_an_empty_image_is_refused(value: int, shape: tuple[int, ...]):
    with pytest.raises(InputError, match="Hounsfield"):
        check_hounsfield(np.full(shape, value, np.int16))


def test_the_phantom_ct_passes_and_the_phantom_mr_is_refused():
    from CMEDLSegmentLib.phantom import thorax_ct, thorax_mr

    size, spacing = (24, 96, 96), (12.0, 4.0, 4.0)
    for seed in range(3):
        assert check_hounsfield(thorax_ct(seed=seed, size=size, spacing=spacing).image.array) == []
        mr = thorax_mr(seed=seed, size=size, spacing=spacing).image.array
        for shifted in (mr, mr - 1024):
            with pytest.raises(InputError, match="MR"):
                check_hounsfield(shifted)


def test_real_ct_passes_and_real_mr_is_refused(data_root):
    sitk = pytest.importorskip("SimpleITK")
    for path in sorted((data_root / "msd_lung").glob("*_ct.nii.gz"))[::4]:
        assert check_hounsfield(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))) == []
    paths = sorted((data_root / "sts").glob("*_MR_T1.nii.gz"))[::4]
    for path in paths:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float)
        for stretched in (image, 8 * image, 8 * image - 100, 8 * image - 1024):
            with pytest.raises(InputError, match="Hounsfield"):
                check_hounsfield(stretched)
