"""The slice store: what the student will see, once, and found again only while nothing changed."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import sha256_of
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.cohort import contents, preparation
from CMEDLTrainLib.cohort.contents import contents_of
from CMEDLTrainLib.cohort.preparation import SURROUNDINGS_MM, enclosing_square, prepare
from CMEDLTrainLib.cohort.sampling import Sampler
from CMEDLTrainLib.cohort.store import LEVELS, Store
from CMEDLTrainLib.settings.configuration import Images
from harness.damaged_json import outcomes
from train.cohort.stores import disc_store

ALL = Images(spacing_mm=2.0, field=32, window_hu=(-1000.0, 500.0), slices="all")


def write_case(folder: Path, name: str, image, mask, geometry: Geometry, split: str = "train") -> Case:
    """A student's CT of the patient ``name``."""
    files = folder / f"{name}.nii.gz", folder / f"{name}-mask.nii.gz"
    write_image(files[0], image, geometry)
    write_image(files[1], mask, geometry)
    return Case(name, name, "CT", *files, "student", split)


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
    return write_case(folder, name, image, mask, geometry)


def test_patches_hold_the_normalized_intensity_at_the_student_s_spacing(tmp_path):
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
    for upright_part, turned_part in zip(upright.read(np.arange(6)), turned.read(np.arange(6))[::1], strict=True):
        np.testing.assert_array_equal(upright_part, turned_part[::-1])


def test_several_labels_keep_their_values(tmp_path):
    store = prepare([case(tmp_path, labels=2)], ALL, 2, tmp_path / "slices")
    _, masks = store.read([2])
    assert np.count_nonzero(masks == 1) == pytest.approx(200, rel=0.05)
    assert np.count_nonzero(masks == 2) == pytest.approx(200, rel=0.05)


def test_a_value_that_no_label_names_is_refused_and_never_taken_for_background(tmp_path):
    with pytest.raises(InputError, match=r"c0 .* value 2"):
        prepare([case(tmp_path, labels=2)], ALL, 1, tmp_path / "slices")


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
    assert [path.name for path in (tmp_path / "slices").iterdir()] == ["contents.json"]


def test_a_case_without_mask_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="c0"):
        prepare([dataclasses.replace(case(tmp_path), mask=None)], ALL, 1, tmp_path / "slices")


