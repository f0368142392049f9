"""Means that say what they left out, the model beside the raters' own spread, and a cohort of cases.

Standard deviations are those of a sample (n - 1). The coefficient of variation is the standard deviation over the
mean, as in Table IV of the paper. Values that do not exist (both masks empty) or are infinite (a distance to an empty
mask) are left out of a mean and counted beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.text import counted, listed
from .measures import MEASURES, Measure


@dataclass(frozen=True)
class Spread:
    """Several values of one measure.

    Attributes:
        mean: NaN without any value.
        std: sample standard deviation; NaN of fewer than two values.
        cv: coefficient of variation, ``std / |mean|``; NaN where the mean is 0 or the standard deviation is not there.
        n: values that the mean is taken of.
        excluded: values that are not finite, left out.
    """

    mean: float
    std: float
    cv: float
    n: int
    excluded: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of values, of which those that are not finite are counted and left out.

        >>> Spread.of([0.5, 0.75, 1.0, float("nan")])
        Spread(mean=0.75, std=0.25, cv=0.3333333333333333, n=3, excluded=1)
        """
        values = np.array(list(values), float)
        kept = values[np.isfinite(values)]
        mean = float(kept.mean()) if len(kept) else math.nan
        std = float(kept.std(ddof=1)) if len(kept) > 1 else math.nan
        return cls(mean, std, std / abs(mean) if mean else math.nan, len(kept), len(values) - len(kept))


@dataclass(frozen=True)
class RangeRow:
    """The model beside the raters in one measure.

    Attributes:
        measure: its name.
        model: the model's mean to the raters.
        raters: each rater's mean to the other raters, the rater tested and they the reference.
        raters_mean: mean over all pairs of raters.
        worst, best: of the raters' means.
        difference: ``model - raters_mean``.
        interval: its 95 % bootstrap interval; NaN where it cannot be had.
        within: whether the model's mean is no worse than that of the rater farthest from the others; None where
            either has no value.
        sentence: all of that in words.
    """

    measure: str
    model: float
    raters: dict[str, float]
    raters_mean: float
    worst: float
    best: float
    difference: float
    interval: tuple[float, float]
    within: bool | None
    sentence: str


@dataclass(frozen=True)
class RangeAnswer:
    """Whether the model is within the raters' range.

    Attributes:
        rows: by measure, for every measure that has a better side.
        within: whether it is in all measures of :data:`MAIN` that have an answer; None if none has.
        sentence: the answer in words.
        method: how the interval was found, in words.
    """

    rows: dict[str, RangeRow]
    within: bool | None
    sentence: str
    method: str


MAIN = ("dsc", "surface_dice", "hd95_mm", "assd_mm")
"""The measures that the answer in one sentence is about."""

_ROUNDING_DIGITS = 12
"""Means of the same values taken in another order differ by rounding, which is no difference."""

DRAWS = 10_000
_SEED = 20200
_BY_RATERS = (
    f"95 % percentile interval of {DRAWS} bootstrap samples of the raters (drawn with replacement, the same sample for "
    "the model and the raters; a rater is not compared with itself), with a fixed seed."
)


