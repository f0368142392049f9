"""The slices with the most disagreement as pictures: all contours on the image, and the image alone beside them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..io.delineation import RatedCase
from ..io.volume import AxialView, axial_view
from .contour_drawing import BACKGROUND, LUNG_WINDOW, Contour, View, contour_panel, zoom
from .style import line_styles

if TYPE_CHECKING:
    from ..agreement.raters import Agreement

PICTURES = 6
"""How many slices the report shows."""

SIDE = 420
"""Pixels along each side of a panel."""

MARGIN_MM, SMALLEST_MM = 12.0, 42.0
"""What a picture shows around the contours, and its least extent: near enough to see a voxel's difference."""

SOFT_TISSUE_WINDOW = (-160.0, 240.0)
"""HU; the mediastinum's. The lung's would show a tumor there as one gray."""
_AIR, _AIRY = -500.0, 0.1
"""HU of lung and below, and the share of a picture from which the lung's window serves."""
_HEADROOM = 0.8
"""Of an image that is not in HU: what the window leaves above the marked, as a share of what it has below."""
_GAP = 3
_NO_IMAGE = 110.0


@dataclass(frozen=True)
class SlicePlane:
    """How the slices of a case, as they are stored, are shown: from the front, the right, or below.

    Attributes:
        sides: what of the patient is at the left and the right edge.
        ends: what lies beyond the first and beyond the last stored slice.
        spacing: (rows, columns) in mm.
    """

    sides: tuple[str, str]
    ends: tuple[str, str]
    spacing: tuple[float, float]
    _view: AxialView

    @classmethod
    def of(cls, case: RatedCase) -> SlicePlane:
        """The plane of a case's slices: the axial, coronal or sagittal one that they are nearest to."""
        view = axial_view(case.raters[0].mask, case.geometry)
        axis = view.slice_axis
        ends = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))[axis]
        spacing = [mm for k, mm in enumerate(view.spacing) if k != axis]
        return cls(
            ("A", "P") if axis == 2 else ("R", "L"),
            ends[::-1] if view.slices_reversed else ends,
            (spacing[0], spacing[1]),
            view,
        )

    def show(self, array: np.ndarray, z: int) -> np.ndarray:
        """Slice ``z`` of an array (z, y, x) on the case's grid, as a radiologist sees it."""
        axis = self._view.slice_axis
        axial = self._view.to_axial(array[z : z + 1]).squeeze(axis)
        return axial[::-1] if axis else axial  # the head is at the top of coronal and sagittal slices

    def position(self, case: RatedCase, z: int) -> str:
        """Where slice ``z`` lies, as the slice views of 3D Slicer say it; "" for an oblique grid."""
        if self._view.obliquity_degrees > 1.0:
            return ""
        place = case.geometry.to_physical(np.array([[0.0, 0.0, float(z)]]))[0]
        letter, value = (("S", place[2]), ("A", -place[1]), ("R", -place[0]))[self._view.slice_axis]
        return f"{letter} {value:.1f} mm".replace("-", "\N{MINUS SIGN}")


def worst_slices(case: RatedCase, agreement: Agreement, n: int = PICTURES) -> list[tuple[int, bytes]]:
    """The ``n`` slices with the most disagreement, fewer if there are no more: index and picture (PNG).

    Left all contours in their :func:`line_styles`, right the same without; all at one scale.
    """
    chosen = agreement.worst[:n]
    if not chosen:
        return []
    plane = SlicePlane.of(case)
    image = np.broadcast_to(np.float32(_NO_IMAGE), case.geometry.shape) if case.image is None else case.image
    images = [plane.show(image, z) for z in chosen]
    marked = [np.logical_or.reduce([plane.show(delineation.mask, z) != 0 for delineation in case.all]) for z in chosen]
    views = [zoom(mask, plane.spacing, MARGIN_MM, SMALLEST_MM) for mask in marked]
    side = max(view.width_mm for view in views)
    views = [View(view.center, side, side) for view in views]
    window = _window(case, images, marked, views, plane.spacing)
    shown = zip(chosen, images, views, strict=True)
    return [(z, _picture(case, plane, z, image, view, window)) for z, image, view in shown]


def _window(
    case: RatedCase,
    images: Sequence[np.ndarray],
    marked: Sequence[np.ndarray],
    views: Sequence[View],
    spacing: tuple[float, float],
) -> tuple[float, float]:
    """Intensities to show black and white: the lung's or the soft tissue's for HU, else what is marked."""
    if case.image is None:
        return 0.0, 255.0
    visible = np.concatenate([_inside(image, view, spacing).ravel() for image, view in zip(images, views, strict=True)])
    if visible.min() < _AIR or case.image.min() < _AIR:
        return LUNG_WINDOW if np.mean(visible < _AIR) >= _AIRY else SOFT_TISSUE_WINDOW
    # What is marked decides the bright end: bone or fat beside would leave little contrast for a faint tumor.
    inside = np.concatenate([image[mask] for image, mask in zip(images, marked, strict=True)])
    low, high = np.percentile(visible, 1), np.percentile(inside, 98)
    high += _HEADROOM * (high - low)
    return float(low), float(max(high, low + 1))


def _inside(image: np.ndarray, view: View, spacing: tuple[float, float]) -> np.ndarray:
    """What of an image a view shows."""
    ends = []
    for center, side, step in zip(view.center, (view.height_mm, view.width_mm), spacing, strict=True):
        half = side / step / 2
        ends.append(slice(max(int(center - half), 0), int(center + half) + 2))
    return image[ends[0], ends[1]]


def _picture(
    case: RatedCase, plane: SlicePlane, z: int, image: np.ndarray, view: View, window: tuple[float, float]
) -> bytes:
    from PIL import Image

    styles = line_styles([delineation.name for delineation in case.all])
    contours = [
        Contour(plane.show(delineation.mask, z), style.color, style.width, dash=style.dash)
        for delineation, style in zip(case.all, styles.values(), strict=True)
    ]
    both = Image.new("RGB", (2 * SIDE + _GAP, SIDE), BACKGROUND)
    for x, drawn in ((0, contours), (SIDE + _GAP, [])):
        panel = contour_panel(image, plane.spacing, drawn, (SIDE, SIDE), view, window, bar_mm=10, sides=plane.sides)
        both.paste(panel, (x, 0))
    stream = io.BytesIO()
    both.save(stream, format="PNG")
    return stream.getvalue()
