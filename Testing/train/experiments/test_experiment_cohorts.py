"""Cohorts of experiments: phantoms drawn anew where a structure is out of sight, organs, and the lungs' five folds."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.phantom import ORGANS, thorax_ct
from CMEDLTrainLib.experiments import experiment_cohorts
from CMEDLTrainLib.experiments.experiment_cohorts import make_cohort
from CMEDLTrainLib.experiments.plan import read_experiment
from gpu.plans import PHANTOMS
from train.experiments.experiment_results import write_experiment

COMMITTED = Path(__file__).resolve().parents[2] / "experiments"
THORAX = {**PHANTOMS, "counts": {"train": 1, "validation": 1, "test": 1, "teacher": 1}}
ABDOMEN = {
    "kind": "organs",
    "seed": 5,
    "counts": {**THORAX["counts"], "teacher": 2},
    "size": [6, 32, 32],
    "spacing": [12.0, 8.0, 8.0],
    "student": "T1",
}


def own_seed(number: int, draw: int) -> int:
    return int(np.random.SeedSequence([3, number]).generate_state(experiment_cohorts.DRAWS)[draw])


def test_a_phantom_without_a_tumor_on_its_slices_is_drawn_anew_and_the_others_stay(tmp_path, monkeypatch):
    def out_of_sight(seed, *args, **kwargs):
        phantom = thorax_ct(seed, *args, **kwargs)
        if seed in (own_seed(1, 0), own_seed(1, 1)):
            phantom.mask[:] = 0
        return phantom

    drawn = {}
    for name, make in (("as drawn", thorax_ct), ("two out of sight", out_of_sight)):
        monkeypatch.setattr("CMEDLSegmentLib.phantom.thorax_ct", make)
        (table,) = make_cohort(write_experiment(tmp_path / name, cohort=THORAX), tmp_path / name)
        drawn[name] = {case.case: read_volume(case.image).array for case in read_cohort(table)}
        assert all(read_volume(case.mask).array.any() for case in read_cohort(table))
    plain, redrawn = drawn.values()
    assert [name for name in plain if not np.array_equal(plain[name], redrawn[name])] == ["ct002"]
    size, spacing = tuple(THORAX["size"]), tuple(THORAX["spacing"])
    assert np.array_equal(redrawn["ct002"], thorax_ct(own_seed(1, 2), size, spacing, tumor="mediastinum").image.array)


def test_the_first_seed_of_a_phantom_is_what_it_was_before_any_was_drawn_anew():
    for number in range(9):
        assert own_seed(number, 0) == int(np.random.SeedSequence([3, number]).generate_state(1)[0])


def test_phantoms_that_never_show_a_tumor_are_refused(tmp_path, monkeypatch):
    def empty(*args, **kwargs):
        phantom = thorax_ct(*args, **kwargs)
        phantom.mask[:] = 0
        return phantom

    monkeypatch.setattr("CMEDLSegmentLib.phantom.thorax_ct", empty)
    monkeypatch.setattr(experiment_cohorts, "DRAWS", 2)
    with pytest.raises(InputError):
        make_cohort(write_experiment(tmp_path / "empty", cohort=THORAX), tmp_path)


@pytest.mark.parametrize(("student", "teacher"), [("T1", "T2"), ("T2", "T1")])
def test_organs_have_two_contrasts_of_mr_and_no_patient_twice(tmp_path, student, teacher):
    (table,) = make_cohort(write_experiment(tmp_path / "e", cohort={**ABDOMEN, "student": student}), tmp_path)
    cases = read_cohort(table)
    assert {case.modality for case in cases} == {"MR"}
    assert len({case.patient for case in cases}) == 5
    for case in cases:
        contrast = teacher if case.role == "teacher" else student
        assert f"{contrast}-like" in (case.image.parent / f"{case.case}.txt").read_text("utf-8")
        assert set(np.unique(read_volume(case.mask).array)) <= {0, *ORGANS}


@pytest.mark.parametrize(
    ("cohort", "name"),
    [
        ({**THORAX, "color": 1}, "'color'"),
        ({name: value for name, value in THORAX.items() if name != "tumor"}, "'tumor'"),
        ({**THORAX, "counts": {"train": 1, "validation": 1, "test": 1}}, "'teacher'"),
        ({"kind": "sts", "student": "CT", "folds": [{"train": [], "test": [], "teacher": []}]}, "'validation'"),
        ({"kind": "msd_lung", "folds": [{"train": [], "validation": []}]}, "'test'"),
        ({**THORAX, "counts": 7}, "'train'"),
        ({"kind": "mice"}, "bad"),
    ],
)
def test_a_cohort_that_is_badly_described_is_refused_with_what_is_wrong(tmp_path, cohort, name):
    with pytest.raises(InputError, match=name):
        make_cohort(write_experiment(tmp_path / "bad", cohort=cohort), tmp_path)


def test_what_goes_wrong_inside_a_maker_is_not_taken_for_a_bad_description(tmp_path, monkeypatch):
    def wrong(*args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr("CMEDLSegmentLib.phantom.thorax_ct", wrong)
    with pytest.raises(KeyError, match="ours"):
        make_cohort(write_experiment(tmp_path / "e", cohort=THORAX), tmp_path)


def test_the_folds_of_msd_lung_test_each_patient_once():
    folds = json.loads((COMMITTED / "lung-folds.json").read_text("utf-8"))
    assert len(folds) == 5
    tested = [patient for fold in folds for patient in fold["test"]]
    assert len(tested) == len(set(tested)) == 49
    for fold in folds:
        everybody = [patient for group in fold.values() for patient in group]
        assert sorted(everybody) == sorted(tested)
        assert (len(fold["test"]), len(fold["validation"])) in {(9, 7), (10, 7)}


def test_the_lungs_teacher_is_the_mr_of_other_patients(data_root, monkeypatch, tmp_path):
    monkeypatch.setenv("CMEDL_DATA", str(data_root))
    tables = make_cohort(read_experiment("lung"), tmp_path)
    assert len(tables) == 5
    for table in tables:
        cases = read_cohort(table, required=("mask", "role", "split"))
        students = [case for case in cases if case.role == "student"]
        teachers = [case for case in cases if case.role == "teacher"]
        assert (len(students), len(teachers)) == (49, 40)
        assert {case.modality for case in students} == {"CT"}
        assert {(case.modality, case.split) for case in teachers} == {("MR", "train")}
        assert not {case.patient for case in students} & {case.patient for case in teachers}


def test_the_committed_folds_are_those_that_their_script_makes(data_root, monkeypatch):
    monkeypatch.syspath_prepend(str(COMMITTED))
    import lung_folds

    try:
        made = lung_folds.folds(data_root / "msd_lung")
    finally:
        for name in ("lung_folds", "sts_folds"):
            sys.modules.pop(name, None)
    assert made == json.loads((COMMITTED / "lung-folds.json").read_text("utf-8"))
    sizes = [lung_folds.volume_cc(data_root / "msd_lung" / f"{patient}_tumour.nii.gz") for patient in made[0]["test"]]
    assert max(sizes) > 10 * min(sizes)
