"""A segmentation as files: DICOM in the study of the CT that it was made on, ``.seg.nrrd``, or a labelmap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import vtk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.dicom_writer import write_dicom_seg, write_rtstruct
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import SEGMENTATION, Label
from CMEDLSegmentLib.io.segmentation_writer import write_segmentation
from CMEDLSegmentLib.io.volume import Volume

from .attributes import DROPPED, tag
from .coordinates import array_of, geometry_of, own_matrix
from .rejected_candidates import label_segments
from .result_nodes import is_edited, is_result, provenance
from .segment_masks import array_on_volume, segment_of
from .volume_nodes import dicom_files, modality_of

TISSUE = ["SCT", "85756007", "Tissue"]
"""What Slicer calls a segment that nobody has named in codes."""


def export_dicom(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    rtstruct: Path | str | None = None,
    seg: Path | str | None = None,
    segment_ids: Sequence[str] | None = None,
) -> None:
    """Write a segmentation as RT Structure Set, as DICOM Segmentation, or as both.

    Transforms of the scene play no part: the contours lie on the CT as DICOM has it.

    Args:
        volume_node: the CT, loaded from DICOM.
        segmentation_node: what to write.
        rtstruct, seg: paths that end with .dcm; None leaves that one out.
        segment_ids: which segments; None takes a result's labels, without what was dropped, or all segments of others.

    Raises:
        InputError: the CT is gone or did not come from DICOM, segments overlap, or a file cannot be written.
    """
    volume_node = _present(volume_node, segmentation_node)
    # First, because it is what is missing most often.
    files, places = dicom_files(volume_node)
    array, labels, facts = _contents(segmentation_node, volume_node, segment_ids)
    image = volume_node.GetImageData()
    volume = Volume(
        array=array_of(image),
        geometry=geometry_of(own_matrix(volume_node), image.GetExtent()),
        modality=modality_of(volume_node),
        files=files,
        file_slices=places,
        name=volume_node.GetName(),
    )
    for path, write in ((rtstruct, write_rtstruct), (seg, write_dicom_seg)):
        if path is not None:
            write(path, array, volume, labels, facts)


def export_file(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    path: Path,
) -> None:
    """Write a segmentation as ``.seg.nrrd``, or, by any other ending, as a labelmap; see :func:`export_dicom`.

    Raises:
        InputError: the CT is gone, segments overlap, the ending is unknown, or the file cannot be written.
    """
    volume_node = _present(volume_node, segmentation_node)
    array, labels, facts = _contents(segmentation_node, volume_node, None)
    geometry = geometry_of(own_matrix(volume_node), volume_node.GetImageData().GetExtent())
    if path.name.lower().endswith(SEGMENTATION):
        write_segmentation(path, array, geometry, labels, facts)
    else:
        write_image(path, array, geometry)


def _present(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None, segmentation_node: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLScalarVolumeNode:
    if volume_node is None or volume_node.GetScene() is None:
        raise InputError(f"The CT of '{segmentation_node.GetName()}' is no longer in the scene; load it again.")
    return volume_node


def _contents(
    node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode, segment_ids: Sequence[str] | None
) -> tuple[np.ndarray, list[Label], dict[str, str]]:
    """The label map (z, y, x) on the volume's grid, its labels, and what the file says of its making."""
    chosen = _segments(node) if segment_ids is None else list(segment_ids)
    labels = [_label(node, segment_id, value) for value, segment_id in enumerate(chosen, start=1)]
    facts = {key: value for key, value in provenance(node).items() if key != "warnings"}
    if is_edited(node):
        facts["edited"] = "yes"
    return _labeled(node, chosen, volume_node), labels, facts


def _segments(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """A result's labels, or all segments of another node."""
    if is_result(node):
        return list(label_segments(node).values())
    segmentation = node.GetSegmentation()
    return [name for name in segmentation.GetSegmentIDs() if tag(segmentation.GetSegment(name), DROPPED) is None]


def _labeled(
    node: slicer.vtkMRMLSegmentationNode, segment_ids: Sequence[str], volume_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """uint8 (z, y, x) on the volume's grid: the number, from 1, of each voxel's segment."""
    if not segment_ids or len(segment_ids) > 255:
        raise InputError(f"'{node.GetName()}' has {len(segment_ids)} segments to export; choose 1 to 255 of them.")
    result = np.zeros(volume_node.GetImageData().GetDimensions()[::-1], dtype=np.uint8)
    for value, segment_id in enumerate(segment_ids, start=1):
        marked = array_on_volume(node, segment_id, volume_node)
        if (result[marked] > 0).any():
            raise InputError(f"Segments of '{node.GetName()}' overlap; export them one at a time.")
        result[marked] = value
    return result


def _label(node: slicer.vtkMRMLSegmentationNode, segment_id: str, value: int) -> Label:
    """A segment's name, color and codes."""
    segment = segment_of(node, segment_id)
    entry = vtk.mutable("")
    terminology = str(entry) if segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry) else ""
    # Context, category, type, modifier, anatomic context, region, modifier; see Slicer's terminology entries.
    parts = [part.split("^") for part in terminology.split("~")]
    codes = {"category": TISSUE, "type": TISSUE}
    for key, place in (("category", 1), ("type", 2), ("region", 5)):
        if place < len(parts) and len(parts[place]) == 3 and all(parts[place]):
            codes[key] = parts[place]
    return Label(value, segment.GetName() or f"Segment {value}", tuple(segment.GetColor()), codes)
