"""All measures of the agreement of two masks on one grid, by name, with the definitions that every output prints.

Empty masks, everywhere. With *both* empty there is nothing to agree on and each measure is NaN, so that no mean is
flattered unnoticed. With *one* empty the shares of overlap (DSC, surface DSC, Jaccard) are 0 and the distances
infinite; sensitivity is undefined (NaN) without a reference, precision without a tested mask, the relative volume
difference without a reference. :attr:`PairMeasures.empty` says which was empty: whoever takes a mean leaves out what
has no finite value and states how many those were.

In directional measures ``a`` is the reference and ``b`` is tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..base.boxes import bounding_box, enclosing_box
from ..base.errors import InputError
from ..base.text import format_value
from .surface_distance import Grid, MaskSurface, check_masks, check_spacing, in_threads, surface_distances

TOLERANCE_MM = 2.0
"""Of the surface DSC, where none is asked for."""


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
        variant: whether it is another program's variant of one of the measures before, for comparison with its figures.
    """

    name: str
    title: str
    unit: str
    better: str
    symmetric: bool
    definition: str
    variant: bool = False

    def format(self, value: float, signed: bool = False, digits: int | None = None) -> str:
        """A value of it as people read it, without the unit; see :func:`format_value`."""
        return format_value(value, self.unit, signed, digits)

    def in_sentence(self, value: float, signed: bool = False) -> str:
        """A value of it for a sentence, with the unit."""
        return "infinite" if math.isinf(value) else f"{self.format(value, signed)} {self.unit}".rstrip()

    def title_at(self, tolerance_mm: float) -> str:
        """Its title with its unit, that of the surface DSC with the tolerance."""
        if self.name == "surface_dice":
            return f"{self.title} at {tolerance_mm:g} mm"
        return f"{self.title} ({self.unit})" if self.unit else self.title


_ELEMENTS = "a surface element sits at each voxel corner, as large as the marching-cubes surface there"
_BOUNDARY = "a boundary voxel has one of its six neighbors outside"

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("dsc", "DSC", "", "high", True, "Dice similarity coefficient: 2 |a and b| / (|a| + |b|)."),
        Measure(
            "surface_dice",
            "Surface DSC",
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
            "contours that are no contour pixels of the tested mask, each as long as the square root of its area; a "
            "contour pixel has one of its four neighbors outside.",
        ),
        Measure(
            "centroid_distance_mm",
            "Centroid distance",
            "mm",
            "low",
            True,
            "Distance between the two masks' centers of mass.",
        ),
        Measure(
            "hd95_pooled_mm",
            "HD95, pooled",
            "mm",
            "low",
            True,
            "The 95th percentile of both directions' surface distances taken together, weighted by area.",
            variant=True,
        ),
        Measure(
            "masd_mm",
            "Mean of directed averages",
            "mm",
            "low",
            True,
            "The mean of the two directed average surface distances, each weighted by area.",
            variant=True,
        ),
        Measure(
            "hd_unweighted_mm",
            "HD, voxels",
            "mm",
            "low",
            True,
            f"The largest distance from a boundary voxel of one mask to the nearest of the other; {_BOUNDARY}.",
            variant=True,
        ),
        Measure(
            "hd95_unweighted_mm",
            "HD95, unweighted",
            "mm",
            "low",
            True,
            "The larger of the two directed 95th percentiles, interpolated, of the distances from one mask's boundary "
            f"voxels to the nearest of the other, each counted once; {_BOUNDARY}.",
            variant=True,
        ),
        Measure(
            "hd95_pooled_unweighted_mm",
            "HD95, pooled and unweighted",
            "mm",
            "low",
            True,
            "The 95th percentile, interpolated, of the distances from both masks' boundary voxels to the nearest of "
            f"the other, taken together and each counted once; {_BOUNDARY}.",
            variant=True,
        ),
        Measure(
            "assd_unweighted_mm",
            "ASSD, unweighted",
            "mm",
            "low",
            True,
            "The mean of the distances from both masks' boundary voxels to the nearest of the other, each counted "
            f"once; {_BOUNDARY}.",
            variant=True,
        ),
    )
}
"""All measures by name, in the order of the tables: the fixed definitions, then the variants that others use."""


@dataclass(frozen=True)
class PairMeasures:
    """The measures of a pair of masks.

    Attributes:
        values: a value of each of :data:`MEASURES`; NaN or infinite where it has none.
        volume_a_cc, volume_b_cc: the masks' volumes.
        tolerance_mm: of the surface DSC.
        empty: ``a``, ``b`` or ``both``, whichever was empty, or "".
    """

    values: dict[str, float]
    volume_a_cc: float
    volume_b_cc: float
    tolerance_mm: float
    empty: str = ""


