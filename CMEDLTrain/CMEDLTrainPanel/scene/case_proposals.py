"""Which images of the scene, with which segments, can become cases of a cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import MODALITIES, ROLES
from CMEDLSegmentPanel.scene import expert_segments, result_nodes, subject_hierarchy
from CMEDLSegmentPanel.scene.coordinates import array_of
from CMEDLSegmentPanel.scene.expert_segments import SegmentRef
from CMEDLSegmentPanel.scene.volume_nodes import modality_of, volume_of

AIR_HU = -500
"""No MR has values as low as air has in HU, even where an offset was taken off."""

NOTHING, OUTSIDE = "Nothing is marked", "It lies outside"
"""How ``experts.problems`` begins to tell of a segment that cannot be used with an image."""


@dataclass(frozen=True)
class Proposal:
    """An image and a segment that seems to be drawn on it.

    Attributes:
        volume: the image.
        ref: the segment.
        modality, role: what the image seems to be, and to be for.
        problem: why it cannot become a case, or what is odd about it; may be empty.
        possible: whether it can become a case.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    ref: SegmentRef
    modality: str
    role: str
    problem: str = ""
    possible: bool = True


def proposals(dicom: bool = False) -> list[Proposal]:
    """Every segment of the scene with the image that it was drawn on, in the order of the nodes.

    Args:
        dicom: only segments that came from DICOM, with the image of the same study.
    """
    proposed = []
    for ref in expert_segments.all_segments():
        # A labelmap volume is no segment until somebody makes it one.
        if not ref.segment_id or (dicom and ref.source not in (expert_segments.RTSTRUCT, expert_segments.SEG)):
            continue
        node = slicer.mrmlScene.GetNodeByID(ref.node_id)
        volume = _image_of(node, ref, dicom)
        if volume is not None:
            proposed.append(_proposal(volume, ref))
    return proposed


def _proposal(volume: slicer.vtkMRMLScalarVolumeNode, ref: SegmentRef) -> Proposal:
    """What can be told of an image and its segment."""
    try:
        volume_of(volume)
        problems = expert_segments.problems(ref, volume)
    except InputError as error:
        return Proposal(volume, ref, MODALITIES[0], ROLES[0], str(error), possible=False)
    if ref.source == expert_segments.MODEL and not result_nodes.is_edited(slicer.mrmlScene.GetNodeByID(ref.node_id)):
        problems = ["A student drew it and nobody has corrected it.", *problems]
    modality = modality_of(volume) or _guessed(volume)
    known = modality in MODALITIES
    if not known:
        problems = [f"Cohorts hold {' and '.join(MODALITIES)}, and this image is {modality}."]
    fatal = not known or any(sentence.startswith((NOTHING, OUTSIDE)) for sentence in problems)
    role = ROLES[MODALITIES.index(modality)] if known else ROLES[0]
    return Proposal(volume, ref, modality if known else MODALITIES[0], role, " ".join(problems), possible=not fatal)


def _image_of(
    node: slicer.vtkMRMLSegmentationNode, ref: SegmentRef, same_study: bool
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The image that a segmentation was drawn on: as it says itself, else of its study, else the one around it."""
    candidates = [result_nodes.volume_of_result(node)]
    volumes = [
        volume
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not volume.IsA("vtkMRMLLabelMapVolumeNode") and not volume.GetHideFromEditors()
    ]
    tree, own = subject_hierarchy.item_of(node)
    study = tree.GetItemParent(own) if tree and own else 0
    in_study = [v for v in volumes if tree and study and tree.GetItemParent(tree.GetItemByDataNode(v)) == study]
    if same_study:
        candidates = [candidate for candidate in candidates if candidate in in_study]
        volumes = in_study
    elif tree and study and study != tree.GetSceneItemID():
        candidates += in_study
    for candidate in (*candidates, *(volume for volume in volumes if not _outside(ref, volume))):
        if candidate is not None and candidate.IsA("vtkMRMLScalarVolumeNode"):
            return candidate
    return None


def _outside(ref: SegmentRef, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a segment cannot have been drawn on an image."""
    return any(sentence.startswith(OUTSIDE) for sentence in expert_segments.problems(ref, volume))


def _guessed(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """CT or MR of an image that does not tell: the air around a patient is far below zero in HU alone."""
    array = array_of(volume.GetImageData())
    sample = array[tuple(slice(None, None, max(1, count // 32)) for count in array.shape)]
    return "CT" if float(np.min(sample)) < AIR_HU else "MR"
