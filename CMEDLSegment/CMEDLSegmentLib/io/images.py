"""Image files: NIfTI, NRRD and MetaImage, or a folder with a DICOM series, read and written with their geometry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import InputError
from ..base.files import atomic_path
from . import nifti
from .labels import SEGMENTATION
from .volume import Geometry, Volume, array_of, geometry_from, geometry_of, grid_text, quiet_itk, set_geometry

if TYPE_CHECKING:
    import SimpleITK

IMAGE_ENDINGS = (SEGMENTATION, ".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")

SMALLEST_MM, LARGEST_MM, FARTHEST_MM = 0.01, 200.0, 1e6
"""Of a voxel's sides, and of its place: far outside what scanners write, and inside what a wrong unit makes of it."""
AGREED_MM = 0.1
"""Within which two transforms of a file are one: their numbers are rounded."""


def read_volume(path: Path | str, series_uid: str | None = None) -> Volume:
    """Read a scalar 3-D image: NIfTI, NRRD or MetaImage, or a folder with a DICOM series.

    Args:
        path: the file, or the folder, which is searched with its sub-folders.
        series_uid: which series to take where a folder holds several.

    Raises:
        InputError: no readable image, or not one this program can segment; the message says which.
    """
    path = Path(path)
    if path.is_dir():
        from .dicom_series import read_series

        volume = read_series(path, series_uid)
    else:
        if series_uid is not None:
            raise InputError(f"{path} is a file, so a series cannot be chosen; drop the series UID or give a folder.")
        volume = _read_file(path)
    _check_thin(path, volume.geometry)
    _check_not_finite(path, volume.array)
    return volume


def read_mask(path: Path | str, reference: Geometry | None = None) -> Volume:
    """Read a labelmap (.seg.nrrd, .nii, .nii.gz, .nrrd, .mha) with whole-number labels.

    3D Slicer may save a segmentation cropped to its segments: such a part of the reference grid is put back.

    Args:
        path: the file.
        reference: the grid the mask has to be on; None accepts any.

    Returns:
        A volume whose array is uint8, or the smallest unsigned type that holds the labels.

    Raises:
        InputError: not an image, no whole numbers, negative labels, or a grid other than the reference's.
    """
    path = Path(path)
    volume = _read_file(path)
    _check_not_finite(path, volume.array)
    array = volume.array
    lowest, highest = array.min(), array.max()
    if lowest < 0 or (array.dtype.kind == "f" and np.any(array != np.rint(array))):
        raise InputError(f"{path} is not a labelmap: it holds negative or fractional values; give a mask file.")
    volume.array = array.astype(np.min_scalar_type(int(highest)), copy=False)
    if reference is not None:
        _place(path, volume, reference)
    return volume


def write_image(path: Path | str, array: np.ndarray, geometry: Geometry) -> None:
    """Write ``array`` (z, y, x) as .nii, .nii.gz, .nrrd or .mha, compressed; nothing partial is ever left.

    bool becomes uint8 and float16 becomes float32, which these formats do not know. NIfTI keeps positions in
    float32 (about 4e-5 mm); NRRD and MetaImage keep them exactly.

    Raises:
        InputError: unknown ending, a grid NIfTI cannot hold, or a folder that cannot be written.
    """
    import SimpleITK as sitk

    geometry.check_fits(array)
    stored = {"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype)
    image = sitk.GetImageFromArray(array.astype(stored, copy=False))
    set_geometry(image, geometry)
    save_image(Path(path), image)


def lossless_ending(geometry: Geometry) -> str:
    """The usual ending, ``.nii.gz``; ``.nrrd`` for a sheared grid, which NIfTI does not have."""
    return ".nrrd" if geometry.is_sheared else ".nii.gz"


def save_image(path: Path, image: SimpleITK.Image) -> None:
    """Write a SimpleITK image with its metadata under ``path``, beside first, checked, then renamed.

    Raises:
        InputError: see :func:`write_image`.
    """
    import SimpleITK as sitk

    from .header_checks import check_file

    if not path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".mha")):
        raise InputError(f"{path} has no known image ending; choose .nii.gz, .nii, .nrrd or .mha.")
    if path.name.lower().endswith(nifti.ENDINGS) and geometry_of(image).is_sheared:
        raise InputError(f"{path} cannot be NIfTI, which has no sheared grids (tilted gantry); choose .nrrd or .mha.")
    with atomic_path(path) as beside:
        # Opening the file first gives the operating system's reason, which ITK does not pass on.
        beside.touch()
        try:
            with quiet_itk():
                sitk.WriteImage(image, str(beside), useCompression=True)
            # ITK does not report every short write of a full disk.
            check_file(beside)
        except (RuntimeError, InputError) as error:
            raise InputError(
                f"{path} could not be written in full; choose a folder that is writable and has free space."
            ) from error


