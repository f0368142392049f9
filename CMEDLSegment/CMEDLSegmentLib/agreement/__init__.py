"""How far delineations of one tumor agree; scipy and scikit-image are imported on first use."""

from ..io.delineation import CANDIDATE, Delineation, RatedCase
from ..metrics.lesions import TumorMatch, match
from ..metrics.measures import MEASURES, Masks, Measure, PairMeasures, compare, measure
from ..metrics.statistics import RangeAnswer, Spread
from ..metrics.surface_distance import dice
from .cohort_agreement import CohortAgreement, pool
from .consensus import consensus_mask
from .raters import Agreement, Pair, RaterRow, analyse

__all__ = [
    "CANDIDATE",
    "MEASURES",
    "Agreement",
    "CohortAgreement",
    "Delineation",
    "Masks",
    "Measure",
    "Pair",
    "PairMeasures",
    "RangeAnswer",
    "RatedCase",
    "RaterRow",
    "Spread",
    "TumorMatch",
    "analyse",
    "compare",
    "consensus_mask",
    "dice",
    "match",
    "measure",
    "pool",
]
