"""Tumors that a person clicked: how they come into a result, are mended there, and go again.

What a click changes is remembered as the voxels that it changed and what they were. To take it back these become what
they were, also where candidates were kept and dropped or other voxels were edited since. This lasts as long as the
session; the clicks themselves are kept with the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from CMEDLSegmentLib.base.boxes import Box, bounding_box, box_shape, box_within, enclosing_box, moved_box
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import write
from CMEDLSegmentLib.inference.options import TUMOR, Click
from CMEDLSegmentLib.io.volume import triple
from CMEDLSegmentLib.metrics.connected_components import NEIGHBORS, ConnectedComponent, connected_components

from .attributes import (
    CLICK_MODEL,
    CLICK_WEIGHTS,
    CLICKS,
    COMPONENTS,
    DROPPED,
    PREFIX,
    get_json,
    set_json,
    set_tag,
)
from .coordinates import moved_lps, own_matrix, parent_matrix
from .lesion_candidates import LesionCandidates, is_told_of
from .rejected_candidates import label_segments, set_rejected
from .result_nodes import (
    add_result,
    check_volume,
    component_entries,
    component_entry,
    is_edited,
    is_result,
    mark_written,
    volume_of_result,
)
from .segment_masks import (
    SURFACE,
    Mask,
    cropped,
    mask_on_reference,
    on_grid,
    paste,
    reference_grid,
    segment_of,
    set_mask,
    show_surface,
)
from .volume_nodes import volume_of

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.volume import Volume
    from CMEDLSegmentLib.process.protocol import Outcome

_TOLD = (CLICKS, CLICK_MODEL, CLICK_WEIGHTS)


def click_at(volume: Volume, ras: Sequence[float], action: str = TUMOR) -> Click:
    """The click at a place (RAS in the world, mm) of a volume.

    Raises:
        InputError: the place is outside of the volume.
    """
    right, anterior, superior = ras
    click = Click((-float(right), -float(anterior), float(superior)), action)
    index = np.rint(volume.geometry.to_index(np.array([click.point]))[0])
    if not all(0 <= at < count for at, count in zip(index, volume.geometry.size, strict=True)):
        raise InputError("This place is outside of the CT; click inside of it.")
    return click


def result_of(
    volume_node: slicer.vtkMRMLScalarVolumeNode | None, shown: slicer.vtkMRMLSegmentationNode | None
) -> slicer.vtkMRMLSegmentationNode | None:
    """The result that a click into a volume goes to: the one shown, else the volume's latest; None: a new one."""
    if volume_node is None:
        return None
    nodes = [*slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), shown]
    ours = [node for node in nodes if is_result(node) and volume_of_result(node) is volume_node]
    return ours[-1] if ours else None


@dataclass(frozen=True)
class _State:
    """What of a label is kept and dropped (masks on the reference grid), and what the result tells of it."""

    kept: Mask
    dropped: Mask
    components: list[dict[str, Any]] | None
    told: dict[str, str | None]

    @property
    def digest(self) -> str:
        """SHA-256 of which voxels are a candidate's, be it kept or dropped: it changes when somebody draws."""
        box = _box_of(self.kept, self.dropped)
        if box is None:
            return ""
        either = _within(self.kept, box) | _within(self.dropped, box)
        return hashlib.sha256(f"{box}".encode() + np.packbits(either).tobytes()).hexdigest()


@dataclass(frozen=True)
class _Step:
    """What one click has changed.

    Attributes:
        clicks: all of its tumor's up to it, LPS in the result's own coordinates.
        value: the label's.
        box, changed: where its voxels are on the reference grid: bool (z, y, x) of the box.
        kept, dropped: what these voxels were before, bool (z, y, x) of the box.
        before, after: the entries of candidates.
        told: what the result told of clicks before.
        digest: of the state after it.
    """

    clicks: tuple[Click, ...]
    value: int
    box: Box
    changed: np.ndarray
    kept: np.ndarray
    dropped: np.ndarray
    before: list[dict[str, Any]] | None
    after: list[dict[str, Any]]
    told: dict[str, str | None]
    digest: str


