"""What the worker found, as nodes of the scene: a segmentation with its provenance, and the probability."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from CMEDLSegmentLib.base.boxes import Box, bounding_box
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.segmentation_writer import terminology_entry

from .attributes import (
    BOX,
    CLICK_MODEL,
    CLICK_WEIGHTS,
    CLICKS,
    COMPONENTS,
    LABEL,
    PREFIX,
    PROBABILITY_ROLE,
    WRITTEN,
    escaped,
    get_json,
    set_json,
)
from .coordinates import array_of, lend, moved_lps, own_matrix, parent_matrix, to_vtk, voxel_cc, world_matrix
from .rejected_candidates import divided, label_segments, set_rejected
from .segment_masks import (
    Mask,
    add_segment,
    cropped,
    mask_of,
    new_segmentation,
    on_grid,
    reference_grid,
    set_mask,
    show_outlines,
)
from .subject_hierarchy import place_beside

if TYPE_CHECKING:
    from CMEDLSegmentLib.process.protocol import Outcome

LOWEST, HIGHEST = 0.01, 0.99
"""Thresholds that a result can be brought to without another run."""

_COLORS = "vtkMRMLColorTableNodeIron"
_PROVENANCE = {
    "student_title": "Model",
    "student": "Name",
    "weights_sha256": "Weights (SHA-256)",
    "program": "Program",
    "threshold": "Threshold",
    "slices": "Slices",
    "minimum_cc": "Smallest component (cc)",
    "device": "Device",
    "runtime": "Runtime",
    "seconds": "Seconds",
    "series_uid": "Input series",
    "date": "Date",
    "warnings": "Told at the run",
    CLICKS: "Clicks (LPS, mm)",
    CLICK_MODEL: "Clicks answered by",
    CLICK_WEIGHTS: "Weights of that (SHA-256)",
}
"""What a result tells about its making, in this order, and how a person reads it."""


def add_result(volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation node with what was found in ``volume_node``; nodes that are there stay as they are.

    It is named after the volume and the model, lies on the volume's grid, follows its transform, stands beside it in
    the subject hierarchy and tells its making (:func:`provenance`).

    Raises:
        InputError: the volume was removed, or has another grid than it had.
    """
    check_volume(volume_node, outcome.label)
    summary = outcome.summary
    facts = _facts(summary, parent_matrix(volume_node))
    matrix, first = own_matrix(volume_node), volume_node.GetImageData().GetExtent()[::2]
    node = new_segmentation(volume_node, f"{volume_node.GetName()} {summary['student']}")
    for label in summary["labels"]:
        tags = {f"{PREFIX}{key}": escaped(value) for key, value in facts.items()}
        tags[f"{PREFIX}{LABEL}"] = str(label["value"])
        tags[slicer.vtkSegment.GetTerminologyEntryTagName()] = terminology_entry(label["terminology"])
        mask = cropped(outcome.label == label["value"], first, matrix)
        add_segment(node, f"Segment_{label['value']}", label["name"], tuple(label["color"]), mask, tags)
    for key, value in facts.items():
        node.SetAttribute(PREFIX + key, value)
    set_json(node, COMPONENTS, component_entries(summary["components"], volume_node))
    mark_written(node)
    show_outlines(node)
    place_beside(node, volume_node)
    return node


def check_volume(volume_node: slicer.vtkMRMLScalarVolumeNode, array: np.ndarray) -> None:
    """Check that a volume is still there and on the grid of ``array``.

    Raises:
        InputError: it was removed, or has another grid.
    """
    if volume_node is None or volume_node.GetScene() is None:
        raise InputError("The volume was removed while it was segmented, so there is nothing to add the result to.")
    image = volume_node.GetImageData()
    if image is None or tuple(image.GetDimensions()) != array.shape[::-1]:
        raise InputError(f"'{volume_node.GetName()}' was changed while it was segmented; segment it again.")


def _facts(summary: dict[str, Any], to_world: np.ndarray) -> dict[str, str]:
    """The provenance in words; what the summary does not hold is left out.

    Args:
        summary: the run's.
        to_world: (4, 4) from the volume's own RAS, in whose coordinates (LPS) the clicks are kept.
    """
    stated = {**summary, "program": f"CMEDL {summary['program_version']}", "warnings": " ".join(summary["warnings"])}
    if summary.get(CLICKS):
        stated[CLICKS] = json.dumps(
            [{**click, "point": moved_lps(click["point"], np.linalg.inv(to_world))} for click in summary[CLICKS]]
        )
    facts = {key: stated.get(key) for key in _PROVENANCE}
    return {
        key: f"{value:.4g}" if isinstance(value, float) else str(value)
        for key, value in facts.items()
        if value not in (None, "")
    }


