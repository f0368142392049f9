"""Figures over patients: means with their interval, and two students on the same patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.metrics.measures import Measure
from CMEDLSegmentLib.metrics.statistics import DRAWS, Spread, mean_interval, paired_test

from .scoring import MEASURES, PatientFigures

INTERVAL_METHOD = f"95 % percentile interval of the mean from {DRAWS} bootstrap samples of the patients, fixed seed."
TEST_METHOD = (
    "Two-sided paired Wilcoxon signed-rank test (scipy) over the patients that have a value for both students; equal "
    "values are left out of the ranks and counted as ties. p is not corrected for the number of tests. "
    "Differences are this student's value minus the other's; their interval is found as that of a mean."
)


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """``mean``, ``std`` (n - 1), ``median``, ``n`` and ``ci95`` of the values that exist, and how many are ``absent``.

    Without any value the figures are None; one value has no interval and a standard deviation of 0.
    """
    several = np.array(list(values), float)  # None becomes NaN
    known = several[np.isfinite(several)]
    n, over = len(known), Spread.of(several)
    return {
        "mean": over.mean if n else None,
        "std": over.std if n > 1 else 0.0 if n else None,
        "median": float(np.median(known)) if n else None,
        "n": n,
        "absent": over.excluded,
        "ci95": list(mean_interval(known)) if n > 1 else None,
    }


def summary(patients: Sequence[PatientFigures], label: str | None = None) -> dict[str, dict[str, Any]]:
    """:func:`spread` of each measure over patients: of one structure, or of the means over all."""
    return {name: spread(patient.values_of(label)[name] for patient in patients) for name in MEASURES}


def paired(a: Sequence[PatientFigures], b: Sequence[PatientFigures]) -> list[tuple[PatientFigures, PatientFigures]]:
    """The patients of both, in the order of ``a``; they are told by the names of their cases."""
    theirs = {frozenset(patient.cases): patient for patient in b}
    return [(patient, theirs[key]) for patient in a if (key := frozenset(patient.cases)) in theirs]


def check_structures(own: int, other: int) -> None:
    """Raise InputError where two students mark different numbers of structures and cannot be compared."""
    if own != other:
        raise InputError(f"The students mark {own} and {other} structures; compare two that mark the same.")


def compare_patients(
    a: Sequence[PatientFigures],
    b: Sequence[PatientFigures],
    other: str = "the other student",
    label: str | None = None,
) -> dict[str, dict[str, Any]]:
    """For each measure how ``a`` differs from ``b`` on the same patients, and the Wilcoxon test of it.

    Of one structure, or of the means over all.

    Each measure gets ``delta_mean`` and ``delta_median`` of a minus b, ``ci95`` of the mean, ``p``, ``n`` (patients
    with a value for both), ``excluded`` (without), ``ties`` (equal values, which the test leaves out) and all of it as
    a ``sentence``; what does not exist is None.

    Raises:
        InputError: no patient is in both.
    """
    pairs = [(ours.values_of(label), theirs.values_of(label)) for ours, theirs in paired(a, b)]
    if not pairs:
        raise InputError("The two students were scored on different cases; evaluate both on one cohort.")
    return {name: difference(name, [(ours[name], theirs[name]) for ours, theirs in pairs], other) for name in MEASURES}


def difference(
    name: str,
    pairs: Sequence[tuple[float | None, float | None]],
    other: str = "the other student",
    measures: Mapping[str, Measure] = MEASURES,
) -> dict[str, Any]:
    """One of ``measures`` compared as :func:`compare_patients` tells, from each patient's two values; None: without."""
    values = np.array(pairs, float)  # None becomes NaN
    test = paired_test(name, values[:, 0], values[:, 1], other, measures, "patient")
    differences = (values[:, 0] - values[:, 1])[np.isfinite(values).all(axis=1)]
    return {
        "delta_mean": test.difference if test.n else None,
        "delta_median": float(np.median(differences)) if test.n else None,
        "ci95": list(test.interval) if test.n > 1 else None,
        "p": test.p if test.n else None,
        "n": test.n,
        "excluded": test.excluded,
        "ties": test.ties,
        "sentence": test.sentence,
    }