class ClickedTumors:
    """The clicked tumors of one result, as far as this session made them.

    Attributes:
        node: the result; one that a click has made goes with its last tumor.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, made_here: bool = False) -> None:
        self.node = node
        self._made_here = made_here
        self._steps: list[_Step] = []

    @classmethod
    def of_new_result(cls, volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome) -> ClickedTumors:
        """Those of a result that is added for them, as a run's is; it is empty at first.

        Raises:
            InputError: the volume was removed, or has another grid than it had.
        """
        from CMEDLSegmentLib.process.protocol import Outcome

        summary = {**outcome.summary, "components": [], "warnings": [], CLICKS: []}
        node = add_result(volume_node, Outcome(np.zeros_like(outcome.label), None, summary))
        for name in _TOLD:
            node.RemoveAttribute(PREFIX + name)
            for segment_id in label_segments(node).values():
                set_tag(segment_of(node, segment_id), name, None)
        return cls(node, made_here=True)

    @property
    def present(self) -> bool:
        """Whether the result is still in a scene."""
        return self.node.GetScene() is not None

    @property
    def undoable(self) -> int:
        """How many clicks can be taken back."""
        return len(self._steps)

    def clicks(self) -> tuple[Click, ...]:
        """Those of the last tumor, where its image lies in the world now (LPS); none where there is no such tumor."""
        if not self._steps:
            return ()
        to_world = parent_matrix(self.node)
        return tuple(Click(moved_lps(click.point, to_world), click.action) for click in self._steps[-1].clicks)

    def check_mendable(self) -> None:
        """Check that the last tumor is as its clicks made it.

        Raises:
            InputError: there is none, or somebody has edited the result since.
        """
        if not self._steps:
            raise InputError("No tumor was clicked in this session; click the tumor first.")
        last = self._steps[-1]
        if _state(self.node, last.value).digest != last.digest:
            raise InputError(
                f"'{self.node.GetName()}' was edited by hand since the tumor was clicked, which a correction by a "
                "click would undo; go on in the Segment Editor."
            )

    def add(
        self, volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome, clicks: Sequence[Click], alone: bool = True
    ) -> None:
        """Make a clicked tumor, or the last one as it is after a correction, part of its label.

        Candidates of the model's that it overlaps go, kept ones and dropped ones. What a person drew or clicked stays,
        and becomes one with it.

        Args:
            volume_node: what was clicked.
            outcome: of the run with ``clicks``.
            clicks: all of the tumor's (LPS in the world); more than one means a correction of the last tumor.
            alone: whether the outcome marks nothing but this tumor; else it is the piece at the first click.

        Raises:
            InputError: nothing is marked at the click, the volume or the result was changed meanwhile, or see
                :meth:`check_mendable`. Everything is as it was then.
        """
        check_volume(volume_node, outcome.label)
        region = _region(volume_node, outcome, clicks, alone)
        value = _label_of(self.node, volume_node, outcome, region)
        mask = self._placed(volume_node, region)
        candidates = LesionCandidates(self.node)  # what was drawn by hand is known as such from now on
        before = _state(self.node, value)
        if clicks[-1].action != TUMOR:
            self.check_mendable()
            if tuple(clicks[:-1]) != self.clicks():
                raise InputError("The last tumor is another one by now, so that nothing was changed; click again.")
            for step in reversed(self._of_last_tumor()):
                self._restore(step)
            candidates.refresh()
        base = _state(self.node, value)
        had_surface = self.node.GetSegmentation().ContainsRepresentation(SURFACE)
        box = _box_of(base.kept, base.dropped, mask)
        assert box is not None
        kept, dropped, tumor = (_within(part, box) for part in (base.kept, base.dropped, mask))
        joined = []
        for row, component in candidates.overlapping(_dilated(mask), value):
            replaced = not (row.drawn or row.clicked) and tumor[box_within(component.box, box)][component.mask].any()
            if replaced:
                (kept if row.kept else dropped)[box_within(component.box, box)][component.mask] = False
            elif row.kept:
                joined.append(component)
        self._write(value, box, kept | tumor, dropped & ~tumor)
        known = component_entries(outcome.summary["components"], volume_node)
        entries = _entries(mask, joined, value, known, base.components or [])
        set_json(self.node, COMPONENTS, [*(base.components or []), *entries])
        own = tuple(
            Click(moved_lps(click.point, np.linalg.inv(parent_matrix(volume_node))), click.action) for click in clicks
        )
        self._tell(value, outcome, alone, own)
        self._steps.append(_step(before, _state(self.node, value), own, value))
        if had_surface:
            show_surface(self.node)

    def undo(self) -> bool:
        """Take the last click back.

        Returns:
            Whether the result is still there: one that was made for its first click goes with it, unless somebody has
            drawn into it.

        Raises:
            InputError: there is nothing to undo, or the label was removed.
        """
        if not self._steps:
            raise InputError("There is no click to undo.")
        had_surface = self.node.GetSegmentation().ContainsRepresentation(SURFACE)
        self._restore(self._steps[-1])
        self._steps.pop()
        if self._made_here and not self._steps and self._nothing_left():
            self.node.GetScene().RemoveNode(self.node)
            return False
        if had_surface:
            show_surface(self.node)
        return True

    def _nothing_left(self) -> bool:
        """Whether all that the result holds is its own segments, and these are empty."""
        ours = label_segments(self.node)
        alone = len(ours) == self.node.GetSegmentation().GetNumberOfSegments()
        return alone and all(mask_on_reference(self.node, segment_id).empty for segment_id in ours.values())

    def _of_last_tumor(self) -> list[_Step]:
        """The steps that made the last tumor, its first click's first."""
        first = max(number for number, step in enumerate(self._steps) if len(step.clicks) == 1)
        return self._steps[first:]

    def _placed(self, volume_node: slicer.vtkMRMLScalarVolumeNode, region: Mask) -> Mask:
        """A mask in indices of the volume in those of the reference grid."""
        to_node = np.linalg.inv(parent_matrix(self.node)) @ parent_matrix(volume_node)
        grid = reference_grid(self.node)
        moved = Mask(region.array, region.first, to_node @ region.matrix)
        placed = None if grid is None else on_grid(moved, grid)
        if placed is None:
            raise InputError(f"'{self.node.GetName()}' is no longer on the grid of its image; segment again.")
        return placed

    def _write(self, value: int, box: Box, kept: np.ndarray, dropped: np.ndarray) -> None:
        """Make arrays (z, y, x) of a box what is kept and dropped; a result that nobody edited is not edited by it."""
        edited = is_edited(self.node)
        grid, first = reference_grid(self.node), _first(box)
        assert grid is not None
        set_mask(self.node, label_segments(self.node)[value], cropped(kept, first, grid))
        set_rejected(self.node, value, cropped(dropped, first, grid))
        if not edited:
            mark_written(self.node)

    def _tell(self, value: int, outcome: Outcome, alone: bool, clicks: Sequence[Click]) -> None:
        """Keep the clicks with the result, and who answered them."""
        before = get_json(self.node, CLICKS) or []
        set_json(self.node, CLICKS, [*before, *map(write, clicks)])
        model, weights = outcome.summary["student"], outcome.summary.get("weights_sha256")
        self.node.SetAttribute(PREFIX + CLICK_MODEL, model if alone else outcome.summary.get(CLICK_MODEL, "threshold"))
        self.node.SetAttribute(PREFIX + CLICK_WEIGHTS, weights if alone else None)
        self._tag(value)

    def _tag(self, value: int) -> None:
        """Let the segment tell what the node does: a saved segmentation keeps its tags."""
        segment = segment_of(self.node, label_segments(self.node)[value])
        for name in _TOLD:
            set_tag(segment, name, self.node.GetAttribute(PREFIX + name))

    def _restore(self, step: _Step) -> None:
        """Make what a click has changed what it was before."""
        now = _state(self.node, step.value)
        box = enclosing_box([_box_of(now.kept, now.dropped), step.box])
        assert box is not None
        kept, dropped = _within(now.kept, box), _within(now.dropped, box)
        place = box_within(step.box, box)
        kept[place][step.changed] = step.kept[step.changed]
        dropped[place][step.changed] = step.dropped[step.changed]
        self._write(step.value, box, kept, dropped)
        _set_components(self.node, step)
        for name, text in step.told.items():
            self.node.SetAttribute(PREFIX + name, text)
        self._tag(step.value)


