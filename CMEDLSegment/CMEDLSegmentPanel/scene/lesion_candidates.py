"""The candidates of a result: its connected pieces, each of which a person can keep or drop.

What is dropped moves into a hidden segment of the same node, voxel by voxel (see :mod:`dropping`): it is saved with the
scene, can be taken back at any time, and what a person drew elsewhere in the label stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.volume import triple

from .attributes import COMPONENTS, DROPPED, LABEL, get_json, set_json
from .connected_components import Box, connected_components
from .coordinates import apply, array_of, parent_matrix
from .rejected_candidates import label_segments, remember_rejected, set_rejected
from .result_nodes import is_edited, is_result, mark_written, probability_of
from .segment_masks import Mask, cropped, mask_of, on_grid, reference_grid, set_mask

NEAR_MM = 5.0
"""A candidate this near to a place that is asked for is meant, also when the place is just beside it."""

_SAME_CENTER = 0.05
"""Voxels: a piece with the same center and the same number of voxels is the one that the worker told of."""


@dataclass(frozen=True)
class LesionCandidate:
    """One connected piece of a result.

    Attributes:
        number: what it is called as long as the result is not given another threshold, from 1.
        label: the value of its label.
        volume_cc: its volume in cm^3.
        mean, peak: probability over the piece, 0 to 1; None where nobody knows, as of a piece drawn by hand without
            a probability volume.
        slices: first and last slice along the volume's axial axis, as indices of the volume as it is stored.
        center_ras: center of mass in the world, mm.
        kept: whether it is part of the label.
    """

    number: int
    label: int
    volume_cc: float
    mean: float | None
    peak: float | None
    slices: tuple[int, int]
    center_ras: tuple[float, float, float]
    kept: bool


@dataclass(frozen=True)
class _Piece:
    """A candidate's voxels: ``box`` (z, y, x) in indices of the reference grid, and bool in it."""

    label: int
    kept: bool
    box: Box
    array: np.ndarray
    voxels: int
    center: np.ndarray  # (i, j, k)