def within_raters_range(
    names: Sequence[str],
    model: Mapping[str, np.ndarray],
    raters: Mapping[str, np.ndarray],
    silent: Sequence[str] = (),
) -> RangeAnswer | None:
    """Whether the model is within the range of the raters of one case; None with fewer than two raters.

    Args:
        names: the raters, n of them.
        model: for each measure, the model's value to each rater (n,).
        raters: for each measure, each rater (columns, tested) against each (rows, reference): (n, n); the diagonal is
            not looked at.
        silent: raters who marked nothing, which the answer has to say: nobody is farther from the others than they.
    """
    if len(names) < 2:
        return None
    # Sorted, so that the random samples do not depend on the order in which the raters are given.
    order = sorted(range(len(names)), key=names.__getitem__)
    drawn = np.random.default_rng(_SEED).multinomial(len(names), [1.0 / len(names)] * len(names), DRAWS).astype(float)
    rows = {}
    for measure in model:
        own, others = model[measure][order], raters[measure][np.ix_(order, order)].copy()
        np.fill_diagonal(others, math.nan)
        means = {name: finite_mean(others[:, number]) for number, name in enumerate(names[which] for which in order)}
        rows[measure] = _row(
            measure,
            finite_mean(own),
            {name: means[name] for name in names},
            finite_mean(others),
            _interval(_bootstrap(own, others, drawn)),
        )
    within, sentence = _answer(rows)
    if within is not None and silent:
        sentence += f" But {listed(silent)} marked nothing, and any model is within a range that reaches so far."
    return RangeAnswer(rows, within, sentence, _BY_RATERS)


def finite_mean(values: np.ndarray) -> float:
    """Mean of the finite values; infinite if there are only infinite ones, NaN if there is none at all."""
    finite = values[np.isfinite(values)]
    if len(finite):
        return float(finite.mean())
    return math.inf if np.isinf(values).any() else math.nan


