"""Reading a delineation from an RT Structure Set (PS3.3 A.19): closed contours filled on the image's own slices.

A voxel is inside where its center is (a center on the contour is). Contours on a slice of the image mark that slice.
Contours that were drawn on other slices mark each slice of the image from the nearest plane of contours, no farther
than half of what the planes are apart. A pixel is inside a contour that crosses itself by the even-odd rule, which
also opens the channel of a keyhole; contours within others are holes, PS3.3 C.8.8.6.3 notwithstanding, because
planning systems write them so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.errors import InputError
from ..base.text import counted
from .delineation import Delineation
from .dicom_objects import belongs_to_image, reading_values, text_of
from .polygon_raster import combine_polygons, fill_exclusive, pixels_on_edge, same_polygon, winding_numbers
from .regrid import COINCIDE, ReferenceImage, resample_nearest
from .select_segment import Segment, select_segment
from .volume import Geometry, geometry_from

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SOURCE = "RTSTRUCT"
_SAME = 0.05
"""Pixels: contours that are nowhere farther apart are one, written twice."""
_ONE_PLANE = 0.05
"""Mm: contours nearer than this along their normal lie in one plane; positions are rounded to 0.01 mm at worst."""
_HALF_WAY = 0.01
"""Slices: planes are raised by this, so that one half-way between two slices marks the upper and no other."""
_FLAT = 1e-3
"""Mm: points nearer than this to one line enclose no area."""
_OPEN = 0.5
"""Of an open contour's length: ends nearer together than this are joined."""


class _Contour(NamedTuple):
    """A closed contour.

    Attributes:
        points: (n, 3) LPS mm.
        exclusive: to be combined with its like by exclusive disjunction.
        solid: whether it encloses an area; a point or line marks the voxel centers on it, which is how systems that
            draw through the centers of pixels write one pixel or a row of them.
    """

    points: np.ndarray
    exclusive: bool
    solid: bool


class _Remarks(Counter[tuple[str, str]]):
    """What happened to how many contours or slices, for the notes."""

    def add(self, what: str, count: int = 1, noun: str = "contour") -> None:
        """Count ``count`` more of ``what``, the beginning of a sentence that a number and the noun end."""
        self[what, noun] += count

    def sentences(self) -> tuple[str, ...]:
        """One for each thing that happened."""
        return tuple(f"{what}: {counted(count, noun)}." for (what, noun), count in self.items() if count)


def read_rtstruct(path: Path, name: str, header: Dataset, target: ReferenceImage, asked: str | None) -> Delineation:
    """The asked region of interest on the target's grid.

    Args: as :func:`.dicom_seg.read_seg`.

    Raises:
        InputError: no such region, of another series, damaged, or nothing of it within the target.
    """
    remarks = _Remarks()
    with reading_values(path):
        regions = list(header.get("StructureSetROISequence") or [])
        segments = [Segment(int(each.get("ROINumber") or 0), text_of(each, "ROIName", header)) for each in regions]
        if not segments:
            raise InputError(f"{path} holds no region of interest; export it again with its contours.")
        if "ROIContourSequence" not in header:
            raise InputError(f"{path} has regions but lacks their contours, as if cut short; export it again.")
        chosen, notes = select_segment(path, segments, asked)
        items = [
            item
            for region in header.get("ROIContourSequence") or []
            if int(region.get("ReferencedROINumber") or 0) == chosen.number
            for item in region.get("ContourSequence") or []
        ]
        references = _references(header, regions[segments.index(chosen)], items)
        contours = _closed(path, items, remarks)
    own, related = belongs_to_image(path, target, *references)
    mask = np.zeros(target.geometry.shape, dtype=bool)
    if contours:
        _fill(path, mask, contours, target.geometry, own, remarks)
    if not any(contour.solid for contour in contours):
        notes += ("The region has no contour that encloses anything.",)
    return Delineation(name, mask, chosen.name, SOURCE, notes + related + remarks.sentences())


