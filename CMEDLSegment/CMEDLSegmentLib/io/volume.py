"""A volume in memory: array (z, y, x) with its full geometry, in its native data type and axes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..base.boxes import box_corners
from ..base.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

T = TypeVar("T")
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Columns of a true grid are orthogonal to float32 rounding; a gantry tilt of 0.1 degree gives 0.0017.
_SHEAR_LIMIT = 1e-3


def triple(values: Iterable[T]) -> tuple[T, T, T]:
    """Three values as a tuple."""
    first, second, third = values
    return first, second, third


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a grid lie in the patient, with SimpleITK's conventions.

    Attributes:
        size: voxels along (x, y, z), the index axes.
        spacing: distance of neighboring voxel centers along (x, y, z), mm.
        origin: LPS position of the center of voxel (0, 0, 0), mm.
        direction: 3 x 3 matrix, row-major; column i is the LPS unit vector of index axis i.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = _IDENTITY

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of an array on this grid."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) matrix whose columns are the LPS unit vectors of the index axes."""
        return np.array(self.direction, dtype=float).reshape(3, 3)

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) matrix from a step in index coordinates (x, y, z) to a step in LPS mm."""
        return self.axes * np.array(self.spacing, dtype=float)

    @property
    def voxel_cc(self) -> float:
        """Volume of one voxel in cm^3, also for a sheared grid (gantry tilt)."""
        return float(abs(np.linalg.det(self.matrix))) / 1000.0

    @property
    def axial_spacing(self) -> tuple[float, float, float]:
        """Spacing (z, y, x), mm, of the grid seen in axial order (:func:`axial_view`)."""
        return triple(self.spacing[axis] for axis in reversed(index_axes(self.axes)))

    @property
    def axial(self) -> Geometry:
        """This grid in axial order, as :func:`axial_view` sees it."""
        return axial_view(np.broadcast_to(np.uint8(0), self.shape), self).geometry

    @property
    def is_sheared(self) -> bool:
        """True when the axes are not at right angles, as in a CT taken with a tilted gantry."""
        return bool(np.abs(self.axes.T @ self.axes - np.eye(3)).max() > _SHEAR_LIMIT)

    def to_physical(self, points: np.ndarray) -> np.ndarray:
        """LPS positions (n, 3) in mm of index coordinates (n, 3) in the order (x, y, z).

        >>> grid = Geometry(size=(512, 512, 150), spacing=(0.5, 0.5, 2.0), origin=(-128.0, -128.0, 40.0))
        >>> grid.shape
        (150, 512, 512)
        >>> grid.to_physical(np.array([[0, 0, 0], [256, 256, 10]])).tolist()
        [[-128.0, -128.0, 40.0], [0.0, 0.0, 60.0]]
        """
        return np.asarray(points, dtype=float) @ self.matrix.T + np.array(self.origin)

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Continuous index coordinates (n, 3) in the order (x, y, z) of LPS positions (n, 3) in mm."""
        return (np.asarray(points, dtype=float) - np.array(self.origin)) @ np.linalg.inv(self.matrix).T

    def corners(self) -> np.ndarray:
        """LPS positions (8, 3) in mm of the eight outermost voxel centers."""
        return self.to_physical(box_corners(np.zeros(3), np.array(self.size) - 1.0))

    def is_close(self, other: Geometry, tolerance: float = 0.01) -> bool:
        """True when both grids have one size and no voxel lies more than ``tolerance`` mm apart.

        The corners decide: positions are linear in the index, so the greatest distance is at a corner.
        """
        if self.size != other.size:
            return False
        return bool(np.linalg.norm(self.corners() - other.corners(), axis=1).max() <= tolerance)

    def check_fits(self, array: np.ndarray) -> None:
        """Raise InputError for an array that does not have the shape of this grid."""
        if array.shape != self.shape:
            raise InputError(f"An array of shape {array.shape} does not fit a grid of shape {self.shape}.")


def geometry_from(
    size: Iterable[int], spacing: Iterable[float], origin: np.ndarray | Sequence[float], axes: np.ndarray
) -> Geometry:
    """A grid from numpy's values; ``axes`` (3, 3) has the index axes in its columns."""
    return Geometry(
        triple(map(int, size)),
        triple(map(float, spacing)),
        triple(map(float, origin)),
        tuple(np.asarray(axes, dtype=float).ravel().tolist()),
    )


def grid_text(geometry: Geometry) -> str:
    """A grid's size and spacing as text."""
    size = " x ".join(map(str, geometry.size))
    return f"{size} voxels of {' x '.join(f'{step:.4g}' for step in geometry.spacing)} mm"


