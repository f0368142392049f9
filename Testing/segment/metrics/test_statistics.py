"""Means that say what they left out, the range of the raters and the paired test, against independent references."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from CMEDLSegmentLib.metrics.statistics import Spread, paired_test, within_raters_range

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = math.nan, math.inf


def table(values: dict[tuple[int, int], float], size: int) -> np.ndarray:
    """A symmetric matrix with NaN on the diagonal."""
    matrix = np.full((size, size), NAN)
    for (a, b), value in values.items():
        matrix[a, b] = matrix[b, a] = value
    return matrix


ROOT = math.sqrt(2)


@pytest.mark.parametrize(
    ("values", "mean", "std", "cv", "n", "excluded"),
    [
        # Deviations -2, 0, 2 from 4: variance (4 + 0 + 4) / (3 - 1) = 4.
        ([2.0, 4.0, 6.0], 4.0, 2.0, 0.5, 3, 0),
        ([0.0, INF, 2.0, NAN], 1.0, ROOT, ROOT, 2, 2),  # a zero is a value
        ([3.0], 3.0, NAN, NAN, 1, 0),
        ([NAN, INF], NAN, NAN, NAN, 0, 2),
        ([-1.0, -3.0], -2.0, ROOT, ROOT / 2, 2, 0),
        ([-1.0, 1.0], 0.0, ROOT, NAN, 2, 0),
        ([0.0, 0.0], 0.0, 0.0, NAN, 2, 0),
    ],
)
def test_a_spread_by_hand(values, mean, std, cv, n, excluded):
    spread = Spread.of(values)
    assert (spread.mean, spread.std, spread.cv) == pytest.approx((mean, std, cv), nan_ok=True)
    assert (spread.n, spread.excluded) == (n, excluded)


DSC = table({(0, 1): 0.8, (0, 2): 0.7, (1, 2): 0.9}, 3)
"""The raters' means to the others are 0.75, 0.85 and 0.80."""


def test_the_range_by_hand():
    answer = within_raters_range(["A", "B", "C"], {"dsc": np.array([0.7, 0.8, 0.75])}, {"dsc": DSC}).rows["dsc"]
    assert answer.model == pytest.approx(0.75)
    assert answer.raters == pytest.approx({"A": 0.75, "B": 0.85, "C": 0.80})
    assert (answer.worst, answer.best) == pytest.approx((0.75, 0.85))
    assert answer.raters_mean == pytest.approx(0.8)
    assert answer.difference == pytest.approx(-0.05)
    assert answer.within is True
    assert "within the raters' range" in answer.sentence
    assert "0.750 to 0.850" in answer.sentence


@pytest.mark.parametrize(
    ("measure", "model", "within"),
    [
        ("dsc", 0.74, False),
        ("dsc", 0.76, True),
        ("dsc", 0.95, True),
        ("hd95_mm", 0.5, True),
        ("hd95_mm", 8.4, True),
        ("hd95_mm", 8.6, False),
    ],
)
def test_a_model_farther_than_every_rater_is_outside(measure: str, model: float, within: bool):
    raters = DSC if measure == "dsc" else 10 * DSC
    answer = within_raters_range(["A", "B", "C"], {measure: np.full(3, model)}, {measure: raters})
    assert answer.rows[measure].within is within
    assert answer.within is within


def test_the_answer_names_the_measures_in_and_out():
    model = {"dsc": np.full(3, 0.8), "hd95_mm": np.full(3, 9.0)}
    answer = within_raters_range(["A", "B", "C"], model, {"dsc": DSC, "hd95_mm": 10 * DSC})
    assert answer.within is False
    outside, inside = answer.sentence.split(", and within")
    assert "HD95" in outside
    assert "DSC" in inside


def test_of_a_directional_measure_the_rater_is_the_tested_one():
    # Rows are the reference, columns the tested: column means are 0.2, 0.4 and 0.6.
    tested = np.array([[NAN, 0.3, 0.7], [0.1, NAN, 0.5], [0.3, 0.5, NAN]])
    answer = within_raters_range(["A", "B", "C"], {"sensitivity": np.full(3, 0.4)}, {"sensitivity": tested}).rows[
        "sensitivity"
    ]
    assert answer.raters == pytest.approx({"A": 0.2, "B": 0.4, "C": 0.6})
    assert answer.raters_mean == pytest.approx(0.4)


def test_the_interval_is_that_of_every_possible_sample_of_the_raters():
    random = np.random.default_rng(1)
    own = random.uniform(0.6, 0.9, 5)
    others = table({pair: random.uniform(0.6, 0.9) for pair in itertools.combinations(range(5), 2)}, 5)
    differences = []
    for sample in itertools.product(range(5), repeat=5):
        pairs = [others[a, b] for a, b in itertools.combinations(sample, 2) if a != b]
        if pairs:
            differences.append(np.mean(own[list(sample)]) - np.mean(pairs))
    expected = np.percentile(differences, (2.5, 97.5))
    answer = within_raters_range(list("ABCDE"), {"dsc": own}, {"dsc": others}).rows["dsc"]
    # 10 000 random samples against all 3125: the ends differ by the sampling only.
    assert answer.interval == pytest.approx(expected, abs=0.006)
    assert answer.interval[0] < answer.difference < answer.interval[1]