def _bootstrap(own: np.ndarray, others: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The model's mean less the raters', of each sample that has both.

    Args:
        own: (n,) the model's values.
        others: (n, n) the raters', NaN on the diagonal.
        drawn: (samples, n) how often each rater was drawn.
    """
    finite, present = np.isfinite(own), np.isfinite(others)
    mine = drawn @ np.where(finite, own, 0.0), drawn @ finite
    theirs = tuple(((drawn @ table) * drawn).sum(axis=1) for table in (np.where(present, others, 0.0), present))
    usable = (mine[1] > 0) & (theirs[1] > 0)
    return mine[0][usable] / mine[1][usable] - theirs[0][usable] / theirs[1][usable]


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the mean, from bootstrap samples with a fixed seed; NaN of fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    # Sorted, so that the random samples do not depend on the order of the values.
    drawn = np.random.default_rng(_SEED).multinomial(n, [1.0 / n] * n, DRAWS)
    return _interval(drawn @ np.sort(values) / n)


def _interval(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return math.nan, math.nan
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _row(measure: str, model: float, raters: dict[str, float], mean: float, interval: tuple[float, float]) -> RangeRow:
    # Of values that are better the lower they are, and of their negatives, the greatest is the worst.
    sign = -1 if MEASURES[measure].better == "high" else 1
    known = sorted((value for value in raters.values() if not math.isnan(value)), key=lambda value: sign * value)
    best, worst = (known[0], known[-1]) if known else (math.nan, math.nan)
    difference = model - mean if math.isfinite(model) and math.isfinite(mean) else math.nan
    title, in_words = MEASURES[measure].title, MEASURES[measure].in_sentence
    if not known or math.isnan(model):
        sentence = f"{title}: there is no answer, because the model or the raters have no value."
        return RangeRow(measure, model, raters, mean, worst, best, difference, interval, None, sentence)
    # Means of the same values in another order are not farther.
    within = model == worst or sign * (model - worst) <= 10.0**-_ROUNDING_DIGITS
    lowest, highest = (in_words(value) for value in sorted((worst, best)))
    sentence = (
        f"{title}: the model's mean to the raters is {in_words(model)}; the raters' means to each other "
        f"are {lowest} to {highest}, on average {in_words(mean)}. The model is "
        f"{'within' if within else 'outside'} the raters' range"
    )
    if math.isfinite(difference) and math.isfinite(interval[0]):
        low, upper = (in_words(value, signed=True) for value in interval)
        sentence += f"; difference {in_words(difference, signed=True)} (95 % interval {low} to {upper})"
    return RangeRow(measure, model, raters, mean, worst, best, difference, interval, within, f"{sentence}.")


def _answer(rows: Mapping[str, RangeRow]) -> tuple[bool | None, str]:
    answered = {
        MEASURES[name].title: rows[name].within for name in MAIN if name in rows and rows[name].within is not None
    }
    if not answered:
        return None, "Whether the model is within the raters' range cannot be said: no measure has a value for both."
    inside, outside = ([title for title, within in answered.items() if within is answer] for answer in (True, False))
    if not outside:
        return True, f"The model is within the raters' range in {listed(inside)}."
    if not inside:
        return False, f"The model is outside the raters' range in {listed(outside)}."
    return False, f"The model is outside the raters' range in {listed(outside)}, and within it in {listed(inside)}."


@dataclass(frozen=True)
class PairedTest:
    """The model against raters over the cases of a cohort, in one measure.

    Attributes:
        n: cases that have a value for both.
        excluded: cases that have not, left out.
        model, raters: means over the n cases.
        difference: ``model - raters``.
        interval: its 95 % bootstrap interval over the cases; NaN with fewer than two.
        ties: cases without a difference, which the test leaves out.
        statistic: the signed-rank statistic, the smaller of the two sums of ranks.
        p: two-sided; 1 without any difference, NaN without any case.
        sentence: all of that in words.
    """

    n: int
    excluded: int
    model: float
    raters: float
    difference: float
    interval: tuple[float, float]
    ties: int
    statistic: float
    p: float
    sentence: str


TEST_METHOD = (
    "Two-sided paired Wilcoxon signed-rank test (scipy) over the cases, each with one value for the model and one "
    "for the raters; equal values are left out. It takes the cases to be independent, and p is not corrected for the "
    f"number of tests. The interval of the mean difference is the 95 % percentile interval of {DRAWS} bootstrap "
    "samples of the cases, with a fixed seed."
)


def paired_test(
    measure: str,
    model: Sequence[float] | np.ndarray,
    raters: Sequence[float] | np.ndarray,
    who: str,
    measures: Mapping[str, Measure] = MEASURES,
    each: str = "case",
) -> PairedTest:
    """Compare the model with raters, or with another model, over cases.

    Args:
        measure: the measure's name.
        model: one value a case; NaN or infinite where there is none.
        raters: the same for the raters.
        who: whom the model is compared with, in the sentence.
        measures: where the measure's title and unit stand.
        each: what the values are of, in the sentence.
    """
    from scipy.stats import wilcoxon

    both = np.array([model, raters], float).reshape(2, -1)
    kept = both[:, np.isfinite(both).all(axis=0)]
    excluded, n = both.shape[1] - kept.shape[1], kept.shape[1]
    title, in_words = measures[measure].title, measures[measure].in_sentence
    if not n:
        sentence = f"{title}: no {each} has a value for both the model and {who}."
        return PairedTest(0, excluded, *(math.nan,) * 3, (math.nan, math.nan), 0, math.nan, math.nan, sentence)
    differences = np.round(kept[0] - kept[1], _ROUNDING_DIGITS)
    ties = int(np.count_nonzero(differences == 0))
    statistic, p = 0.0, 1.0
    if ties < n:
        # Without the ties scipy can work out the exact p of up to 50 cases.
        result = wilcoxon(differences[differences != 0], alternative="two-sided")
        statistic, p = float(result.statistic), float(result.pvalue)
    interval = mean_interval(differences)
    (mean, other), difference = kept.mean(axis=1).tolist(), float(differences.mean())
    sentence = (
        f"{title}: the model's mean is {in_words(mean)}, that of {who} {in_words(other)}; "
        f"difference {in_words(difference, signed=True)}"
    )
    if n > 1:
        sentence += f" (95 % interval {' to '.join(in_words(value, signed=True) for value in interval)})"
    sentence += f", {'p < 0.001' if p < 0.001 else f'p = {p:.3f}'}, {counted(n, each)}"
    sentence += f", {excluded} left out without a value." if excluded else "."
    return PairedTest(n, excluded, mean, other, difference, interval, ties, statistic, p, sentence)
