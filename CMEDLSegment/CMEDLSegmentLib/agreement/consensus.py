"""What several raters marked together: by majority, or by STAPLE.

**Majority**: a voxel that more than half of the raters marked. A tie, which an even number of raters can have, is no
majority: of two raters it is what both marked.

**STAPLE** (Warfield, Zou and Wells, IEEE TMI 2004): expectation maximization of the probability that a voxel is
inside together with each rater's sensitivity and specificity, until these change by less than 1e-7; inside is what is
more likely inside than not. It starts from the share of raters who marked a voxel, and the prior is the mean of that
share, all as in ITK's and SimpleITK's filter, whose result it is to rounding. It is worked out from the patterns of
marks that occur rather than from every voxel, which takes milliseconds instead of seconds. The prior depends on how
much background is looked at, so that is fixed: the box around the raters' marks with one voxel more on each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..base.boxes import box_shape, enclosing_box
from ..base.errors import InputError
from ..io.delineation import RatedCase
from .vote_map import VoteMap

Method = Literal["majority", "staple"]
METHODS: tuple[Method, ...] = ("majority", "staple")

_CHANGE = 1e-7
_ITERATIONS = 10_000
"""Of raters who share nothing, STAPLE converges to nothing slowly; ITK has no limit, and stops far below this one."""
_TIE = 1e-6
"""A probability as near to 1/2 as this is a tie, which rounding is not to decide; it is outside."""


def consensus_mask(case: RatedCase, method: Method, without: str | None = None) -> np.ndarray:
    """What the raters of a case marked together: bool (z, y, x) on the case's grid; the model has no vote.

    Args:
        case: the raters' masks.
        method: ``majority`` or ``staple``.
        without: a rater to leave out.

    Raises:
        InputError: an unknown method, a rater who is not there, or nobody left to ask.

    Three raters on a row of four voxels; two of them make a majority, and one rater alone does not:

    >>> from CMEDLSegmentLib.io.delineation import Delineation
    >>> from CMEDLSegmentLib.io.volume import Geometry
    >>> marks = {"A": [1, 1, 0, 0], "B": [1, 1, 1, 0], "C": [0, 1, 1, 1]}
    >>> raters = tuple(Delineation(name, np.array(mark, bool).reshape(1, 1, 4)) for name, mark in marks.items())
    >>> case = RatedCase("", Geometry((4, 1, 1)), raters)
    >>> consensus_mask(case, "majority").ravel().astype(int).tolist()
    [1, 1, 1, 0]
    >>> consensus_mask(case, "majority", without="B").ravel().astype(int).tolist()
    [0, 1, 0, 0]
    """
    raters = [rater for rater in case.raters if rater.name != without]
    if without is not None and len(raters) == len(case.raters):
        raise InputError(f"No rater is called '{without}'; name one of those who are there to leave out.")
    if not raters:
        raise InputError("With the only rater left out nobody is there to agree; give more raters.")
    votes = VoteMap.of([rater.mask for rater in raters])
    mask = np.zeros(case.geometry.shape, bool)
    (mask[votes.box],) = votes.where(chosen_patterns(votes, range(len(raters)), method))
    return mask


def chosen_patterns(votes: VoteMap, raters: Sequence[int], method: Method) -> np.ndarray:
    """Which patterns, bool (k,), are inside the consensus of the masks numbered ``raters``.

    Raises:
        InputError: an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"There is no consensus '{method}'; ask for {' or '.join(METHODS)}.")
    marks = votes.patterns[:, list(raters)]
    if method == "majority":
        return 2 * np.count_nonzero(marks, axis=1) > marks.shape[1]
    box = enclosing_box(votes.boxes[rater] for rater in raters)
    if box is None:
        return np.zeros(len(marks), bool)
    # What the others marked in the box, and a pattern of background for what is left of it.
    counts = np.where(marks.any(axis=1), votes.counts.sum(axis=0), 0)
    voxels = np.prod([size + 2 for size in box_shape(box)])
    probability = staple(np.vstack([marks, np.zeros(len(raters), bool)]), np.append(counts, voxels - counts.sum()))
    return (probability[:-1] > 0.5 + _TIE) & marks.any(axis=1)


def staple(marks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """STAPLE's probability (k,) that a voxel of each pattern is inside.

    Args:
        marks: bool (k, n), which of the raters mark a voxel of the pattern.
        counts: (k,) voxels of each; some must be marked and some not.
    """
    from scipy.special import expit

    counts = counts.astype(float)
    inside = marks.mean(axis=1)
    prior = counts @ inside / counts.sum()
    before = np.full((2, marks.shape[1]), np.inf)
    for _ in range(_ITERATIONS):
        weight, rest = counts * inside, counts * (1.0 - inside)
        rates = np.stack([weight @ marks / weight.sum(), rest @ ~marks / rest.sum()])
        sensitivity, specificity = rates
        # Logarithms, because products over hundreds of raters are too small for a number.
        with np.errstate(divide="ignore", invalid="ignore"):
            yes = np.log(prior) + np.log(np.where(marks, sensitivity, 1.0 - sensitivity)).sum(axis=1)
            no = np.log(1.0 - prior) + np.log(np.where(marks, 1.0 - specificity, specificity)).sum(axis=1)
            # A pattern that is impossible either way has no voxel to be wrong for.
            inside = np.nan_to_num(expit(yes - no), nan=0.0)
        if np.abs(rates - before).max() <= _CHANGE:
            break
        before = rates
    return inside
