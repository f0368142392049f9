"""The slice store: what the student will see, once, and found again only while nothing changed."""

import dataclasses
import json

import numpy as np
import pytest

from CMEDLSegmentLib.cohort import Case
from CMEDLSegmentLib.errors import InputError
from CMEDLSegmentLib.volume import Geometry, write_image
from CMEDLTrainLib.cohort.sampling import Sampler
from CMEDLTrainLib.cohort.store import LEVELS, Store, prepare
from CMEDLTrainLib.configuration import Images
from training.stores import disc_store

ALL = Images(spacing_mm=2.0, field=32, window_hu=(-1000.0, 500.0), slices="all")


def case(folder, name="c0", spacing=1.0, value=40, direction=None, labels=1) -> Case:
    """A block of soft tissue with a block-shaped structure, 24 x 40 x 40 mm in the middle of 6 slices."""
    size = round(64 / spacing)
    image = np.full((6, size, size), -1000, np.int16)
    mask = np.zeros(image.shape, np.uint8)
    low, high = round(12 / spacing), round(52 / spacing)
    image[:, low:high, low:high] = value
    mask[1:5, low:high, low:high] = 1
    if labels == 2:
        mask[1:5, low : size // 2, low:high] = 2
    geometry = Geometry((size, size, 6), (spacing, spacing, 4.0), (5.0, -7.0, 3.0), *([direction] if direction else []))
    write_image(folder / f"{name}.nii.gz", image, geometry)
    write_image(folder / f"{name}-mask.nii.gz", mask, geometry)
    return Case(name, name, "CT", folder / f"{name}.nii.gz", folder / f"{name}-mask.nii.gz", "student", "train")


def test_patches_hold_the_normalised_intensity_at_the_student_s_spacing(tmp_path):
    store = prepare([case(tmp_path)], ALL, 1, tmp_path / "slices")
    images, masks = store.read(np.arange(6))
    assert images.shape == (6, 32, 32)
    assert images[2, 16, 16] == pytest.approx((40 + 1000) / 750 - 1, abs=1 / LEVELS)
    assert images[2, 0, 0] == -1
    # 40 mm at 2 mm a pixel, in 4 of the 6 slices.
    assert [int(np.count_nonzero(mask)) for mask in masks] == [0, 400, 400, 400, 400, 0]
    assert [patch.pixels for patch in store.patches] == [0, 400, 400, 400, 400, 0]


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_the_patch_does_not_depend_on_the_spacing_of_the_scan(tmp_path, spacing):
    store = prepare([case(tmp_path, spacing=spacing)], ALL, 1, tmp_path / "slices")
    _, masks = store.read(np.arange(6))
    assert np.count_nonzero(masks[2]) == pytest.approx(400, rel=0.05)


def test_a_scan_stored_upside_down_gives_the_same_patches_in_axial_order(tmp_path):
    upright = prepare([case(tmp_path)], ALL, 2, tmp_path / "a")
    head_first = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    turned = prepare([case(tmp_path, direction=head_first)], ALL, 2, tmp_path / "b")
    for one, other in zip(upright.read(np.arange(6)), turned.read(np.arange(6))[::1], strict=True):
        np.testing.assert_array_equal(one, other[::-1])


def test_several_labels_keep_their_values(tmp_path):
    store = prepare([case(tmp_path, labels=2)], ALL, 2, tmp_path / "slices")
    _, masks = store.read([2])
    assert np.count_nonzero(masks == 1) == pytest.approx(200, rel=0.05)
    assert np.count_nonzero(masks == 2) == pytest.approx(200, rel=0.05)


def test_a_store_is_found_again_until_settings_or_contents_change(tmp_path):
    first = prepare([case(tmp_path)], ALL, 1, tmp_path / "slices")
    made = first.folder.stat().st_mtime_ns
    assert prepare([case(tmp_path)], ALL, 1, tmp_path / "slices").folder == first.folder
    assert first.folder.stat().st_mtime_ns == made
    assert prepare([case(tmp_path, value=60)], ALL, 1, tmp_path / "slices").folder != first.folder
    case(tmp_path)
    other = Images(spacing_mm=2.5, field=32, slices="all")
    assert prepare([case(tmp_path)], other, 1, tmp_path / "slices").folder != first.folder


def test_a_failed_extraction_leaves_nothing_behind(tmp_path):
    good = case(tmp_path)
    bad = Case("p", "bad", "CT", good.image, tmp_path / "missing.nii.gz", "student", "train")
    (tmp_path / "missing.nii.gz").write_bytes(b"not an image")
    with pytest.raises(InputError):
        prepare([good, bad], ALL, 1, tmp_path / "slices")
    assert list((tmp_path / "slices").iterdir()) == []


def test_a_case_without_mask_is_refused_by_name(tmp_path):
    good = case(tmp_path)
    with pytest.raises(InputError, match="c0 has no mask"):
        prepare([Case("p", "c0", "CT", good.image, None, "student", "train")], ALL, 1, tmp_path / "slices")


def test_an_incomplete_store_is_refused(tmp_path):
    store = disc_store(tmp_path / "store")
    record = json.loads((store.folder / "store.json").read_text())
    record["patches"].pop()
    (store.folder / "store.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="incomplete"):
        Store(store.folder)
    (store.folder / "store.json").write_text("{")
    with pytest.raises(InputError, match="not a slice store"):
        Store(store.folder)


def test_uniform_sampling_shows_every_patch_once_an_epoch_in_another_order_each_time(tmp_path):
    store = disc_store(tmp_path / "store", patients=8)
    sampler = Sampler(store, "train", "student", 4, "uniform", seed=1)
    epochs = [
        np.concatenate([sampler(epoch * sampler.steps_per_epoch + i) for i in range(sampler.steps_per_epoch)])
        for epoch in (0, 1)
    ]
    for epoch in epochs:
        assert sorted(epoch) == sorted(store.select("train"))
    assert list(epochs[0]) != list(epochs[1])


def test_a_step_s_batch_does_not_depend_on_the_steps_before_it(tmp_path):
    store = disc_store(tmp_path / "store", patients=8)
    walked, jumped = (Sampler(store, "train", "student", 4, "patient", seed=1) for _ in range(2))
    for step in range(13):
        batch = walked(step)
    np.testing.assert_array_equal(batch, jumped(12))


def test_patient_sampling_draws_by_the_root_of_a_patient_s_patches(tmp_path):
    store = disc_store(tmp_path / "store", patients=4, slices=16)
    train = store.select("train")
    few = [i for i in train if store.patches[i].patient == "p0"][4:]
    store.patches = [
        p if i not in few else type(p)(**{**vars(p), "split": "test"}) for i, p in enumerate(store.patches)
    ]
    sampler = Sampler(store, "train", "student", 4, "patient", seed=1)
    drawn = np.concatenate([sampler(step) for step in range(400 * sampler.steps_per_epoch)])
    share = np.mean([store.patches[i].patient == "p0" for i in drawn])
    # 4 patches against 16: roots 2 and 4.
    assert share == pytest.approx(2 / 6, abs=0.02)


def mr_case(folder, name: str, gain: float, split: str = "train") -> Case:
    """A ramp of intensities in air, as bright as the scanner's ``gain`` makes it."""
    size = 48
    image = np.zeros((6, size, size), np.float32)
    image[:, 8:40, 8:40] = gain * np.linspace(200, 1000, 32)
    mask = np.zeros(image.shape, np.uint8)
    mask[2:4, 20:28, 20:28] = 1
    geometry = Geometry((size, size, 6), (2.0, 2.0, 4.0))
    write_image(folder / f"{name}.nii.gz", image, geometry)
    write_image(folder / f"{name}-mask.nii.gz", mask, geometry)
    return Case(name, name, "MR", folder / f"{name}.nii.gz", folder / f"{name}-mask.nii.gz", "teacher", split)


def test_mr_is_standardised_by_its_role_s_training_cases_and_ct_is_windowed(tmp_path):
    cases = [mr_case(tmp_path, "m0", 1.0), mr_case(tmp_path, "m1", 3.0), mr_case(tmp_path, "m2", 40.0, "validation")]
    lungs = dataclasses.replace(ALL, slices="lung")
    store = prepare([*cases, case(tmp_path)], ALL, 1, tmp_path / "slices")
    assert store.modalities == {"teacher": "MR", "student": "CT"}
    assert store.normalisations["student"].kind == "window"
    standard = store.normalisations["teacher"]
    # Twice the mean of 1 and 3 times the same ramp; the validation case has no say.
    assert standard.landmarks[-1][1] == pytest.approx(2 * 1000, rel=0.02)
    images = [store.read(np.array([index]))[0][0] for index in (2, 8, 14)]
    for image in images[1:]:
        np.testing.assert_allclose(image, images[0], atol=0.02)
    # The patch sees the ramp alone, from a fifth of the last landmark to the whole of it.
    assert images[0].min() == pytest.approx(2 * 200 / 1000 - 1, abs=0.02)
    assert images[0].max() == pytest.approx(1, abs=0.01)
    # MR has no lungs that could be found by HU: all its slices are there.
    assert len(prepare(cases, lungs, 1, tmp_path / "slices").patches) == 18


def test_a_role_of_two_modalities_is_refused(tmp_path):
    other = dataclasses.replace(mr_case(tmp_path, "m0", 1.0), role="student")
    with pytest.raises(InputError, match="one modality"):
        prepare([case(tmp_path), other], ALL, 1, tmp_path / "slices")