def test_an_incomplete_store_is_refused(tmp_path):
    store = disc_store(tmp_path / "store")
    record = json.loads((store.folder / "store.json").read_text("utf-8"))
    record["patches"] -= 1
    (store.folder / "store.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(InputError, match=store.folder.name):
        Store(store.folder)
    record["patches"] += 1

    def opened(text):
        (store.folder / "store.json").write_text(text, "utf-8")
        return Store(store.folder)

    for opened_store in outcomes(opened, record, InputError, most=300):
        assert opened_store.select("train").size + opened_store.select("validation").size <= len(opened_store.patches)


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
    store = disc_store(tmp_path / "store", patients=4, slices=(4, 16, 16, 16))
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
    return dataclasses.replace(write_case(folder, name, image, mask, geometry, split), modality="MR", role="teacher")


def test_mr_is_standardized_by_its_role_s_training_cases_and_ct_is_windowed(tmp_path):
    cases = [mr_case(tmp_path, "m0", 1.0), mr_case(tmp_path, "m1", 3.0), mr_case(tmp_path, "m2", 40.0, "validation")]
    lungs = dataclasses.replace(ALL, slices="lung")
    store = prepare([*cases, case(tmp_path)], ALL, 1, tmp_path / "slices")
    assert store.modalities == {"teacher": "MR", "student": "CT"}
    assert store.normalizations["student"].kind == "window"
    standard = store.normalizations["teacher"]
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
    with pytest.raises(InputError, match="m0"):
        prepare([case(tmp_path), other], ALL, 1, tmp_path / "slices")


def off_center(folder, split: str) -> Case:
    """A structure of 20 mm at the left end of a wide image, whose middle a field of 64 mm shows."""
    image = np.zeros((3, 64, 160), np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 20:40, 30:50] = 1
    image[mask > 0] = 400
    geometry = Geometry((160, 64, 3), (1.0, 1.0, 4.0))
    return write_case(folder, split, image, mask, geometry, split)


def test_a_training_field_moves_by_the_least_that_encloses_the_structure_and_a_validation_field_never(tmp_path):
    cases = [off_center(tmp_path, "train"), off_center(tmp_path, "validation")]
    store = prepare(cases, ALL, 1, tmp_path / "slices")
    images, masks = store.read(np.arange(6))
    # 20 x 20 mm are 10 x 10 pixels, 10 mm (5 pixels) from the border of the patch; down the middle nothing moves.
    rows, columns = (np.flatnonzero(masks[1].any(axis=1 - axis)) for axis in (0, 1))
    assert (len(rows), len(columns), columns[0]) == (10, 10, 5)
    assert rows[0] in (10, 11)
    # The field's middle is 79.5 mm; 32 mm to its left is 47.5, so 2 of the 20 mm are left to see.
    assert np.count_nonzero(masks[4]) in (10, 20)
    np.testing.assert_array_equal(images[0], images[3])
    assert [patch.pixels for patch in (store.patches[1],)] == [100]


def test_enclosing_is_the_least_move_by_a_plain_search():
    random = np.random.default_rng(3)
    for _ in range(200):
        spacing = tuple(random.uniform(0.5, 2, 2))
        field = ModelField((90, 120), spacing, tuple(random.uniform(30, 60, 2)), 32, 1.5)
        mask = np.zeros(field.shape, bool)
        y, x, height, width = (int(value) for value in random.integers((0, 0, 1, 1), (60, 80, 30, 40)))
        mask[y : y + height, x : x + width] = True
        moved_field = enclosing_square(field, mask)
        for axis, (first, last) in enumerate(((y, y + height - 1), (x, x + width - 1))):
            half, margin = 31 / 2 * 1.5 / spacing[axis], SURROUNDINGS_MM / spacing[axis]
            shifts = np.arange(-200, 200, 0.01)
            centers = field.center[axis] + shifts
            fits = (centers - half <= first - margin) & (centers + half >= last + margin)
            moved = moved_field.center[axis] - field.center[axis]
            if fits.any():
                assert abs(moved) == pytest.approx(np.abs(shifts[fits]).min(), abs=0.011)
            else:
                assert moved_field.center[axis] == (first + last) / 2
    assert enclosing_square(field, np.zeros(field.shape, bool)) is field


def test_files_are_read_again_only_when_they_changed_and_their_content_counts(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(contents, "sha256_of", lambda path: read.append(path.name) or sha256_of(path))
    scan = case(tmp_path)
    first = prepare([scan], ALL, 1, tmp_path / "slices")
    assert sorted(read) == ["c0-mask.nii.gz", "c0.nii.gz"]
    prepare([scan], ALL, 1, tmp_path / "slices")
    assert len(read) == 2
    # Another time of change alone: read again, found the same.
    os.utime(scan.image, ns=(1, 1))
    assert prepare([scan], ALL, 1, tmp_path / "slices").folder == first.folder
    assert read[2:] == ["c0.nii.gz"]


def test_a_change_in_the_middle_of_a_large_file_is_noticed(tmp_path):
    folder = tmp_path / "series" / "below"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(bytes(3_000_000))
    scan = Case("p", "c", "CT", tmp_path / "series")
    (before,) = {contents_of([scan], tmp_path)[0]}
    data = bytearray(3_000_000)
    data[1_500_000] = 1
    (folder / "a").write_bytes(data)
    assert contents_of([scan], tmp_path)[0] != before
    (folder / "a").rename(folder / "b")
    (folder / "b").write_bytes(bytes(3_000_000))
    assert contents_of([scan], tmp_path)[0] != before


def test_prepared_slices_serve_where_the_scans_were_never_copied(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    store = prepare([case(home)], ALL, 1, home / "slices")
    shutil.copytree(home / "slices", away / "slices")
    there = [Case("c0", "c0", "CT", away / "c0.nii.gz", away / "c0-mask.nii.gz", "student", "train")]
    assert prepare(there, ALL, 1, away / "slices").folder.name == store.folder.name
    (away / "slices" / "contents.json").unlink()
    with pytest.raises(InputError, match=r"2 files .* c0"):
        prepare(there, ALL, 1, away / "slices")


def test_what_a_killed_preparation_left_is_removed_when_it_is_old(tmp_path):
    old, fresh = tmp_path / "slices" / ".abc.1", tmp_path / "slices" / ".abc.2"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "patches.npy").write_bytes(b"half")
    for path in (old / "patches.npy", old):
        os.utime(path, (1, 1))
    prepare([case(tmp_path)], ALL, 1, tmp_path / "slices")
    assert not old.exists()
    assert fresh.exists()


def test_a_case_that_cannot_be_prepared_is_named(tmp_path):
    with pytest.raises(InputError, match="c0"):
        prepare([case(tmp_path)], dataclasses.replace(ALL, slices="lung"), 1, tmp_path / "slices")


def test_a_full_disk_ends_preparation_with_a_sentence_and_leaves_nothing_half(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparation, "write_store", full)
    with pytest.raises(InputError, match=r"No space left on device.*CMEDL_SLICES"):
        prepare([case(tmp_path)], ALL, 1, tmp_path / "slices")
    assert [path.name for path in (tmp_path / "slices").iterdir()] == ["contents.json"]


def test_the_columns_of_a_store_give_the_same_as_a_walk_over_its_patches(tmp_path):
    store = disc_store(tmp_path / "store", patients=5, slices=(4, 3, 1, 5, 2, 4), teachers=1)
    for split, role in (("train", "student"), ("validation", "student"), ("train", "teacher"), ("test", "student")):
        members: dict[str, list[int]] = {}
        for index, patch in enumerate(store.patches):
            if (patch.split, patch.role) == (split, role):
                members.setdefault(patch.patient, []).append(index)
        assert [list(indices) for indices in store.by_patient(split, role)] == list(members.values())
        assert list(store.select(split, role)) == sorted(i for indices in members.values() for i in indices)


def test_reading_does_not_grow_the_process_to_the_size_of_the_store(tmp_path):
    store = disc_store(tmp_path / "store", patients=40, slices=8, field=128)
    store.read([0])
    before = mapped_kilobytes()
    store.read(np.arange(len(store.patches)))
    # 320 patches of 48 KB are 15 MB.
    assert mapped_kilobytes() - before < 2000


def mapped_kilobytes() -> int:
    """Memory of this process that mirrors files."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells how much of a file is mapped")
    return next(int(line.split()[1]) for line in status.read_text("ascii").splitlines() if line.startswith("RssFile"))


@pytest.mark.slow
def test_ten_thousand_cases_start_within_a_minute_and_memory_does_not_grow_with_steps():
    bench = Path(__file__).resolve().parents[2] / "bench" / "cohort.py"
    done = subprocess.run([sys.executable, str(bench), "--json"], stdout=subprocess.PIPE, check=True)
    _, larger = json.loads(done.stdout)["cohorts"]
    assert larger["cases"] == 10_000
    assert larger["start_seconds"] < 60
    # A few kilobytes a case, none a step: 4 KB would hold a fifth of one of its patches.
    assert larger["mb_after_an_epoch"]["all"] < 40
    assert larger["mb_after_an_epoch"]["all"] - larger["mb_after_the_start"]["all"] < 3
