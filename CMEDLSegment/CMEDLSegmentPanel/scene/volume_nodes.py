"""A volume node as the :class:`Volume` that a model reads, and what is doubtful about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.hounsfield import check_hounsfield
from CMEDLSegmentLib.io.volume import AxialView, Geometry, Volume, axial_view

from . import subject_hierarchy
from .attributes import PREFIX
from .coordinates import array_of, geometry_of, own_matrix, world_matrix
from .layouts import composite_of

if TYPE_CHECKING:
    from CMEDLSegmentLib.models.model_card import Card

FEW_SLICES = 10
THICK_MM = 6.0
"""A slice spacing that hides small tumors; the training scans of public lung collections end at 5 mm."""
COARSE = 2.0
"""Times the model's own pixel: a coarser image is one it has not seen."""
SAMPLE_MM = 4.0
SAMPLE_VOXELS = 250_000
LUNG_HU = (-940.0, -500.0)
LUNG_MM2 = 1000.0
"""A region of a slice whose mean is within ``LUNG_HU`` and whose area is larger can be lung; see ``anatomy``."""

LUNG_WINDOW = (1500.0, -600.0)
"""Window and level, HU."""

_WINDOW_PROPOSED = f"{PREFIX}window"
_INSTANCES = "DICOM.instanceUIDs"
_CT_CODES, _MR_CODES = {"112031", "hnsf'U"}, {"110852"}
"""Codes that Slicer's DICOM import sets: attenuation coefficient, Hounsfield unit; MR signal intensity."""


@dataclass(frozen=True)
class InputCheck:
    """A sentence about an input.

    Attributes:
        text: what is missing or doubtful, and what to do.
        blocks: the model cannot read this input; nothing should be started.
    """

    text: str
    blocks: bool


