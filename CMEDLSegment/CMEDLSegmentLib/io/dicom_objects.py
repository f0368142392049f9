"""DICOM objects that delineate: finding and reading them, whole or told why not, and which image they belong to."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import InputError
from .dicom_series import damage, dicom_files, read_header
from .regrid import ReferenceImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEG = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
"""Segmentation Storage and Label Map Segmentation Storage."""
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_ONE_BYTE = {"", "ISO_IR 6", "ISO_IR 100"}
"""Character sets that are declared, or left out, where the text may be in UTF-8 all the same."""
_FIRST_GROUP = b"\x08\x00"
"""How an object without a preface begins: with an element of the group 0008."""
_UNDEFINED = 0xFFFFFFFF


@contextlib.contextmanager
def reading_values(path: Path) -> Iterator[None]:
    """Turn what reading values of a damaged object raises into one sentence; odd values alone stop nothing.

    pydicom interprets values and inner sequences when they are first asked for.

    Raises:
        InputError: instead of what pydicom raises.
    """
    from pydicom.config import disable_value_validation

    try:
        with disable_value_validation():
            yield
    except damage(EOFError, OSError, struct.error) as error:
        raise InputError(f"{path} is damaged or cut short; copy or export it again.") from error


def is_seg(header: Dataset) -> bool:
    return str(header.get("SOPClassUID") or "") in _SEG


def is_rtstruct(header: Dataset) -> bool:
    return str(header.get("SOPClassUID") or "") == _RTSTRUCT


def find_structure(folder: Path) -> Path:
    """The one SEG or RTSTRUCT in a folder and its sub-folders, beside any images.

    Raises:
        InputError: none, or several.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    objects = []
    for path in dicom_files(folder):
        try:
            with reading_values(path):
                header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
                if is_seg(header) or is_rtstruct(header):
                    objects.append(path)
        except (InvalidDicomError, InputError):
            continue  # something else, or a damaged file that may be anything
    if not objects:
        raise InputError(
            f"{folder} holds neither a DICOM SEG nor an RTSTRUCT that can be read; give one, or a labelmap file."
        )
    if len(objects) > 1:
        shown = ", ".join(path.relative_to(folder).as_posix() for path in objects[:10])
        raise InputError(f"{folder} holds {len(objects)} DICOM SEG and RTSTRUCT files ({shown}); give one of them.")
    return objects[0]


def read_object(path: Path) -> Dataset:
    """A whole DICOM object, also one without the preface that exports sometimes lack.

    Raises:
        InputError: no DICOM object, unreadable, or cut short.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
    with stream, reading_values(path):
        try:
            header = dcmread(stream)
        except InvalidDicomError:
            stream.seek(0)
            if stream.read(2) != _FIRST_GROUP:
                raise InputError(
                    f"{path} is neither an image file nor DICOM; give .seg.nrrd, .nii.gz, .nrrd, .mha, SEG or RTSTRUCT."
                ) from None
            stream.seek(0)
            header = dcmread(stream, force=True)
        header.get("SOPClassUID")
        for element in header.elements():
            # pydicom does not mind an element that is longer than what is left of the file; contours would be missing.
            length = getattr(element, "length", _UNDEFINED)
            if length != _UNDEFINED and len(element.value or b"") < length:
                raise InputError(f"{path} is cut short; copy or export it again.")
    return header


def text_of(item: Dataset, keyword: str, header: Dataset) -> str:
    """A text in whatever script, also where it is in UTF-8 and its object does not say so."""
    if keyword not in item:
        return ""
    raw = item.get_item(keyword).value
    declared = header.get("SpecificCharacterSet") or ""
    if isinstance(raw, bytes) and isinstance(declared, str) and declared in _ONE_BYTE:
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode("utf-8").strip("\0 ")
    return str(item.get(keyword) or "").strip("\0 ")


def belongs_to_image(
    path: Path, target: ReferenceImage, series: Iterable[Any], frames: Iterable[Any], instances: Iterable[Any]
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether a DICOM object was drawn on the target's own series, and what to tell.

    An object of another series is taken by its coordinates if both have one frame of reference, PS3.3 C.7.4.1, and
    refused otherwise: then the coordinates are those of another patient position, and nothing would look wrong.

    Args:
        path: for messages.
        target: the image.
        series, frames, instances: UIDs that the object refers to; None and empty ones among them say nothing.

    Returns:
        True on its own series, False on another, None where that cannot be known.

    Raises:
        InputError: drawn on another series that is not known to lie in the image's frame of reference.
    """
    series, frames, instances = ({str(uid) for uid in uids if uid} for uids in (series, frames, instances))
    if target.series_uid is None:
        return None, ("The image does not name its DICOM series, so the structure was placed by its coordinates.",)
    if target.series_uid in series:
        return True, ()
    if not series and instances and target.files:
        if any(read_header(file, ["SOPInstanceUID"]).get("SOPInstanceUID") in instances for file in target.files):
            return True, ()
        series = {"of other images"}
    shared = target.frame_uid is not None and target.frame_uid in frames
    strange = target.frame_uid is not None and bool(frames) and not shared
    if not series and not strange:
        return None, ("It does not say on which images it was drawn, so it was placed by its coordinates.",)
    if not shared:
        raise InputError(
            f"{path} was drawn on another series than the image, in another or unknown frame of reference, so its "
            "coordinates do not hold there; give the image that it was drawn on."
        )
    return False, ("It was drawn on another series of the same frame of reference; its coordinates placed it.",)