def _read_file(path: Path) -> Volume:
    """Read one image file; see :func:`read_volume`."""
    import SimpleITK as sitk

    from .header_checks import check_file, check_nifti_header

    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    name = path.name.lower()
    ending = next((e for e in IMAGE_ENDINGS if name.endswith(e)), None)
    if ending is None:
        from pydicom.misc import is_dicom

        advice = "give the folder that holds the DICOM series" if is_dicom(path) else "give .nii.gz, .nrrd or .mha"
        raise InputError(f"{path} is not a NIfTI, NRRD or MetaImage file; {advice}.")
    header = check_nifti_header(path) if name.endswith(nifti.ENDINGS) else None
    if header is None:
        check_file(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
            squeezed = _check_wrong_kind(path, reader)
            array = _voxels(path, reader, header)
    except RuntimeError as error:
        # A file that is cut or damaged is told as that, not as what ITK stumbled over first.
        check_file(path)
        raise InputError(f"{path} {_reason(str(error))}.") from error
    axes = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :3]
    geometry = geometry_from(reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], axes)
    _check_plausible(path, geometry)
    warnings = [f"{path.name} has four dimensions with a single volume; that volume was taken."] if squeezed else []
    if header is not None:
        warnings += _transform_notes(path, header, geometry)
    return Volume(array.reshape(geometry.shape), geometry, name=path.name[: -len(ending)], warnings=warnings)


def _check_plausible(path: Path, geometry: Geometry) -> None:
    """Refuse what no scanner makes: voxels of a nanometer or a meter, or a place kilometers away."""
    spacing = " x ".join(f"{step:g}" for step in geometry.spacing)
    if not all(SMALLEST_MM <= step <= LARGEST_MM for step in geometry.spacing):
        raise InputError(
            f"{path} has voxels of {spacing} mm, which no scan has; write it again with its true voxel size."
        )
    if not np.isfinite(geometry.matrix).all() or np.abs(geometry.origin).max() > FARTHEST_MM:
        raise InputError(f"{path} lies nowhere near a scanner (its origin is {geometry.origin}); export it again.")


def _transform_notes(path: Path, header: nifti.Header, geometry: Geometry) -> list[str]:
    """What other programs may see elsewhere than we do.

    Raises:
        InputError: the file's two transforms disagree about left and right.
    """
    if not header.transforms:
        return [
            f"{path.name} does not say where its voxels lie; position and directions are assumed, also left and right."
        ]
    corners = geometry.corners()
    ours = corners * (-1.0, -1.0, 1.0)  # NIfTI's world is RAS
    apart = {}
    for name, matrix in header.transforms.items():
        if np.linalg.det(matrix[:3, :3]) * np.linalg.det(geometry.matrix) < 0:
            raise InputError(
                f"{path} cannot be told left from right: one of its two transforms ({' and '.join(header.transforms)}) "
                "mirrors the other; export it again."
            )
        places = geometry.to_index(corners) @ matrix[:3, :3].T + matrix[:3, 3]
        apart[name] = float(np.linalg.norm(places - ours, axis=1).max())
    far = max(apart, key=apart.__getitem__)
    if apart[far] <= AGREED_MM:
        return []
    return [
        f"{path.name} has a {far} that puts its voxels up to {apart[far]:.1f} mm from where they are taken to be here; "
        "another program may go by it."
    ]


