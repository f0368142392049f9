"""How far delineations of one tumour agree; scipy and scikit-image are imported on first use."""

from .distances import SurfaceDistances, dice, surface_distances
from .measures import MEASURES, Masks, Measure, PairMeasures, compare, measure
from .tumors import TumorMatch, match

__all__ = [
    "MEASURES",
    "Masks",
    "Measure",
    "PairMeasures",
    "SurfaceDistances",
    "TumorMatch",
    "compare",
    "dice",
    "match",
    "measure",
    "surface_distances",
]
