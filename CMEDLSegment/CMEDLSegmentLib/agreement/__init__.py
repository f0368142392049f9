"""How far delineations of one tumor agree; scipy and scikit-image are imported on first use."""

from .consensus import consensus_mask
from .delineation import CANDIDATE, Delineation, RatedCase
from .distances import dice
from .measures import MEASURES, Masks, Measure, PairMeasures, compare, measure
from .pooling import CohortAgreement, pool
from .raters import Agreement, Pair, RaterRow, analyse
from .statistics import RangeAnswer, Spread
from .tumors import TumorMatch, match

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
