"""The experts' segments of a scene, and the model's, as a case whose raters can be compared.

Everything is brought to the CT's grid and cropped within the slices to what anybody marks, so that a few tumors in a
large scan are quick. The slices stay all of the CT's, from the feet to the head, so that their numbers mean something.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import slicer

from CMEDLSegmentLib.base.boxes import Box, bounding_box, box_shape
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.delineation import MODEL, Delineation, RatedCase
from CMEDLSegmentLib.io.volume import AxialView, Geometry, axial_view, triple

from . import expert_segments
from .coordinates import FLIP, own_matrix, parent_matrix
from .expert_segments import SegmentRef
from .rejected_candidates import label_segments
from .segment_masks import LABELMAP, Mask, mask_on_volume, paste, segment_of
from .volume_nodes import volume_of

MARGIN_MM = 40.0
"""Around what is marked, for pictures that show where in the body it is."""


@dataclass(frozen=True)
class Entry:
    """Who marked what.

    Attributes:
        name: the rater, or :data:`MODEL`.
        refs: the segments; several of one rater are taken together.
        color: of the first of them.
        model: whether it is the model's.
    """

    name: str
    refs: tuple[SegmentRef, ...]
    color: tuple[float, float, float]
    model: bool = False


@dataclass(frozen=True)
class RatedScene:
    """A case, and where it is in the scene.

    Attributes:
        case: in axial order; its ``image`` is the CT's own memory.
        entries: in the order of the case's delineations.
        volume_id: the CT.
    """

    case: RatedCase
    entries: tuple[Entry, ...]
    volume_id: str
    _view: AxialView
    _crop: Box
    _start: tuple[int, int, int]

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The CT; None when it is gone."""
        return slicer.mrmlScene.GetNodeByID(self.volume_id)

    def ras(self, place: tuple[float, float, float]) -> np.ndarray:
        """RAS in the world of a voxel (z, y, x) of the case."""
        return self.case.geometry.to_physical(np.array([place[::-1]], dtype=float))[0] @ FLIP[:3, :3]

    def mask(self, array: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)) -> Mask:
        """An array of the case, or a part of it that begins at the voxel ``first`` (z, y, x), in the CT's indices.

        It is cropped to what is not 0; its values stay what they are. The CT has to be in the scene.
        """
        whole = np.zeros(self._view.array.shape, dtype=array.dtype)
        start = [at + part.start for at, part in zip(first, self._crop, strict=True)]
        whole[tuple(slice(at, at + n) for at, n in zip(start, array.shape, strict=True))] = array
        native, matrix = self._view.to_native(whole), own_matrix(self.volume)
        box = bounding_box(native)
        if box is None:
            return Mask.nothing(matrix)
        corner = triple(part.start + at for part, at in zip(box[::-1], self._start, strict=True))
        return Mask(np.ascontiguousarray(native[box]), corner, matrix)


def structures() -> list[str]:
    """What the experts' segments mark, each once: the one that most of them mark first."""
    spellings: dict[str, list[str]] = {}
    for role in expert_segments.roles().values():
        spellings.setdefault(role.structure.casefold(), []).append(role.structure)
    return [names[0] for names in sorted(spellings.values(), key=len, reverse=True)]


def entries(result: slicer.vtkMRMLSegmentationNode | None, structure: str) -> list[Entry]:
    """Who marks a structure: the experts in the order of the scene, then the model (``result``).

    A result that an expert has made his own is the expert's and no longer the model's.
    """
    raters: dict[str, list[SegmentRef]] = {}
    taken = set()
    for ref, role in expert_segments.roles().items():
        taken.add((ref.node_id, ref.segment_id))
        if role.structure.casefold() == structure.casefold():
            raters.setdefault(role.rater, []).append(ref)
    rated = [Entry(name, tuple(refs), expert_segments.color_of(refs[0])) for name, refs in raters.items()]
    model = _model(result, structure)
    if model and (model.node_id, model.segment_id) not in taken:
        rated.append(Entry(MODEL, (model,), expert_segments.color_of(model), model=True))
    return rated


def _model(result: slicer.vtkMRMLSegmentationNode | None, structure: str) -> SegmentRef | None:
    """The result's label of this structure; its only label, whatever that is called."""
    if result is None:
        return None
    labels = [
        SegmentRef(result.GetID(), segment_id, segment_of(result, segment_id).GetName(), expert_segments.MODEL)
        for segment_id in label_segments(result).values()
    ]
    named = [ref for ref in labels if ref.name.casefold() == structure.casefold()]
    return next(iter(named or (labels if len(labels) == 1 else [])), None)


