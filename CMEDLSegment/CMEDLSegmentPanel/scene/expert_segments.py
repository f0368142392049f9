"""Experts' segments: which segments of the scene are an expert's, of whom and of what.

A role is kept in tags of the segment itself, so it is saved with the segmentation. Raters' names are data: any text of
one line, never markup.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from CMEDLSegmentLib.base.boxes import box_corners
from CMEDLSegmentLib.base.colors import RATER_COLORS
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.volume import triple

from . import subject_hierarchy
from .attributes import DROPPED, PREFIX, set_tag, tag
from .coordinates import apply, array_of, own_matrix, parent_matrix, world_matrix
from .result_nodes import is_result
from .segment_masks import ON_GRID, Mask, cropped, mask_of, new_segmentation, segment_of

RTSTRUCT, SEG, LABELMAP, DRAWN, MODEL = "RTSTRUCT", "SEG", "labelmap", "drawn", "model"

COLORS = tuple(triple(round(part / 255, 6) for part in color) for color in RATER_COLORS)

STRUCTURE = "Tumor"

_RATER, _STRUCTURE, _COLOR = "rater", "structure", "color"
_MADE_OF = PREFIX + "labelmap"
_RT_PREFIX = "DicomRtImport."


@dataclass(frozen=True)
class SegmentRef:
    """A segment of the scene.

    Attributes:
        node_id: its segmentation node, or its labelmap volume.
        segment_id: its id in the segmentation; empty for a labelmap volume, which becomes a segmentation when a role
            is given to it.
        name: for people; it may hold anything.
        source: ``RTSTRUCT``, ``SEG``, ``LABELMAP``, ``DRAWN``, or ``MODEL`` (a result of ours, edited or not).
    """

    node_id: str
    segment_id: str
    name: str
    source: str


@dataclass(frozen=True)
class Role:
    """Whose segment it is (``rater``) and what it marks (``structure``)."""

    rater: str
    structure: str


def all_segments() -> list[SegmentRef]:
    """Every segment of the scene in the order of the nodes, and every labelmap volume; no dropped candidates."""
    segments, used = [], set()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetHideFromEditors():
            continue
        used.add(node.GetNodeReferenceID(_MADE_OF))
        source = _source(node)
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            segment = node.GetSegmentation().GetSegment(segment_id)
            if tag(segment, DROPPED) is None:
                segments.append(SegmentRef(node.GetID(), segment_id, segment.GetName(), source))
    for node in slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode"):
        if node.GetID() not in used and not node.GetHideFromEditors():
            segments.append(SegmentRef(node.GetID(), "", node.GetName(), LABELMAP))
    return segments


def _source(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Where a segmentation came from."""
    if is_result(node):
        return MODEL
    if node.GetNodeReferenceID(_MADE_OF):
        return LABELMAP
    modality = subject_hierarchy.dicom_modality(node)
    contours = slicer.vtkSegmentationConverter.GetSegmentationPlanarContourRepresentationName()
    planar = node.GetSegmentation().GetSourceRepresentationName() == contours
    from_rt = any(name.startswith(_RT_PREFIX) for name in subject_hierarchy.attribute_names(node))
    if modality == RTSTRUCT or planar or from_rt:
        return RTSTRUCT
    return SEG if modality == SEG else DRAWN


def role_of(ref: SegmentRef) -> Role | None:
    """The segment's role, or None if it is no expert's, or no longer there."""
    node = slicer.mrmlScene.GetNodeByID(ref.node_id)
    segment = node.GetSegmentation().GetSegment(ref.segment_id) if node is not None and ref.segment_id else None
    rater = tag(segment, _RATER) if segment is not None else None
    return None if rater is None else Role(rater, tag(segment, _STRUCTURE) or STRUCTURE)


def set_role(ref: SegmentRef, rater: str | None, structure: str = STRUCTURE) -> SegmentRef:
    """Make a segment an expert's and give it the rater's color, or (None) take the role and the color back.

    Args:
        ref: the segment; a labelmap volume becomes a segmentation first.
        rater: any name; line breaks and the like become spaces, and an empty one becomes the segment's own name.
        structure: what it marks.

    Returns:
        Where the segment is now.

    Raises:
        InputError: the segment is no longer there, or a labelmap volume marks nothing.
    """
    if not ref.segment_id:
        if rater is None:
            return ref
        ref = _as_segmentation(ref)
    segment = segment_of(_node(ref), ref.segment_id)
    before = role_of(ref)
    if rater is None:
        original = tag(segment, _COLOR)
        if original is not None:
            segment.SetColor(*map(float, original.split()))
        for name in (_RATER, _STRUCTURE, _COLOR):
            set_tag(segment, name, None)
        return ref
    name = one_line(rater) or one_line(segment.GetName()) or "Expert"
    if before is None:
        set_tag(segment, _COLOR, " ".join(f"{part:.6g}" for part in segment.GetColor()))
    if before is None or before.rater != name:
        segment.SetColor(*_color_for(ref, name, keep=before is not None))
        segment.SetColorAutoGenerated(False)
    set_tag(segment, _RATER, name)
    set_tag(segment, _STRUCTURE, one_line(structure) or STRUCTURE)
    return ref


