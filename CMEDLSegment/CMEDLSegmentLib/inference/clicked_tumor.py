"""What clicks mean on a grid: the voxels that they point at, the tumors that they start and mend, and edits of masks.

Masks are (z, y, x) in axial order, and so are voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import InputError
from .options import END, TUMOR, Click

if TYPE_CHECKING:
    from ..io.volume import Geometry

Voxel = tuple[int, int, int]
"""(z, y, x), in axial order."""

CUT_MM = 5.0
"""How far a cut reaches from its click: in the slice, and to slices above and below."""


@dataclass(frozen=True)
class ClickedTumor:
    """A tumor that a person pointed at.

    Attributes:
        clicks: the one that started it, then those that mend it.
        voxels: where they are.
    """

    clicks: tuple[Click, ...]
    voxels: tuple[Voxel, ...]


def clicked_tumors(clicks: Sequence[Click], geometry: Geometry) -> list[ClickedTumor]:
    """The tumors that clicks start and mend, in their order.

    Raises:
        InputError: a click is outside of the image, mends what no click started, or ends a tumor on the slice where it
            was started; the message names the click.
    """
    tumors: list[ClickedTumor] = []
    for click, voxel in zip(clicks, voxels_of(clicks, geometry), strict=True):
        if click.action == TUMOR:
            tumors.append(ClickedTumor((click,), (voxel,)))
            continue
        if not tumors:
            raise InputError(f"The click {click} mends a tumor, and none was clicked before it; click the tumor first.")
        tumor = tumors.pop()
        if click.action == END and voxel[0] == tumor.voxels[0][0]:
            raise InputError(
                f"The click {click} is on the slice where the tumor was clicked first, so that it ends neither above "
                "nor below; click the last slice of the tumor."
            )
        tumors.append(ClickedTumor((*tumor.clicks, click), (*tumor.voxels, voxel)))
    return tumors


def voxels_of(clicks: Sequence[Click], geometry: Geometry) -> list[Voxel]:
    """The voxel of each click.

    Raises:
        InputError: a click is outside of the image; the message names it.
    """
    axial = geometry.axial
    voxels: list[Voxel] = []
    for click in clicks:
        x, y, z = np.rint(axial.to_index(np.array([click.point]))[0]).astype(int).tolist()
        if not all(0 <= index < count for index, count in zip((z, y, x), axial.shape, strict=True)):
            raise InputError(f"The click {click} is outside of the image; give a place in it, in mm (LPS).")
        voxels.append((z, y, x))
    return voxels


def cut_around(mask: np.ndarray, voxel: Voxel, spacing: Sequence[float], reach_mm: float = CUT_MM) -> None:
    """Unmark, in place, a disk around a voxel on its slice and on those within the same reach.

    Args:
        mask: bool (z, y, x).
        voxel: may lie outside of the mask.
        spacing: (z, y, x) in mm.
        reach_mm: the disk's radius, and how far other slices may be away.
    """
    z, y, x = (
        ((np.arange(count) - index) * mm) ** 2 for count, index, mm in zip(mask.shape, voxel, spacing, strict=True)
    )
    mask[np.ix_(z <= reach_mm**2, np.ones(len(y), bool), np.ones(len(x), bool))] &= y[:, None] + x > reach_mm**2


def end_at(mask: np.ndarray, last: int, first: int) -> None:
    """Unmark, in place, what lies beyond the slice ``last``, seen from the slice ``first``; ``last`` stays."""
    if last > first:
        mask[max(last + 1, 0) :] = False
    elif last < first:
        mask[: max(last, 0)] = False
