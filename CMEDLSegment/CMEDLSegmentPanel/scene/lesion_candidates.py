"""The lesion candidates of a result: its connected components, each of which a person can keep or drop.

What is dropped moves into a hidden segment of the same node, voxel by voxel (see :mod:`rejected_candidates`). It is
saved with the scene and can be taken back at any time; what a person drew elsewhere in the label stays as it is.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer

from CMEDLSegmentLib.base.boxes import box_shape, box_within, enclosing_box, moved_box
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.metrics.connected_components import ConnectedComponent, connected_components

from .attributes import COMPONENTS, DROPPED, LABEL, get_json, set_json
from .coordinates import apply, array_of, axial_axis, parent_matrix, voxel_cc
from .rejected_candidates import label_segments, remember_rejected, set_rejected
from .result_nodes import component_entry, is_edited, is_result, mark_written, probability_of
from .segment_masks import Mask, cropped, mask_on_reference, reference_grid, set_mask

NEAR_MM = 5.0
"""A candidate this near to a place that is asked for is meant, also when the place is just beside it."""

_SAME_CENTER = 0.05
"""Voxels: a component with the same center and as many voxels is the one that the worker told of."""


@dataclass(frozen=True)
class LesionCandidate:
    """One connected component of a result.

    Attributes:
        number: what it is called as long as the result is not given another threshold, from 1.
        label: the value of its label.
        volume_cc: its volume in cm^3.
        mean, peak: probability over the component, 0 to 1; None where nobody knows, as of one drawn by hand without
            a probability volume.
        slices: first and last slice along the volume's axial axis, as indices of the volume as it is stored.
        center_ras: center of mass in the world, mm.
        kept: whether it is part of the label.
        likely: whether it is a likely one by the rule of the model's card; what nobody judged is.
        clicked: whether it is a tumor that a person clicked.
        drawn: whether it is what a person drew or changed by hand.
    """

    number: int
    label: int
    volume_cc: float
    mean: float | None
    peak: float | None
    slices: tuple[int, int]
    center_ras: tuple[float, float, float]
    kept: bool
    likely: bool
    clicked: bool = False
    drawn: bool = False


@dataclass(frozen=True, eq=False)
class _LabelComponent(ConnectedComponent):
    """A component in indices of the reference grid: of which label, and whether it is kept."""

    label: int
    kept: bool

    @property
    def first(self) -> np.ndarray:
        """Index (i, j, k) of the box's first voxel."""
        return np.array([part.start for part in self.box[::-1]])

    @property
    def ijk(self) -> np.ndarray:
        """The center of mass (i, j, k)."""
        return self.center[::-1]


