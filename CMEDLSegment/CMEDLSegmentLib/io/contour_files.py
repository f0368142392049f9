"""Reading who marked what on one image: labelmaps, Slicer segmentations, DICOM SEG and RTSTRUCT, onto one grid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..base.errors import InputError
from ..base.files import sha256_of
from ..base.progress import SILENT, Progress
from .delineation import MODEL, Delineation, RatedCase
from .dicom_objects import find_structure, is_rtstruct, is_seg, read_object
from .dicom_seg import read_seg
from .images import IMAGE_ENDINGS, read_volume
from .labelmaps import read_labelmap
from .regrid import reference_of
from .rtstruct import read_rtstruct
from .volume import Geometry, Volume


def read_delineation(
    path: Path | str, name: str, image: Volume | Geometry, segment: str | None = None, series_uid: str | None = None
) -> Delineation:
    """What one rater marked, on the image's grid.

    Args:
        path: ``.seg.nrrd``, a labelmap, a DICOM SEG or RTSTRUCT, or a folder with one of the latter two; or any of
            these with ``#`` and the segment's name behind, which goes before ``segment``.
        name: the rater's name, :data:`MODEL` for the model.
        image: what was delineated; a volume read from DICOM lets structures of another image be found out.
        segment: name of the segment, whatever the case of its letters, or its number; None takes the only one, or
            the only tumor.
        series_uid: DICOM series of the image where ``image`` does not know it.

    Raises:
        InputError: no readable file, no such segment or several, or delineated on another image.
    """
    path, segment = _split(path, segment)
    target = reference_of(image, series_uid)
    if path.is_dir():
        path = find_structure(path)
    if path.name.lower().endswith(IMAGE_ENDINGS):
        return read_labelmap(path, name, target, segment)
    header = read_object(path)
    if is_seg(header):
        return read_seg(path, name, header, target, segment)
    if is_rtstruct(header):
        return read_rtstruct(path, name, header, target, segment)
    raise InputError(
        f"{path} is a DICOM object of another kind ({header.get('Modality') or 'unknown'}); give a SEG or an RTSTRUCT."
    )


def read_rated_case(
    image: Path | str,
    model: Path | str | None,
    raters: Mapping[str, Path | str],
    segment: str | None = None,
    name: str = "",
    progress: Progress = SILENT,
    series_uid: str | None = None,
) -> RatedCase:
    """One image and all who delineated it.

    Args:
        image: a volume file or the folder of a DICOM series.
        model: the model's file, or None.
        raters: file of each rater by name; see :func:`read_delineation`.
        segment: which segment of each file that does not say its own.
        name: the case's name.
        progress: see ``progress.py``.
        series_uid: which series of the folder ``image``.

    Raises:
        InputError: a file is bad (see :func:`read_delineation`), or names are (see :class:`RatedCase`).
        Cancelled: it was cancelled.
    """
    files = [*raters.items()]
    if model is not None:
        files.append((MODEL, model))
    progress("Reading the image", 0.0)
    volume = read_volume(image, series_uid)
    delineations = []
    for k, (rater, file) in enumerate(files, start=1):
        progress.stop_if_cancelled()
        progress(f"Reading {rater}", k / (len(files) + 1))
        delineations.append(read_delineation(file, rater, volume, segment))
    progress("Read", 1.0)
    return RatedCase(
        name=name,
        geometry=volume.geometry,
        raters=tuple(delineations[: len(raters)]),
        model=delineations[-1] if model is not None else None,
        image=volume.array,
        notes=(*volume.warnings, *_twice(files, delineations)),
    )


def _split(given: Path | str, segment: str | None) -> tuple[Path, str | None]:
    """``FILE#segment`` in its two parts, where no file has the whole name."""
    text = str(given)
    for end in (len(text), *(k for k, letter in enumerate(text) if letter == "#")):
        if not os.path.exists(text[:end]):  # noqa: PTH110 (no OSError where a segment's name makes it too long)
            continue
        if end < len(text):
            segment = text[end + 1 :]
            if not segment:
                raise InputError(f"{text} names no segment behind the #; write FILE#NAME.")
        return Path(text[:end]), segment
    raise InputError(f"{text} does not exist; check the path.")


def _twice(files: list[tuple[str, Path | str]], delineations: list[Delineation]) -> list[str]:
    """Sentences on raters who were given the same file; equal voxels of different files are told with the figures."""
    sentences = []
    for k, second in enumerate(delineations):
        for j, first in enumerate(delineations[:k]):
            of_one_kind = (second.segment, second.source) == (first.segment, first.source)
            if of_one_kind and np.array_equal(second.mask, first.mask) and _digest(files[k][1]) == _digest(files[j][1]):
                sentences.append(
                    f"'{first.name}' and '{second.name}' are the same file; their agreement means nothing."
                )
    return sentences


def _digest(given: Path | str) -> str:
    """What tells one file's content from another's."""
    path, _ = _split(given, None)
    return sha256_of(path if path.is_file() else find_structure(path))
