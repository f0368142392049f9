"""Reading a delineation from a DICOM Segmentation (PS3.3 A.51, A.101), frame by frame.

Places come from each frame's own position and orientation in the patient, never from its number, and only frames of
the asked segment are unpacked: others may overlap it, or be hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.errors import InputError
from .delineation import Delineation
from .dicom_objects import belongs_to_image, reading_values, text_of
from .regrid import COINCIDE, ReferenceImage, regrid
from .select_segment import Segment, select_segment
from .volume import Geometry, geometry_from

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SOURCE = "DICOM SEG"
_MOST_PLANES = 10_000


def read_seg(path: Path, name: str, header: Dataset, target: ReferenceImage, asked: str | None) -> Delineation:
    """The asked segment on the target's grid.

    A fractional segmentation is inside where its fraction is at least one half. Frames that were left out are empty.

    Args:
        path, name: of the file, for messages, and of the rater.
        header: the whole object, pixels included.
        target: what it is brought to.
        asked: segment name or number, or None.

    Raises:
        InputError: no such segment, of another series, damaged, or nothing of it within the target.
    """
    with reading_values(path):
        segments = _segments(header)
        if not segments:
            raise InputError(f"{path} describes no segment; export it again.")
        chosen, notes = select_segment(path, segments, asked)
        series = [item.get("SeriesInstanceUID") for item in header.get("ReferencedSeriesSequence") or []]
        own, further = belongs_to_image(path, target, series, [header.get("FrameOfReferenceUID")], [])
        notes += further
        kind = str(header.get("SegmentationType") or "BINARY").upper()
        highest = int(header.get("MaximumFractionalValue") or 255)
        numbers = _frames_of(path, header, chosen.number, kind)
        planes = [_plane(path, header, number) for number in numbers]
        size = int(header.Columns), int(header.Rows)
    if kind == "FRACTIONAL":
        notes += ("Its fractions were taken as inside from one half on.",)
    if not planes:
        return Delineation(name, np.zeros(target.geometry.shape, dtype=bool), chosen.name, SOURCE, notes)
    geometry, places = _grid(path, size, planes, target.geometry, own)
    mask = np.zeros(geometry.shape, dtype=bool)
    for place, pixels in zip(places, _pixels(path, header, numbers), strict=True):
        if kind == "FRACTIONAL":
            mask[place] |= 2 * pixels.astype(np.uint16) >= highest
        else:
            mask[place] |= pixels == (chosen.number if kind == "LABELMAP" else 1)
    mask, further = regrid(path, mask, geometry, target.geometry)
    return Delineation(name, mask, chosen.name, SOURCE, notes + further)


def _segments(header: Dataset) -> list[Segment]:
    """What the object says it holds; not the background of a labelmap, number 0."""
    descriptions = header.get("SegmentSequence") or []
    numbered = [(item.get("SegmentNumber"), item) for item in descriptions]
    return [
        Segment(k if number is None else int(number), text_of(item, "SegmentLabel", header))
        for k, (number, item) in enumerate(numbered, start=1)
        if number is None or int(number) > 0
    ]


def _group(header: Dataset, number: int, keyword: str) -> Any:
    """A functional group of frame ``number``, its own or the shared one (PS3.3 C.7.6.16); None where it is absent."""
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[number : number + 1], *shared):
        if groups.get(keyword):
            return groups[keyword].value[0]
    return None


def _frames_of(path: Path, header: Dataset, segment: int, kind: str) -> list[int]:
    """The frames that belong to a segment; all of them for a labelmap, whose values tell."""
    count = int(header.get("NumberOfFrames") or 1)
    if kind == "LABELMAP":
        return list(range(count))
    numbers = []
    for number in range(count):
        group = _group(header, number, "SegmentIdentificationSequence")
        if group is None or not group.get("ReferencedSegmentNumber"):
            raise InputError(f"{path} does not say which segment its frames belong to; export it again.")
        if int(group.ReferencedSegmentNumber) == segment:
            numbers.append(number)
    return numbers


class _Plane(NamedTuple):
    """Where a frame lies."""

    origin: np.ndarray
    """LPS position of its first pixel, mm."""
    axes: np.ndarray
    """(3, 2) unit vectors along a row and along a column."""
    spacing: tuple[float, float]
    """Distance of pixels along a row and along a column, mm."""
    distance: float
    """What the object says of the distance of its planes, mm; 0 where it says nothing."""


def _plane(path: Path, header: Dataset, number: int) -> _Plane:
    position = _group(header, number, "PlanePositionSequence")
    orientation = _group(header, number, "PlaneOrientationSequence")
    measures = _group(header, number, "PixelMeasuresSequence")
    try:
        origin = np.array(position.ImagePositionPatient, dtype=float).reshape(3)
        axes = np.array(orientation.ImageOrientationPatient, dtype=float).reshape(2, 3).T
        down, right = map(float, measures.PixelSpacing)
        distance = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0.0)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not say where its frame {number + 1} lies; export it again.") from error
    square = np.abs(axes.T @ axes - np.eye(2)).max() < 0.01
    if not (square and right > 0 and down > 0 and np.isfinite(origin).all()):
        raise InputError(f"{path} says something impossible on where its frame {number + 1} lies; export it again.")
    return _Plane(origin, axes, (right, down), abs(distance))


def _grid(
    path: Path, size: tuple[int, int], planes: Sequence[_Plane], target: Geometry, own: bool | None
) -> tuple[Geometry, list[int]]:
    """An even grid of planes of ``size`` columns and rows that holds all ``planes``, and the place of each along it.

    Its step is that of the target where the planes lie on the target's slices, else what the object says, else the
    smallest distance of two planes: planes without anything on them have no frame, so a gap is not a step.
    """
    first = planes[0]
    if any(np.abs(plane.axes - first.axes).max() > 1e-3 or plane.spacing != first.spacing for plane in planes):
        raise InputError(f"{path} has frames of different orientation or spacing; export it again.")
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    origins = np.array([plane.origin for plane in planes])
    start = origins[np.argmin(origins @ normal)]
    step = _step(path, origins - start, normal, first.distance, target, own)
    places = np.rint((origins - start) @ normal / (step @ normal)).astype(int)
    if places.max() >= _MOST_PLANES:
        raise InputError(f"{path} has frames impossibly far apart; export it again.")
    distance = float(np.linalg.norm(step))
    axes = np.column_stack([first.axes, step / distance])
    return geometry_from((*size, places.max() + 1), (*first.spacing, distance), start, axes), places.tolist()


def _step(
    path: Path, offsets: np.ndarray, normal: np.ndarray, stated: float, target: Geometry, own: bool | None
) -> np.ndarray:
    """Vector (3,) from plane to plane along ``normal``, LPS mm.

    ``offsets`` (n, 3) are of each plane from the lowest, ``stated`` is the distance by the object, or 0, and ``own``
    says whether the object was drawn on the image with the grid ``target``.
    """
    slices = target.matrix[:, 2]
    in_slices = offsets @ np.linalg.inv(target.matrix).T
    on_slices = np.abs(in_slices - np.rint(in_slices) * [0, 0, 1]).max() <= COINCIDE
    parallel = abs(slices @ normal) > 0.5 * target.spacing[2]
    if on_slices and parallel and (own or (own is None and stated <= 1.5 * abs(slices @ normal))):
        return slices * np.sign(slices @ normal)
    along = offsets @ normal
    gaps = np.diff(np.unique(np.round(along, 2)))
    if not len(gaps):
        return normal * (stated or target.spacing[2])
    direction = offsets[np.argmax(along)] / along.max()
    for distance in (stated, float(gaps.min())):
        places = along / distance if distance else along * np.nan
        if np.abs(places - np.rint(places)).max() <= COINCIDE:
            return direction * distance
    raise InputError(f"{path} has unevenly spaced frames; bring it to the image's grid first.")


def _pixels(path: Path, header: Dataset, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames (rows, columns) of the given numbers, one after the other."""
    read: Callable[..., Iterator[np.ndarray]]
    try:
        from pydicom.pixels import iter_pixels

        read = iter_pixels
    except ImportError:  # pydicom 2.4, which Slicer 5.10 ships
        read = _iter_pixels
    try:
        yield from read(header, indices=numbers)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} has pixels that cannot be read: the file is cut short, or compressed in an uncommon way; "
            "export it again without compression."
        ) from error


def _iter_pixels(header: Dataset, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """What pydicom 3 calls so; of packed bits, where all frames would be large, the asked frames alone are unpacked."""
    shape = int(header.Rows), int(header.Columns)
    count = int(header.get("NumberOfFrames") or 1)
    size = shape[0] * shape[1]
    if header.BitsAllocated != 1 or header.file_meta.TransferSyntaxUID.is_compressed:
        yield from header.pixel_array.reshape(count, *shape)[list(indices)]
        return
    packed = np.frombuffer(header.PixelData, np.uint8)
    if 8 * len(packed) < count * size:
        raise ValueError("fewer pixels than frames")
    for number in indices:
        # Frames follow each other without filling up a byte, PS3.5 8.1.1.
        first, skipped = divmod(number * size, 8)
        bits = np.unpackbits(packed[first:], count=skipped + size, bitorder="little")
        yield bits[skipped:].reshape(shape)