def _references(header: Dataset, region: Dataset, items: Sequence[Dataset]) -> tuple[list[Any], list[Any], list[Any]]:
    """UIDs of the series, frames of reference and images that a region says it was drawn on, PS3.3 C.8.8.5."""
    frame = region.get("ReferencedFrameOfReferenceUID") or header.get("FrameOfReferenceUID")
    referenced = header.get("ReferencedFrameOfReferenceSequence") or []
    # A structure set may hold regions of several frames, each with its series.
    of_frame = [each for each in referenced if each.get("FrameOfReferenceUID") == frame] or referenced
    frames = [frame] if frame else [each.get("FrameOfReferenceUID") for each in of_frame]
    studies = [study for each in of_frame for study in each.get("RTReferencedStudySequence") or []]
    series = [each for study in studies for each in study.get("RTReferencedSeriesSequence") or []]
    images = [image for item in items for image in item.get("ContourImageSequence") or []]
    return (
        [each.get("SeriesInstanceUID") for each in series],
        frames,
        [image.get("ReferencedSOPInstanceUID") for image in images],
    )


def _closed(path: Path, items: Sequence[Dataset], remarks: _Remarks) -> list[_Contour]:
    """The contours that enclose something, closed; what was left out or mended is told."""
    contours = []
    for item in items:
        points = _points(path, item)
        stated = item.get("NumberOfContourPoints")
        remarks.add("Of another number of points than stated", int(stated is not None and int(stated) != len(points)))
        kind = str(item.get("ContourGeometricType") or "CLOSED_PLANAR").strip().upper()
        if kind == "POINT" or not len(points):
            remarks.add("Left out as points, which are no contours")
            continue
        solid = len(points) > 2 and np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] >= _FLAT
        if kind.startswith("OPEN"):
            length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
            if np.linalg.norm(points[-1] - points[0]) > _OPEN * length:
                remarks.add("Left out as open, with ends far apart")
                continue
            remarks.add("Open, closed by joining the ends")
        contours.append(_Contour(points, kind == "CLOSEDPLANAR_XOR", bool(solid)))
    return contours


def _points(path: Path, item: Dataset) -> np.ndarray:
    """The points (n, 3) of a contour, LPS mm; from the bytes, as pydicom would make an object of each number."""
    try:
        value = item.get_item("ContourData").value if "ContourData" in item else None
        if isinstance(value, bytes):
            value = value.strip(b"\0 ").split(b"\\") if value.strip(b"\0 ") else None
        points = np.array([] if value is None else value).astype(float).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{path} has a contour whose points are damaged; export it again.") from error
    if not np.isfinite(points).all():
        raise InputError(f"{path} has a contour with points at infinity; export it again.")
    return points


def _fill(
    path: Path, mask: np.ndarray, contours: list[_Contour], grid: Geometry, own: bool | None, remarks: _Remarks
) -> None:
    """Fill contours in ``mask`` (z, y, x) on ``grid``, in place, whichever of its axes they are across.

    Raises:
        InputError: none of them is within the grid.
    """
    indices = [grid.to_index(contour.points) for contour in contours]
    solid = [np.ptp(index, axis=0) for index, contour in zip(indices, contours, strict=True) if contour.solid]
    spread = np.median(solid, axis=0) if solid else np.array([1.0, 1.0, 0.0])
    across = int(np.argmin(spread))
    if spread[across] > (0.5 if own else COINCIDE):
        outside = _fill_at_an_angle(mask, contours, grid, remarks)
    else:
        outside = _fill_in_slices(mask, contours, indices, across, grid, own, remarks)
    if outside == len(contours):
        raise InputError(
            f"{path} has no contour within the image, only {len(contours)} outside; give the image they were drawn on."
        )
    remarks.add("Left out, outside the image", outside)