def component_entries(
    components: list[dict[str, Any]], volume_node: slicer.vtkMRMLScalarVolumeNode
) -> list[dict[str, Any]]:
    """The components with their center in voxel indices, which a later transform of the volume does not change."""
    from .volume_nodes import volume_of

    geometry = volume_of(volume_node).geometry
    start = np.array(volume_node.GetImageData().GetExtent()[::2])
    entries = []
    for number, component in enumerate(components, start=1):
        center = geometry.to_index(np.array([component["center_mm"]]))[0] + start
        voxels = round(component["volume_cc"] / geometry.voxel_cc)
        label, mean, peak = (component[name] for name in ("label", "mean", "peak"))
        likely = component.get("likely", True)
        entry = component_entry(number, label, voxels, center, mean, peak, likely)
        entries.append({**entry, "clicked": True} if component.get("click") else entry)
    return entries


def component_entry(
    number: int, label: int, voxels: int, center: np.ndarray, mean: float | None, peak: float | None, likely: bool
) -> dict[str, Any]:
    """A component as the attribute ``COMPONENTS`` has it; ``center`` in voxel indices (i, j, k)."""
    return {
        "number": number,
        "label": label,
        "voxels": voxels,
        "centre": [round(float(at), 3) for at in center],
        "mean": mean,
        "peak": peak,
        "likely": likely,
    }


