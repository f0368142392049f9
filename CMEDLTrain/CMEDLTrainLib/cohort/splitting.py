"""Dividing a cohort by patient: training, validation and test, once or in folds, reproducible from a seed.

Patients are put in the order of their structure's volume and each part takes its share evenly along that order, from a
start drawn by the seed (systematic sampling). So small and large structures are in every part of a small cohort too.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import SPLITS, Case, split_twice

SHARES = (0.7, 0.15, 0.15)
"""Of training, validation and test patients."""
_Part = TypeVar("_Part", bound=Hashable)


def split_by_patient(
    cases: Sequence[Case],
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    anew: bool = False,
) -> tuple[Case, ...]:
    """The cases with their splits, all scans of a patient in the same one.

    Patients whose scans all are the teacher's train: nothing is validated or tested on them. Patients that have a split
    already keep it, and the others are divided so that all together come nearest to the shares.

    Args:
        cases: the cohort.
        shares: of training, validation and test; only their proportions count.
        seed: another one gives another division.
        weights: of each patient, such as the volume of the structure in cc; balanced among the parts.
        anew: divide again also those who have a split.

    Raises:
        InputError: the shares are not three numbers of 0 or more, or a patient has two splits already.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"Shares must be three numbers of 0 or more, for {', '.join(SPLITS)}; write 70,15,15.")
    known = {} if anew else _known_splits(cases)
    divided = _students(cases)
    total = _counts(len(divided), shares)
    wanted = [max(0, count - sum(known.get(p) == s for p in divided)) for count, s in zip(total, SPLITS, strict=True)]
    open_ones = [patient for patient in divided if patient not in known]
    counts = _counts(len(open_ones), wanted if sum(wanted) else shares)
    drawn = _deal(open_ones, dict(zip(SPLITS, counts, strict=True)), random.Random(seed), weights or {})
    chosen = {case.patient: "train" for case in cases} | drawn | known
    return tuple(replace(case, split=chosen[case.patient]) for case in cases)


def folds(
    cases: Sequence[Case],
    count: int,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    validation: float = 0.15,
) -> list[tuple[Case, ...]]:
    """``count`` versions of the cohort; each student patient is tested in exactly one of them.

    Args:
        cases: the cohort; splits that it has are not looked at.
        count: of folds, 2 or more.
        seed, weights: as in :func:`split_by_patient`.
        validation: share of the patients who are not tested that validates; at least one does.

    Raises:
        InputError: fewer than ``count`` + 1 patients, or a share that leaves nobody to train with.
    """
    patients = _students(cases)
    if count < 2 or len(patients) <= count:
        raise InputError(f"{len(patients)} patients cannot be divided into {count} folds; ask for 2 or more of fewer.")
    draw = random.Random(seed)
    sizes = dict(enumerate(_counts(len(patients), [1.0] * count)))
    tested = _deal(patients, sizes, draw, weights or {})
    made = []
    for fold in range(count):
        rest = [patient for patient in patients if tested[patient] != fold]
        held = max(1, round(validation * len(rest)))
        if held >= len(rest):
            raise InputError("The validation patients of a fold leave nobody to train with; lower their share.")
        parts = _deal(rest, {"train": len(rest) - held, "validation": held}, draw, weights or {})
        made.append(
            tuple(
                replace(case, split="test" if tested.get(case.patient) == fold else parts.get(case.patient, "train"))
                for case in cases
            )
        )
    return made


def structure_volumes(cases: Sequence[Case]) -> dict[str, float]:
    """What each patient's masks mark, in cc, summed over their scans: weights for a balanced division.

    Raises:
        InputError: a mask cannot be read.
    """
    from CMEDLSegmentLib.io.images import read_mask

    volumes: dict[str, float] = {}
    for case in cases:
        marked = 0.0
        if case.mask is not None:
            mask = read_mask(case.mask)
            marked = float((mask.array > 0).sum()) * mask.geometry.voxel_cc
        volumes[case.patient] = volumes.get(case.patient, 0.0) + marked
    return volumes


def _students(cases: Sequence[Case]) -> list[str]:
    """The patients with a scan that is not the teacher's, in alphabetical order."""
    return sorted({case.patient for case in cases if case.role != "teacher"})


def _known_splits(cases: Sequence[Case]) -> dict[str, str]:
    """The split that each patient has, where any of their scans has one."""
    for first, case in split_twice(cases):
        raise InputError(
            f"The cases {first.case} and {case.case} are of one patient in two splits; give both the same split."
        )
    return {case.patient: case.split for case in cases if case.split}


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to ``total``, nearest to the shares (largest remainders).

    Where there are enough patients, no share above 0 comes away empty: the largest gives up one.
    """
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda k: counts[k] - exact[k])
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    for k, share in enumerate(shares):
        if share > 0 and not counts[k] and total >= sum(s > 0 for s in shares):
            counts[counts.index(max(counts))] -= 1
            counts[k] = 1
    return counts


def _deal(
    patients: Sequence[str], counts: Mapping[_Part, int], draw: random.Random, weights: Mapping[str, float]
) -> dict[str, _Part]:
    """A part for each patient, each part evenly along the order of the weights from a start that is drawn.

    Only ``random()`` is drawn from, the one method whose values Python promises to keep.
    """
    chance = {patient: draw.random() for patient in patients}
    order = sorted(patients, key=lambda patient: (weights.get(patient, 0.0), chance[patient]))
    places = []
    for rank, (part, count) in enumerate(counts.items()):
        start = draw.random()
        places += [((start + i) / count, rank, part) for i in range(count)]
    return {patient: part for patient, (_, _, part) in zip(order, sorted(places, key=lambda p: p[:2]), strict=True)}