def _fill_in_slices(
    mask: np.ndarray,
    contours: list[_Contour],
    indices: list[np.ndarray],
    across: int,
    grid: Geometry,
    own: bool | None,
    remarks: _Remarks,
) -> int:
    """Fill contours that lie in slices across index axis ``across``; returns how many are outside the grid."""
    in_plane = [axis for axis in (2, 1, 0) if axis != across]
    planes = np.moveaxis(mask, 2 - across, 0)
    polygons = [index[:, in_plane] for index in indices]
    heights = np.array([(index[:, across].min() + index[:, across].max()) / 2 for index in indices])
    uneven = sum(bool(np.ptp(index[:, across]) > 0.5) for index in indices)
    remarks.add("Not in one plane, put flat on the slice nearest to the middle", uneven)
    last = np.array(planes.shape[1:]) - 0.5
    beside = np.array([(p.max(axis=0) < -0.5).any() or (p.min(axis=0) > last).any() for p in polygons])
    cut = np.array([(p.min(axis=0) < -0.51).any() or (p.max(axis=0) > last + 0.01).any() for p in polygons])
    above = (heights < -0.5) | (heights > len(planes) - 0.5)
    remarks.add("Cut at the border of the image", int((cut & ~beside & ~above).sum()))
    filled: dict[tuple[int, ...], np.ndarray] = {}
    for place, of_slice in _members(heights, grid.size[across], grid.spacing[across], own, remarks).items():
        members = tuple(k for k in of_slice if not beside[k])
        if members and members not in filled:
            _fill_slice(
                planes[place], [polygons[k] for k in members], [contours[k].exclusive for k in members], remarks
            )
            filled[members] = planes[place]
        elif members:  # a plane that marks several slices
            planes[place] = filled[members]
    used = {k for members in filled for k in members}
    return sum(bool(beside[k] or (above[k] and k not in used)) for k in range(len(contours)))


def _members(
    heights: np.ndarray, count: int, spacing: float, own: bool | None, remarks: _Remarks
) -> dict[int, list[int]]:
    """The contours, at ``heights`` (n,) in slices, that mark each of ``count`` slices; see the module for the rule."""
    nearest = np.rint(heights).astype(int)
    off = np.abs(heights - nearest) > COINCIDE
    members: dict[int, list[int]] = {}
    if own or (own is None and not off.any()):
        remarks.add("Between two slices, put on the nearer", int(off.sum()))
        for k in np.flatnonzero((nearest >= 0) & (nearest < count)):
            members.setdefault(int(nearest[k]), []).append(int(k))
        skipped = np.diff(sorted(members))
        if len(skipped) and np.median(skipped) > 1:
            remarks.add("Without contours between others, left empty", int((skipped - 1).sum()), "slice")
        return members
    planes, of_contour, apart = _planes(heights, _ONE_PLANE / spacing)
    apart = apart or 1.0
    if off.any() or apart > 1 + COINCIDE:
        remarks.add(
            f"Drawn {apart * spacing:.4g} mm apart, each image slice ({spacing:.4g} mm apart) marked from the nearest",
            len(planes),
            "plane",
        )
    raised = planes + _HALF_WAY
    reach = (apart + _HALF_WAY) / 2
    for place in range(count):
        plane = int(np.argmin(np.abs(raised - place)))
        if abs(raised[plane] - place) <= reach:
            members[place] = np.flatnonzero(of_contour == plane).tolist()
    return members


