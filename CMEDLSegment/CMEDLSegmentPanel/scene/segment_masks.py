"""Segments as masks and back, on any grid, with what is remembered of them in their tags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from CMEDLSegmentLib.base.boxes import Box, bounding_box, box_corners, box_within, moved_box
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.volume import triple

from .coordinates import apply, array_of, lend, own_matrix, parent_matrix, to_numpy, to_vtk

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"
ON_GRID = 0.01
"""Voxels that a grid may be off another one and still count as the same."""


@dataclass(frozen=True)
class Mask:
    """What a segment marks, cropped.

    Attributes:
        array: bool (z, y, x), or of size 0 where nothing is marked.
        first: index (i, j, k) of its first voxel.
        matrix: (4, 4) from indices to RAS, in the segmentation node's own coordinates or where its maker says.
    """

    array: np.ndarray
    first: tuple[int, int, int]
    matrix: np.ndarray

    @property
    def empty(self) -> bool:
        """Whether nothing is marked."""
        return self.array.size == 0

    @property
    def box(self) -> Box:
        """Where the array lies in an array (z, y, x) of the whole grid."""
        return tuple(slice(at, at + n) for at, n in zip(self.first[::-1], self.array.shape, strict=True))

    @classmethod
    def nothing(cls, matrix: np.ndarray) -> Mask:
        """The mask of an empty segment."""
        return cls(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0), matrix)


def cropped(array: np.ndarray, first: tuple[int, int, int], matrix: np.ndarray) -> Mask:
    """The mask of what is not 0 in ``array`` (z, y, x), whose first voxel has the index ``first`` (i, j, k)."""
    box = bounding_box(array)
    if box is None:
        return Mask.nothing(matrix)
    start = tuple(at + part.start for at, part in zip(first, box[::-1], strict=True))
    return Mask(array[box] != 0, start, matrix)


def mask_of(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> Mask:
    """What a segment marks, in the node's own coordinates.

    A segment without a labelmap (contours, a surface) is converted, on the node's reference grid.

    Raises:
        InputError: there is no such segment, or it cannot be converted.
    """
    segment = segment_of(node, segment_id)
    image = segment.GetRepresentation(LABELMAP)
    value = segment.GetLabelValue()
    if image is None:
        image, value = _converted(node, segment_id), 1
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    if x1 < x0 or y1 < y0 or z1 < z0 or image.GetPointData().GetScalars() is None:
        return Mask.nothing(_matrix_of(image))
    return cropped(array_of(image) == value, (x0, y0, z0), _matrix_of(image))


def _matrix_of(image: slicer.vtkOrientedImageData) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return to_numpy(matrix)


def segment_of(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkSegment:
    """The segment.

    Raises:
        InputError: there is none of this id.
    """
    segment = node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InputError(f"'{node.GetName()}' no longer has the segment '{segment_id}'; choose another one.")
    return segment


def _converted(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkOrientedImageData:
    """The labelmap of contours or of a surface; made in a copy, so that the node stays what it is."""
    segmentation, copied = node.GetSegmentation(), slicer.vtkSegmentation()
    copied.SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    copied.CopyConversionParameters(segmentation)
    copied.CopySegmentFromSegmentation(segmentation, segment_id)
    # An empty segment has nothing that could be filled.
    if not copied.CreateRepresentation(LABELMAP):
        raise InputError(
            f"The segment '{segment_of(node, segment_id).GetName()}' of '{node.GetName()}' cannot be converted to a "
            "labelmap; check it in the Segmentations module."
        )
    return copied.GetNthSegment(0).GetRepresentation(LABELMAP)


def set_mask(node: slicer.vtkMRMLSegmentationNode, segment_id: str, mask: Mask) -> None:
    """Replace what a segment marks; surfaces made of it are dropped (see :func:`show_surface`)."""
    segment = segment_of(node, segment_id)
    segmentation = node.GetSegmentation()
    shared = segment.GetRepresentation(LABELMAP)
    others = map(segmentation.GetSegment, segmentation.GetSegmentIDs())
    # After loading, segments that do not overlap share one labelmap with different values.
    if shared is not None and sum(other.GetRepresentation(LABELMAP) is shared for other in others) > 1:
        segmentation.SeparateSegmentLabelmap(segment_id)
    image = _oriented(mask)
    segment.SetLabelValue(1)
    present = segment.GetRepresentation(LABELMAP)
    if present is None:
        segment.AddRepresentation(LABELMAP, image)
    else:
        # In place, because the segmentation observes this object.
        present.ShallowCopy(image)
        present.Modified()


def new_segmentation(volume_node: slicer.vtkMRMLVolumeNode, name: str) -> slicer.vtkMRMLSegmentationNode:
    """Add an empty segmentation on a volume's grid and under its transform; its name is ``name`` or begins so."""
    scene = volume_node.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    # The transform first: the reference geometry is kept in the coordinates that the node has at this moment.
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    return node


def show_outlines(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Give a segmentation a display of outlines without a fill."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetSliceIntersectionThickness(2)


def add_segment(
    node: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    name: str,
    color: tuple[float, float, float],
    mask: Mask,
    tags: dict[str, str],
) -> str:
    """Add a segment; returns its id, which is another one where ``segment_id`` is taken."""
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*color)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    for key, value in tags.items():
        segment.SetTag(key, value)
    segment.AddRepresentation(LABELMAP, _oriented(mask))
    chosen = node.GetSegmentation().GenerateUniqueSegmentID(segment_id)
    node.GetSegmentation().AddSegment(segment, chosen)
    return chosen


