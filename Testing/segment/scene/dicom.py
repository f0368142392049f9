"""A volume node as Slicer has it after loading a DICOM series."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import slicer

from CMEDLSegmentPanel.scene.volume_nodes import volume_of
from segment.io.dicom_samples import write_series


class Database:
    """What the application's DICOM database tells of files."""

    def __init__(self, files: list[Path]) -> None:
        self.files = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): str(file) for file in files}

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")


def as_from_dicom(
    node: slicer.vtkMRMLScalarVolumeNode, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> pydicom.Dataset:
    """Write the node's slices as a series into ``folder``, which the database then knows and the node names.

    Returns:
        The header of one of them.
    """
    volume = volume_of(node)
    database = Database(write_series(folder, volume.array, volume.geometry))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    # In any order: the files themselves say which slice they are.
    node.SetAttribute("DICOM.instanceUIDs", " ".join(sorted(database.files)))
    return pydicom.dcmread(next(iter(database.files.values())), stop_before_pixels=True)
