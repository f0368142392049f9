"""The bundled student does on its test patients what its card says, through the Segmenter that a click runs."""

import pytest

from CMEDLSegmentLib import models
from CMEDLSegmentLib.card import read_card
from CMEDLTrainLib.evaluation.measures import MEASURES
from CMEDLTrainLib.evaluation.volumes import evaluate
from experiments.lung.split import LAST_VALIDATION, cohort


def test_the_split_is_fixed_and_keeps_patients_apart(data_root):
    cases = cohort(data_root / "msd_lung")
    test = [case.case for case in cases if case.split == "test"]
    assert test[:3] == ["lung_007", "lung_008", "lung_017"]
    counts = [sum(case.split == split for case in cases) for split in ("train", "validation", "test")]
    assert counts == [30, 7, 12]
    assert len({case.patient for case in cases}) == 49
    second = cohort(data_root / "msd_lung", LAST_VALIDATION)
    assert [case.case for case in second if case.split == "test"] == test
    assert sum(case.split == "train" for case in second) == 35


def test_the_figures_of_the_bundled_student_s_card_are_measured_again(data_root):
    path = models.find(models.DEFAULT)
    stated = {figure["measure"]: figure for figure in read_card(path).figures}
    cases = [case for case in cohort(data_root / "msd_lung") if case.split == "test"]
    found = evaluate(path, cases, device="cpu").summary()
    # What needs neighboring slices is not on the card: of these volumes only some slices were kept.
    for name in ("dsc", "dsc_structure_slices", "false_cc_per_empty_slice"):
        figure = stated[MEASURES[name].definition]
        assert found[name]["n"] == figure["n"] == 12
        # The card's figures are of fp32 in full precision; the file is half precision and runs in int8.
        assert found[name]["mean"] == pytest.approx(figure["value"], abs=0.02)
