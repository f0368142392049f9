"""Procedural phantoms for demonstrations and tests: thorax in CT and T2-like MR, abdomen, raters, cohorts."""

from .abdomen import ORGANS, abdomen
from .raters import PANEL, Rater, panel, raters
from .result import Phantom
from .thorax import thorax_ct, thorax_mr
from .writing import write_cohort_phantoms, write_phantom

__all__ = [
    "ORGANS",
    "PANEL",
    "Phantom",
    "Rater",
    "abdomen",
    "panel",
    "raters",
    "thorax_ct",
    "thorax_mr",
    "write_cohort_phantoms",
    "write_phantom",
]
