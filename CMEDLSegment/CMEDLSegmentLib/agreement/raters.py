"""Several raters and the model on one image: everybody against everybody, and what that says about the model.

In all of it the raters are the measure: a rater's mean is over the *other raters*, the model's over all raters, and
the model counts in no rater's figures. In directional measures whoever a row is about is tested, and the others are
the reference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..base.progress import SILENT, Progress
from ..base.text import plain
from ..io.delineation import MODEL, RatedCase
from ..metrics.lesions import LesionMatch, match_lesions
from ..metrics.measures import MEASURES, TOLERANCE_MM, MaskPairs, PairMeasures
from ..metrics.statistics import RangeAnswer, Spread, within_raters_range
from .consensus import METHODS, Method, chosen_patterns
from .vote_map import SliceRow, VoteMap, slice_rows, worst_first

WRITTEN_AS = {"model": "student", "with_model_cc": "with_student_cc"}
"""What fields are called in JSON files, where they have had that name from the start."""
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Pair:
    """Two delineations of a case: ``a`` is the reference, ``b`` is tested against it."""

    a: str
    b: str
    measures: PairMeasures


@dataclass(frozen=True)
class RaterRow:
    """One rater, or the model, against the other raters: a column of the paper's Table IV.

    Attributes:
        name: the rater's, or :data:`MODEL`.
        values: of each measure, over the other raters; the rater is tested and they are the reference.
        volume_cc: what was marked; NaN in a cohort's table.
    """

    name: str
    values: dict[str, Spread]
    volume_cc: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """What :func:`analyze` finds out about a case.

    Attributes:
        case: the case's name.
        names: the raters as given, then :data:`MODEL` if there is a model.
        tolerance_mm: of the surface DSC.
        spacing: (z, y, x) in mm.
        notes: sentences for the reader.
        pairs: each unordered pair once; the model is always ``b``.
        raters: a row for everybody, in the order of ``names``.
        spread: of each measure, over all pairs of raters; a directional measure counts both directions.
        volume: of the raters' volumes, cc.
        consensus: for each method, everybody (tested) against the consensus (reference) of the other raters. A lone
            rater has no others and is not in it.
        range: whether the model is within the raters' range; None without a model or with one rater.
        slices: every slice on which anybody marks something, in rising order.
        worst: their indices, most disagreement first.
        tumors: the model's tumors (tested) against those of the majority (reference) of the raters; without a
            model each rater's against those of the majority of the other raters.
        map: how many raters marked each voxel of ``box``, uint8 (z, y, x).
        box: slices (z, y, x) of the box around all marks in the whole array; empty ones where nothing is marked.
        full_cc: volume that all raters marked.
        any_cc: volume that any rater marked.
    """

    case: str
    names: tuple[str, ...]
    tolerance_mm: float
    spacing: tuple[float, float, float]
    notes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    raters: tuple[RaterRow, ...]
    spread: dict[str, Spread]
    volume: Spread
    consensus: dict[str, dict[str, PairMeasures]]
    range: RangeAnswer | None
    slices: tuple[SliceRow, ...]
    worst: list[int]
    tumors: dict[str, LesionMatch]
    map: np.ndarray = field(repr=False)
    box: tuple[slice, ...]
    full_cc: float
    any_cc: float
    _matrices: dict[str, np.ndarray] = field(repr=False)

    @property
    def disagreement_cc(self) -> float:
        """Volume that some rater marked, but not all of them."""
        return self.any_cc - self.full_cc

    @property
    def has_model(self) -> bool:
        """Whether there is a model."""
        return self.names[-1] == MODEL

    @property
    def rater_names(self) -> tuple[str, ...]:
        """The raters without the model."""
        return self.names[:-1] if self.has_model else self.names

    @property
    def empty(self) -> tuple[str, ...]:
        """Who marked nothing."""
        return tuple(row.name for row in self.raters if not row.volume_cc)

    def matrix(self, measure: str) -> np.ndarray:
        """A measure of everybody (columns, tested) against everybody (rows, reference): (n, n), ordered as ``names``.

        On the diagonal stands what a mask has with itself, NaN for an empty one. NaN and infinities are as in
        :class:`PairMeasures`.
        """
        return self._matrices[measure].copy()

    def values(self, name: str, measure: str) -> np.ndarray:
        """What a row of :attr:`raters` is the spread of: ``name`` tested against each other rater."""
        return _over_others(self._matrices[measure], self.names.index(name), len(self.rater_names))

    def rater_pairs(self, measure: str) -> np.ndarray:
        """What :attr:`spread` is the spread of: the values of all pairs of raters."""
        return _between(measure, self._matrices[measure], len(self.rater_names))

    def to_json(self) -> dict[str, Any]:
        """All of it but the map as JSON's types, with null for what has no finite value, and every definition."""
        fields = {name: value for name, value in vars(self).items() if name not in ("map", "box", "_matrices")}
        further = {"disagreement_cc": self.disagreement_cc, "empty": self.empty, "matrices": self._matrices}
        return plain({"definitions": MEASURES, **fields, **further}, WRITTEN_AS)


