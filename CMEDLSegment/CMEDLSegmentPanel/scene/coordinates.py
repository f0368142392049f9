"""Between Slicer's grids (RAS, 4 x 4 matrices) and ours (LPS, :class:`Geometry`), and between VTK images and numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.volume import Geometry, triple

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From RAS to LPS, and back."""


to_numpy, to_vtk = slicer.util.arrayFromVTKMatrix, slicer.util.vtkMatrixFromArray
"""Between a 4 x 4 matrix of VTK's and numpy's."""


def own_matrix(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """(4, 4) from a volume's voxel indices (i, j, k) to its own RAS, before any parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return to_numpy(matrix)


def parent_matrix(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """(4, 4) from a node's own RAS to the world's: its parent transforms, or the identity.

    Raises:
        InputError: one of the parent transforms is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"'{node.GetName()}' lies under a transform that bends it; harden the transform (Transforms module) or "
            "take the node out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return to_numpy(matrix)


def world_matrix(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """(4, 4) from a volume's voxel indices (i, j, k) to RAS in the world.

    Raises:
        InputError: a parent transform is not linear.
    """
    return parent_matrix(volume_node) @ own_matrix(volume_node)


def voxel_cc(matrix: np.ndarray) -> float:
    """Volume in cm^3 of a voxel whose indices ``matrix`` (4, 4) maps to mm."""
    return float(abs(np.linalg.det(matrix[:3, :3]))) / 1000.0


def axial_axis(matrix: np.ndarray) -> int:
    """Which index (i, j, k) of a grid runs most along the patient, as ``matrix`` (4, 4) maps it to RAS."""
    return int(np.argmax(np.abs(matrix[2, :3]) / np.linalg.norm(matrix[:3, :3], axis=0)))


def geometry_of(matrix: np.ndarray, extent: tuple[int, ...]) -> Geometry:
    """The grid (LPS) of voxels ``extent`` (first and last index along i, j, k) whose indices ``matrix`` maps to RAS.

    Raises:
        InputError: voxels have no volume.
    """
    lps = FLIP @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.isfinite(lps).all() or abs(np.linalg.det(lps[:3, :3])) < 1e-9:
        raise InputError("The volume has voxels without a size; set its spacing in the Volumes module.")
    first = np.array([*extent[::2], 1.0])
    return Geometry(
        size=triple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3)),
        spacing=triple(spacing.tolist()),
        origin=triple((lps @ first)[:3].tolist()),
        direction=tuple((lps[:3, :3] / spacing).ravel().tolist()),
    )


def ras_of(geometry: Geometry) -> np.ndarray:
    """(4, 4) from the indices (i, j, k) of a grid to RAS: what :func:`geometry_of` was made from."""
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = geometry.matrix, geometry.origin
    return FLIP @ lps


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``matrix`` (4, 4) applied to ``points`` (..., 3)."""
    return np.asarray(points, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]


def moved_lps(point: Sequence[float], matrix: np.ndarray) -> tuple[float, float, float]:
    """A point (LPS, mm) where ``matrix`` (4, 4, between RAS and RAS) moves it, to a thousandth of a mm."""
    moved = apply(FLIP @ matrix @ FLIP, np.array(point))
    return triple((moved.round(3) + 0.0).tolist())


def array_of(image: vtk.vtkImageData) -> np.ndarray:
    """The voxels (z, y, x) of a scalar image, in its own memory, which lives as long as the array."""
    x, y, z = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x)


def lend(image: vtk.vtkImageData, array: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)) -> None:
    """Make ``array`` (z, y, x; contiguous, writable) the voxels of ``image``, without a copy.

    Args:
        image: takes the array's memory, and keeps it alive.
        array: the voxels.
        first: index (i, j, k) of the first voxel.
    """
    z, y, x = array.shape
    i, j, k = first
    image.SetExtent(i, i + x - 1, j, j + y - 1, k, k + z - 1)
    flat = array.reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=0, array_type=get_vtk_array_type(flat.dtype)))
