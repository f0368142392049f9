"""Table IV over a cohort, and the model against the raters case by case."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from CMEDLSegmentLib.agreement.cohort_agreement import pool_agreements
from CMEDLSegmentLib.agreement.raters import Agreement, analyze
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentLib.metrics.measures import MEASURES
from segment.agreement.rated import nodule, noisy_case, noisy_masks, rated_case

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def cohort() -> list[Agreement]:
    return [analyze(noisy_case(3, seed=20 + number, name=f"case {number}")) for number in range(7)]


def test_a_persons_row_pools_all_values_over_the_other_raters_and_the_cases(cohort: list[Agreement]):
    pooled = pool_agreements(cohort, same_people=True)
    assert [row.name for row in pooled.people] == ["R1", "R2", "R3", MODEL]
    for name in ("dsc", "hd95_mm", "sensitivity"):
        # Columns of the matrix are the tested ones: R2 against R1 and R3.
        values = [agreement.matrix(name)[other, 1] for agreement in cohort for other in (0, 2)]
        row = pooled.people[1].values[name]
        assert (row.n, row.excluded) == (14, 0)
        assert row.mean == pytest.approx(np.mean(values))
        assert row.cv == pytest.approx(np.std(values, ddof=1) / np.mean(values))
        model = [agreement.matrix(name)[other, 3] for agreement in cohort for other in range(3)]
        assert pooled.people[-1].values[name].mean == pytest.approx(np.mean(model))
        assert pooled.people[-1].values[name].n == 21
    assert pooled.refusal == ""


def test_of_one_case_the_pooled_rows_are_the_cases(cohort: list[Agreement]):
    pooled = pool_agreements(cohort[:1], same_people=True)
    for person, row in zip(pooled.people, cohort[0].raters, strict=True):
        assert person.values == row.values


def test_of_different_people_there_is_no_table_per_person_but_the_spread_of_each_case(cohort: list[Agreement]):
    pooled = pool_agreements(cohort, same_people=False)
    assert pooled.people is None
    assert pooled.person_tests is None
    assert "same people" in pooled.refusal
    assert [row.case for row in pooled.cases] == [f"case {number}" for number in range(7)]
    assert [row.raters for row in pooled.cases] == [agreement.spread for agreement in cohort]
    assert [row.model for row in pooled.cases] == [agreement.raters[-1].values for agreement in cohort]
    assert [row.volume for row in pooled.cases] == [agreement.volume for agreement in cohort]
    # The model is the same in all cases.
    assert pooled.model.values == pool_agreements(cohort, same_people=True).people[-1].values


def test_the_spread_is_over_all_pairs_of_raters_of_all_cases(cohort: list[Agreement]):
    spread = pool_agreements(cohort, same_people=False).spread
    values = [agreement.matrix("dsc")[a, b] for agreement in cohort for a, b in ((0, 1), (0, 2), (1, 2))]
    assert spread["dsc"].mean == pytest.approx(np.mean(values))
    assert (spread["dsc"].n, spread["sensitivity"].n) == (21, 42)


@pytest.mark.parametrize("measure", ["dsc", "surface_dice", "hd95_mm", "assd_mm"])
def test_the_model_is_tested_against_the_raters_case_by_case(cohort: list[Agreement], measure: str):
    model = [np.mean(agreement.matrix(measure)[:3, 3]) for agreement in cohort]
    raters = [np.mean([agreement.matrix(measure)[a, b] for a, b in ((0, 1), (0, 2), (1, 2))]) for agreement in cohort]
    test = pool_agreements(cohort, same_people=False).tests[measure]
    # Distances on a grid are often equal, but for rounding.
    assert test.p == pytest.approx(wilcoxon(np.round(np.subtract(model, raters), 9)).pvalue)
    assert (test.n, test.excluded) == (7, 0)
    assert test.difference == pytest.approx(np.mean(model) - np.mean(raters))
    assert test.interval[0] <= test.difference <= test.interval[1]


def test_against_one_person_both_are_measured_by_the_same_other_raters(cohort: list[Agreement]):
    test = pool_agreements(cohort, same_people=True).person_tests["R2"]["dsc"]
    model = [np.mean(agreement.matrix("dsc")[[0, 2], 3]) for agreement in cohort]
    person = [np.mean(agreement.matrix("dsc")[[0, 2], 1]) for agreement in cohort]
    assert (test.model, test.raters) == pytest.approx((np.mean(model), np.mean(person)))
    assert test.p == pytest.approx(wilcoxon(model, person, alternative="two-sided").pvalue)
    assert "that of R2" in test.sentence


def test_it_is_counted_in_how_many_cases_the_model_is_within_the_range(cohort: list[Agreement]):
    within = pool_agreements(cohort, same_people=False).within
    answers = [agreement.range.rows["dsc"].within for agreement in cohort]
    assert within["dsc"] == (sum(answers), 7)


def test_only_measures_with_a_better_side_are_tested(cohort: list[Agreement]):
    assert set(pool_agreements(cohort, same_people=False).tests) == {
        name for name, measure in MEASURES.items() if measure.better
    }


def test_cases_without_a_model_or_without_a_value_are_left_out_of_the_test_and_kept_elsewhere(
    cohort: list[Agreement],
):
    masks = noisy_masks(2, seed=50)
    no_model = analyze(rated_case({"R1": masks[0], "R2": masks[1]}, name="no model"))
    silent = analyze(rated_case({"R1": masks[0], "R2": masks[1]}, model=np.zeros_like(masks[0]), name="silent"))
    pooled = pool_agreements([*cohort, no_model, silent], same_people=True)
    assert (pooled.tests["dsc"].n, pooled.tests["dsc"].excluded) == (8, 0)
    assert (pooled.tests["hd95_mm"].n, pooled.tests["hd95_mm"].excluded) == (7, 1)
    assert pooled.people[0].values["dsc"].n == 14 + 2
    assert pooled.people[-1].values["hd95_mm"].excluded == 2
    assert pooled.cases[7].model is None


def test_a_cohort_without_a_model_has_a_table_and_no_tests():
    cases = [analyze(dataclasses.replace(noisy_case(3, seed), model=None)) for seed in (1, 2)]
    pooled = pool_agreements(cases, same_people=True)
    assert (pooled.model, pooled.tests, pooled.person_tests) == (None, {}, {})
    assert [row.name for row in pooled.people] == ["R1", "R2", "R3"]
    assert pooled.within["dsc"] == (0, 0)


def test_cases_of_one_rater_each_have_a_model_but_no_range():
    cases = []
    for seed in (1, 2):
        rater, model = noisy_masks(2, seed)
        cases.append(analyze(rated_case({"R1": rater}, model=model)))
    pooled = pool_agreements(cases, same_people=True)
    assert pooled.people[0].values["dsc"].n == 0
    assert pooled.people[1].values["dsc"].n == 2
    assert (pooled.tests["dsc"].n, pooled.tests["dsc"].excluded) == (0, 2)


def test_the_order_of_the_cases_changes_no_figure(cohort: list[Agreement]):
    first, second = (pool_agreements(cases, same_people=True) for cases in (cohort, cohort[::-1]))
    for name in MEASURES:
        assert first.people[0].values[name].mean == pytest.approx(second.people[0].values[name].mean)
    for name, test in first.tests.items():
        assert (test.p, *test.interval) == pytest.approx((second.tests[name].p, *second.tests[name].interval))


@pytest.mark.parametrize("same_people", [True, False])
def test_json_is_strict(cohort: list[Agreement], same_people: bool):
    written = json.loads(json.dumps(pool_agreements(cohort, same_people).to_json(), allow_nan=False))
    assert set(written["definitions"]) == set(MEASURES)
    assert (written["people"] is None) is not same_people
    assert "Wilcoxon" in written["test_method"]


def test_no_case_and_different_tolerances_are_refused():
    with pytest.raises(InputError):
        pool_agreements([], same_people=False)
    case = noisy_case(2, seed=1)
    with pytest.raises(InputError, match="1 mm, 2 mm"):
        pool_agreements([analyze(case, 1.0), analyze(case, 2.0)], same_people=False)


@pytest.mark.slow
def test_the_78_real_nodules_are_pooled_without_a_table_of_people(data_root: Path):
    cases = [analyze(nodule(folder)) for folder in sorted((data_root / "lidc_raters").iterdir()) if folder.is_dir()]
    pooled = pool_agreements(cases, same_people=False)
    assert len(pooled.cases) == 78
    assert pooled.people is None
    assert pooled.spread["dsc"].n + pooled.spread["dsc"].excluded == 78 * 6
    assert 0.7 < pooled.spread["dsc"].mean < 0.9
    assert min(pooled.cases, key=lambda row: row.raters["dsc"].mean).case == "LIDC-IDRI-0497_nodule-0"
