"""The bundled students do on their test patients what their cards say, through the Segmenter that a click runs."""

import pytest

from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import read_card
from CMEDLTrainLib.evaluation.evaluate import evaluate
from CMEDLTrainLib.evaluation.scoring import definition
from CMEDLTrainLib.experiments.experiment_cohorts import make_cohort
from CMEDLTrainLib.experiments.plan import read_experiment
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


def lung_cases(data_root, work):
    return [case for case in cohort(data_root / "msd_lung") if case.split == "test"]


def sarcoma_cases(data_root, work):
    tables = make_cohort(read_experiment("sts-unet"), work)
    return [case for case in read_cohort(tables[2]) if case.split == "test"]


@pytest.mark.parametrize(
    ("name", "cases", "count", "measures"),
    [
        # What needs neighboring slices is not on the card: of the lungs' volumes only some slices were kept.
        (registry.DEFAULT, lung_cases, 12, ("dsc", "dsc_structure_slices", "false_cc_per_empty_slice")),
        ("sarcoma-ct", sarcoma_cases, 13, ("dsc", "surface_dice", "hd95_mm", "dsc_structure_slices", "auc")),
    ],
)
def test_the_figures_of_a_bundled_student_s_card_are_measured_again(
    name, cases, count, measures, data_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("CMEDL_DATA", str(data_root))
    path = registry.find(name)
    stated = {figure["measure"]: figure for figure in read_card(path).figures}
    measured = evaluate(path, cases(data_root, tmp_path), device="cpu").summary()
    for measure in measures:
        figure = stated[definition(measure, 2.0)]
        assert measured[measure]["n"] == figure["n"] == count
        # The card's figures are of fp32 in full precision; the file is half precision, and the lungs' runs in int8.
        assert measured[measure]["mean"] == pytest.approx(figure["value"], rel=0.03, abs=0.02)
