"""Dividing a cohort: by patient, by share, balanced, the same from the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.cohort.splitting import folds, split_by_patient, structure_volumes

IMAGE = Path("image.nii.gz")


def students(count: int, scans: int = 1) -> list[Case]:
    """``count`` patients p00, p01, ... with so many scans each."""
    return [
        Case(f"p{n:02d}", f"p{n:02d}-{k}", "CT", IMAGE, None, "student") for n in range(count) for k in range(scans)
    ]


def splits(cases) -> dict[str, str]:
    """The split of each patient; fails where there are two."""
    splits_of: dict[str, str] = {}
    for case in cases:
        assert splits_of.setdefault(case.patient, case.split) == case.split
    return splits_of


@pytest.mark.parametrize(
    ("patients", "expected"), [(20, (14, 3, 3)), (10, (7, 2, 1)), (3, (1, 1, 1)), (1, (1, 0, 0)), (100, (70, 15, 15))]
)
def test_patients_not_scans_are_divided_and_no_part_is_empty_while_there_are_enough(patients, expected):
    parts = Counter(splits(split_by_patient(students(patients, scans=2))).values())
    counts = tuple(parts[name] for name in ("train", "validation", "test"))
    assert sum(counts) == patients
    assert all(abs(count - wanted) <= 1 for count, wanted in zip(counts, expected, strict=True))
    assert min(counts) >= min(expected)


def test_the_seed_alone_decides_and_not_the_order_of_the_table():
    cases = students(30)
    first = splits(split_by_patient(cases, seed=4))
    assert splits(split_by_patient(cases[::-1], seed=4)) == first
    assert splits(split_by_patient(cases, seed=5)) != first


def test_every_part_of_a_small_cohort_holds_small_and_large_structures():
    cases = students(12)
    for seed in range(20):
        # Volumes that have nothing to do with the names.
        volumes = {f"p{(5 * n) % 12:02d}": float(n) for n in range(12)}
        divided = splits(split_by_patient(cases, (6, 3, 3), seed, volumes))
        for name, count in (("train", 6), ("validation", 3), ("test", 3)):
            ranks = sorted(volumes[patient] for patient, split in divided.items() if split == name)
            assert len(ranks) == count
            # Evenly along the order: one in each third of the cohort, off by one where parts meet.
            assert ranks[0] <= 12 / count
            assert ranks[-1] >= 11 - 12 / count


def test_each_patient_is_as_likely_as_its_share_to_be_tested():
    drawn = Counter(
        patient
        for seed in range(400)
        for patient, split in splits(split_by_patient(students(10), (8, 0, 2), seed)).items()
        if split == "test"
    )
    assert all(abs(drawn[f"p{n:02d}"] / 400 - 0.2) < 0.08 for n in range(10))


def test_patients_who_only_teach_train_and_one_with_both_roles_is_divided_with_all_scans():
    teachers = [Case(f"t{n}", f"t{n}", "MR", IMAGE, None, "teacher") for n in range(5)]
    both = Case("p00", "p00-mr", "MR", IMAGE, None, "teacher")
    divided = splits(split_by_patient([*students(4), *teachers, both], (0, 0, 1)))
    assert {divided[f"t{n}"] for n in range(5)} == {"train"}
    assert {divided[f"p{n:02d}"] for n in range(4)} == {"test"}


def test_splits_that_are_there_stay_and_the_others_make_up_the_shares():
    cases = students(20)
    cases[3:6] = [Case(c.patient, c.case, c.modality, IMAGE, None, "student", "test") for c in cases[3:6]]
    divided = splits(split_by_patient(cases, (70, 15, 15)))
    assert {divided[f"p{n:02d}"] for n in (3, 4, 5)} == {"test"}
    assert Counter(divided.values()) == {"train": 14, "validation": 3, "test": 3}
    changed = [splits(split_by_patient(cases, seed=seed, anew=True)) for seed in range(5)]
    assert any(division["p03"] != "test" for division in changed)


def test_two_splits_of_one_patient_and_bad_shares_are_refused():
    one, other = students(1, scans=2)
    cases = [Case(c.patient, c.case, "CT", IMAGE, None, "student", s) for c, s in ((one, "train"), (other, "test"))]
    with pytest.raises(InputError, match="p00-0 and p00-1"):
        split_by_patient(cases)
    for shares in ((1, 1), (1, -1, 1), (0, 0, 0)):
        with pytest.raises(InputError, match="70,15,15"):
            split_by_patient(students(3), shares)


def test_each_patient_is_tested_in_one_fold_and_never_trained_with_there():
    cases = students(10, scans=2)
    made = folds(cases, 3, seed=1, weights={f"p{n:02d}": float(n) for n in range(10)})
    tested = Counter(patient for fold in made for patient, split in splits(fold).items() if split == "test")
    assert tested == {f"p{n:02d}": 1 for n in range(10)}
    for fold in made:
        parts = Counter(splits(fold).values())
        assert parts["test"] in (3, 4)
        assert parts["validation"] == 1
        assert [case.case for case in fold] == [case.case for case in cases]
        # Small and large in each test third.
        names = [int(patient[1:]) for patient, split in splits(fold).items() if split == "test"]
        assert min(names) <= 3
        assert max(names) >= 6


def test_too_few_patients_for_folds_are_refused():
    with pytest.raises(InputError, match=r"3 .* 3"):
        folds(students(3), 3)
    with pytest.raises(InputError):
        folds(students(4), 2, validation=0.9)


def test_volumes_are_summed_over_a_patient_s_scans_in_cc(tmp_path):
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[1:3, 2:7, 2:6] = 2
    write_image(tmp_path / "mask.nii.gz", mask, Geometry((10, 10, 4), (2.0, 2.0, 5.0)))
    cases = [Case("p", f"c{n}", "CT", IMAGE, tmp_path / "mask.nii.gz", "student") for n in range(2)]
    cases.append(Case("q", "d", "CT", IMAGE))
    assert structure_volumes(cases) == pytest.approx({"p": 2 * 40 * 0.02, "q": 0.0})