def test_the_range_is_the_same_in_any_order_of_the_raters_and_every_time():
    random = np.random.default_rng(2)
    own = random.uniform(0.6, 0.9, 4)
    others = table({pair: random.uniform(0.6, 0.9) for pair in itertools.combinations(range(4), 2)}, 4)
    first = within_raters_range(list("ABCD"), {"dsc": own}, {"dsc": others}).rows["dsc"]
    order = [2, 0, 3, 1]
    second = within_raters_range(["ABCD"[i] for i in order], {"dsc": own[order]}, {"dsc": others[np.ix_(order, order)]})
    assert second.rows["dsc"].interval == first.interval
    assert second.rows["dsc"].raters == pytest.approx(first.raters)


def test_a_model_who_marked_nothing_is_outside_the_range_of_raters_who_did():
    answer = within_raters_range(
        ["A", "B", "C"],
        {"dsc": np.zeros(3), "hd95_mm": np.full(3, INF)},
        {"dsc": DSC, "hd95_mm": 10 * DSC},
    )
    assert answer.within is False
    assert answer.rows["hd95_mm"].model == INF
    assert math.isnan(answer.rows["hd95_mm"].difference)
    assert "infinite" in answer.rows["hd95_mm"].sentence


def test_a_rater_who_marked_nothing_is_named_because_the_range_then_reaches_to_nothing():
    others = table({(0, 1): INF, (0, 2): 4.0, (1, 2): INF}, 3)
    answer = within_raters_range(
        ["A", "B", "C"], {"hd95_mm": np.array([5.0, INF, 6.0])}, {"hd95_mm": others}, silent=["B"]
    )
    assert answer.rows["hd95_mm"].model == pytest.approx(5.5)
    assert answer.rows["hd95_mm"].raters == {"A": 4.0, "B": INF, "C": 4.0}
    assert answer.within is True
    assert "B marked nothing" in answer.sentence


def test_without_any_value_there_is_no_answer():
    answer = within_raters_range(["A", "B"], {"dsc": np.full(2, NAN)}, {"dsc": np.full((2, 2), NAN)})
    assert answer.within is None
    assert answer.rows["dsc"].within is None
    assert "cannot be said" in answer.sentence


def test_one_rater_has_no_range():
    assert within_raters_range(["A"], {"dsc": np.array([0.8])}, {"dsc": np.array([[NAN]])}) is None


def test_the_signed_rank_test_by_hand():
    # Six differences of one sign: 2 of the 64 equally likely signs are as far out, p = 2 / 64.
    raters = [0.5, 0.6, 0.7, 0.4, 0.3, 0.2]
    model = [value + 0.01 * step for step, value in enumerate(raters, start=1)]
    test = paired_test("dsc", model, raters, "the raters")
    assert test.p == pytest.approx(2 / 64)
    assert (test.n, test.ties, test.excluded, test.statistic) == (6, 0, 0, 0.0)
    assert test.difference == pytest.approx(0.035)
    assert "p = 0.031, 6 cases." in test.sentence


def test_the_signed_rank_test_equals_the_sum_over_all_signs():
    random = np.random.default_rng(3)
    model, raters = random.uniform(size=(2, 9))
    differences = model - raters
    ranks = np.abs(differences).argsort().argsort() + 1
    positive = ranks[differences > 0].sum()
    sums = np.array([ranks @ signs for signs in itertools.product([0, 1], repeat=9)])
    expected = min(1.0, 2 * min((sums <= positive).mean(), (sums >= positive).mean()))
    assert paired_test("dsc", model, raters, "the raters").p == pytest.approx(expected)


def test_cases_without_a_value_are_left_out_of_the_test_and_counted():
    test = paired_test("hd95_mm", [1.0, 2.0, INF, 3.0], [2.0, 4.0, 5.0, NAN], "the raters")
    assert (test.n, test.excluded) == (2, 2)
    assert (test.model, test.raters, test.difference) == (1.5, 3.0, -1.5)
    assert "2 left out" in test.sentence


def test_equal_values_are_no_difference_even_where_rounding_makes_one():
    test = paired_test("dsc", [0.1 + 0.2, 0.5], [0.3, 0.5], "the raters")
    assert (test.p, test.ties, test.difference) == (1.0, 2, 0.0)


def test_one_equal_value_among_others_is_left_out_of_the_ranks():
    test = paired_test("dsc", [0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.4, 0.4, 0.4, 0.9], "the raters")
    assert (test.n, test.ties) == (5, 1)
    assert test.p == pytest.approx(2 / 16)


def test_without_any_case_that_can_be_compared_there_is_no_p():
    test = paired_test("dsc", [NAN], [0.5], "the raters")
    assert math.isnan(test.p)
    assert (test.n, test.excluded) == (0, 1)
    assert "no case" in test.sentence


def test_the_interval_over_the_cases_is_that_of_every_possible_sample_and_not_of_their_order():
    random = np.random.default_rng(4)
    model, raters = random.normal(size=(2, 5))
    test = paired_test("volume_difference_cc", model, raters, "the raters")
    means = [np.mean(sample) for sample in itertools.product(model - raters, repeat=5)]
    assert test.interval == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.05)
    assert paired_test("volume_difference_cc", model[::-1], raters[::-1], "the raters").interval == test.interval