def _planes(heights: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Heights of the planes in which contours lie, the plane of each contour, and how far planes are apart.

    That is the smallest distance that is no exception: raters leave planes out. 0 for a single plane.
    """
    order = np.argsort(heights, kind="stable")
    group = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > tolerance)])
    of_contour = np.empty(len(heights), dtype=int)
    of_contour[order] = group
    planes = np.bincount(of_contour, weights=heights) / np.bincount(of_contour)
    gaps = np.diff(planes)
    return planes, of_contour, float(gaps[gaps >= np.median(gaps) / 2].min()) if len(gaps) else 0.0


def _fill_slice(plane: np.ndarray, polygons: list[np.ndarray], exclusives: list[bool], remarks: _Remarks) -> None:
    """Mark in ``plane`` (rows, columns), in place, what polygons (n, 2) of row and column enclose together."""
    kept: list[int] = []
    for k, polygon in enumerate(polygons):
        if any(same_polygon(polygon, polygons[other], _SAME) for other in kept):
            remarks.add("Left out as copies of others")
        else:
            kept.append(k)
    low = np.maximum(np.floor(np.min([polygons[k].min(axis=0) for k in kept], axis=0)).astype(int), 0)
    high = np.ceil(np.max([polygons[k].max(axis=0) for k in kept], axis=0)).astype(int) + 1
    part = plane[low[0] : max(high[0], 0), low[1] : max(high[1], 0)]
    if not part.size:
        return
    shape = part.shape[0], part.shape[1]
    shifted = {k: polygons[k] - low for k in kept}
    turns = {k: winding_numbers(polygon, shape) for k, polygon in shifted.items()}
    for k, turn in turns.items():
        nothing = not turn.any() and not pixels_on_edge(shifted[k], shape).any()
        remarks.add("Enclosing no voxel center", int(nothing))
        looped = turn.max() > 1 or turn.min() < -1 or turn.max() > 0 > turn.min()
        remarks.add("Crossing themselves or going round twice, inside by the even-odd rule", int(looped))
    plain = [k for k in kept if not exclusives[k]]
    marked, nested, overlapping = combine_polygons([shifted[k] for k in plain], [turns[k] for k in plain], shape)
    part |= marked
    remarks.add("Taken as holes or islands, lying within others", nested)
    remarks.add("With contours that overlap in part, taken together", int(overlapping), "slice")
    disjoined = [k for k in kept if exclusives[k]]
    part |= fill_exclusive([shifted[k] for k in disjoined], [turns[k] for k in disjoined], shape)


def _fill_at_an_angle(mask: np.ndarray, contours: list[_Contour], grid: Geometry, remarks: _Remarks) -> int:
    """Fill contours in planes at an angle to the slices, in place; returns how many are outside the grid.

    Each plane is filled on a grid of its own, four times as fine as the image, and voxels take the nearest of it.
    """
    normals = [_normal(contour.points) for contour in contours]
    largest = max(normals, key=np.linalg.norm)
    normal = np.sum([vector * np.sign(vector @ largest) for vector in normals], axis=0)
    normal /= np.linalg.norm(normal)
    right = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    right /= np.linalg.norm(right)
    frame = np.column_stack([right, np.cross(normal, right), normal])
    fine = min(grid.spacing) / 4
    own = [contour.points @ frame for contour in contours]
    planes, of_contour, apart = _planes(np.array([points[:, 2].mean() for points in own]), _ONE_PLANE)
    remarks.add("Drawn at an angle to the slices, each voxel marked from the nearest", len(planes), "plane")
    corners = grid.corners() @ frame
    ends = corners.min(axis=0) - max(grid.spacing), corners.max(axis=0) + max(grid.spacing)
    outside = 0
    for number, height in enumerate(planes):
        members = np.flatnonzero(of_contour == number)
        low = np.maximum(np.min([own[k].min(axis=0) for k in members], axis=0), ends[0])
        high = np.minimum(np.max([own[k].max(axis=0) for k in members], axis=0), ends[1])
        if (low[:2] > high[:2]).any():
            outside += len(members)
            continue
        count = np.ceil((high - low)[:2] / fine).astype(int) + 1
        between = 1.01 * apart or min(grid.spacing)  # no gap between uneven planes
        sheet = geometry_from((*count, 1), (fine, fine, between), frame @ [low[0], low[1], height], frame)
        filled = np.zeros(sheet.shape, dtype=bool)
        polygons = [(own[k][:, 1::-1] - low[1::-1]) / fine for k in members]
        _fill_slice(filled[0], polygons, [contours[k].exclusive for k in members], remarks)
        marked = resample_nearest(filled, sheet, grid)
        mask |= marked
        if not marked.any():
            indices = [grid.to_index(contours[k].points) for k in members]
            within = [((index > -0.5) & (index < np.array(grid.size) - 0.5)).all(axis=1).any() for index in indices]
            outside += len(members) - sum(map(bool, within))
    return outside


def _normal(points: np.ndarray) -> np.ndarray:
    """Vector across a contour's plane, as long as its area is large (Newell's method)."""
    centered = points - points.mean(axis=0)
    return np.cross(centered, np.roll(centered, -1, axis=0)).sum(axis=0)