class MaskPairs:
    """Masks on one grid that are compared with each other, each prepared once for all pairs and measures.

    Attributes:
        box: slices (z, y, x) of the box around all masks in the whole array; None if nothing is marked.
        spacing: (z, y, x) in mm.
        tolerance_mm: of the surface DSC.
    """

    def __init__(
        self, masks: Sequence[np.ndarray], spacing_zyx_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
    ) -> None:
        """Take the masks (z, y, x); non-zero is inside.

        Raises:
            InputError: they differ in shape, are not 3-D, the spacing is not three positive numbers, or the tolerance
                is no distance.
        """
        masks = check_masks(masks)
        self.spacing = check_spacing(spacing_zyx_mm)
        self.tolerance_mm = float(tolerance_mm)
        if not 0.0 <= self.tolerance_mm < math.inf:
            raise InputError(f"The tolerance must be a distance in mm, 0 or more, not {tolerance_mm}.")
        voxels = masks[0].size if masks else 0
        self.box = enclosing_box(in_threads([partial(bounding_box, mask) for mask in masks], voxels))
        grid = Grid(self.box, self.spacing)
        self._first_slice = grid.box[0].start - grid.margin[0]
        self._masks = in_threads([partial(MaskSurface, mask, grid) for mask in masks], math.prod(grid.shape))
        self._symmetric: dict[tuple[int, int], dict[str, float]] = {}

    def pair(self, a: int, b: int) -> PairMeasures:
        """All measures of the masks number ``a``, the reference, and ``b``, which is tested against it."""
        mine, other = self._masks[a].voxels, self._masks[b].voxels
        volume_a, volume_b = (voxels * math.prod(self.spacing) / 1000.0 for voxels in (mine, other))
        empty = {(True, True): "both", (True, False): "a", (False, True): "b"}.get((not mine, not other), "")
        if empty == "both":
            return PairMeasures(dict.fromkeys(MEASURES, math.nan), volume_a, volume_b, self.tolerance_mm, empty)
        symmetric = self._both_ways(a, b)
        both = symmetric["shared"]
        values = {
            **symmetric,
            "sensitivity": both / mine if mine else math.nan,
            "precision": both / other if other else math.nan,
            "volume_difference_cc": volume_b - volume_a,
            "relative_volume_difference": (other - mine) / mine if mine else math.nan,
            "added_path_length_mm": float(len(self._added(a, b))) * self._pixel_mm,
        }
        return PairMeasures({name: values[name] for name in MEASURES}, volume_a, volume_b, self.tolerance_mm, empty)

    def slices(self, a: int, b: int) -> list[dict[str, float]]:
        """Measures of each axial slice on which either of two masks marks something, in rising order.

        Each has ``slice`` (its index in the whole array), ``dsc``, ``area_a_mm2``, ``area_b_mm2``,
        ``disagreement_mm2`` (the area that one of the two marks), ``added_path_length_mm``, and ``hd_mm``, the
        Hausdorff distance between the two masks' contour pixels in the slice; infinite where one marks nothing.
        """
        mask_a, mask_b = self._masks[a], self._masks[b]
        areas = [np.count_nonzero(mask.inside.view(bool), axis=(1, 2)) for mask in (mask_a, mask_b)]
        both = np.count_nonzero((mask_a.inside & mask_b.inside).view(bool), axis=(1, 2))
        plane = mask_a.inside[0].size
        added = np.bincount(self._added(a, b) // plane, minlength=len(both))
        farthest: np.ndarray = np.zeros(len(both))
        for here, there in ((mask_a.contours, mask_b.contours), (mask_b.contours, mask_a.contours)):
            order, distances = here.distances_to(there)
            # Of what goes to one place the last stays, which is the largest.
            directed = np.zeros(len(both))
            directed[here.places[order] // plane] = distances
            farthest = np.maximum(farthest, directed)
        pixel = self._pixel_mm**2
        return [
            {
                "slice": self._first_slice + z,
                "dsc": float(2 * both[z] / (areas[0][z] + areas[1][z])),
                "area_a_mm2": float(areas[0][z] * pixel),
                "area_b_mm2": float(areas[1][z] * pixel),
                "disagreement_mm2": float((areas[0][z] + areas[1][z] - 2 * both[z]) * pixel),
                "hd_mm": float(farthest[z]),
                "added_path_length_mm": float(added[z] * self._pixel_mm),
            }
            for z in np.flatnonzero(areas[0] + areas[1]).tolist()
        ]

    @property
    def _pixel_mm(self) -> float:
        """How wide a pixel is; of one that is not square, the side of the square as large."""
        return math.sqrt(self.spacing[1] * self.spacing[2])

    def _both_ways(self, a: int, b: int) -> dict[str, float]:
        """The voxels that both masks have, ``shared``, and the measures that do not depend on which is the reference.

        They are kept, because where there is a reference its exchange is asked for, too.
        """
        key = (min(a, b), max(a, b))
        if key not in self._symmetric:
            mask_a, mask_b = (self._masks[number] for number in key)
            shared = int(np.count_nonzero((mask_a.inside & mask_b.inside).view(bool)))
            self._symmetric[key] = {
                "shared": shared,
                "dsc": 2.0 * shared / (mask_a.voxels + mask_b.voxels),
                "jaccard": shared / (mask_a.voxels + mask_b.voxels - shared),
                **(_distances(mask_a, mask_b, self.tolerance_mm) if mask_a.voxels and mask_b.voxels else _INFINITE),
            }
        return self._symmetric[key]

    def _added(self, a: int, b: int) -> np.ndarray:
        """Places of the contour pixels of mask ``a`` that are no contour pixels of ``b``."""
        contours = self._masks[a].contours
        return contours.places[~self._masks[b].contours.on(contours.places)]


def measure(
    a: np.ndarray, b: np.ndarray, spacing_zyx_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> PairMeasures:
    """All measures of one pair of 3-D masks: the reference ``a`` and the tested ``b`` (non-zero is inside).

    Raises:
        InputError: as :class:`MaskPairs`.
    """
    return MaskPairs((a, b), spacing_zyx_mm, tolerance_mm).pair(0, 1)


def compare(
    a: np.ndarray, b: np.ndarray, spacing: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> dict[str, float]:
    """The few figures by which a run's result is judged, as one table's row, of :func:`measure`'s.

    Returns ``dsc``, ``surface_dice``, ``hd95_mm``, ``volume_a_cc``, ``volume_b_cc`` and the ``tolerance_mm``
    that the surface DSC is meaningless without. Values can be NaN or infinite (see the module's note on empty
    masks); JSON knows neither, so whoever writes JSON writes null for them.

    Raises:
        InputError: as :class:`MaskPairs`.

    A box of 10 x 10 x 10 voxels of 1 mm, and the same one moved by 1 mm:

    >>> a = np.zeros((14, 14, 14), bool)
    >>> a[2:12, 2:12, 2:12] = True
    >>> row = compare(a, np.roll(a, 1, axis=0), (1.0, 1.0, 1.0))
    >>> row["dsc"], row["hd95_mm"], row["surface_dice"], row["volume_a_cc"]
    (0.9, 1.0, 1.0, 1.0)
    """
    measures = measure(a, b, spacing, tolerance_mm)
    return {
        **{name: measures.values[name] for name in ("dsc", "surface_dice", "hd95_mm")},
        "volume_a_cc": measures.volume_a_cc,
        "volume_b_cc": measures.volume_b_cc,
        "tolerance_mm": measures.tolerance_mm,
    }


def _distances(a: MaskSurface, b: MaskSurface, tolerance_mm: float) -> dict[str, float]:
    """The measures of distance between two masks on one grid, neither of them empty."""
    surfaces, voxels = surface_distances(a, b)
    together = np.concatenate(voxels)
    return {
        "surface_dice": surfaces.surface_dice(tolerance_mm),
        "hd95_mm": surfaces.hausdorff(95.0),
        "assd_mm": surfaces.average(),
        "hd_mm": surfaces.hausdorff(100.0),
        "centroid_distance_mm": math.dist(a.centroid_mm, b.centroid_mm),
        "hd95_pooled_mm": surfaces.pooled(95.0),
        "masd_mm": surfaces.mean_of_averages(),
        "hd_unweighted_mm": float(together.max()),
        "hd95_unweighted_mm": float(max(np.percentile(directed, 95.0) for directed in voxels)),
        "hd95_pooled_unweighted_mm": float(np.percentile(together, 95.0)),
        "assd_unweighted_mm": float(sum(directed.sum() for directed in voxels) / len(together)),
    }


_INFINITE = {
    "surface_dice": 0.0,
    **{name: math.inf for name, measure in MEASURES.items() if measure.symmetric and measure.unit == "mm"},
}
"""What :func:`_distances` would find with one of the masks empty."""