def prepare() -> None:
    """Import what finding candidates needs in another thread: half a second, for which no view waits."""
    threading.Thread(target=importlib.import_module, args=("scipy.ndimage",)).start()


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
        self._components: dict[int, _LabelComponent] = {}
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
        self._matrix = grid
        world = parent_matrix(self._node) @ self._matrix
        axial = axial_axis(world)
        self._rows, self._components = [], {}
        for component, entry in self._with_entries([*self._find(LABEL, True), *self._find(DROPPED, False)]):
            part = component.box[2 - axial]
            self._components[entry["number"]] = component
            self._rows.append(
                LesionCandidate(
                    number=entry["number"],
                    label=component.label,
                    volume_cc=float(component.voxels * voxel_cc(world)),
                    mean=entry["mean"],
                    peak=entry["peak"],
                    slices=(part.start, part.stop - 1),
                    center_ras=tuple(apply(world, component.ijk).tolist()),
                    kept=component.kept,
                    likely=entry.get("likely", True),
                    clicked=entry.get("clicked", False),
                    # Scenes saved before say nothing; what came from a run has a mean.
                    drawn=entry.get("drawn", entry["mean"] is None and not entry.get("clicked", False)),
                )
            )
        self._rows.sort(key=lambda row: row.number)

    def keep(self, number: int, kept: bool) -> None:
        """Keep a candidate, or drop it.

        Raises:
            InputError: there is no candidate of this number any more.
        """
        self._move({number: kept})

    def keep_all(self, numbers: Iterable[int] | None = None) -> None:
        """Take back every candidate that was dropped, or those of these numbers."""
        self._move(dict.fromkeys([row.number for row in self._rows] if numbers is None else numbers, True))

    def keep_likely(self) -> None:
        """Drop what is not likely by the rule of the model's card."""
        self._move({row.number: False for row in self._rows if not row.likely})

    def overlapping(self, mask: Mask, label: int) -> list[tuple[LesionCandidate, ConnectedComponent]]:
        """The candidates of a label that share a voxel with ``mask``, which is in indices of the reference grid."""
        rows = {row.number: row for row in self._rows}
        return [
            (rows[number], component)
            for number, component in self._components.items()
            if component.label == label and _share(component, mask)
        ]

    def keep_only_at(self, ras: Sequence[float]) -> LesionCandidate:
        """Keep the candidate at a place (RAS in the world, mm), and drop the others of its label.

        Raises:
            InputError: no candidate is within ``NEAR_MM``.
        """
        number = self._nearest(np.array(ras, dtype=float))
        chosen = next(row for row in self._rows if row.number == number)
        self._move({row.number: row is chosen for row in self._rows if row.label == chosen.label})
        return replace(chosen, kept=True)

    def _find(self, kind: str, kept: bool) -> Iterable[_LabelComponent]:
        """The components of the kept, or of the dropped, segments."""
        for value, segment_id in label_segments(self._node, kind).items():
            mask = mask_on_reference(self._node, segment_id)
            for component in connected_components(mask.array):
                yield _LabelComponent(moved_box(component.box, mask.first[::-1]), component.mask, value, kept)

    def _with_entries(self, components: list[_LabelComponent]) -> list[tuple[_LabelComponent, dict[str, Any]]]:
        """Each component with its number, mean and peak; those that nobody told of are numbered after the others."""
        stored: list[dict[str, Any]] = get_json(self._node, COMPONENTS) or []
        free = list(stored)
        matched, fresh = [], []
        for component in components:
            # The latest first: a clicked tumor can be the very piece that it replaced.
            entry = next((entry for entry in reversed(free) if _is_of(component, entry)), None)
            if entry is None:
                fresh.append((component, self._confidence(component)))
            else:
                free.remove(entry)
                matched.append((component, entry))
        fresh.sort(key=lambda pair: (-(pair[1][0] or 0.0), -pair[0].voxels))
        last = max((entry["number"] for entry in stored), default=0)
        drawn = bool(fresh) and is_edited(self._node)
        for number, (component, (mean, peak)) in enumerate(fresh, start=last + 1):
            # At another threshold a candidate is another one: what was dropped before is no likelier now.
            likely = component.kept
            entry = component_entry(number, component.label, component.voxels, component.ijk, mean, peak, likely)
            if drawn:
                entry["drawn"] = True
            stored.append(entry)
            matched.append((component, entry))
        if fresh:
            set_json(self._node, COMPONENTS, stored)
        return matched

    def _confidence(self, component: _LabelComponent) -> tuple[float | None, float | None]:
        """Mean and peak probability over a candidate; None without a probability volume."""
        values = self._probabilities(component)
        return (None, None) if values is None else (float(values.mean(dtype=float)), float(values.max()))

    def _probabilities(self, component: _LabelComponent) -> np.ndarray | None:
        """The probability of a candidate's voxels, in the order of ``np.nonzero``."""
        source = probability_of(self._node)
        if source is None:
            return None
        image = source.GetImageData()
        start, array = image.GetExtent()[::2], array_of(image)
        box = moved_box(component.box, [-at for at in start[::-1]])
        inside = all(p.start >= 0 and p.stop <= n for p, n in zip(box, array.shape, strict=True))
        return array[box][component.mask] if inside else None

    def _nearest(self, ras: np.ndarray) -> int:
        """The number of the candidate at ``ras``, or of the nearest one within ``NEAR_MM``."""
        world = parent_matrix(self._node) @ self._matrix
        index = apply(np.linalg.inv(world), ras)
        at = np.rint(index).astype(int)
        distances = {}
        for number, component in self._components.items():
            if component.holds(at[None, ::-1]):
                return number
            offsets = np.argwhere(component.mask)[:, ::-1] + component.first - index
            distances[number] = float(np.linalg.norm(offsets @ world[:3, :3].T, axis=1).min())
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is None or distances[nearest] > NEAR_MM:
            raise InputError("There is no candidate at the crosshair; place it on one (hold Shift and move the mouse).")
        return nearest

    def _move(self, wanted: dict[int, bool]) -> None:
        """Keep (True) and drop (False) candidates, by their numbers."""
        if not wanted.keys() <= self._components.keys():
            raise InputError("This candidate is no longer there: the segmentation was changed; look at the list again.")
        moving = [(self._components[n], keep) for n, keep in wanted.items() if self._components[n].kept != keep]
        if not moving:
            return
        edited = is_edited(self._node)
        for value in {component.label for component, _ in moving}:
            ours = [(component, keep) for component, keep in moving if component.label == value]
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

    def _changed(self, segment_id: str | None, moving: list[tuple[_LabelComponent, bool]], kept: bool) -> Mask:
        """What the kept (or the dropped) segment marks after the move."""
        mask = None if segment_id is None else mask_on_reference(self._node, segment_id)
        box = None if mask is None or mask.empty else mask.box
        whole = enclosing_box([*(component.box for component, _ in moving), box])
        assert whole is not None
        array = np.zeros(box_shape(whole), dtype=bool)
        if mask is not None and box is not None:
            array[box_within(box, whole)] = mask.array
        for component, keep in moving:
            array[box_within(component.box, whole)][component.mask] = keep == kept
        return cropped(array, tuple(part.start for part in whole[::-1]), self._matrix)

    def _remember_seeds(self) -> None:
        """So that the choices hold at another threshold."""
        if probability_of(self._node) is None:
            return
        seeds: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
        clicked = {row.number for row in self._rows if row.clicked}
        for number, component in self._components.items():
            # Of the model's own candidates only: a clicked tumor can go again, and no threshold made it.
            if number in clicked:
                continue
            values = self._probabilities(component)
            if values is not None:
                place = component.first + np.argwhere(component.mask)[int(values.argmax()), ::-1]
                seeds[component.kept].append(tuple(place.tolist()))
        remember_rejected(self._node, dropped=seeds[False], kept=seeds[True])


def _share(component: ConnectedComponent, mask: Mask) -> bool:
    """Whether a component and a mask have a voxel in common."""
    both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(component.box, mask.box, strict=True)]
    if any(part.start >= part.stop for part in both):
        return False
    own, others = box_within(tuple(both), component.box), box_within(tuple(both), mask.box)
    return bool((component.mask[own] & mask.array[others]).any())


def is_told_of(entry: dict[str, Any], voxels: int, center: np.ndarray) -> bool:
    """Whether a stored entry tells of a piece with so many voxels and this center of mass (i, j, k)."""
    return entry["voxels"] == voxels and bool(np.abs(np.array(entry["centre"]) - center).max() < _SAME_CENTER)


def _is_of(component: _LabelComponent, entry: dict[str, Any]) -> bool:
    """Whether the stored entry tells of this candidate."""
    return entry["label"] == component.label and is_told_of(entry, component.voxels, component.ijk)