def is_result(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether the node is a result of ours."""
    return node is not None and node.IsA("vtkMRMLSegmentationNode") and node.GetAttribute(PREFIX + WRITTEN) is not None


def provenance(node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """How a result was made: model, weights, version, threshold, device, series, date, ...; empty for other nodes."""
    facts = {key: node.GetAttribute(PREFIX + key) for key in _PROVENANCE}
    return {key: value for key, value in facts.items() if value}


def provenance_text(node: slicer.vtkMRMLSegmentationNode) -> str:
    """The provenance as lines for a person."""
    facts = provenance(node)
    if CLICKS in facts:
        clicks = get_json(node, CLICKS)
        facts[CLICKS] = ", ".join(f"{click['action']} ({', '.join(map(str, click['point']))})" for click in clicks)
    lines = [f"{_PROVENANCE[key]}: {value}" for key, value in facts.items()]
    if lines and is_edited(node):
        lines.append("Edited: yes, since CMEDL made it")
    return "\n".join(lines)


def volume_of_result(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that a segmentation was made on, or None when it is gone."""
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def mark_written(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Remember the labels as they are now as what we wrote."""
    node.SetAttribute(PREFIX + WRITTEN, _digest(node))


def is_edited(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether somebody has changed a label of a result since we wrote it; False for what is no result."""
    written = node.GetAttribute(PREFIX + WRITTEN)
    return written is not None and written != _digest(node)


def _digest(node: slicer.vtkMRMLSegmentationNode) -> str:
    """SHA-256 of which voxels of the reference grid each label marks, however the labelmaps are stored."""
    digest = hashlib.sha256()
    grid = reference_grid(node)
    for value, segment_id in sorted(label_segments(node).items()):
        mask = mask_of(node, segment_id)
        if mask.empty:
            # As good as absent: no label is edited by being empty.
            continue
        placed = on_grid(mask, grid) if grid is not None else mask
        place = placed.first if placed is not None else "off the grid"
        digest.update(f"{value} {place} {mask.array.shape}\n".encode())
        digest.update(np.packbits(mask.array).tobytes())
    return digest.hexdigest()


def add_probability(
    volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome, result_node: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the probability (0 to 1) as a volume node, linked to the result; no view shows it until asked.

    Raises:
        InputError: the outcome has none, or the volume was removed or changed.
    """
    if outcome.probability is None:
        raise InputError("The run was not asked for the probability; ask for it and segment again.")
    check_volume(volume_node, outcome.probability)
    scene = volume_node.GetScene()
    # The node takes the array's memory over, so it has to be its own.
    array = np.require(outcome.probability, np.float32, ["C", "W"])
    node = scene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(f"{result_node.GetName()} probability")
    )
    lay_over(node, volume_node, array, volume_node.GetImageData().GetExtent()[::2], own_matrix(volume_node))
    display = node.GetDisplayNode()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetAndObserveColorNodeID(_COLORS)
    display.SetThreshold(LOWEST, 1.0)
    result_node.SetNodeReferenceID(PROBABILITY_ROLE, node.GetID())
    place_beside(node, volume_node)
    return node


def lay_over(
    node: slicer.vtkMRMLScalarVolumeNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    array: np.ndarray,
    first: tuple[int, int, int],
    matrix: np.ndarray,
) -> None:
    """Give a volume node that is shown over another one its voxels, and a display where it has none yet.

    Args:
        node: the volume.
        volume_node: whose transform it follows.
        array: the voxels (z, y, x), whose memory the node takes over.
        first: index (i, j, k) of the first one.
        matrix: (4, 4) from indices to the node's own RAS.
    """
    if node.GetDisplayNode() is None:
        display = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        # Before the voxels are there: an automatic window would look at all of them.
        display.SetAutoWindowLevel(False)
        display.SetApplyThreshold(True)
        node.SetAndObserveDisplayNodeID(display.GetID())
    image = vtk.vtkImageData()
    lend(image, array, first)
    node.SetIJKToRASMatrix(to_vtk(matrix))
    node.SetAndObserveImageData(image)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())


def probability_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The result's probability volume, if it has one that still holds voxels."""
    volume = node.GetNodeReference(PROBABILITY_ROLE)
    return volume if volume is not None and volume.GetImageData() is not None else None


def rethreshold(result_node: slicer.vtkMRMLSegmentationNode, threshold: float) -> None:
    """Mark what has at least this probability, at once and without another run.

    Candidates that were dropped stay dropped, components below the run's smallest volume stay away, and the surface
    of the 3-D view is left to :func:`show_surface`. The result and its provenance tell the new threshold.

    Raises:
        InputError: somebody edited the result or clicked tumors into it, it has no probability volume or several
            labels, or the threshold is not between ``LOWEST`` and ``HIGHEST``.
    """
    name = result_node.GetName()
    if not LOWEST <= threshold <= HIGHEST:
        raise InputError(f"A threshold of {threshold:g} makes no sense; give one from {LOWEST:g} to {HIGHEST:g}.")
    source = probability_of(result_node)
    if source is None:
        raise InputError(f"'{name}' has no probability volume; segment again and ask for it.")
    kept = label_segments(result_node)
    if len(kept) != 1:
        raise InputError(f"'{name}' has {len(kept)} labels; only a single one can be given another threshold.")
    if get_json(result_node, CLICKS):
        raise InputError(f"'{name}' holds clicked tumors, which no threshold made; undo the clicks, or segment again.")
    if is_edited(result_node):
        raise InputError(f"'{name}' was edited by hand, which another threshold would undo; segment again instead.")
    image = source.GetImageData()
    array, start = array_of(image), image.GetExtent()[::2]
    box = _reachable(result_node, array)
    if box is None:
        marked = Mask.nothing(own_matrix(source))
    else:
        first = tuple(at + part.start for at, part in zip(start, box[::-1], strict=True))
        marked = cropped(array[box] >= np.float32(threshold), first, own_matrix(source))
    ((value, segment_id),) = kept.items()
    smallest_cc = float(result_node.GetAttribute(PREFIX + "minimum_cc") or 0)
    kept_mask, dropped_mask = divided(result_node, marked, smallest_cc / voxel_cc(world_matrix(source)) - 1e-6)
    set_mask(result_node, segment_id, kept_mask)
    set_rejected(result_node, value, dropped_mask)
    result_node.SetAttribute(PREFIX + "threshold", f"{threshold:.4g}")
    result_node.RemoveAttribute(PREFIX + COMPONENTS)
    mark_written(result_node)


def _reachable(node: slicer.vtkMRMLSegmentationNode, array: np.ndarray) -> Box | None:
    """The box (z, y, x) that no threshold leaves; found once, then remembered with the result."""
    ends = get_json(node, BOX)
    if ends is None:
        box = bounding_box(array >= np.float32(LOWEST))
        ends = [[part.start, part.stop] for part in box or ()]
        set_json(node, BOX, ends)
    return tuple(slice(start, stop) for start, stop in ends) or None
