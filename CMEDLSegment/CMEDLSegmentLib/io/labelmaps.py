"""Reading a delineation from a labelmap or from a segmentation of 3D Slicer (``.seg.nrrd``)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from ..base.errors import InputError
from .delineation import Delineation
from .header_checks import check_file
from .images import read_mask
from .regrid import ReferenceImage, regrid
from .select_segment import Segment, list_segments, select_segment
from .volume import Geometry, array_of, geometry_of, quiet_itk


def read_labelmap(path: Path, name: str, target: ReferenceImage, asked: str | None) -> Delineation:
    """What is marked in an image file, on the target's grid.

    A ``.nrrd`` with Slicer's segment fields is read by them (also in layers, where segments overlap); any other file
    is a plain labelmap, whose segments are its values.

    Raises:
        InputError: not a labelmap, no segment or several that could be meant, or nothing of it within the target.
    """
    fields = _segment_fields(path) if path.name.lower().endswith(".nrrd") else []
    if fields:
        return _read_segmentation(path, name, target, asked, fields)
    volume = read_mask(path)
    values = np.flatnonzero(_present(volume.array))
    segments = [Segment(int(value)) for value in values if value]
    if not segments:
        return Delineation(name, np.zeros(target.geometry.shape, dtype=bool), asked or "", "labelmap")
    if asked is not None and len(segments) == 1 and not asked.strip().isdecimal():
        # A labelmap has no names to look for; a name that was asked for in all files means its only label here.
        chosen = segments[0]
        notes: tuple[str, ...] = (f"A labelmap has no names; its only label, {chosen.number}, was taken.",)
    elif asked is None and len(segments) > 1:
        raise InputError(
            f"{path} holds the labels {list_segments(segments)}; choose one by --segment NUMBER or as FILE#NUMBER."
        )
    else:
        chosen, notes = select_segment(path, segments, asked)
    mask, further = regrid(path, volume.array == chosen.number, volume.geometry, target.geometry)
    return Delineation(name, mask, str(chosen.number), "labelmap", (*notes, *further))


def _present(array: np.ndarray) -> np.ndarray:
    """Which values occur in an unsigned array, as bool (highest value + 1); slice by slice, without sorting."""
    if array.dtype.itemsize > 2:
        values = np.unique(array)
        present = np.zeros(int(values[-1]) + 1, dtype=bool)
        present[values] = True
        return present
    present = np.zeros(np.iinfo(array.dtype).max + 1, dtype=bool)
    for part in array:
        present |= np.bincount(part.ravel(), minlength=len(present)).astype(bool)
    return present


def _segment_fields(path: Path) -> list[dict[str, str]]:
    """The fields of each segment in a header of Slicer's format; empty for a plain image, or a damaged one.

    Format: Slicer's developer guide, "Segmentations": ``Segment0_Name``, ``Segment0_LabelValue``, ...
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:
        return []  # reading it as an image tells what is wrong
    segments: dict[int, dict[str, str]] = {}
    for key in reader.GetMetaDataKeys():
        prefix, _, field = key.partition("_")
        if prefix.startswith("Segment") and prefix[7:].isdecimal():
            with contextlib.suppress(TypeError):  # text that is not UTF-8
                segments.setdefault(int(prefix[7:]), {})[field] = reader.GetMetaData(key)
    return [fields for _, fields in sorted(segments.items()) if "ID" in fields or "Name" in fields]


def _read_segmentation(
    path: Path, name: str, target: ReferenceImage, asked: str | None, fields: list[dict[str, str]]
) -> Delineation:
    """The asked segment of a ``.seg.nrrd``."""
    segments = [Segment(k, segment.get("Name") or segment.get("ID", "")) for k, segment in enumerate(fields, start=1)]
    chosen, notes = select_segment(path, segments, asked)
    layers, geometry = _read_layers(path)
    of_segment = fields[chosen.number - 1]
    try:
        # Slicer before 4.11 wrote neither: one layer a segment, with the value 1.
        layer = int(of_segment.get("Layer", chosen.number - 1 if layers.shape[3] > 1 else 0))
        value = int(of_segment.get("LabelValue", 1 if layers.shape[3] > 1 else chosen.number))
    except ValueError as error:
        raise InputError(f"{path} has damaged segment fields in its header; save it again.") from error
    if not 0 <= layer < layers.shape[3]:
        raise InputError(f"{path} lacks the layer {layer} of segment '{chosen.name}'; save it again.")
    mask, further = regrid(path, layers[..., layer] == value, geometry, target.geometry)
    return Delineation(name, mask, chosen.name, "segmentation", (*notes, *further))


def _read_layers(path: Path) -> tuple[np.ndarray, Geometry]:
    """Label values (z, y, x, layers) of a segmentation file, and its grid."""
    import SimpleITK as sitk

    check_file(path)
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read: the file is damaged or cut short; export it again.") from error
    if image.GetDimension() != 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions; give a segmentation of one 3-D volume.")
    return array_of(image).reshape(*image.GetSize()[::-1], -1), geometry_of(image)