class LesionCandidates:
    """The candidates of one result, as they are at this moment.

    Args:
        result_node: a result of ours; edited ones too.

    Raises:
        InputError: the node is no result of ours, or a transform above it is not linear.
    """

    def __init__(self, result_node: slicer.vtkMRMLSegmentationNode) -> None:
        if not is_result(result_node):
            raise InputError("Candidates are the pieces of a segmentation that CMEDL made; choose one of those.")
        self._node = result_node
        self._rows: list[LesionCandidate] = []
        self._pieces: dict[int, _Piece] = {}
        self.refresh()

    @property
    def rows(self) -> list[LesionCandidate]:
        """All candidates in the order of their numbers: the most confident first, then what a person added."""
        return list(self._rows)

    def refresh(self) -> None:
        """Look at the segments again; what is unchanged keeps its number."""
        grid = reference_grid(self._node)
        if grid is None:
            raise InputError(f"'{self._node.GetName()}' has lost its reference geometry; segment again.")
        self._matrix = grid[0]
        world = parent_matrix(self._node) @ self._matrix
        voxel_cc = abs(np.linalg.det(world[:3, :3])) / 1000
        axial = int(np.argmax(np.abs(world[2, :3]) / np.linalg.norm(world[:3, :3], axis=0)))
        found = [*self._find(LABEL, True), *self._find(DROPPED, False)]
        self._rows, self._pieces = [], {}
        for piece, told in self._told(found):
            part = piece.box[2 - axial]
            self._pieces[told["number"]] = piece
            self._rows.append(
                LesionCandidate(
                    number=told["number"],
                    label=piece.label,
                    volume_cc=float(piece.voxels * voxel_cc),
                    mean=told["mean"],
                    peak=told["peak"],
                    slices=(part.start, part.stop - 1),
                    center_ras=tuple(apply(world, piece.center).tolist()),
                    kept=piece.kept,
                )
            )
        self._rows.sort(key=lambda row: row.number)

    def keep(self, number: int, kept: bool) -> None:
        """Keep a candidate, or drop it.

        Raises:
            InputError: there is no candidate of this number any more.
        """
        self._move([number], kept)

    def keep_all(self) -> None:
        """Take back every candidate that was dropped."""
        self._move([row.number for row in self._rows], True)

    def keep_only_at(self, ras: Sequence[float]) -> LesionCandidate:
        """Keep the candidate at a place (RAS in the world, mm), and drop the others of its label.

        Raises:
            InputError: no candidate is within ``NEAR_MM``.
        """
        number = self._nearest(np.array(ras, dtype=float))
        chosen = next(row for row in self._rows if row.number == number)
        others = [row.number for row in self._rows if row.label == chosen.label and row.number != number]
        self._move([number], True, others)
        return replace(chosen, kept=True)

    def _find(self, kind: str, kept: bool) -> Iterable[_Piece]:
        """The pieces of the kept, or of the dropped, segments."""
        for value, segment_id in label_segments(self._node, kind).items():
            mask = self._mask(segment_id)
            for box, array in connected_components(mask.array):
                placed = triple(
                    slice(part.start + at, part.stop + at) for part, at in zip(box, mask.first[::-1], strict=True)
                )
                inside = [np.arange(part.start, part.stop) for part in placed]
                voxels = int(np.count_nonzero(array))
                sums = [array.sum(axis=tuple({0, 1, 2} - {axis})) @ inside[axis] for axis in (2, 1, 0)]
                yield _Piece(value, kept, placed, array, voxels, np.array(sums) / voxels)

    def _mask(self, segment_id: str) -> Mask:
        """A segment's mask in indices of the reference grid."""
        mask = mask_of(self._node, segment_id)
        if mask.empty:
            return Mask(mask.array, (0, 0, 0), self._matrix)
        placed = on_grid(mask, self._matrix)
        if placed is None:
            raise InputError(f"'{self._node.GetName()}' is no longer on the grid of its image; segment again.")
        return placed

    def _told(self, found: list[_Piece]) -> list[tuple[_Piece, dict[str, Any]]]:
        """Each piece with its number, mean and peak; pieces that nobody told of are numbered after the others."""
        stored: list[dict[str, Any]] = get_json(self._node, COMPONENTS) or []
        free = list(stored)
        matched, fresh = [], []
        for piece in found:
            entry = next((entry for entry in free if _is_of(piece, entry)), None)
            if entry is None:
                fresh.append((piece, self._confidence(piece)))
            else:
                free.remove(entry)
                matched.append((piece, entry))
        fresh.sort(key=lambda one: (-(one[1][0] or 0.0), -one[0].voxels))
        for number, (piece, (mean, peak)) in enumerate(fresh, start=1 + max((e["number"] for e in stored), default=0)):
            entry = {
                "number": number,
                "label": piece.label,
                "voxels": piece.voxels,
                "centre": [round(float(at), 3) for at in piece.center],
                "mean": mean,
                "peak": peak,
            }
            stored.append(entry)
            matched.append((piece, entry))
        if fresh:
            set_json(self._node, COMPONENTS, stored)
        return matched

    def _confidence(self, piece: _Piece) -> tuple[float | None, float | None]:
        """Mean and peak probability over a piece; None without a probability volume."""
        values = self._probabilities(piece)
        return (None, None) if values is None else (float(values.mean(dtype=float)), float(values.max()))

    def _probabilities(self, piece: _Piece) -> np.ndarray | None:
        """The probability of a piece's voxels, in the order of ``np.nonzero``."""
        source = probability_of(self._node)
        if source is None:
            return None
        image = source.GetImageData()
        start, array = image.GetExtent()[::2], array_of(image)
        box = tuple(slice(p.start - at, p.stop - at) for p, at in zip(piece.box, start[::-1], strict=True))
        inside = all(p.start >= 0 and p.stop <= n for p, n in zip(box, array.shape, strict=True))
        return array[box][piece.array] if inside else None

    def _nearest(self, ras: np.ndarray) -> int:
        """The number of the candidate at ``ras``, or of the nearest one within ``NEAR_MM``."""
        world = parent_matrix(self._node) @ self._matrix
        index = apply(np.linalg.inv(world), ras)
        at = np.rint(index).astype(int)
        distances = {}
        for number, piece in self._pieces.items():
            inner = at - [part.start for part in piece.box[::-1]]
            if (inner >= 0).all() and (inner < piece.array.shape[::-1]).all() and piece.array[tuple(inner[::-1])]:
                return number
            z, y, x = np.nonzero(piece.array)
            offsets = np.stack([x, y, z], axis=1) + [part.start for part in piece.box[::-1]] - index
            distances[number] = float(np.linalg.norm(offsets @ world[:3, :3].T, axis=1).min())
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is None or distances[nearest] > NEAR_MM:
            raise InputError("There is no candidate at the crosshair; place it on one (hold Shift and move the mouse).")
        return nearest

    def _move(self, numbers: Sequence[int], kept: bool, opposite: Sequence[int] = ()) -> None:
        """Bring candidates to ``kept``, and others to its opposite."""
        wanted = {**dict.fromkeys(numbers, kept), **dict.fromkeys(opposite, not kept)}
        if not wanted.keys() <= self._pieces.keys():
            raise InputError("This candidate is no longer there: the segmentation was changed; look at the list again.")
        moving = [(piece, wanted[n]) for n, piece in self._pieces.items() if n in wanted and piece.kept != wanted[n]]
        if not moving:
            return
        edited = is_edited(self._node)
        for value in {piece.label for piece, _ in moving}:
            ours = [(piece, keep) for piece, keep in moving if piece.label == value]
            kept_id = label_segments(self._node).get(value)
            if kept_id is None:
                raise InputError(f"The label of '{self._node.GetName()}' was removed; segment again.")
            dropped_id = label_segments(self._node, DROPPED).get(value)
            set_mask(self._node, kept_id, self._changed(kept_id, ours, True))
            set_rejected(self._node, value, self._changed(dropped_id, ours, False))
        if not edited:
            mark_written(self._node)
        self.refresh()
        self._remember_seeds()

    def _changed(self, segment_id: str | None, moving: list[tuple[_Piece, bool]], kept: bool) -> Mask:
        """What the kept (or the dropped) segment marks after the move."""
        boxes = [piece.box for piece, _ in moving]
        mask = None if segment_id is None else self._mask(segment_id)
        if mask is not None and not mask.empty:
            boxes.append(mask.slices)
        whole = triple(slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(3))
        array = np.zeros([part.stop - part.start for part in whole], dtype=bool)
        if mask is not None and not mask.empty:
            array[_inside(mask.slices, whole)] = mask.array
        for piece, keep in moving:
            part = array[_inside(piece.box, whole)]
            part[piece.array] = keep == kept
        return cropped(array, tuple(part.start for part in whole[::-1]), self._matrix)

    def _remember_seeds(self) -> None:
        """So that the choices hold at another threshold."""
        if probability_of(self._node) is None:
            return
        seeds: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
        for piece in self._pieces.values():
            values = self._probabilities(piece)
            if values is not None:
                voxel = np.argwhere(piece.array)[int(values.argmax())]
                place = [part.start + int(at) for part, at in zip(piece.box, voxel, strict=True)]
                seeds[piece.kept].append(tuple(place[::-1]))
        remember_rejected(self._node, dropped=seeds[False], kept=seeds[True])


def _is_of(piece: _Piece, entry: dict[str, Any]) -> bool:
    """Whether the stored entry tells of this piece."""
    same = entry["label"] == piece.label and entry["voxels"] == piece.voxels
    return same and bool(np.abs(np.array(entry["centre"]) - piece.center).max() < _SAME_CENTER)


def _inside(box: Box, whole: Box) -> Box:
    """``box`` in indices of the array that ``whole`` is of."""
    return triple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(box, whole, strict=True))
