"""Agreement over a cohort: the paper's Table IV, and the model against the raters case by case.

Where the raters are the same people in all cases each gets a row: all values of the person, over the other raters and
the cases, pooled. Where they are not, rater 1 of one case is not rater 1 of another: such a row would be nobody's, so
it is refused, and the spread of each case is given instead. The model is the same in all cases and has its row
either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import InputError
from ..base.text import plain
from ..io.delineation import MODEL
from ..metrics.measures import MEASURES
from ..metrics.statistics import TEST_METHOD, PairedTest, Spread, paired_test
from .raters import WRITTEN_AS, Agreement, RaterRow

REFUSED = (
    "A table per rater is not given: it is not said that the raters are the same people in all cases, and a row of "
    "different people would be nobody's. The spread among the raters of each case is given instead."
)
_SIDED = [name for name, measure in MEASURES.items() if measure.better]


@dataclass(frozen=True)
class CaseRow:
    """One case of a cohort.

    Attributes:
        case: its name.
        n_raters: how many raters it has.
        raters: of each measure, over all pairs of raters.
        model: of each measure, the model over the raters; None without a model.
        volume: of the raters' volumes, cc.
        within: for each measure, whether the model is within the raters' range; None without an answer.
    """

    case: str
    n_raters: int
    raters: dict[str, Spread]
    model: dict[str, Spread] | None
    volume: Spread
    within: dict[str, bool | None]

    @classmethod
    def of(cls, agreement: Agreement) -> CaseRow:
        """The row of a case."""
        model = agreement.raters[-1].values if agreement.has_model else None
        within = {name: row.within for name, row in agreement.range.rows.items()} if agreement.range else {}
        raters = len(agreement.rater_names)
        return cls(agreement.case, raters, agreement.spread, model, agreement.volume, within)


@dataclass(frozen=True)
class CohortAgreement:
    """What :func:`pool_agreements` finds out about a cohort.

    Attributes:
        tolerance_mm: of the surface DSC.
        cases: a row for each case, in the order given.
        people: a row for each rater, then the model; None where the raters are not the same people.
        refusal: why there are no ``people``, in words, or "".
        model: the model's row, or None.
        spread: of each measure, over all pairs of raters of all cases.
        within: for each measure, in how many cases the model is within the raters' range, and of how many cases
            that can be said.
        tests: for each measure that has a better side, the model's mean to the raters against the mean over the
            pairs of raters, case by case; empty without a model.
        person_tests: for each rater, the model's mean to the other raters against that rater's; None where the
            raters are not the same people, empty without a model.
        test_method: how the tests were done, in words.
    """

    tolerance_mm: float
    cases: tuple[CaseRow, ...]
    people: tuple[RaterRow, ...] | None
    refusal: str
    model: RaterRow | None
    spread: dict[str, Spread]
    within: dict[str, tuple[int, int]]
    tests: dict[str, PairedTest]
    person_tests: dict[str, dict[str, PairedTest]] | None
    test_method: str = TEST_METHOD

    @property
    def rows(self) -> tuple[RaterRow, ...]:
        """A row for each person; only the model's, if there is one, where the raters are not the same people."""
        return self.people or ((self.model,) if self.model else ())

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON's types, with null for what has no finite value, and every definition."""
        return {"definitions": plain(MEASURES), **plain(self, WRITTEN_AS)}


def pool_agreements(agreements: Sequence[Agreement], same_people: bool) -> CohortAgreement:
    """Bring the cases of a cohort together.

    Args:
        agreements: of the cases.
        same_people: whether a rater's name stands for the same person in all cases.

    Raises:
        InputError: no case, or cases with different tolerances.
    """
    if not agreements:
        raise InputError("There is no case to bring together; give at least one.")
    tolerances = {agreement.tolerance_mm for agreement in agreements}
    if len(tolerances) > 1:
        raise InputError(
            f"The cases were compared with different tolerances ({', '.join(f'{mm:g} mm' for mm in sorted(tolerances))}"
            "); compare them anew with one."
        )
    raters = list(dict.fromkeys(name for agreement in agreements for name in agreement.rater_names))
    with_model = [agreement for agreement in agreements if agreement.has_model]
    model = _pooled(MODEL, with_model) if with_model else None
    people, person_tests = None, None
    if same_people:
        people = tuple(_pooled(name, [each for each in agreements if name in each.names]) for name in raters)
        people += (model,) if model else ()
        person_tests = {name: _tests(with_model, name) for name in raters} if with_model else {}
    return CohortAgreement(
        tolerance_mm=tolerances.pop(),
        cases=tuple(map(CaseRow.of, agreements)),
        people=people,
        refusal="" if same_people else REFUSED,
        model=model,
        spread={name: Spread.of(np.concatenate([each.rater_pairs(name) for each in agreements])) for name in MEASURES},
        within={name: _within(agreements, name) for name in _SIDED},
        tests=_tests(with_model) if with_model else {},
        person_tests=person_tests,
    )


def _pooled(who: str, agreements: Sequence[Agreement]) -> RaterRow:
    """All values of one person, or of the model, over the other raters and the cases."""
    values = {name: Spread.of(np.concatenate([each.values(who, name) for each in agreements])) for name in MEASURES}
    return RaterRow(who, values, math.nan)


def _within(agreements: Sequence[Agreement], measure: str) -> tuple[int, int]:
    ranges = [agreement.range.rows for agreement in agreements if agreement.range]
    answers = [rows[measure].within for rows in ranges if measure in rows]
    return answers.count(True), len(answers) - answers.count(None)


def _tests(agreements: Sequence[Agreement], person: str | None = None) -> dict[str, PairedTest]:
    """The model against the pairs of raters, or against one person; both with the same other raters."""
    tests = {}
    for name in _SIDED:
        model, raters = [], []
        for agreement in agreements:
            if person is None:
                model.append(Spread.of(agreement.values(MODEL, name)).mean)
                raters.append(Spread.of(agreement.rater_pairs(name)).mean)
            elif person in agreement.names:
                own = dict(zip(agreement.rater_names, agreement.values(MODEL, name), strict=True))
                del own[person]
                model.append(Spread.of(own.values()).mean)
                raters.append(Spread.of(agreement.values(person, name)).mean)
        tests[name] = paired_test(name, model, raters, "the raters to each other" if person is None else person)
    return tests
