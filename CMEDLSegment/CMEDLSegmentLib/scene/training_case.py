"""A corrected segmentation as a case to train with: image, mask and who corrected it, in a cohort's folder.

A cohort folder holds ``cohort.csv`` (see :mod:`CMEDLSegmentLib.cohort`) and a folder for each case with ``image``,
``mask`` and ``case.json``. Nothing in it names the patient: cases are numbered, a patient is a random word, and neither
names of nodes nor DICOM identifiers are written. What is there is never overwritten.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import slicer

from .. import __version__
from ..cohort import COLUMNS, MODALITIES, ROLES, SPLITS, read_cohort
from ..errors import InputError
from ..files import atomic_path
from ..volume import Geometry, write_image
from . import hierarchy
from .attributes import PREFIX
from .experts import one_line
from .results import is_edited, provenance
from .segments import array_on_volume
from .volumes import volume_of

TABLE = "cohort.csv"

_PATIENT = PREFIX + "patient"
_REVIEWER = "reviewer"
_TOLD = ("student", "weights_sha256", "program", "threshold", "date")
"""Of a result's provenance; its series would lead to the patient."""


@dataclass(frozen=True)
class TrainingCase:
    """All that a case's files hold, taken out of the scene: :meth:`write` may run in another thread.

    Attributes:
        image: the CT's voxels (z, y, x), where they lie in the scene.
        mask: uint8 (z, y, x), 1 where the structure is.
        geometry: grid of both, with the CT's linear transform.
        facts: what ``case.json`` says.
        patient, modality, role, split: the case's line in the cohort.
        folder: the cohort's folder.
    """

    image: np.ndarray
    mask: np.ndarray
    geometry: Geometry
    facts: dict[str, str]
    patient: str
    modality: str
    role: str
    split: str
    folder: Path

    def write(self) -> Path:
        """Write the files, then the line in ``cohort.csv``; all of them or nothing.

        Returns:
            The case's folder.

        Raises:
            InputError: the folder cannot be written to, or holds a ``cohort.csv`` that is no cohort.
        """
        table = self.folder / TABLE
        known = read_cohort(table, check_files=False) if table.exists() else ()
        case_folder = self._make_folder({case.case.casefold() for case in known})
        try:
            # NIfTI has no sheared grids.
            ending = ".nrrd" if self.geometry.is_sheared else ".nii.gz"
            image, mask = case_folder / f"image{ending}", case_folder / f"mask{ending}"
            write_image(image, self.image, self.geometry)
            write_image(mask, self.mask, self.geometry)
            with atomic_path(case_folder / "case.json") as beside:
                beside.write_text(json.dumps(self.facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            row = {
                "patient": self.patient,
                "case": case_folder.name,
                "role": self.role,
                "modality": self.modality,
                "image": f"{case_folder.name}/{image.name}",
                "mask": f"{case_folder.name}/{mask.name}",
                # A patient whose scans are in the cohort already stays in the same split.
                "split": next((case.split for case in known if case.patient == self.patient), self.split),
                _REVIEWER: self.facts[_REVIEWER],
            }
            _append(table, row)
        except BaseException:
            shutil.rmtree(case_folder, ignore_errors=True)
            raise
        return case_folder

    def _make_folder(self, taken: set[str]) -> Path:
        """A new folder with the next free number."""
        for number in range(1, 100_000):
            path = self.folder / f"case{number:03d}"
            if path.name in taken:
                continue
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                reason = error.strerror or str(error)
                raise InputError(f"The folder {self.folder} takes no case ({reason}); choose another one.") from error
            return path
        raise InputError(f"The folder {self.folder} is full of cases; choose another one.")


def collect(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    folder: Path | str,
    reviewer: str,
    role: str = "student",
    split: str = "train",
    patient: str | None = None,
) -> TrainingCase:
    """Take out of the scene what a case needs.

    Args:
        volume_node: the image.
        segmentation_node, segment_id: the corrected structure.
        folder: the cohort's folder; made if it is not there.
        reviewer: who corrected it.
        role: ``student`` or ``teacher``.
        split: ``train``, ``validation`` or ``test``.
        patient: a pseudonym; None makes a random one, the same for all scans of a patient in this scene. Scans of one
            patient from different scenes need a pseudonym that is given here.

    Raises:
        InputError: the volume is gone, the segment marks nothing of it, nobody is named, or a word is unknown.
    """
    if volume_node is None or volume_node.GetScene() is None:
        raise InputError("The image of this segmentation is no longer in the scene; load it again.")
    reviewer = one_line(reviewer)
    if not reviewer:
        raise InputError("A training case tells who corrected it; give the reviewer's name or initials.")
    if role not in ROLES or split not in SPLITS:
        raise InputError(f"A case cannot be for '{role}' and '{split}'; see the columns of a cohort table.")
    volume = volume_of(volume_node)
    modality = volume.modality or "CT"
    if modality not in MODALITIES:
        raise InputError(f"A case cannot be {modality}; cohorts hold {' and '.join(MODALITIES)}.")
    mask = array_on_volume(segmentation_node, segment_id, volume_node)
    if not mask.any():
        raise InputError("Nothing is marked within the image, so there is nothing to learn from; draw it first.")
    made_by = {key: value for key, value in provenance(segmentation_node).items() if key in _TOLD}
    facts = {
        _REVIEWER: reviewer,
        "saved": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "saved_by": f"CMEDL {__version__}",
        "edited": "yes" if not made_by or is_edited(segmentation_node) else "no",
        **made_by,
    }
    return TrainingCase(
        image=volume.array,
        mask=mask.astype(np.uint8),
        geometry=volume.geometry,
        facts=facts,
        patient=patient or _pseudonym(volume_node),
        modality=modality,
        role=role,
        split=split,
        folder=Path(folder).absolute(),
    )


def _pseudonym(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A random word for the patient, kept with the patient's item, or with the volume where there is none."""
    tree, item = hierarchy.item_of(volume_node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    patient = tree.GetItemAncestorAtLevel(item, level) if item else 0
    known = tree.GetItemAttribute(patient, _PATIENT) if patient else volume_node.GetAttribute(_PATIENT)
    if known:
        return known
    made = f"patient-{secrets.token_hex(4)}"
    if patient:
        tree.SetItemAttribute(patient, _PATIENT, made)
    else:
        volume_node.SetAttribute(_PATIENT, made)
    return made


def _append(table: Path, row: dict[str, str]) -> None:
    """Add a line to the cohort's table, with the columns that it has; a new one tells the reviewer too."""
    if table.exists():
        text = table.read_text(encoding="utf-8-sig")
        header = [name.strip().lower() for name in next(csv.reader(io.StringIO(text, newline="")))]
        text = text if text.endswith("\n") else text + "\n"
    else:
        header, text = [*COLUMNS, _REVIEWER], ",".join([*COLUMNS, _REVIEWER]) + "\n"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([row.get(name, "") for name in header])
    with atomic_path(table) as beside:
        beside.write_text(text + line.getvalue(), encoding="utf-8", newline="\n")
