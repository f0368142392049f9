"""Delineations of one structure by several raters and by the model, on one grid: what all measures start from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..base.errors import InputError
from .volume import Geometry

MODEL = "candidate"
"""The model's name in tables; no rater may have it."""


@dataclass(frozen=True)
class Delineation:
    """What one rater, or the model, marked.

    Attributes:
        name: the rater's name as given, any text; :data:`MODEL` for the model.
        mask: bool (z, y, x) on the case's grid.
        segment: the segment's name where it came from, or "".
        source: ``segmentation``, ``labelmap``, ``DICOM SEG``, ``RTSTRUCT`` or ``scene``.
        notes: sentences on what was done to it (brought to another grid, contours that were closed, ...).
    """

    name: str
    mask: np.ndarray
    segment: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is marked."""
        return not self.mask.any()


@dataclass(frozen=True)
class RatedCase:
    """One image and who marked what on it.

    Attributes:
        name: the case's name; "" where there is only one.
        geometry: the grid of all masks.
        raters: in the order given; any number from one.
        model: the model's delineation, or None.
        image: the image (z, y, x) for pictures, or None.
        notes: sentences on the case as a whole.

    Raises:
        InputError: no rater, a name twice or empty, a rater called ``candidate``, or a mask that is not on the grid.
    """

    name: str
    geometry: Geometry
    raters: tuple[Delineation, ...]
    model: Delineation | None = None
    image: np.ndarray | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.raters:
            raise InputError("There is nobody to compare with; name at least one rater.")
        names = [rater.name for rater in self.raters]
        for name in names:
            if not name.strip():
                raise InputError("A rater has no name; give each one a name.")
            if names.count(name) > 1:
                raise InputError(f"Two raters are called '{name}'; give each one a name of its own.")
            if name == MODEL:
                raise InputError(f"No rater can be called '{MODEL}', which stands for the model; rename them.")
        for delineation in self.all:
            if delineation.mask.shape != self.geometry.size[::-1]:
                raise InputError(
                    f"The mask of '{delineation.name}' has the shape {delineation.mask.shape}, not the image's "
                    f"{self.geometry.size[::-1]}; bring it to the image's grid first."
                )

    @property
    def all(self) -> tuple[Delineation, ...]:
        """The raters, then the model if there is one."""
        return (*self.raters, self.model) if self.model else self.raters

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing along z, y, x in mm, in the arrays' order."""
        return self.geometry.spacing[::-1]
