"""Where the lungs are in a chest CT: which slices hold lung, the box around them, the center of the field.

The rule is the paper's (HU < -300, the two largest connected regions) made safe for whole scans. Two things
break the plain rule. The air around a patient is larger than a lung, so air that reaches the border of a slice
is dropped, slice by slice. And what is connected in 3-D is not of one kind: trachea, bronchi and lung hang
together, stomach gas touches lung through a thin diaphragm, and slices need not be neighbors in the body. So
each slice's regions are judged first, by what fills them away from their walls, and only then joined from slice
to slice (:mod:`CMEDLSegmentLib.inference.lung_regions`):

- *lung* is parenchyma, about -950 to -500 HU;
- *gas* is near -1000 HU: trachea, bowel, air between arm and body; it is dropped, but for bullae above lung;
- *small* regions are too thin to tell, such as the tips and recesses of a lung: they are lung where they adjoin it.

Air that reaches the border and yet is filled like lung, in a slice that is a cut-out of the body or next to a
slice with that lung inside, is lung cut off by a small field of view: it is kept, with a warning.

Slices are worked through one by one at a pixel of at most 2 mm (block means), so it takes a few milliseconds a
slice and the memory of a few images, however long the scan. That is exact enough because slices and a box are
asked for: a chest wall is several such pixels thick, and a tip of lung smaller than a few pixels is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..base.errors import InputError
from ..base.progress import SILENT, Progress
from ..base.text import counted
from ..io.hounsfield import check_hounsfield
from .lung_regions import Regions

__all__ = ["Lungs", "check_hounsfield", "field_center", "find_lungs"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

PIXEL_MM = 2.0
GAP_MM = 30.0
"""Slices without air between slices with lung are lung up to this length: tumor and effusion are solid."""
LEAST_MM2 = 1000.0
"""Without a region of this area in any slice there are no lungs: stool looks alike and stays below (msd_lung: 770)."""
PART_CC = 500.0
SLAB = 16


@dataclass(frozen=True)
class Lungs:
    """The lungs of one scan, in voxels of the array they were found in.

    Attributes:
        slices: ascending indices of the slices that hold lung.
        box: ((z0, z1), (y0, y1), (x0, x1)) around the lungs, half open.
        volume_cc: volume of the air-holding lung, without the larger vessels and tumors in it.
        warnings: sentences for the user, such as that the edge of the image cuts the lungs off.
    """

    slices: np.ndarray
    box: Box
    volume_cc: float
    warnings: list[str]


def field_center(lungs: Lungs) -> tuple[float, float]:
    """(y, x), in voxels, of the center of the square field that the model sees of every slice.

    It is the in-plane center of the box around both lungs, so a field as wide as a chest (256 pixels of 1.5 mm
    are 38 cm) holds them wherever in the image the patient lies.
    """
    _, (y0, y1), (x0, x1) = lungs.box
    return (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2


def find_lungs(
    array: np.ndarray,
    spacing: Sequence[float],
    progress: Progress = SILENT,
) -> Lungs:
    """The lungs in a CT: ``array`` (z, y, x) in HU with z towards the head, ``spacing`` (z, y, x) in mm.

    The slices may be any selection of a scan's, in their order. See the module for the rule.

    Raises:
        InputError: there are no lungs.
        Cancelled: it was cancelled.
    """
    factors = [max(1, min(n, int(PIXEL_MM / step))) for n, step in zip(array.shape[1:], spacing[1:], strict=True)]
    shape = [n // factor for n, factor in zip(array.shape[1:], factors, strict=True)]
    pixel = [step * factor for step, factor in zip(spacing[1:], factors, strict=True)]
    regions = Regions(shape, pixel, spacing[0])
    for index, hu in enumerate(_reduced_slices(array, factors, progress)):
        progress("Looking for the lungs", index / len(array))
        regions.add(index, hu)
    lungs = regions.lungs()
    table = {name: values[lungs] for name, values in regions.figures().items()}
    if table["area"].max(initial=0.0) < LEAST_MM2:
        raise InputError(
            "No lungs were found: no part of the body in this image is filled with air as lung is (HU below "
            "-300); give a CT of the chest, or ask for all slices."
        )
    volume = float(table["area"].sum(dtype=float) * spacing[0] / 1000)
    slices = _fill_gaps(np.unique(table["slice"]).astype(int), int(GAP_MM / spacing[0]))
    y, x = (
        (int(table[f"{axis}0"].min()) * factor, min(int(table[f"{axis}1"].max()) * factor, n))
        for axis, factor, n in zip("yx", factors, array.shape[1:], strict=True)
    )
    box = ((int(slices[0]), int(slices[-1]) + 1), y, x)
    progress("Looking for the lungs", 1.0)
    return Lungs(slices, box, volume, _warnings(volume, len(np.unique(table["slice"][table["edge"] > 0]))))


def _reduced_slices(array: np.ndarray, factors: Sequence[int], progress: Progress) -> Iterator[np.ndarray]:
    """Each slice as float32 means over blocks of ``factors`` voxels; rows and columns left over are left out."""
    rows, columns = (n - n % factor for n, factor in zip(array.shape[1:], factors, strict=True))
    for first in range(0, len(array), SLAB):
        progress.stop_if_cancelled()
        # One copy in memory order: a view with turned axes is slow to read pixel by pixel.
        slab = np.ascontiguousarray(array[first : first + SLAB, :rows, :columns])
        reduced = np.zeros((len(slab), rows // factors[0], columns // factors[1]), np.float32)
        for y in range(factors[0]):
            for x in range(factors[1]):
                reduced += slab[:, y :: factors[0], x :: factors[1]]
        yield from reduced / (factors[0] * factors[1])


def _fill_gaps(slices: np.ndarray, longest: int) -> np.ndarray:
    """Ascending indices with the gaps of up to ``longest`` missing indices filled."""
    gaps = [np.arange(a, b) if b - a - 1 <= longest else [a] for a, b in pairwise(slices)]
    return np.concatenate([*gaps, slices[-1:]]).astype(int)


def _warnings(volume_cc: float, cut_slices: int) -> list[str]:
    warnings = []
    if cut_slices:
        warnings.append(
            f"The edge of the image cuts the lungs off in {counted(cut_slices, 'slice')}: what lies beyond is not "
            "segmented."
        )
    if volume_cc < PART_CC:
        warnings.append(f"Only {volume_cc:.0f} cc of air-filled lung were found: check that the chest is in the image.")
    return warnings
