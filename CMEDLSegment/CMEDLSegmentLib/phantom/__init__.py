"""Procedural phantoms for demonstrations and tests: thorax in CT and T2-like MR, abdomen, raters, cohorts."""

from .abdomen import ORGANS, abdomen
from .phantom_case import Phantom
from .phantom_files import write_cohort_phantoms, write_phantom
from .simulated_raters import PANEL, Rater, panel, raters
from .thorax import thorax_ct, thorax_mr

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
