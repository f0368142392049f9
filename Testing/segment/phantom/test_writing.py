"""Phantoms on disk read back as they were, and a cohort of them is a cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentLib.phantom import ORGANS, thorax_ct, write_cohort_phantoms, write_phantom

SIZE, SPACING = (12, 48, 48), (24.0, 8.0, 8.0)


def test_a_phantom_reads_back_as_it_was(tmp_path: Path) -> None:
    phantom = thorax_ct(2, SIZE, SPACING)
    paths = write_phantom(tmp_path, phantom)
    image = read_volume(paths["image"])
    np.testing.assert_array_equal(image.array, phantom.image.array)
    assert image.geometry.is_close(phantom.image.geometry)
    np.testing.assert_array_equal(read_mask(paths["mask"], image.geometry).array, phantom.mask)
    assert "phantom" in paths["description"].read_text(encoding="utf-8")


def test_a_cohort_has_ct_and_mr_of_different_patients(tmp_path: Path) -> None:
    fractions: list[float] = []
    progress = Progress(lambda stage, fraction: fractions.append(fraction))
    table = write_cohort_phantoms(tmp_path, 5, 3, SIZE, SPACING, progress)
    cases = read_cohort(table, required=("mask", "role", "split"))
    assert len(cases) == len({case.patient for case in cases}) == 10
    assert {(case.modality, case.role) for case in cases} == {("CT", "student"), ("MR", "teacher")}
    for role in ("student", "teacher"):
        splits = [case.split for case in cases if case.role == role]
        assert sorted(splits) == ["test", "train", "train", "train", "validation"]
    assert fractions == pytest.approx(np.arange(10) / 10)
    images = [read_volume(case.image).array for case in cases]
    assert len({image.tobytes() for image in images}) == 10
    assert not any(str(tmp_path) in line for line in table.read_text(encoding="utf-8").splitlines())


def test_a_cohort_of_organs_has_two_contrasts_of_different_patients(tmp_path: Path) -> None:
    table = write_cohort_phantoms(tmp_path, 3, 3, (12, 64, 64), (16.0, 6.0, 6.0), anatomy="abdomen")
    cases = read_cohort(table, required=("mask", "role", "split"))
    assert [(case.modality, case.role) for case in cases] == [("MR", "student"), ("MR", "teacher")] * 3
    images = [read_volume(case.image) for case in cases]
    masks = [read_mask(case.mask, image.geometry).array for case, image in zip(cases, images, strict=True)]
    assert all(set(np.unique(mask)) == {0, *ORGANS} for mask in masks)
    assert len({mask.tobytes() for mask in masks}) == len(cases)
    with pytest.raises(InputError, match="thorax, abdomen"):
        write_cohort_phantoms(tmp_path, 3, anatomy="pelvis")


def test_the_seed_is_the_cohort(tmp_path: Path) -> None:
    tables = [
        write_cohort_phantoms(tmp_path / name, 1, seed, SIZE, SPACING) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = (read_volume(read_cohort(table)[0].image).array for table in tables)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_cancelled_cohort_has_no_table(tmp_path: Path) -> None:
    answers = iter((False, True))
    with pytest.raises(Cancelled):
        write_cohort_phantoms(tmp_path, 2, 0, SIZE, SPACING, Progress(cancelled=lambda: next(answers)))
    assert not (tmp_path / "cohort.csv").exists()


def test_a_cohort_of_no_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0"):
        write_cohort_phantoms(tmp_path, 0)