def _oriented(mask: Mask) -> slicer.vtkOrientedImageData:
    image = slicer.vtkOrientedImageData()
    if not mask.empty:
        lend(image, np.ascontiguousarray(mask.array).astype(np.uint8), mask.first)
    else:
        # A segment without voxels has an empty extent, but keeps its type.
        image.SetExtent(0, -1, 0, -1, 0, -1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetGeometryFromImageToWorldMatrix(to_vtk(mask.matrix))
    return image


def show_surface(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Make the surfaces for the 3-D view anew; takes a while for large segments, so not during a live change."""
    node.CreateClosedSurfaceRepresentation()


def reference_grid(node: slicer.vtkMRMLSegmentationNode) -> np.ndarray | None:
    """(4, 4) from indices of the reference geometry to the node's own RAS; None where none is set."""
    text = node.GetSegmentation().GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return None
    return _matrix_of(image)


def on_grid(mask: Mask, matrix: np.ndarray) -> Mask | None:
    """The mask in the indices of another grid, where both grids' voxels coincide; else None."""
    index = np.linalg.inv(matrix) @ mask.matrix
    first = index[:3, :3] @ np.array(mask.first) + index[:3, 3]
    reach = max(1, *mask.array.shape)
    same = np.abs(index[:3, :3] - np.eye(3)).max() * reach < ON_GRID and np.abs(first - np.rint(first)).max() < ON_GRID
    return Mask(mask.array, triple(int(at) for at in np.rint(first)), matrix) if same else None


def mask_on_reference(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> Mask:
    """What a segment marks, in indices of the node's reference geometry.

    Raises:
        InputError: there is no such segment or no reference geometry, or the segment lies on another grid.
    """
    grid = reference_grid(node)
    if grid is None:
        raise InputError(f"'{node.GetName()}' has lost its reference geometry; segment again.")
    mask = mask_of(node, segment_id)
    if mask.empty:
        return Mask.nothing(grid)
    placed = on_grid(mask, grid)
    if placed is None:
        raise InputError(f"'{node.GetName()}' is no longer on the grid of its image; segment again.")
    return placed


def array_on_volume(
    node: slicer.vtkMRMLSegmentationNode, segment_id: str, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """What a segment marks as bool (z, y, x) on a volume's grid; see :func:`mask_on_volume`."""
    extent = volume_node.GetImageData().GetExtent()
    result = np.zeros([extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0)], dtype=bool)
    paste(mask_on_volume(node, segment_id, volume_node), result, extent[::2])
    return result


def mask_on_volume(
    node: slicer.vtkMRMLSegmentationNode, segment_id: str, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> Mask:
    """What a segment marks, in the indices of a volume and with both nodes' parent transforms.

    Where the grids coincide the voxels are copied, also those beyond the volume; else the nearest one is taken.

    Raises:
        InputError: no such segment, or a transform that is not linear.
    """
    mask = mask_of(node, segment_id)
    matrix = own_matrix(volume_node)
    to_volume = np.linalg.inv(parent_matrix(volume_node)) @ parent_matrix(node)
    mask = Mask(mask.array, mask.first, to_volume @ mask.matrix)
    if mask.empty:
        return Mask.nothing(matrix)
    moved = on_grid(mask, matrix)
    return _resampled(mask, matrix, volume_node.GetImageData().GetExtent()) if moved is None else moved


def _resampled(mask: Mask, matrix: np.ndarray, extent: tuple[int, ...]) -> Mask:
    """The mask on another grid, each voxel taken from the one that its center lies in."""
    corner = np.array(mask.first) - 0.5
    index = apply(np.linalg.inv(matrix) @ mask.matrix, box_corners(corner, corner + mask.array.shape[::-1]))
    low = np.maximum(np.ceil(index.min(axis=0)).astype(int), extent[::2])
    high = np.minimum(np.floor(index.max(axis=0)).astype(int), extent[1::2])
    if (high < low).any():
        return Mask.nothing(matrix)
    back = np.linalg.inv(mask.matrix) @ matrix
    i, j = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)
    result = np.zeros((high - low + 1)[::-1], dtype=bool)
    limits = np.array(mask.array.shape[::-1])
    for k in range(low[2], high[2] + 1):
        places = [
            np.rint(back[a, 0] * i[None, :] + back[a, 1] * j[:, None] + back[a, 2] * k + back[a, 3]).astype(int)
            - mask.first[a]
            for a in range(3)
        ]
        inside = np.logical_and.reduce([(at >= 0) & (at < n) for at, n in zip(places, limits, strict=True)])
        x, y, z = (at[inside] for at in places)
        result[k - low[2]][inside] = mask.array[z, y, x]
    return Mask(result, tuple(low.tolist()), matrix)


def paste(mask: Mask, result: np.ndarray, start: tuple[int, ...]) -> None:
    """Set in ``result``, whose first voxel has the index ``start``, what ``mask`` marks; what lies outside is lost."""
    box = moved_box(mask.box, [-at for at in start[::-1]])
    inside = tuple(slice(max(part.start, 0), min(part.stop, n)) for part, n in zip(box, result.shape, strict=True))
    if all(part.start < part.stop for part in inside):
        result[inside] |= mask.array[box_within(inside, box)]
