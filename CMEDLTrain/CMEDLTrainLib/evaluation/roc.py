"""The receiver operating characteristic of a student's voxels (Fig. 4), at a memory that no cohort changes.

Probabilities come in half precision, of which there are 15,361 from 0 to 1. So they are counted, not kept: one count
for each of these numbers, of voxels inside and outside the expert's contour. The curve and its area are exact for
probabilities so rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = int(np.float16(1.0).view(np.uint16)) + 1
"""Half-precision numbers from 0 to 1. Their bit patterns, read as whole numbers, rise with them."""

MOST_POINTS = 200
"""Of a curve as it is stored and drawn; the area is that of the whole curve."""

RATES = tuple((np.linspace(0.0, 1.0, 64) ** 3).tolist())
"""False-positive rates at which curves of several patients are averaged, densest where a small structure's rises."""


@dataclass(frozen=True)
class Roc:
    """A curve.

    Attributes:
        auc: the area under it, which is the chance that a voxel inside the expert's contour has a higher probability
            than one outside, a tie counting one half (the rank statistic of Mann and Whitney); None where there are
            no voxels inside, or none outside.
        points: (share of outside voxels marked, share of inside voxels marked) at falling thresholds, from (0, 0) to
            (1, 1); empty where there is no area.
    """

    auc: float | None
    points: tuple[tuple[float, float], ...]


class RocCounts:
    """Voxels counted by probability, inside and outside the expert's contour."""

    def __init__(self) -> None:
        self._inside = np.zeros(BINS, np.int64)
        self._outside = np.zeros(BINS, np.int64)

    def add(self, probability: np.ndarray, inside: np.ndarray) -> None:
        """Count voxels: their probability, 0 to 1, and whether the expert marked them, bool of the same shape."""
        places = probability.astype(np.float16).view(np.uint16)
        marked = np.bincount(places[inside], minlength=BINS)
        self._inside += marked
        self._outside += np.bincount(places.ravel(), minlength=BINS) - marked

    def merge(self, other: RocCounts) -> None:
        """Count what another has counted."""
        self._inside += other._inside
        self._outside += other._outside

    def curve(self) -> Roc:
        """The curve of all voxels counted so far."""
        corners = self._corners()
        if corners is None:
            return Roc(None, ())
        x, y = corners
        auc = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
        along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        # Points at equal distances along the curve: most thresholds lie where it does not move.
        chosen = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], MOST_POINTS)))
        return Roc(auc, tuple(zip(x[chosen].tolist(), y[chosen].tolist(), strict=True)))

    def sensitivities(self) -> tuple[float, ...]:
        """The curve's height at each of :data:`RATES`, the upper end where it is upright; empty where there is none."""
        corners = self._corners()
        if corners is None:
            return ()
        # Of several heights at one rate numpy takes the last, which is the upper end.
        return tuple(np.round(np.interp(RATES, *corners), 5).tolist())

    def _corners(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Shares of outside and of inside voxels marked at falling thresholds, from (0, 0); None where one is empty."""
        marked = [np.cumsum(counts[::-1], dtype=float) for counts in (self._outside, self._inside)]
        if not all(counts[-1] for counts in marked):
            return None
        x, y = (np.concatenate([[0.0], counts / counts[-1]]) for counts in marked)
        return x, y