def analyze(case: RatedCase, tolerance_mm: float = TOLERANCE_MM, progress: Progress = SILENT) -> Agreement:
    """Compare everybody with everybody on one image.

    Args:
        case: who marked what.
        tolerance_mm: of the surface DSC.
        progress: told how far it is; what it raises ends the work.
    """
    names = tuple(delineation.name for delineation in case.all)
    n_raters = len(case.raters)
    votes = VoteMap.of([delineation.mask for delineation in case.all])
    agreed = {method: _consensus(votes, method, len(names), n_raters) for method in METHODS}
    # A consensus that is the mask of somebody, or that both methods find, is prepared and measured once.
    columns = [*votes.patterns.T, *(column for of_method in agreed.values() for column in of_method.values())]
    distinct = list({column.tobytes(): column for column in columns}.values())
    number = {column.tobytes(): which for which, column in enumerate(distinct)}
    masks = MaskPairs(votes.where(*distinct), case.spacing, tolerance_mm)
    people = [number[column.tobytes()] for column in votes.patterns.T]

    directed: dict[tuple[int, int], PairMeasures] = {}
    unordered = list(itertools.combinations(range(len(names)), 2))
    for a, b in _watched(_to_and_fro(len(names)), progress.part(0.0, 0.5), "Comparing the raters"):
        directed[a, b] = masks.pair(people[a], people[b])
        directed[b, a] = masks.pair(people[b], people[a])
    tested = [(method, who) for who in range(len(names)) for method in METHODS if who in agreed[method]]
    consensus: dict[str, dict[str, PairMeasures]] = {method: {} for method in METHODS}
    for method, who in _watched(tested, progress.part(0.5, 0.9), "Comparing with the consensus"):
        consensus[method][names[who]] = masks.pair(number[agreed[method][who].tobytes()], people[who])
    corner, majority = tuple(axis.start for axis in votes.box), agreed["majority"]
    model_slices = {}
    if case.model:
        rows = masks.slices(number[majority[n_raters].tobytes()], people[n_raters])
        model_slices = {corner[0] + row.pop("slice"): row for row in rows}
    tumors = {}
    asked = [n_raters] if case.model else list(majority)
    for who in _watched(asked, progress.part(0.9, 1.0), "Matching the tumors"):
        reference, own = votes.where(majority[who], votes.patterns[:, who])
        known = consensus["majority"][names[who]]
        tumors[names[who]] = match_lesions(reference, own, case.spacing, tolerance_mm, corner, known)

    matrices = {name: _matrix(name, directed, votes) for name in MEASURES}
    counts = votes.counts.sum(axis=0)
    voxel_cc = math.prod(case.spacing) / 1000.0
    marks = votes.patterns[:, :n_raters]
    volumes = [float(counts @ column * voxel_cc) for column in votes.patterns.T]
    slices = slice_rows(votes, names, n_raters, case.spacing, model_slices)
    return Agreement(
        case=case.name,
        names=names,
        tolerance_mm=float(tolerance_mm),
        spacing=case.spacing,
        notes=_notes(case, votes),
        pairs=tuple(Pair(names[a], names[b], directed[a, b]) for a, b in unordered),
        raters=tuple(
            RaterRow(
                name, {key: Spread.of(_over_others(matrices[key], who, n_raters)) for key in MEASURES}, volumes[who]
            )
            for who, name in enumerate(names)
        ),
        spread={name: Spread.of(_between(name, matrices[name], n_raters)) for name in MEASURES},
        volume=Spread.of(volumes[:n_raters]),
        consensus=consensus,
        range=_range(names, n_raters, matrices, votes),
        slices=slices,
        worst=worst_first(slices),
        tumors=tumors,
        map=votes.count_map(slice(0, n_raters)),
        box=votes.box,
        full_cc=float(counts @ marks.all(axis=1) * voxel_cc),
        any_cc=float(counts @ marks.any(axis=1) * voxel_cc),
        _matrices=matrices,
    )


