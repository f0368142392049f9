"""Procedural phantoms for demonstrations and tests: thorax in CT and T2-like MR, abdomen, raters, cohorts."""

from .raters import Rater, panel, raters
from .result import Phantom
from .thorax import thorax_ct, thorax_mr

__all__ = ["Phantom", "Rater", "panel", "raters", "thorax_ct", "thorax_mr"]