class RatedSceneReader:
    """Takes cases out of the scene; a segment that has not changed since the last time is not looked at again."""

    def __init__(self) -> None:
        self._known: dict[SegmentRef, tuple[Hashable, Mask, tuple[str, ...]]] = {}

    @staticmethod
    def state(volume: slicer.vtkMRMLScalarVolumeNode, rated: list[Entry]) -> Hashable:
        """Something that is another one whenever the case would be; colors are no part of it.

        Raises:
            InputError: a transform is not linear.
        """
        return _place(volume), tuple((entry.name, tuple((ref, _marks(ref)) for ref in entry.refs)) for entry in rated)

    def collect(self, volume: slicer.vtkMRMLScalarVolumeNode, rated: list[Entry]) -> RatedScene:
        """The case of these delineations on the CT.

        Raises:
            InputError: nobody is an expert, a segment is gone or cannot be converted, a transform is not linear, or
                the CT cannot be used.
        """
        image = volume_of(volume)
        start = volume.GetImageData().GetExtent()[::2]
        masks_of = [[self._mask_of(ref, volume) for ref in entry.refs] for entry in rated]
        self._known = {ref: self._known[ref] for entry in rated for ref in entry.refs}
        view = axial_view(image.array, image.geometry)
        marked = np.zeros(image.array.shape, dtype=bool)
        for mask, _ in itertools.chain.from_iterable(masks_of):
            paste(mask, marked, start)
        crop = _around(view.to_axial(marked), view.spacing)
        delineations = []
        for entry, masks in zip(rated, masks_of, strict=True):
            whole = np.zeros(image.array.shape, dtype=bool)
            for mask, _ in masks:
                paste(mask, whole, start)
            notes = [note for _, remarks in masks for note in remarks]
            if len(masks) > 1:
                notes.insert(0, f"{len(masks)} segments are taken together.")
            delineations.append(
                Delineation(
                    name=entry.name,
                    mask=np.ascontiguousarray(view.to_axial(whole)[crop]),
                    segment=", ".join(ref.name for ref in entry.refs),
                    source="scene",
                    notes=tuple(notes),
                )
            )
        case = RatedCase(
            name="",
            geometry=_cropped(view.geometry, crop),
            raters=tuple(each for each, entry in zip(delineations, rated, strict=True) if not entry.model),
            model=next((each for each, entry in zip(delineations, rated, strict=True) if entry.model), None),
            image=view.array[crop],
        )
        return RatedScene(case, tuple(rated), volume.GetID(), view, crop, tuple(start))

    def _mask_of(self, ref: SegmentRef, volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[Mask, tuple[str, ...]]:
        """What a segment marks on the CT, and what was done to it."""
        state = (_place(volume), _marks(ref))
        known = self._known.get(ref)
        if known is None or known[0] != state:
            node = slicer.mrmlScene.GetNodeByID(ref.node_id)
            known = (state, mask_on_volume(node, ref.segment_id, volume), tuple(expert_segments.problems(ref, volume)))
            self._known[ref] = known
        return known[1:]


def _place(volume: slicer.vtkMRMLScalarVolumeNode) -> Hashable:
    """Where a volume's voxels are, not what they show."""
    image = volume.GetImageData()
    extent = image and image.GetExtent()
    return volume.GetID(), extent, own_matrix(volume).tobytes(), parent_matrix(volume).tobytes()


def _marks(ref: SegmentRef) -> Hashable:
    """Something that is another one whenever a segment marks something else."""
    node = slicer.mrmlScene.GetNodeByID(ref.node_id)
    if node is None:
        raise InputError(f"'{ref.name}' is no longer in the scene; choose another segment.")
    segment = segment_of(node, ref.segment_id)
    representation = segment.GetRepresentation(LABELMAP) or segment.GetRepresentation(
        node.GetSegmentation().GetSourceRepresentationName()
    )
    return representation and representation.GetMTime(), segment.GetLabelValue(), parent_matrix(node).tobytes()


def _around(marked: np.ndarray, spacing: tuple[float, float, float]) -> Box:
    """The part (z, y, x) to compare in: every slice, and in each one what is marked with a margin; else all of it."""
    box = bounding_box(marked) or tuple(slice(0, size) for size in marked.shape)
    crop = [slice(0, marked.shape[0])]
    for part, size, step in zip(box[1:], marked.shape[1:], spacing[1:], strict=True):
        margin = int(np.ceil(MARGIN_MM / step))
        crop.append(slice(max(part.start - margin, 0), min(part.stop + margin, size)))
    return tuple(crop)


def _cropped(geometry: Geometry, crop: Box) -> Geometry:
    """The grid of a part of an array."""
    first = np.array([[part.start for part in crop[::-1]]], dtype=float)
    return Geometry(
        size=triple(box_shape(crop[::-1])),
        spacing=geometry.spacing,
        origin=tuple(geometry.to_physical(first)[0].tolist()),
        direction=geometry.direction,
    )


def middle_of(rated: RatedScene, index: int) -> np.ndarray:
    """RAS in the middle of what is disputed on a slice of the case; of what is marked where nothing is disputed."""
    marks = np.stack([delineation.mask[index] for delineation in rated.case.all])
    some, everyone = marks.any(axis=0), marks.all(axis=0)
    places = np.argwhere(some & ~everyone if (some & ~everyone).any() else some)
    middle = places.mean(axis=0) if len(places) else (np.array(some.shape) - 1) / 2
    return rated.ras((index, *middle))