@dataclass
class Volume:
    """An image in memory.

    Attributes:
        array: voxels (z, y, x) in the native data type; HU for CT.
        geometry: grid of ``array``.
        modality: "CT", "MR", ... as the DICOM series says; None where the file does not tell.
        series_uid: DICOM Series Instance UID, or None.
        files: the DICOM files in the order of their slices, or empty.
        file_slices: index along z of each file of ``files``; a slice that was filled in has no file.
        name: short name for messages and outputs; holds no patient identifier of a DICOM header.
        warnings: sentences a user should read.
    """

    array: np.ndarray
    geometry: Geometry
    modality: str | None = None
    series_uid: str | None = None
    files: tuple[Path, ...] = ()
    file_slices: tuple[int, ...] = ()
    name: str = "volume"
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AxialView:
    """A volume seen in axial slices without copying.

    Its axes run from inferior to superior, from anterior to posterior, and from right to left.

    Attributes:
        array: numpy view whose axes increase along LPS z, y, x as nearly as the grid allows.
        geometry: grid of ``array``.
        obliquity_degrees: greatest angle between an axis and the anatomical axis it stands for.
    """

    array: np.ndarray
    geometry: Geometry
    obliquity_degrees: float
    _axes: tuple[int, int, int]
    _flips: tuple[bool, bool, bool]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing (z, y, x) of the view, mm."""
        return self.geometry.spacing[2], self.geometry.spacing[1], self.geometry.spacing[0]

    @property
    def slice_axis(self) -> int:
        """Which axis of the view runs along the stored slices: 0 where these are axial, 1 coronal, 2 sagittal."""
        return self._axes.index(0)

    @property
    def slices_reversed(self) -> bool:
        """Whether the stored slices follow each other against the direction of that axis."""
        return self._flips[self.slice_axis]

    def to_native(self, array: np.ndarray) -> np.ndarray:
        """View of ``array`` (axial order, this view's shape) in the native axes of the volume."""
        return _flip(array, self._flips).transpose(np.argsort(self._axes))

    def to_axial(self, array: np.ndarray) -> np.ndarray:
        """View of ``array`` (native axes, e.g. a mask of the volume) in the axes of this view."""
        return _flip(array.transpose(self._axes), self._flips)


def axial_view(array: np.ndarray, geometry: Geometry) -> AxialView:
    """Look at ``array`` (z, y, x native) in axial order by permutation and flips alone.

    An oblique grid is seen along its nearest axes; ``obliquity_degrees`` says how far they are off.

    Raises:
        InputError: ``array`` does not have the geometry's shape.

    Slices that are stored from head to feet are seen from feet to head, in the same memory:

    >>> stored = np.arange(3).reshape(3, 1, 1)
    >>> grid = Geometry(size=(1, 1, 3), origin=(0.0, 0.0, 50.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
    >>> view = axial_view(stored, grid)
    >>> view.array.ravel().tolist(), view.geometry.origin
    ([2, 1, 0], (0.0, 0.0, 48.0))
    >>> np.shares_memory(view.array, stored)
    True
    """
    geometry.check_fits(array)
    order = index_axes(geometry.axes)
    cosines = geometry.axes[range(3), order]
    reverse = cosines < 0
    start = np.zeros(3)
    start[list(order)] = np.where(reverse, np.array(geometry.size)[list(order)] - 1, 0)
    # Index axis i is array axis 2 - i, and the view's array axes are LPS z, y, x.
    axes, flips = triple(2 - axis for axis in reversed(order)), triple(map(bool, reverse[::-1]))
    return AxialView(
        array=_flip(array.transpose(axes), flips),
        geometry=geometry_from(
            size=(geometry.size[axis] for axis in order),
            spacing=(geometry.spacing[axis] for axis in order),
            origin=geometry.to_physical(start[None])[0],
            axes=geometry.axes[:, list(order)] * np.where(reverse, -1.0, 1.0) + 0.0,  # no -0.0
        ),
        obliquity_degrees=float(np.degrees(np.arccos(np.clip(np.abs(cosines).min(), 0.0, 1.0)))),
        _axes=axes,
        _flips=flips,
    )


def index_axes(directions: np.ndarray) -> tuple[int, int, int]:
    """The index axes (x, y, z) that run along the patient's L, P and S: the assignment with the largest total cosine.

    Args:
        directions: (3, 3), whose columns are the index axes.
    """
    orders = [triple(axes) for axes in itertools.permutations(range(3))]
    return max(orders, key=lambda axes: sum(abs(float(directions[d, axes[d]])) for d in range(3)))


def _flip(array: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


class _Shared:
    """Lends a SimpleITK image's memory to numpy and keeps the image alive, so that no second copy is made."""

    def __init__(self, image: SimpleITK.Image) -> None:
        import SimpleITK as sitk

        interface: dict[str, Any] = dict(sitk.GetArrayViewFromImage(image).__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self._image = image


def array_of(image: SimpleITK.Image) -> np.ndarray:
    return np.asarray(_Shared(image))


def geometry_of(image: SimpleITK.Image) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def set_geometry(image: SimpleITK.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters in them is checked and told in our own words."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
