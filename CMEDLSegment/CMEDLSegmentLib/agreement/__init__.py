"""How far delineations of one tumor agree; scipy and scikit-image are imported on first use."""

from ..io.delineation import CANDIDATE, Delineation, RatedCase
from ..metrics.lesions import LesionMatch, match_lesions
from ..metrics.measures import MEASURES, MaskPairs, Measure, PairMeasures, compare, measure
from ..metrics.statistics import RangeAnswer, Spread
from ..metrics.surface_distance import dice
from .cohort_agreement import CohortAgreement, pool_agreements
from .consensus import consensus_mask
from .raters import Agreement, Pair, RaterRow, analyze

__all__ = [
    "CANDIDATE",
    "MEASURES",
    "Agreement",
    "CohortAgreement",
    "Delineation",
    "LesionMatch",
    "MaskPairs",
    "Measure",
    "Pair",
    "PairMeasures",
    "RangeAnswer",
    "RatedCase",
    "RaterRow",
    "Spread",
    "analyze",
    "compare",
    "consensus_mask",
    "dice",
    "match_lesions",
    "measure",
    "pool_agreements",
]
