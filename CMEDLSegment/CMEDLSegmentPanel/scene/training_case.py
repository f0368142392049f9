"""Structures of the scene as a case to train with: image, mask and who drew it, for a cohort's folder.

Nothing in a case names the patient: a patient is a random word unless one is given, and no names of nodes and no DICOM
identifiers are written.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import slicer

from CMEDLSegmentLib import __version__
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.case_folders import REVIEWER, SEGMENT, TrainingCase
from CMEDLSegmentLib.io.cohort_table import MODALITIES, ROLES, SPLITS

from . import subject_hierarchy
from .attributes import PREFIX
from .expert_segments import one_line
from .result_nodes import is_edited, provenance
from .segment_masks import array_on_volume, segment_of
from .volume_nodes import volume_of

_PATIENT = PREFIX + "patient"
_KEPT_FACTS = ("student", "weights_sha256", "program", "threshold", "date")
"""Of a result's provenance; its series would lead to the patient."""


@dataclass(frozen=True)
class Mark:
    """A segment that becomes the label ``value`` of a case's mask."""

    node: slicer.vtkMRMLSegmentationNode
    segment_id: str
    value: int = 1


def collect(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    marks: Sequence[Mark],
    folder: Path | str,
    reviewer: str,
    role: str = "student",
    split: str = "train",
    patient: str | None = None,
    modality: str | None = None,
) -> TrainingCase:
    """Take out of the scene what a case needs.

    Args:
        volume_node: the image; linear transforms that it lies under are part of the case's grid.
        marks: its structures; where two overlap, the later one counts.
        folder: the cohort's folder; made if it is not there.
        reviewer: who drew or corrected it.
        role: ``student`` or ``teacher``.
        split: ``train``, ``validation``, ``test``, or empty.
        patient: a pseudonym; None makes a random one, the same for all scans of a patient in this scene. Scans of one
            patient from different scenes need a pseudonym that is given here.
        modality: ``CT`` or ``MR``; None takes what DICOM says, else CT.

    Raises:
        InputError: the volume is gone, a segment marks nothing of it, no folder or nobody is named, or a word is
            unknown.
    """
    if volume_node is None or volume_node.GetScene() is None:
        raise InputError("The image of this segmentation is no longer in the scene; load it again.")
    reviewer = one_line(reviewer)
    if not reviewer:
        raise InputError("A training case tells who corrected it; give the reviewer's name or initials.")
    if not str(folder).strip():
        raise InputError("A training case is kept in a cohort's folder, and none is chosen; choose one.")
    if role not in ROLES or split not in (*SPLITS, ""):
        raise InputError(f"A case cannot be for '{role}' and '{split}'; see the columns of a cohort table.")
    volume = volume_of(volume_node)
    modality = modality or volume.modality or "CT"
    if modality not in MODALITIES:
        raise InputError(f"A case cannot be {modality}; cohorts hold {' and '.join(MODALITIES)}.")
    mask = np.zeros(volume.array.shape, np.uint8)
    for mark in marks:
        marked = array_on_volume(mark.node, mark.segment_id, volume_node)
        if not marked.any():
            raise InputError("Nothing is marked within the image, so there is nothing to learn from; draw it first.")
        mask[marked] = mark.value
    return TrainingCase(
        image=volume.array,
        mask=mask,
        geometry=volume.geometry,
        facts=_facts(marks, reviewer),
        patient=one_line(patient or "") or pseudonym(volume_node),
        modality=modality,
        role=role,
        split=split,
        folder=Path(folder).absolute(),
    )


def _facts(marks: Sequence[Mark], reviewer: str) -> dict[str, str]:
    """What ``case.json`` says."""
    nodes = {mark.node.GetID(): mark.node for mark in marks}.values()
    made_by = {key: value for node in nodes for key, value in provenance(node).items() if key in _KEPT_FACTS}
    names = (one_line(segment_of(mark.node, mark.segment_id).GetName()) for mark in marks)
    return {
        REVIEWER: reviewer,
        SEGMENT: ", ".join(names),
        "saved": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "saved_by": f"CMEDL {__version__}",
        "edited": "yes" if not made_by or any(is_edited(node) for node in nodes) else "no",
        **made_by,
    }


def pseudonym(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A random word for the patient, kept with the patient's item, or with the volume where there is none."""
    tree, item = subject_hierarchy.item_of(volume_node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    patient = tree.GetItemAncestorAtLevel(item, level) if tree and item else 0
    known = tree.GetItemAttribute(patient, _PATIENT) if tree and patient else volume_node.GetAttribute(_PATIENT)
    if known:
        return known
    made = f"patient-{secrets.token_hex(4)}"
    if tree and patient:
        tree.SetItemAttribute(patient, _PATIENT, made)
    else:
        volume_node.SetAttribute(_PATIENT, made)
    return made
