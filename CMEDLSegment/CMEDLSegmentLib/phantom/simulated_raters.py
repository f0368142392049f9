"""Several raters of one truth, each with habits of their own that stay the same from case to case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..base.boxes import bounding_box

Mask = NDArray[np.uint8]
REACH_MM = 14.0
"""How far from the truth a rater draws at most."""


@dataclass(frozen=True)
class Rater:
    """A rater's habits. Lengths in mm; a positive margin draws outside the truth."""

    name: str
    margin: float
    """Systematic over- (+) or under-contouring (-)."""
    smooth: float
    """How far corners are rounded (one sigma)."""
    shift: tuple[float, float, float]
    """Systematic offset (z, y, x)."""
    jitter: float
    """Spread of the margin from slice to slice."""
    wander: float
    """Spread of the edge along a contour."""
    superior: float
    """How far the contour goes on beyond the truth's last slice (-: stops before)."""
    inferior: float
    """The same below its first slice."""

    def contour(self, truth: Mask, spacing: tuple[float, float, float], generator: np.random.Generator) -> Mask:
        """This rater's mask of a truth (z, y, x) at a spacing (z, y, x) mm; empty where the truth is."""
        result, step = np.zeros(truth.shape, dtype=np.uint8), np.array(spacing)
        around = bounding_box(truth)
        if around is None:
            return result
        reach = np.ceil(REACH_MM / step).astype(int)
        box = tuple(
            slice(max(0, part.start - more), part.stop + more) for part, more in zip(around, reach, strict=True)
        )
        inside = truth[box] > 0
        distance = ndimage.distance_transform_edt(~inside, sampling=step)
        distance -= ndimage.distance_transform_edt(inside, sampling=step)
        distance += np.where(inside, 0.5, -0.5) * step[1:].mean()
        distance = ndimage.gaussian_filter(distance, (0.0, *(self.smooth / step[1:])))
        distance = ndimage.shift(distance, np.array(self.shift) / step, order=1, mode="nearest")
        wander = ndimage.gaussian_filter(generator.standard_normal(distance.shape), 6.0 / step)
        wander *= self.wander / max(float(wander.std()), 1e-9)
        jitter = generator.normal(0, self.jitter, (distance.shape[0], 1, 1))
        drawn = distance < self.margin + wander + jitter
        rows = np.flatnonzero(inside.any(axis=(1, 2)))
        first = int(rows[0] - np.rint(self.inferior / step[0]))
        last = int(rows[-1] + np.rint(self.superior / step[0]))
        middle = int(rows[len(rows) // 2])
        if first > last:
            first = last = middle
        for ends, edge in ((range(first, rows[0]), rows[0]), (range(rows[-1] + 1, last + 1), rows[-1])):
            # Where there is no tumor the rater goes on with a smaller outline of the end slice.
            flat = ndimage.distance_transform_edt(inside[edge], sampling=step[1:])
            for index in ends:
                if 0 <= index < len(drawn):
                    gone = abs(index - edge) * step[0]
                    drawn[index] = flat > min(0.5 * gone - self.margin, 0.8 * flat.max())
        drawn[: max(first, 0)] = False
        drawn[last + 1 :] = False
        if not drawn.any():
            drawn[middle] = inside[middle]
        result[box] = drawn
        return result


PANEL = (
    Rater("Rater 1", 0.3, 1.0, (0.0, 0.3, -0.2), 0.3, 0.5, 0.0, 0.0),
    Rater("Rater 2", 1.3, 1.6, (0.0, 0.0, 0.4), 0.4, 0.6, 3.0, 3.0),
    Rater("Rater 3", -1.0, 1.2, (0.0, -0.2, 0.0), 0.4, 0.5, -3.0, 0.0),
    Rater("Rater 4", 0.6, 0.6, (0.0, 0.9, 1.1), 1.0, 1.0, 0.0, -3.0),
)
"""The first four raters: near the truth; generous; tight; careless."""


def panel(n: int, seed: int = 0) -> list[Rater]:
    """``n`` raters: the four of ``PANEL``, then ones drawn by the seed, named "Rater 5" and on."""
    generator = np.random.default_rng([seed, 77])
    drawn = []
    for number in range(len(PANEL) + 1, n + 1):
        y, x = generator.normal(0, 0.5, 2)
        drawn.append(
            Rater(
                f"Rater {number}",
                margin=float(generator.normal(0.3, 0.9)),
                smooth=float(generator.uniform(0.5, 2.0)),
                shift=(0.0, float(y), float(x)),
                jitter=float(generator.uniform(0.2, 0.8)),
                wander=float(generator.uniform(0.4, 0.9)),
                superior=float(generator.choice([-3.0, 0.0, 3.0])),
                inferior=float(generator.choice([-3.0, 0.0, 3.0])),
            )
        )
    return [*PANEL[:n], *drawn]


def raters(truth: Mask, spacing: tuple[float, float, float], n: int = 4, seed: int = 0) -> dict[str, Mask]:
    """Masks of ``n`` raters of one truth by name, "Rater 1" first.

    Args:
        truth: the expert's mask (z, y, x).
        spacing: mm (z, y, x).
        n: number of raters.
        seed: chance of this case; habits are the raters' own (see ``panel``).
    """
    return {
        rater.name: rater.contour(truth, spacing, np.random.default_rng([seed, number]))
        for number, rater in enumerate(panel(n), start=1)
    }
