"""Which slices hold lung: on drawn chests whose truth is known, and on every real case at hand."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference.lungs import Lungs, field_center, find_lungs
from segment.inference.chest import APEX, BASE, SHAPE, SPACING, Chest, chest

FIELD_MM = 256 * 1.5


def found_in(drawn: Chest) -> Lungs:
    return find_lungs(drawn.image(), SPACING)


def assert_slices(lungs: Lungs, drawn: Chest) -> None:
    """No slice with lung is lost, and none without lung counts."""
    assert not drawn.lung_slices() - set(lungs.slices)
    assert not set(lungs.slices) - set(np.flatnonzero(drawn.lung.any(axis=(1, 2))))


def test_two_lungs_are_found_slice_by_slice():
    drawn = chest()
    lungs = found_in(drawn)
    assert_slices(lungs, drawn)
    assert lungs.warnings == []
    assert lungs.volume_cc == pytest.approx(drawn.lung.sum() * np.prod(SPACING) / 1000, rel=0.05)


def test_the_box_encloses_the_lungs_closely_and_the_field_holds_them():
    drawn = chest("trachea", "bowel", "table", "arms")
    lungs = found_in(drawn)
    for (first, stop), axis in zip(lungs.box, ((1, 2), (0, 2), (0, 1)), strict=True):
        inside = np.flatnonzero(drawn.lung.any(axis=axis))
        assert abs(first - inside[0]) <= 2
        assert abs(stop - 1 - inside[-1]) <= 2
    rows, columns = np.nonzero(drawn.lung.any(axis=0))
    y, x = field_center(lungs)
    assert np.abs(rows - y).max() * SPACING[1] < FIELD_MM / 2
    assert np.abs(columns - x).max() * SPACING[2] < FIELD_MM / 2


EVERYTHING = ("trachea", "bowel", "stool", "table", "arms")


@pytest.mark.parametrize("parts", [EVERYTHING, *((part,) for part in EVERYTHING)])
def test_air_that_is_no_lung_does_not_count(parts: tuple[str, ...]):
    drawn = chest(*parts)
    assert_slices(found_in(drawn), drawn)


@pytest.mark.parametrize("side", [-1, 1])
def test_one_lung_is_enough(side: int):
    drawn = chest("trachea", "bowel", "table", lungs=(side,))
    lungs = found_in(drawn)
    assert_slices(lungs, drawn)
    assert (field_center(lungs)[1] - (SHAPE[2] - 1) / 2) * side > 10


def test_after_a_pneumonectomy_the_gas_of_the_stomach_is_not_taken_for_the_second_lung():
    drawn = Chest()
    drawn.body()
    drawn.one_lung(-1, shift=25.0)
    drawn.tube(BASE, 30, 10, 0, 85, 80, 45)
    drawn.tube(0, 20, -1000, -30, 85, 60, 45)
    drawn.trachea()
    lungs = found_in(drawn)
    assert_slices(lungs, drawn)
    assert lungs.box[2][1] < 0.75 * SHAPE[2]


@pytest.mark.parametrize("filling", [-1024, -2000, -3024, 0])
def test_what_fills_the_corners_of_a_round_field_of_view_changes_nothing(filling: int):
    drawn = chest("trachea", "table")
    image = drawn.image()
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    round_field = (rows - 99.5) ** 2 + (columns - 99.5) ** 2 <= 100**2
    filled = np.where(round_field, image, filling).astype(np.int16)
    expected, lungs = find_lungs(image, SPACING), find_lungs(filled, SPACING)
    assert list(lungs.slices) == list(expected.slices)
    assert lungs.box == expected.box
    assert lungs.warnings == []


def test_lungs_cut_by_a_small_field_of_view_on_all_sides_are_kept_with_a_warning():
    drawn = chest("trachea")
    image = drawn.image()[:50, 75:125, 45:155]
    lungs = find_lungs(image, SPACING)
    within = np.flatnonzero(drawn.lung[:50, 75:125, 45:155].sum(axis=(1, 2)) > 50)
    assert not set(within) - set(lungs.slices)
    assert len(lungs.warnings) == 1
    assert "edge of the image" in lungs.warnings[0]
    # Not even one slice with a whole lung in it is needed to know them.
    middle = find_lungs(image[28:33], SPACING)
    assert list(middle.slices) == [0, 1, 2, 3, 4]
    assert "edge of the image" in middle.warnings[0]


def test_lungs_cut_only_where_they_are_widest_are_kept_with_a_warning():
    drawn = chest("trachea", "table")
    image = drawn.image()[:, :, 40:160]
    assert drawn.lung[:, :, 39].any()
    lungs = find_lungs(image, SPACING)
    assert_slices(lungs, drawn)
    assert lungs.box[2] == (0, 120)
    assert "edge of the image" in lungs.warnings[0]


def test_lungs_cut_by_a_round_field_of_view_are_kept_with_a_warning():
    drawn = chest()
    drawn.lung, drawn.hu = drawn.lung[:, 45:155, 45:155], drawn.hu[:, 45:155, 45:155]
    rows, columns = np.ogrid[:110, :110]
    drawn.hu[:, (rows - 54.5) ** 2 + (columns - 54.5) ** 2 > 55**2] = -1024
    lungs = find_lungs(drawn.hu, SPACING)
    assert_slices(lungs, drawn)
    assert "edge of the image" in lungs.warnings[0]


def test_a_body_that_fills_the_image_does_not_make_the_table_a_lung():
    drawn = chest("trachea", "bowel", "table")
    lungs = find_lungs(drawn.image()[:, 50:, 20:180], SPACING)
    assert_slices(lungs, drawn)
    assert lungs.warnings == []


def test_slices_far_apart_are_judged_alike():
    drawn = chest("trachea", "bowel", "table")
    chosen = np.array([0, 3, 10, 16, 30, 31, 32, 33, 45, 50, 60])
    lungs = find_lungs(drawn.image()[chosen], SPACING)
    assert list(chosen[lungs.slices]) == [16, 30, 31, 32, 33, 45]


def test_a_single_slice_is_enough():
    assert list(find_lungs(chest("trachea").image()[30:31], SPACING).slices) == [0]


def test_slices_in_which_both_lungs_are_solid_count_between_slices_with_air():
    drawn = chest("trachea")
    drawn.hu[28:31][drawn.lung[28:31]] = 40
    assert_slices(found_in(drawn), drawn)


def test_bullae_above_the_lung_and_emphysema_are_lung():
    drawn = chest("trachea")
    top = drawn.lung.copy()
    top[: APEX - 5] = False
    drawn.hu[top] = -1000
    lungs = found_in(drawn)
    assert_slices(lungs, drawn)
    dark = Chest()
    dark.body()
    dark.one_lung(-1, hu=-925.0)
    dark.one_lung(1, hu=-925.0)
    assert_slices(found_in(dark), dark)


def test_noise_as_in_a_low_dose_scan_changes_no_slice():
    drawn = chest("trachea", "bowel", "table")
    lungs = find_lungs(np.clip(drawn.image(noise=60.0), -1024, 3071), SPACING)
    assert_slices(lungs, drawn)


def test_fine_pixels_and_turned_axes_give_the_same_lungs():
    drawn = chest("trachea", "table")
    image = drawn.image()
    expected = find_lungs(image, SPACING)
    fine = np.repeat(np.repeat(image, 3, axis=1), 2, axis=2)
    lungs = find_lungs(fine, (5.0, 2.0 / 3, 1.0))
    assert list(lungs.slices) == list(expected.slices)
    assert np.allclose(lungs.box, np.multiply(expected.box, [[1], [3], [2]]))
    turned = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert find_lungs(turned, SPACING).box == expected.box


def test_a_sliver_of_lung_is_used_but_told_about():
    lungs = find_lungs(chest("trachea").image()[: BASE + 3], SPACING)
    assert list(lungs.slices) == [BASE, BASE + 1, BASE + 2]
    assert "cc of air-filled lung" in lungs.warnings[0]


@pytest.mark.parametrize(
    "image",
    [
        chest("trachea", "bowel", "table", "arms", lungs=()).image(),
        np.full((5, 60, 60), -1000, np.int16),
        np.full((5, 60, 60), 40, np.int16),
        np.full((1, 1, 1), -1000, np.int16),
        np.full((1, 1, 1), -700, np.int16),
    ],
    ids=["airless body", "air", "solid", "one dark voxel", "one voxel like lung"],
)
def test_no_lungs_is_an_error_that_says_what_to_do(image: np.ndarray):
    with pytest.raises(InputError, match="lungs"):
        find_lungs(image, SPACING)


def test_progress_rises_to_one_and_a_cancel_stops_the_search():
    fractions: list[float] = []
    image = chest().image()
    find_lungs(image, SPACING, progress=Progress(lambda stage, fraction: fractions.append(fraction)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(Cancelled):
        find_lungs(image, SPACING, progress=Progress(cancelled=lambda: True))


def test_memory_does_not_grow_with_the_scan():
    image = np.repeat(np.repeat(chest("trachea", "table").image()[30], 3, axis=0), 3, axis=1)[:512, :512]
    long = np.broadcast_to(image, (160, *image.shape))
    tracemalloc.start()
    find_lungs(long, (1.0, 0.7, 0.7))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_no_tumor_slice_of_any_real_case_is_lost(data_root):
    sitk = pytest.importorskip("SimpleITK")
    folder = data_root / "msd_lung"
    cases = json.loads((folder / "index.json").read_text("utf-8"))
    assert len(cases) >= 49
    for entry in cases:
        case = entry["case"]
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{case}_ct.nii.gz")))
        tumor = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{case}_tumour.nii.gz"))) > 0
        lungs = find_lungs(image, (3.0, 1.5, 1.5))
        lost = set(np.flatnonzero(tumor.any(axis=(1, 2)))) - set(lungs.slices)
        assert not lost, f"{case} loses tumor slices {sorted(lost)}"
        _, rows, columns = np.nonzero(tumor)
        y, x = field_center(lungs)
        assert max(np.abs(rows - y).max(), np.abs(columns - x).max()) < 128, f"{case}: tumor outside the field"
        assert lungs.warnings == [], case


def test_real_slices_of_the_pelvis_and_abdomen_do_not_count(data_root):
    sitk = pytest.importorskip("SimpleITK")
    for case, without in (("lung_001", [0, 1, 2]), ("lung_012", [0, 1, 2]), ("lung_031", [0, 1])):
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(data_root / "msd_lung" / f"{case}_ct.nii.gz")))
        assert not set(find_lungs(image, (3.0, 1.5, 1.5)).slices) & set(without)
        with pytest.raises(InputError, match="lungs"):
            find_lungs(image[without], (3.0, 1.5, 1.5))