def roles() -> dict[SegmentRef, Role]:
    """The segments that are an expert's."""
    return {ref: role for ref in all_segments() if (role := role_of(ref)) is not None}


def with_roles() -> list[SegmentRef]:
    """The segments that are an expert's."""
    return list(roles())


def color_of(ref: SegmentRef) -> tuple[float, float, float]:
    """A segment's color (red, green, blue; 0 to 1); that of a labelmap volume is gray until it has a role."""
    return tuple(segment_of(_node(ref), ref.segment_id).GetColor()) if ref.segment_id else (0.6, 0.6, 0.6)


def _color_for(ref: SegmentRef, rater: str, keep: bool) -> tuple[float, float, float]:
    """The rater's color where the rater has one, else the present one if it is to be kept, else the next free one."""
    others = [(role.rater, color_of(other)) for other, role in roles().items() if other != ref]
    for name, color in others:
        if name == rater:
            return color
    taken = {tuple(np.round(color, 2)) for _, color in others}
    present = [color_of(ref)] if keep else []
    free = [color for color in (*present, *COLORS) if tuple(np.round(color, 2)) not in taken]
    return free[0] if free else COLORS[len({name for name, _ in others}) % len(COLORS)]


def _node(ref: SegmentRef) -> slicer.vtkMRMLNode:
    node = slicer.mrmlScene.GetNodeByID(ref.node_id)
    if node is None:
        raise InputError(f"'{ref.name}' is no longer in the scene; choose another segment.")
    return node


def one_line(text: str) -> str:
    """Text without line breaks, tabs and the like, and without spaces that say nothing."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _as_segmentation(ref: SegmentRef) -> SegmentRef:
    """A segmentation of a labelmap volume, one segment for each of its values; the first one's reference."""
    volume = _node(ref)
    node = new_segmentation(volume, volume.GetName())
    imported = slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(volume, node)
    segmentation = node.GetSegmentation()
    count = segmentation.GetNumberOfSegments()
    if not imported or not count:
        volume.GetScene().RemoveNode(node)
        raise InputError(f"The labelmap '{volume.GetName()}' marks nothing; choose another one.")
    if count == 1:
        segmentation.GetNthSegment(0).SetName(volume.GetName())
    node.SetNodeReferenceID(_MADE_OF, volume.GetID())
    node.CreateDefaultDisplayNodes()
    subject_hierarchy.place_beside(node, volume)
    return SegmentRef(node.GetID(), segmentation.GetNthSegmentID(0), segmentation.GetNthSegment(0).GetName(), LABELMAP)


def problems(ref: SegmentRef, volume_node: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    """What is wrong with a segment as a contour on a volume: empty, outside of it, or drawn on another grid."""
    name = volume_node.GetName()
    try:
        mask, own_grid = _mask(ref)
        if mask.empty:
            return ["Nothing is marked in it."]
        to_volume = np.linalg.inv(world_matrix(volume_node))
    except InputError as error:
        return [str(error)]
    index = to_volume @ mask.matrix
    extent = np.array(volume_node.GetImageData().GetExtent(), dtype=float).reshape(3, 2)
    low, high = extent[:, 0] - 0.5 - ON_GRID, extent[:, 1] + 0.5 + ON_GRID

    def within(voxels: np.ndarray) -> np.ndarray:
        places = apply(index, voxels)
        return np.all((places >= low) & (places <= high), axis=1)

    # A linear map takes all voxels inside if it takes the outermost ones there, which spares looking at each.
    inside = within(box_corners(mask.first, np.array(mask.first) + mask.array.shape[::-1] - 1))
    if not inside.all():
        z, y, x = np.nonzero(mask.array)
        inside = within(np.stack([x, y, z], axis=1) + mask.first)
    sentences = []
    if not inside.any():
        sentences.append(f"It lies outside of '{name}'; check that both are of one patient and frame of reference.")
    elif not inside.all():
        sentences.append(f"It reaches beyond '{name}'; what lies outside is not compared.")
    if own_grid and not _one_lattice(index):
        sentences.append(
            f"It was drawn on another grid than '{name}'; it is brought to that grid where they are compared."
        )
    return sentences


def _mask(ref: SegmentRef) -> tuple[Mask, bool]:
    """What a segment marks, in the world, and whether it has a grid of its own (contours and surfaces have none)."""
    node = _node(ref)
    if not ref.segment_id:
        image = node.GetImageData()
        if image is None or image.GetPointData().GetScalars() is None:
            return Mask.nothing(np.eye(4)), True
        mask, own = cropped(array_of(image) != 0, image.GetExtent()[::2], own_matrix(node)), True
    else:
        mask = mask_of(node, ref.segment_id)
        own = node.GetSegmentation().IsSourceRepresentationImageData()
    return Mask(mask.array, mask.first, parent_matrix(node) @ mask.matrix), bool(own)


def _one_lattice(index: np.ndarray) -> bool:
    """Whether both grids' voxels coincide, also with turned axes."""
    steps = np.rint(index)
    turned = (np.abs(steps[:3, :3]).sum(axis=0) == 1).all() and (np.abs(steps[:3, :3]).sum(axis=1) == 1).all()
    return bool(turned and np.abs(index - steps).max() < ON_GRID)
