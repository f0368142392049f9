"""Candidates that were dropped: their voxels wait in a hidden segment of the same node, so that nothing is lost.

Which candidates they are outlives another threshold by *seeds*: the most probable voxel of each dropped and of each
kept candidate. At a new threshold a component is dropped if it holds a dropped seed and no kept one.
"""

from __future__ import annotations

import numpy as np
import slicer

from CMEDLSegmentLib.metrics.connected_components import connected_components

from .attributes import DROPPED, LABEL, PREFIX, SEEDS, get_json, set_json, tag
from .segment_masks import Mask, add_segment, cropped, segment_of, set_mask

GRAY = (0.6, 0.6, 0.6)


def label_segments(node: slicer.vtkMRMLSegmentationNode, kind: str = LABEL) -> dict[int, str]:
    """Segment id of each label's value; ``kind`` is ``LABEL`` (what is kept) or ``DROPPED``."""
    segmentation = node.GetSegmentation()
    segments: dict[int, str] = {}
    for segment_id in segmentation.GetSegmentIDs():
        value = tag(segmentation.GetSegment(segment_id), kind)
        if value is not None:
            segments.setdefault(int(value), segment_id)
    return segments


def set_rejected(node: slicer.vtkMRMLSegmentationNode, value: int, mask: Mask) -> None:
    """Make ``mask`` what is dropped of a label; the hidden segment is there only while something is."""
    segment_id = label_segments(node, DROPPED).get(value)
    if mask.empty:
        if segment_id is not None:
            node.GetSegmentation().RemoveSegment(segment_id)
        return
    if segment_id is not None:
        set_mask(node, segment_id, mask)
        return
    kept = label_segments(node).get(value)
    name = segment_of(node, kept).GetName() if kept is not None else f"Label {value}"
    added = add_segment(node, f"Dropped_{value}", f"{name} (dropped)", GRAY, mask, {f"{PREFIX}{DROPPED}": str(value)})
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSegmentVisibility(added, False)


def remember_rejected(
    node: slicer.vtkMRMLSegmentationNode, dropped: list[tuple[int, int, int]], kept: list[tuple[int, int, int]]
) -> None:
    """Remember the seeds (i, j, k) of all dropped and of all kept candidates; older kept ones stay kept."""
    before = get_json(node, SEEDS) or {"dropped": [], "kept": []}
    away = {tuple(seed) for seed in dropped}
    stay = [seed for seed in dict.fromkeys([*map(tuple, before["kept"]), *kept]) if seed not in away]
    gone = [seed for seed in dict.fromkeys([*map(tuple, before["dropped"]), *dropped]) if seed not in set(kept)]
    set_json(node, SEEDS, {"dropped": gone, "kept": stay})


def divided(node: slicer.vtkMRMLSegmentationNode, marked: Mask, smallest: float) -> tuple[Mask, Mask]:
    """What of ``marked`` (on the reference grid) is kept, and what dropped; components below ``smallest`` voxels go."""
    seeds = get_json(node, SEEDS) or {"dropped": [], "kept": []}
    if marked.empty or (not seeds["dropped"] and smallest <= 1):
        return marked, Mask.nothing(marked.matrix)
    kept, dropped = np.zeros(marked.array.shape, dtype=bool), np.zeros(marked.array.shape, dtype=bool)
    places = {kind: (np.array(ijk, dtype=int).reshape(-1, 3) - marked.first)[:, ::-1] for kind, ijk in seeds.items()}
    for component in connected_components(marked.array):
        if component.voxels < smallest:
            continue
        away = component.holds(places["dropped"]) and not component.holds(places["kept"])
        (dropped if away else kept)[component.box] |= component.mask
    return cropped(kept, marked.first, marked.matrix), cropped(dropped, marked.first, marked.matrix)