def _state(node: slicer.vtkMRMLSegmentationNode, value: int) -> _State:
    """A label as it is now.

    Raises:
        InputError: it was removed, or lies on another grid.
    """
    kept_id, dropped_id = label_segments(node).get(value), label_segments(node, DROPPED).get(value)
    if kept_id is None:
        raise InputError(f"The label of '{node.GetName()}' was removed; segment again.")
    kept = mask_on_reference(node, kept_id)
    dropped = Mask.nothing(kept.matrix) if dropped_id is None else mask_on_reference(node, dropped_id)
    return _State(kept, dropped, get_json(node, COMPONENTS), {name: node.GetAttribute(PREFIX + name) for name in _TOLD})


def _step(before: _State, after: _State, clicks: tuple[Click, ...], value: int) -> _Step:
    """What lies between two states."""
    whole = _box_of(before.kept, before.dropped, after.kept, after.dropped)
    assert whole is not None
    changed = _within(before.kept, whole) ^ _within(after.kept, whole)
    changed |= _within(before.dropped, whole) ^ _within(after.dropped, whole)
    # Where a click marks what was marked nothing has changed.
    tight = bounding_box(changed) or tuple(slice(0, 1) for _ in range(3))
    box = moved_box(tight, [part.start for part in whole])
    kept, dropped = (_within(mask, whole)[tight].copy() for mask in (before.kept, before.dropped))
    return _Step(
        clicks=clicks,
        value=value,
        box=box,
        changed=changed[tight].copy(),
        kept=kept,
        dropped=dropped,
        before=before.components,
        after=after.components or [],
        told=before.told,
        digest=after.digest,
    )