def propose_lung_window(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a CT in the lung window, once, where nobody has chosen a window for it."""
    display = volume.GetDisplayNode()
    if display is None or not display.GetAutoWindowLevel() or volume.GetAttribute(_WINDOW_PROPOSED):
        return
    volume.SetAttribute(_WINDOW_PROPOSED, "lung")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*LUNG_WINDOW)


def proposed_volume() -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that somebody looks at: a slice view's background, else the scene's first one; never a labelmap."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    # Of the views that the layout shows the active one first, else the one that Slicer names first.
    views.sort(key=lambda view: (not view.IsMappedInLayout(), not view.GetActive(), view.GetLayoutName() != "Red"))
    composites = filter(None, map(composite_of, views))
    shown = [slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") for composite in composites]
    volumes = [*filter(None, shown), *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    # The exact class: labelmaps, colors and vectors are scalar volumes too.
    return next((node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)


def volume_of(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The node's voxels, where they lie in the world, as the model reads them.

    The array is the node's own memory (it stays valid when the node is removed) and must not be written to. Linear
    parent transforms are part of the geometry. ``files`` stays empty: see :func:`dicom_files`.

    Raises:
        InputError: no volume, no voxels, a labelmap, several components, or a transform that is not linear.
    """
    image, geometry = _checked(node)
    return Volume(
        array=array_of(image),
        geometry=geometry,
        modality=modality_of(node),
        series_uid=subject_hierarchy.dicom_uid(node) or None,
        name=node.GetName() or "volume",
    )


def _checked(node: slicer.vtkMRMLScalarVolumeNode | None) -> tuple[vtk.vtkImageData, Geometry]:
    """The node's image and its grid in the world, if it is a volume that can be segmented."""
    if node is None:
        raise InputError("No volume is chosen; load a CT and choose it.")
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{name}' is a labelmap; choose the CT that it was drawn on.")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"'{name}' is no volume; choose a CT.")
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or not image.GetNumberOfPoints():
        raise InputError(f"'{name}' holds no voxels; load it again.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"'{name}' has {components} values per voxel (a color or vector image); choose one with one value."
        )
    size = image.GetDimensions()
    if min(size) == 1:
        shown = " x ".join(map(str, size))
        raise InputError(f"'{name}' is a single slice ({shown} voxels); choose a volume of at least two slices.")
    return image, geometry_of(world_matrix(node), image.GetExtent())


def modality_of(node: slicer.vtkMRMLVolumeNode) -> str | None:
    """ "CT", "MR", ... as DICOM says, or None where the node does not tell."""
    if modality := subject_hierarchy.dicom_modality(node):
        return modality
    entries = (node.GetVoxelValueQuantity(), node.GetVoxelValueUnits())
    codes = {entry.GetCodeValue() for entry in entries if entry is not None}
    if codes & _CT_CODES:
        return "CT"
    return "MR" if codes & _MR_CODES else None


def dicom_files(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """The DICOM files of a volume in the order of its slices, and the slice (k) that each of them is.

    Each file's own position says which slice it is, so that a volume cropped or resampled after loading is told.

    Raises:
        InputError: the volume did not come from DICOM, its files are gone, or it is on another grid by now.
    """
    from pydicom import dcmread

    name = node.GetName()
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute(_INSTANCES) or "").split()
    if not uids or database is None:
        raise InputError(
            f"'{name}' was not loaded from DICOM, so there is no study to refer to; load the series from the DICOM "
            "module, or save the segmentation as .seg.nrrd."
        )
    files = [Path(file) for file in map(database.fileForInstance, uids) if file]
    if len(files) < len(uids) or not all(file.is_file() for file in files):
        raise InputError(f"DICOM files of '{name}' are no longer where they were; import the series again.")
    tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"]
    headers = [dcmread(file, stop_before_pixels=True, specific_tags=tags) for file in files]
    if any(tag not in header for header in headers for tag in tags):
        raise InputError(f"DICOM files of '{name}' hold no single slices; save the segmentation as .seg.nrrd.")
    geometry = geometry_of(own_matrix(node), node.GetImageData().GetExtent())
    corners = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    along_rows = [np.array(h.ImageOrientationPatient[:3], dtype=float) * float(h.PixelSpacing[1]) for h in headers]
    index = geometry.to_index(corners)
    places = np.rint(index[:, 2]).astype(int)
    corner = np.stack([0 * places, 0 * places, places], axis=1)
    own_grid = (
        np.abs(index - corner).max() < 0.1
        and np.abs(geometry.to_index(corners + along_rows) - corner - (1, 0, 0)).max() < 0.1
        and len(set(places.tolist())) == len(places)
        and 0 <= places.min() <= places.max() < geometry.size[2]
        and all((header.Columns, header.Rows) == geometry.size[:2] for header in headers)
    )
    if not own_grid:
        raise InputError(
            f"'{name}' is no longer on the grid of its DICOM files; load the series again, or save as .seg.nrrd."
        )
    order = np.argsort(places)
    return tuple(files[place] for place in order), tuple(places[order].tolist())


def input_checks(node: slicer.vtkMRMLScalarVolumeNode | None, card: Card | None = None) -> list[InputCheck]:
    """What is missing or doubtful about an input, most important first; quick, because it looks at a sample only.

    Args:
        node: the chosen node, or None.
        card: the chosen model's; None asks only for what every model needs.
    """
    try:
        image, geometry = _checked(node)
    except InputError as error:
        return [InputCheck(str(error), blocks=True)]
    view = axial_view(array_of(image), geometry)
    checks = [] if card is None else _about_values(view, modality_of(node), card)
    checks += [InputCheck(text, blocks=False) for text in _about_grid(view, card)]
    return sorted(checks, key=lambda check: not check.blocks)


def _about_values(view: AxialView, modality: str | None, card: Card) -> list[InputCheck]:
    """Whether the voxels are what the model reads."""
    if modality is not None and modality != card.modality:
        return [
            InputCheck(
                f"The image is {modality}, but model '{card.name}' reads {card.modality}; choose a model for "
                f"{modality} or a {card.modality} image.",
                blocks=True,
            )
        ]
    sample, pixel_mm2 = _sample(view)
    if sample.dtype.kind == "f" and not np.isfinite(sample).all():
        return [
            InputCheck("The image has voxels that are NaN or infinite; replace them (for CT by -1024).", blocks=True)
        ]
    if card.slices != "lung":
        return []
    try:
        warnings = check_hounsfield(sample)
    except InputError as error:
        return [InputCheck(str(error), blocks=True)]
    if not _has_lung(sample, pixel_mm2):
        warnings.append("No lung is seen in the image; give a CT of the chest, or ask for all slices.")
    return [InputCheck(text, blocks=False) for text in warnings]


def _sample(view: AxialView) -> tuple[np.ndarray, float]:
    """A copy of every n-th voxel (axial order) and the area of its pixel in mm^2."""
    in_plane = [max(1, round(SAMPLE_MM / step)) for step in view.spacing[1:]]
    per_slice = int(np.prod([-(-count // step) for count, step in zip(view.array.shape[1:], in_plane, strict=True)]))
    along = max(1, round(view.array.shape[0] * per_slice / SAMPLE_VOXELS))
    sample = view.array[::along, :: in_plane[0], :: in_plane[1]].copy()
    return sample, float(np.prod([step * count for step, count in zip(view.spacing[1:], in_plane, strict=True)]))


def _has_lung(sample: np.ndarray, pixel_mm2: float) -> bool:
    """Whether a slice has a large region filled like lung that does not reach the slice's edge."""
    from scipy import ndimage

    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    regions, count = ndimage.label(sample < -300, structure=in_plane)
    numbers = regions.ravel()
    area = np.bincount(numbers, minlength=count + 1) * pixel_mm2
    mean = np.bincount(numbers, weights=sample.ravel(), minlength=count + 1) * pixel_mm2 / np.maximum(area, 1e-9)
    inside = np.ones(count + 1, dtype=bool)
    for edge in (regions[:, 0], regions[:, -1], regions[:, :, 0], regions[:, :, -1]):
        inside[edge.ravel()] = False
    inside[0] = False
    return bool((inside & (area > LUNG_MM2) & (mean > LUNG_HU[0]) & (mean < LUNG_HU[1])).any())


def _about_grid(view: AxialView, card: Card | None) -> list[str]:
    """Sentences about slices, spacing and tilt."""
    from CMEDLSegmentLib.inference.segmenter import OBLIQUE_DEGREES

    doubts = []
    thickness, *pixel = view.spacing
    if view.array.shape[0] < FEW_SLICES:
        doubts.append(f"The image has only {view.array.shape[0]} axial slices; check that it is the whole scan.")
    if thickness > THICK_MM:
        doubts.append(f"The slices are {thickness:.3g} mm apart, so that small tumors may lie between them.")
    if card is not None and max(pixel) > COARSE * card.spacing_mm:
        doubts.append(
            f"The pixels are {max(pixel):.3g} mm wide, coarser than what model '{card.name}' was trained on "
            f"({card.spacing_mm:.3g} mm)."
        )
    if view.obliquity_degrees >= OBLIQUE_DEGREES:
        doubts.append(
            f"The image is tilted by {view.obliquity_degrees:.0f} degrees to the patient's axes; the model was not "
            "trained on tilted slices."
        )
    return doubts