def _voxels(path: Path, reader: SimpleITK.ImageFileReader, header: nifti.Header | None) -> np.ndarray:
    """The voxels of a file, with no second copy in memory where that can be avoided."""
    from .header_checks import damage_as_error

    if header is not None:
        with damage_as_error(path):
            array = nifti.read_voxels(path, header)
            if array is not None:
                return array
            nifti.check_complete(path, header)
    return array_of(reader.Execute())


def _check_wrong_kind(path: Path, reader: SimpleITK.ImageFileReader) -> bool:
    """Refuse what is not scalar and 3-D by the header alone; True for 4-D with a single volume."""
    import SimpleITK as sitk

    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if components != 1:
        raise InputError(
            f"{path} has {components} values per voxel (a color or vector image); give one with one value."
        )
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{path} holds complex numbers; give a magnitude image.")
    shown = " x ".join(str(count) for count in size)
    if len(size) == 2:
        raise InputError(f"{path} is a 2-D image ({shown}); give a 3-D volume.")
    if len(size) == 4 and size[3] == 1:
        return True
    if len(size) != 3:
        raise InputError(f"{path} has {len(size)} dimensions ({shown}); give one 3-D volume of it.")
    return False


def _reason(itk_message: str) -> str:
    """What ITK's many-line message means, as the end of a sentence that begins with the file."""
    if "Zero-valued spacing" in itk_message:
        return "has a voxel spacing of zero; write it again with its true voxel size"
    if "orthonormal" in itk_message or "determinant" in itk_message:
        return "has axes that are not at right angles; resample it to an orthogonal grid"
    return "cannot be read: the file is damaged or cut short; copy or export it again"


def _check_thin(path: Path, geometry: Geometry) -> None:
    shown = " x ".join(str(count) for count in geometry.size)
    if sorted(geometry.size)[1] == 1:
        raise InputError(f"{path} has only {shown} voxels, which is no volume; give a 3-D scan.")
    if min(geometry.size) == 1:
        # One slice tells neither its thickness nor surely which organ it shows; a volume would be a guess.
        raise InputError(f"{path} is a single slice ({shown} voxels); give a volume of at least two slices.")


def _check_not_finite(path: Path, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        return
    # Slice by slice: a mask of the whole volume would cost as much memory as a label.
    count = sum(int(np.count_nonzero(~np.isfinite(part))) for part in array)
    if count:
        raise InputError(f"{path} has {count} voxels that are NaN or infinite; replace them (for CT by -1024).")


def _place(path: Path, volume: Volume, reference: Geometry) -> None:
    """Bring a mask onto the reference grid where it is that grid or a part of it, cropped along voxels."""
    own = volume.geometry
    tolerance = 0.1 * min(reference.spacing)
    if own.is_close(reference, tolerance):
        volume.geometry = reference
        return
    first = np.rint(reference.to_index(np.array([own.origin]))[0]).astype(int)
    part = geometry_from(own.size, reference.spacing, reference.to_physical(first[None])[0], reference.axes)
    inside = (first >= 0).all() and (first + own.size <= reference.size).all()
    if not inside or not own.is_close(part, tolerance):
        raise InputError(
            f"{path} is on another grid ({_describe(own)}) than its image ({_describe(reference)}); "
            "resample it to the image."
        )
    whole = np.zeros(reference.shape, dtype=volume.array.dtype)
    whole[tuple(slice(s, s + n) for s, n in zip(first[::-1], own.shape, strict=True))] = volume.array
    volume.array, volume.geometry = whole, reference


def _describe(geometry: Geometry) -> str:
    origin = ", ".join(f"{value:.4g}" for value in geometry.origin)
    return f"{grid_text(geometry)} from ({origin})"