def _dilated(mask: Mask) -> Mask:
    """A mask and all voxels beside it."""
    from scipy import ndimage

    first = triple(at - 1 for at in mask.first)
    return Mask(ndimage.binary_dilation(np.pad(mask.array, 1), NEIGHBORS), first, mask.matrix)


def _entries(
    tumor: Mask,
    joined: Sequence[ConnectedComponent],
    value: int,
    known: Sequence[dict[str, Any]],
    before: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Entries of the candidates that a tumor is, with the figures that the worker told of them.

    Args:
        tumor: on the reference grid.
        joined: kept candidates that it touches or overlaps, with which it is one.
        value: the label's.
        known: what the worker told.
        before: the entries so far, for the numbers.
    """
    box = enclosing_box([tumor.box, *(component.box for component in joined)])
    assert box is not None
    array = _within(tumor, box)
    for component in joined:
        array[box_within(component.box, box)] |= component.mask
    entries: list[dict[str, Any]] = []
    last = max((entry["number"] for entry in before), default=0)
    for number, component in enumerate(connected_components(array), start=last + 1):
        center = component.center[::-1] + _first(box)
        same = ((entry["mean"], entry["peak"]) for entry in known if is_told_of(entry, component.voxels, center))
        mean, peak = next(same, (None, None))
        entry = component_entry(number, value, component.voxels, center, mean, peak, likely=True)
        entries.append({**entry, "clicked": True})
    return entries


def _set_components(node: slicer.vtkMRMLSegmentationNode, step: _Step) -> None:
    """The entries of candidates without those that a click has brought, and with those that it has taken away."""
    before, now = step.before or [], get_json(node, COMPONENTS) or []
    entries = [entry for entry in now if entry not in step.after or entry in before]
    entries += [entry for entry in before if entry not in entries]
    if entries or step.before is not None:
        set_json(node, COMPONENTS, sorted(entries, key=lambda entry: entry["number"]))
    else:
        node.RemoveAttribute(PREFIX + COMPONENTS)


def _region(
    volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome, clicks: Sequence[Click], alone: bool
) -> Mask:
    """The clicked tumor in indices of the volume."""
    start = volume_node.GetImageData().GetExtent()[::2]
    label = outcome.label
    if not alone:
        x, y, z = np.rint(volume_of(volume_node).geometry.to_index(np.array([clicks[0].point]))[0]).astype(int).tolist()
        pieces = connected_components(label == label[z, y, x]) if label[z, y, x] else []
        at = np.array([[z, y, x]])
        label = np.zeros_like(label)
        for piece in pieces:
            if piece.holds(at):
                label[piece.box][piece.mask] = 1
    region = cropped(label, start, own_matrix(volume_node))
    if region.empty:
        raise InputError("Nothing is marked at the click; click into the middle of the tumor, or cut less away.")
    return region


def _label_of(
    node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome, region: Mask
) -> int:
    """The value of the result's label that a clicked tumor belongs to: the one of its name, else the first."""
    start = volume_node.GetImageData().GetExtent()[::2]
    box = moved_box(region.box, [-at for at in start[::-1]])
    value = int(np.bincount(outcome.label[box][region.array]).argmax())
    names = {label["name"] for label in outcome.summary["labels"] if label["value"] == value}
    segments = label_segments(node)
    if not segments:
        raise InputError(f"The label of '{node.GetName()}' was removed; segment again.")
    same = (value for value, segment_id in segments.items() if segment_of(node, segment_id).GetName() in names)
    return next(same, min(segments))


def _box_of(*masks: Mask) -> Box | None:
    return enclosing_box([None if mask.empty else mask.box for mask in masks])


def _within(mask: Mask, box: Box) -> np.ndarray:
    """A mask as bool (z, y, x) of a box; what lies outside of it is left out."""
    array = np.zeros(box_shape(box), dtype=bool)
    if not mask.empty:
        paste(mask, array, _first(box))
    return array


def _first(box: Box) -> tuple[int, int, int]:
    """The index (i, j, k) of a box's first voxel."""
    z, y, x = (part.start for part in box)
    return x, y, z
