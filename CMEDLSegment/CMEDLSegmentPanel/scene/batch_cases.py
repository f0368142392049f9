"""Scans that are segmented one after the other: from the scene, from a folder, from Slicer's DICOM database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.scan_search import case_name, find_scans, name_of

from .expert_segments import one_line
from .volume_nodes import volume_of

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.volume import Volume

INPUTS = "inputs"
"""Folder of a batch for scans that lie in no file or folder of their own."""


@dataclass(frozen=True)
class BatchScan:
    """A scan that was chosen.

    Attributes:
        name: for people, and for the case.
        path: its file or folder; None where there is none of its own.
        node_id: of a volume of the scene.
        files: of a series of the DICOM database.
        volume: the voxels of a volume of the scene, once they were asked for.
    """

    name: str
    path: Path | None = None
    node_id: str = ""
    files: tuple[Path, ...] = ()
    volume: Volume | None = None


def loaded_scans() -> list[BatchScan]:
    """The scalar volumes of the scene; labelmaps and vectors are none."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    volumes = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetImageData()]
    return [BatchScan(one_line(node.GetName()), node_id=node.GetID()) for node in volumes]


def folder_scans(folder: Path) -> list[BatchScan]:
    """The scans at and below a folder.

    Raises:
        InputError: it cannot be read, or there is none.
    """
    try:
        scans = find_scans(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); choose another folder.") from error
    if not scans:
        raise InputError(f"{folder} holds no NIfTI, NRRD or MetaImage file and no DICOM series; choose another folder.")
    return [BatchScan(name_of(scan, folder), path=scan) for scan in scans]


def database_scans() -> list[BatchScan]:
    """The CT series of Slicer's DICOM database.

    Raises:
        InputError: there is no database, or no CT in it.
    """
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        raise InputError("Slicer's DICOM database is not open; open the DICOM module once.")
    scans = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for series in database.seriesForStudy(study):
                files = tuple(Path(file) for file in database.filesForSeries(series))
                if not files or database.fileValue(str(files[0]), "0008,0060") != "CT":
                    continue
                words = [
                    database.nameForPatient(patient),
                    database.fileValue(str(files[0]), "0008,0020"),
                    database.descriptionForSeries(series),
                ]
                scans.append(BatchScan(one_line(" ".join(filter(None, words))), files=files))
    if not scans:
        raise InputError("Slicer's DICOM database holds no CT series; import some in the DICOM module.")
    return scans


def with_voxels(scan: BatchScan) -> BatchScan:
    """The scan with the voxels of its volume, if it is one of the scene; to be asked for in the window's thread.

    Raises:
        InputError: the volume was removed, or is under a transform that is not linear.
    """
    if not scan.node_id:
        return scan
    node = slicer.mrmlScene.GetNodeByID(scan.node_id)
    if node is None:
        raise InputError(f"'{scan.name}' is no longer in the scene; add the loaded CTs again.")
    return replace(scan, volume=volume_of(node))


def collect_cases(scans: Sequence[BatchScan], folder: Path) -> list[Case]:
    """The scans as cases of a batch in ``folder``; those without a file or folder of their own get one there.

    Touches no scene.

    Raises:
        InputError: a file cannot be written.
    """
    cases: list[Case] = []
    for scan in scans:
        name = case_name(scan.name, [case.case for case in cases])
        cases.append(Case(name, name, "CT", scan.path or _own_place(scan, folder / INPUTS, name)))
    return cases


def _own_place(scan: BatchScan, inputs: Path, name: str) -> Path:
    try:
        inputs.mkdir(parents=True, exist_ok=True)
        if scan.volume is None:
            return _series(scan.files, inputs / name)
        return _written(scan.volume, inputs / f"{name}.nrrd")
    except OSError as error:
        raise InputError(f"{inputs} takes no file ({error.strerror}); choose another output folder.") from error


def _series(files: Sequence[Path], place: Path) -> Path:
    """The folder of a series: where its files lie if nothing else does, else ``place``, with links to them."""
    folders = {file.parent for file in files}
    if len(folders) == 1 and sum(1 for _ in next(iter(folders)).iterdir()) == len(files):
        return folders.pop()
    place.mkdir(exist_ok=True)
    for number, file in enumerate(sorted(files)):
        target = place / f"{number:05d}.dcm"
        if target.exists():
            continue
        try:
            os.link(file, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, target)
    return place


def _written(volume: Volume, path: Path) -> Path:
    """The volume as a file; one that is there with the same voxels stays, so that its case is kept."""
    import numpy as np

    from CMEDLSegmentLib.io.images import read_volume, write_image

    if path.exists():
        there = read_volume(path)
        if there.geometry.is_close(volume.geometry) and np.array_equal(there.array, volume.array):
            return path
    write_image(path, volume.array, volume.geometry)
    return path
