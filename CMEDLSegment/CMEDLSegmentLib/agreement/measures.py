"""All measures of the agreement of two masks on one grid, by name, with the definitions that every output prints.

Empty masks, everywhere. With *both* empty there is nothing to agree on and each measure is NaN, so that no mean is
flattered unnoticed. With *one* empty the shares of overlap (Dice, surface Dice, Jaccard) are 0 and the distances
infinite; sensitivity is undefined (NaN) without a reference, precision without a tested mask, the relative volume
difference without a reference. :attr:`PairMeasures.empty` says which was empty: whoever takes a mean leaves out what
has no finite value and states how many those were.

In directional measures ``a`` is the reference and ``b`` is tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .distances import Outlines, Surface, SurfaceDistances, between, checked_masks, checked_spacing, union_box

TOLERANCE_MM = 2.0
"""Of the surface Dice, where none is asked for."""


@dataclass(frozen=True)
class Measure:
    """What a measure is called and means.

    Attributes:
        name: its key in tables and JSON.
        title: its name for people.
        unit: ``mm``, ``cc`` or "".
        better: ``high`` or ``low``, which of two values is the better agreement; "" where neither is, because it has
            a sign.
        symmetric: whether exchanging the masks leaves it as it is.
        definition: one sentence, printed with every output.
    """

    name: str
    title: str
    unit: str
    better: str
    symmetric: bool
    definition: str


_ELEMENTS = "a surface element sits at each voxel corner, as large as the marching-cubes surface there"

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("dsc", "Dice", "", "high", True, "Dice similarity coefficient: 2 |a and b| / (|a| + |b|)."),
        Measure(
            "surface_dice",
            "Surface Dice",
            "",
            "high",
            True,
            "Share of both surfaces' area that lies within the tolerance of the other surface (Nikolov et al. 2021); "
            f"{_ELEMENTS}.",
        ),
        Measure(
            "hd95_mm",
            "HD95",
            "mm",
            "low",
            True,
            "The larger of the two directed 95th percentiles of the distances from one surface to the nearest element "
            "of the other, weighted by area.",
        ),
        Measure(
            "assd_mm",
            "ASSD",
            "mm",
            "low",
            True,
            "Average symmetric surface distance: the mean of the distances from each surface to the other, over the "
            "area of both surfaces together.",
        ),
        Measure("jaccard", "Jaccard", "", "high", True, "Jaccard index: |a and b| / |a or b|."),
        Measure(
            "sensitivity", "Sensitivity", "", "high", False, "Share of the reference that is marked: |a and b| / |a|."
        ),
        Measure(
            "precision", "Precision", "", "high", False, "Share of what is marked that is reference: |a and b| / |b|."
        ),
        Measure(
            "volume_difference_cc",
            "Volume difference",
            "cc",
            "",
            False,
            "Volume of the tested mask less that of the reference: |b| - |a|.",
        ),
        Measure(
            "relative_volume_difference",
            "Relative volume difference",
            "",
            "",
            False,
            "Volume difference as a share of the reference's volume: (|b| - |a|) / |a|.",
        ),
        Measure(
            "hd_mm",
            "HD",
            "mm",
            "low",
            True,
            "Hausdorff distance: the largest distance from an element of one surface to the nearest of the other.",
        ),
        Measure(
            "added_path_length_mm",
            "Added path length",
            "mm",
            "low",
            False,
            "Length of contour that has to be drawn (Vaassen et al. 2020): the pixels of the reference's axial "
            "contours that are no contour pixels of the tested mask, each counted as long as a pixel is wide; a "
            "contour pixel has one of its four neighbours outside.",
        ),
        Measure(
            "centroid_distance_mm",
            "Centroid distance",
            "mm",
            "low",
            True,
            "Distance between the two masks' centres of mass.",
        ),
        Measure(
            "hd95_pooled_mm",
            "HD95, pooled",
            "mm",
            "low",
            True,
            "The 95th percentile of both directions' surface distances taken together, weighted by area.",
        ),
        Measure(
            "hd95_unweighted_mm",
            "HD95, unweighted",
            "mm",
            "low",
            True,
            "The larger of the two directed 95th percentiles of the surface distances, each element counted once.",
        ),
        Measure(
            "assd_unweighted_mm",
            "ASSD, unweighted",
            "mm",
            "low",
            True,
            "The mean of the surface distances of both directions taken together, each element counted once.",
        ),
        Measure(
            "masd_mm",
            "Mean of directed averages",
            "mm",
            "low",
            True,
            "The mean of the two directed average surface distances, each weighted by area.",
        ),
    )
}
"""All measures by name, in the order of the tables; the last four are variants of those above."""


@dataclass(frozen=True)
class PairMeasures:
    """The measures of a pair of masks.

    Attributes:
        values: a value of each of :data:`MEASURES`; NaN or infinite where it has none.
        volume_a_cc, volume_b_cc: the masks' volumes.
        tolerance_mm: of the surface Dice.
        empty: ``a``, ``b`` or ``both``, whichever was empty, or "".
    """

    values: dict[str, float]
    volume_a_cc: float
    volume_b_cc: float
    tolerance_mm: float
    empty: str = ""


class Masks:
    """Masks on one grid that are compared with each other, each prepared once for all pairs and measures.

    Attributes:
        box: slices (z, y, x) of the box around all masks in the whole array; None if nothing is marked.
        spacing: (z, y, x) in mm.
        tolerance_mm: of the surface Dice.
    """

    def __init__(
        self, masks: Sequence[np.ndarray], spacing_zyx_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
    ) -> None:
        """Take the masks (z, y, x); non-zero is inside.

        Raises:
            InputError: they differ in shape, are not 3-D, or the spacing is not three positive numbers.
        """
        masks = checked_masks(masks)
        self.spacing = checked_spacing(spacing_zyx_mm)
        self.tolerance_mm = float(tolerance_mm)
        self.box = union_box(masks)
        box = self.box or (slice(0, 0),) * 3
        self._masks = [mask[box] != 0 for mask in masks]
        self._voxels = [int(np.count_nonzero(mask)) for mask in self._masks]
        self._surfaces: dict[int, Surface] = {}

    def pair(self, a: int, b: int) -> PairMeasures:
        """All measures of the masks number ``a``, the reference, and ``b``, which is tested against it."""
        mine, other = self._voxels[a], self._voxels[b]
        volumes = [voxels * math.prod(self.spacing) / 1000.0 for voxels in (mine, other)]
        empty = {(True, True): "both", (True, False): "a", (False, True): "b"}.get((not mine, not other), "")
        if empty == "both":
            return PairMeasures(dict.fromkeys(MEASURES, math.nan), *volumes, self.tolerance_mm, empty)
        both = int(np.count_nonzero(self._masks[a] & self._masks[b]))
        distances = self.distances(a, b)
        values = {
            "dsc": 2.0 * both / (mine + other),
            "surface_dice": distances.surface_dice(self.tolerance_mm),
            "hd95_mm": distances.hausdorff(95.0),
            "assd_mm": distances.average(),
            "jaccard": both / (mine + other - both),
            "sensitivity": both / mine if mine else math.nan,
            "precision": both / other if other else math.nan,
            "volume_difference_cc": volumes[1] - volumes[0],
            "relative_volume_difference": (other - mine) / mine if mine else math.nan,
            "hd_mm": distances.hausdorff(),
            "added_path_length_mm": self._added_path(a, b),
            "centroid_distance_mm": self._centroid_distance(a, b),
            "hd95_pooled_mm": distances.pooled(95.0),
            "hd95_unweighted_mm": distances.hausdorff(95.0, weighted=False),
            "assd_unweighted_mm": distances.average(weighted=False),
            "masd_mm": distances.mean_of_averages(),
        }
        return PairMeasures(values, *volumes, self.tolerance_mm, empty)

    def distances(self, a: int, b: int) -> SurfaceDistances:
        """The distances between the surfaces of the masks number ``a`` and ``b``."""
        return between(self._surface(a), self._surface(b))

    def slices(self, a: int, b: int) -> list[dict[str, float]]:
        """Measures of each axial slice on which either of two masks marks something, in rising order.

        Each has ``slice`` (its index in the whole array), ``dsc``, ``area_a_mm2``, ``area_b_mm2``,
        ``disagreement_mm2`` (the area that one of the two marks), ``added_path_length_mm``, and ``hd_mm``, the
        Hausdorff distance in the slice between the corners of pixels that the contours pass through; infinite where
        one marks nothing.
        """
        if self.box is None:
            return []
        mine, other = self._masks[a], self._masks[b]
        areas = [np.count_nonzero(mask, axis=(1, 2)) for mask in (mine, other)]
        both = np.count_nonzero(mine & other, axis=(1, 2))
        added = np.count_nonzero(_contour(mine) & ~_contour(other), axis=(1, 2))
        outlines = [Outlines(mask, self.spacing) for mask in (mine, other)]
        farthest = np.maximum(outlines[0].farthest(outlines[1]), outlines[1].farthest(outlines[0]))
        pixel = self.spacing[1] * self.spacing[2]
        first = self.box[0].start
        return [
            {
                "slice": first + z,
                "dsc": float(2 * both[z] / (areas[0][z] + areas[1][z])),
                "area_a_mm2": float(areas[0][z] * pixel),
                "area_b_mm2": float(areas[1][z] * pixel),
                "disagreement_mm2": float((areas[0][z] + areas[1][z] - 2 * both[z]) * pixel),
                "hd_mm": float(farthest[z]),
                "added_path_length_mm": float(added[z] * math.sqrt(pixel)),
            }
            for z in np.flatnonzero(areas[0] + areas[1]).tolist()
        ]

    def _surface(self, number: int) -> Surface:
        if number not in self._surfaces:
            self._surfaces[number] = Surface(self._masks[number], self.spacing)
        return self._surfaces[number]

    def _added_path(self, a: int, b: int) -> float:
        added = np.count_nonzero(_contour(self._masks[a]) & ~_contour(self._masks[b]))
        return float(added) * math.sqrt(self.spacing[1] * self.spacing[2])

    def _centroid_distance(self, a: int, b: int) -> float:
        if not self._voxels[a] or not self._voxels[b]:
            return math.inf
        return math.dist(_centroid(self._masks[a], self.spacing), _centroid(self._masks[b], self.spacing))


def measure(
    a: np.ndarray, b: np.ndarray, spacing_zyx_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> PairMeasures:
    """All measures of one pair of 3-D masks: the reference ``a`` and the tested ``b`` (non-zero is inside).

    Raises:
        InputError: as :class:`Masks`.
    """
    return Masks((a, b), spacing_zyx_mm, tolerance_mm).pair(0, 1)


def compare(
    a: np.ndarray, b: np.ndarray, spacing: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> dict[str, float]:
    """The few figures by which a run's result is judged, as one table's row, of :func:`measure`'s.

    Returns ``dsc``, ``surface_dice``, ``hd95_mm``, ``volume_a_cc``, ``volume_b_cc`` and the ``tolerance_mm``
    that the surface Dice is meaningless without. Values can be NaN or infinite (see the module's note on empty
    masks); JSON knows neither, so whoever writes JSON writes null for them.

    Raises:
        InputError: as :class:`Masks`.
    """
    found = measure(a, b, spacing, tolerance_mm)
    return {
        **{name: found.values[name] for name in ("dsc", "surface_dice", "hd95_mm")},
        "volume_a_cc": found.volume_a_cc,
        "volume_b_cc": found.volume_b_cc,
        "tolerance_mm": found.tolerance_mm,
    }


def _contour(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask (z, y, x) with one of their four neighbours in the slice outside, or beyond the edge."""
    inner = mask.copy()
    for axis in (1, 2):
        along = np.moveaxis(mask, axis, 0)
        kept = np.moveaxis(inner, axis, 0)
        kept[1:] &= along[:-1]
        kept[:-1] &= along[1:]
        kept[[0, -1]] = False
    return mask & ~inner


def _centroid(mask: np.ndarray, spacing: Sequence[float]) -> tuple[float, ...]:
    """Centre of mass of a mask that is not empty, in mm from the array's first voxel."""
    counts = [np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return tuple(
        float(count @ np.arange(len(count)) / count.sum()) * step for count, step in zip(counts, spacing, strict=True)
    )
