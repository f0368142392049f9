"""The air-filled regions of a CT's slices: what each of them is, and which of them make up the lungs.

``lungs.py`` feeds this one slice after the other; see there for the rule. All that is kept of a slice is a
row of figures per region, and which regions of neighboring slices lie over each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics.connected_components import group_linked

AIR_HU = -300.0
"""The paper's threshold: what is darker is air or lung."""
GAS_HU = -940.0
"""A region whose inner mean is darker is gas. On msd_lung large lung regions are above -925, bowel below -970."""
SMALL_GAS_HU = -920.0
"""The same for a region under LARGE_MM2, which partial volume brightens: tracheas are -990 to -920."""
AIRWAY_HU = -860.0
"""The same for a small region near the midline, where airways are and separate small pieces of lung are not."""
BOWEL_HU = -960.0
"""What continues a lung downwards is not lung if darker."""
CUT_LUNG_HU = -900.0
"""A region that reaches the edge of the image can only be lung if brighter; foam of a table is darker."""
LARGE_MM2 = 2000.0
AIRWAY_MM2 = 800.0
MIDLINE_MM = 30.0
SMALLEST_MM2 = 20.0
"""Smaller regions are noise: a tip of lung this small is within a slice or two of a larger piece."""
INNER_MM = 3.0
"""Partial volume reaches this deep into a region from its wall."""
INNER_PIXELS = 5
WALL_MM = 6.0
OUTLINE_OUTSIDE = 0.35
"""A region with this share of its outline within WALL_MM of outside air is in a table or clothes, not a chest."""
BODY_FILLS = 0.9
"""A slice with this share of its edge brighter than CUT_LUNG_HU is a cut-out of the body."""
FURTHER_CC = 10.0
FURTHER_SHARE = 0.1
"""Beside the largest group of regions others are lung from this volume or share of the largest on: the other lung,
a lobe cut off by effusion, slices far from the others. The second largest alone may be stool."""
OVERLAP = 0.5

GAS, SMALL, LUNG = 0, 1, 2
_FIGURES = ("slice", "area", "inner", "mean", "edge", "outside", "offset", "body", "y0", "y1", "x0", "x1")