def _consensus(votes: VoteMap, method: Method, n_all: int, n_raters: int) -> dict[int, np.ndarray]:
    """For everybody, the patterns in the consensus of the other raters; nothing for a lone rater."""
    others = {who: [rater for rater in range(n_raters) if rater != who] for who in range(n_all)}
    return {who: chosen_patterns(votes, raters, method) for who, raters in others.items() if raters}


def _to_and_fro(count: int) -> list[tuple[int, int]]:
    """Every unordered pair once, so that each has a mask of one of the last few pairs, which is still prepared."""
    rows = [[(a, b) for b in range(a + 1, count)] for a in range(count)]
    return [pair for a, row in enumerate(rows) for pair in (row if a % 2 == 0 else reversed(row))]


def _watched(items: Sequence[_Item], progress: Progress, stage: str) -> Iterator[_Item]:
    """The items one by one, telling how far it is."""
    for done, item in enumerate(items):
        progress.stop_if_cancelled()
        progress(stage, done / len(items))
        yield item
    progress(stage, 1.0)


def _matrix(measure: str, directed: Mapping[tuple[int, int], PairMeasures], votes: VoteMap) -> np.ndarray:
    itself = 1.0 if MEASURES[measure].better == "high" else 0.0
    matrix = np.diag([itself if box is not None else math.nan for box in votes.boxes])
    for (a, b), measures in directed.items():
        matrix[a, b] = measures.values[measure]
    return matrix


def _over_others(matrix: np.ndarray, column: int, n_raters: int) -> np.ndarray:
    """The values of the tested ``column`` against every other rater."""
    return np.array([matrix[rater, column] for rater in range(n_raters) if rater != column])


def _between(measure: str, matrix: np.ndarray, n_raters: int) -> np.ndarray:
    """A measure of all pairs of raters; both directions of a directional one."""
    chosen = ~np.eye(n_raters, dtype=bool)
    if MEASURES[measure].symmetric:
        chosen = np.triu(chosen)
    return matrix[:n_raters, :n_raters][chosen]


def _range(
    names: Sequence[str], n_raters: int, matrices: Mapping[str, np.ndarray], votes: VoteMap
) -> RangeAnswer | None:
    if len(names) == n_raters:
        return None
    sided = {name: matrices[name][:n_raters] for name, measure in MEASURES.items() if measure.better}
    model, raters = ({name: rows[:, of] for name, rows in sided.items()} for of in (n_raters, slice(n_raters)))
    silent = [name for name, box in zip(names, votes.boxes[:n_raters], strict=False) if box is None]
    return within_raters_range(names[:n_raters], model, raters, silent)


def _notes(case: RatedCase, votes: VoteMap) -> tuple[str, ...]:
    """The case's sentences, everybody's own, and those on what the masks themselves tell."""
    notes = list(case.notes)
    names = ["the model" if delineation.name == MODEL else delineation.name for delineation in case.all]
    for delineation in case.all:
        who = "The model" if delineation.name == MODEL else delineation.name
        notes += [f"{who}: {note}" for note in delineation.notes]
    empty = [name for name, box in zip(names, votes.boxes, strict=True) if box is None]
    if len(empty) == len(case.all):
        notes.append("Nobody marked anything: there is nothing to agree on, and no measure has a value.")
    elif empty:
        notes.append(
            f"Nothing is marked by {', '.join(empty)}: against those who marked something DSC is 0 and distances are "
            "infinite, which no mean of distances contains; two empty ones have no value. What is left out is counted."
        )
    marks = votes.patterns.T
    for a, b in itertools.combinations(range(len(marks)), 2):
        if votes.boxes[a] is not None and np.array_equal(marks[a], marks[b]):
            notes.append(
                f"{names[a]} and {names[b]} marked the very same voxels; if one file was given twice, "
                "leave one of them out, because it counts as two that agree perfectly."
            )
    if case.geometry.is_sheared:
        notes.append("The image's slices are sheared (a tilted gantry): distances are measured as if they were not.")
    if len(case.raters) == 1:
        notes.append("There is one rater only: raters have no spread, and the model no range to be within.")
    return tuple(notes)