class Regions:
    """The regions of a scan's slices.

    Args:
        shape: a slice's working pixels (y, x).
        pixel: working pixel (y, x) in mm.
        thickness: distance of slices in mm.
    """

    def __init__(self, shape: Sequence[int], pixel: Sequence[float], thickness: float) -> None:
        from scipy.ndimage import binary_dilation

        self._pixel = np.array(pixel, float)
        self._thickness = float(thickness)
        self._rows: list[np.ndarray] = [np.zeros((0, len(_FIGURES)), np.float32)]
        self._links: list[np.ndarray] = [np.zeros((0, 3), np.int64)]
        self._count = 0
        self._below = np.zeros(shape, np.int32)
        self._frame = np.ones(shape, bool)
        self._frame[1:-1, 1:-1] = False
        y, x = (np.linspace(-1, 1, n) * (n / (n + 3)) for n in shape)
        self._corners = y[:, None] ** 2 + x[None, :] ** 2 > 1
        self._rim = (binary_dilation(self._corners, iterations=2) | self._frame) & ~self._corners

    def add(self, index: int, hu: np.ndarray) -> None:
        """Take up slice ``index``: ``hu`` (y, x) float32 at the working pixel."""
        from scipy.ndimage import find_objects, label

        edge, beyond = self._edge(hu)
        regions, count = label((hu < AIR_HU) & ~beyond)
        areas = np.bincount(regions.ravel(), minlength=count + 1) * self._pixel.prod()
        kept = 1 + np.flatnonzero(areas[1:] >= SMALLEST_MM2)
        at_edge = np.zeros(count + 1, bool)
        at_edge[regions[edge]] = True
        number = np.zeros(count + 1, np.int32)
        number[kept] = np.arange(1, len(kept) + 1)
        labels = number[regions]
        rows = np.zeros((len(kept), len(_FIGURES)), np.float32)
        rows[:, 0], rows[:, 1], rows[:, 4] = index, areas[kept], at_edge[kept]
        rows[:, 2], rows[:, 3] = self._inside(hu, labels, len(kept))
        rows[:, 5] = self._outline_outside(labels, at_edge[kept])
        rows[:, 6] = self._offset(hu, labels, len(kept))
        rows[:, 7] = np.mean(hu[edge] > CUT_LUNG_HU) >= BODY_FILLS
        for row, (y, x) in zip(rows, find_objects(labels), strict=True):
            row[8:] = y.start, y.stop, x.start, x.stop
        self._rows.append(rows)
        self._link(labels, len(kept))

    def figures(self) -> dict[str, np.ndarray]:
        """Each figure of all regions, by name: ``slice``, ``area`` (mm^2), ``edge``, ``y0`` (working pixels), ..."""
        return dict(zip(_FIGURES, np.concatenate(self._rows).T, strict=True))

    def kinds(self) -> np.ndarray:
        """GAS, SMALL (too thin to tell) or LUNG for each region, by what fills it away from its walls."""
        table = self.figures()
        limit = np.where(table["area"] < LARGE_MM2, SMALL_GAS_HU, GAS_HU)
        midline = (np.abs(table["offset"]) < MIDLINE_MM) & (table["area"] < AIRWAY_MM2)
        filled = np.where(table["mean"] < np.where(midline, AIRWAY_HU, limit), GAS, LUNG)
        return np.where(table["inner"] < INNER_PIXELS, SMALL, filled)

    def lungs(self) -> np.ndarray:
        """Whether each region belongs to the lungs; none does where there are no lungs."""
        table, kind = self.figures(), self.kinds()
        edge = table["edge"] > 0
        within = ~edge & (table["outside"] < OUTLINE_OUTSIDE)
        cut = edge & (kind == LUNG) & (table["mean"] > CUT_LUNG_HU)
        links = np.concatenate(self._links)
        accepted = self._largest(table["area"], kind == LUNG, within & (kind != GAS) | cut & (table["body"] > 0), links)
        # Bullae and over-inflated recesses look like gas. They are lung where they continue lung and are no
        # airway; the darkest only upwards, for below a lung lie stomach and colon.
        continuing = within & ((np.abs(table["offset"]) > MIDLINE_MM) | (table["area"] > AIRWAY_MM2))
        recess = continuing & (table["mean"] > BOWEL_HU)
        lower, upper, overlap = links.T
        shared = overlap * self._pixel.prod()
        over_lower, over_upper = (shared >= OVERLAP * table["area"][end] for end in (lower, upper))
        while True:
            grown = accepted.copy()
            grown[upper[accepted[lower] & continuing[upper] & over_upper]] = True
            grown[lower[accepted[upper] & recess[lower] & over_lower]] = True
            # Lung that widens beyond the field of view from one slice to the next is lung still.
            grown[upper[accepted[lower] & cut[upper] & over_upper]] = True
            grown[lower[accepted[upper] & cut[lower] & over_lower]] = True
            if (grown == accepted).all():
                return accepted
            accepted = grown

    def _largest(self, area: np.ndarray, is_lung: np.ndarray, possible: np.ndarray, links: np.ndarray) -> np.ndarray:
        """The two largest groups of possible regions joined from slice to slice, and others of some volume."""
        joined = links[possible[links[:, 0]] & possible[links[:, 1]]]
        count, group = group_linked(joined[:, :2].T, len(area))
        volume = np.bincount(group, area * (is_lung & possible), minlength=count) * self._thickness / 1000
        chosen = volume >= min(FURTHER_CC, FURTHER_SHARE * volume.max(initial=0.0))
        return possible & (chosen & (volume > 0))[group]

    def _edge(self, hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the pixels at the edge of what was imaged, and of those beyond it.

        The edge is the image's, or that of the round field of reconstruction in it: scanners fill the corners
        with some constant (-1024, -2000, -3024, 0) that says nothing about the patient.
        """
        filling = hu[self._corners]
        if len(filling) and filling.min() == filling.max():
            return self._rim, self._corners
        return self._frame, np.zeros_like(self._corners)

    def _inside(self, hu: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """How many pixels of each region are away from its walls, and their mean HU."""
        steps = np.maximum(1, np.rint(INNER_MM / self._pixel)).astype(int)
        inner = ~_spread(labels == 0, steps)
        inside, values = labels[inner], hu[inner]
        number = np.bincount(inside, minlength=count + 1)[1:]
        total = np.bincount(inside, values, minlength=count + 1)[1:]
        return number, total / np.maximum(number, 1)

    def _outline_outside(self, labels: np.ndarray, at_edge: np.ndarray) -> np.ndarray:
        """The share of each region's outline that is within WALL_MM of air that reaches the edge."""
        near = _spread(np.concatenate([[False], at_edge])[labels], np.rint(WALL_MM / self._pixel).astype(int))
        outline = _spread(labels == 0, np.array([1, 1]))
        whole = np.bincount(labels[outline], minlength=len(at_edge) + 1)[1:]
        return np.bincount(labels[outline & near], minlength=len(at_edge) + 1)[1:] / np.maximum(whole, 1)

    def _offset(self, hu: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
        """How far each region's center is from the body's midline in x (mm)."""
        weight = np.cumsum(np.count_nonzero(hu >= AIR_HU, axis=0))
        midline = np.searchsorted(weight, weight[-1] / 2)
        inside = np.flatnonzero(labels)
        regions = labels.ravel()[inside]
        total = np.bincount(regions, inside % labels.shape[1], minlength=count + 1)[1:]
        return (total / np.bincount(regions, minlength=count + 1)[1:] - midline) * self._pixel[1]

    def _link(self, labels: np.ndarray, count: int) -> None:
        """Note which of this slice's regions lie over which of the slice before, and on how many pixels."""
        both = (labels > 0) & (self._below > 0)
        pairs = np.bincount(self._below[both].astype(np.int64) * (count + 1) + labels[both])
        occurring = np.flatnonzero(pairs)
        below, here = np.divmod(occurring, count + 1)
        before = self._count - (int(self._below.max()) if self._below.size else 0)
        self._links.append(np.stack([before + below - 1, self._count + here - 1, pairs[occurring]], axis=1))
        self._below = labels
        self._count += count


def _spread(mask: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """A mask grown by ``steps`` pixels in y and x; nothing comes in from beyond the image."""
    grown = mask
    for axis in (0, 1):
        source, grown = grown, grown.copy()
        for step in range(1, min(int(steps[axis]), mask.shape[axis] - 1) + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= source[tuple(behind)]
            grown[tuple(behind)] |= source[tuple(ahead)]
    return grown
