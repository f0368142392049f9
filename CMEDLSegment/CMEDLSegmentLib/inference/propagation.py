"""One structure from a click: slice by slice, each told of the mask on the slice before, both ways until it ends.

A model that reads clicks (``Card.prompt``) sees a square around the structure on one slice, and beside the image three
channels: clicks inside, clicks outside, and the structure's mask on the slice before. Here the first slice is made from
the click, then the slices above and below it. The pixels of the square are fitted to the structure's size, so that a
nodule and a large tumor fill about as many of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..base.boxes import bounding_box
from ..base.progress import SILENT, Progress
from .clicked_tumor import Voxel, end_at
from .resampling import ModelField, used_columns

if TYPE_CHECKING:
    import torch

    from ..models.model_card import ClickPrompt
    from ..models.normalization import IntensityMap

Place = tuple[float, float]
"""(y, x) on a slice, in voxels."""
PlaneBox = tuple[slice, slice]
"""A part of a slice, rows and columns."""

NEAR_MM = 3.0
"""What is so near to a click, or to the mask on the slice before, belongs to it."""
GROWTH, GROWTH_MM2, GROWTH_MM = 2.0, 90.0, 6.0
"""From one slice to the next a structure of area A may grow to 2 A + 90 mm2; if it does more, no further than 6 mm."""
CENTRAL, CENTRAL_AREA = 0.5, 0.8
"""A click no further from the deepest place of its slice than half the structure's radius there, where that is at least
0.8 of the largest slice, is followed once."""
LOOKS, STEP = 4, 1.7
"""Of a click's slice: how often it is looked at, and by how much the pixel shrinks from one look to the next."""
COARSER = 1.6
"""How many times the pixel of a look's second view is that of its first."""
ADD_MM, CUT_MM = 25.0, 15.0
"""How far from its click a correction reaches."""
CUT_SHARE, LEAST_CUT_MM = 0.5, 2.0
"""A cut reaches half way to the structure's deepest place, so that one on a rim does not take the core; and it takes at
least the voxels away that are so near to its click."""


@dataclass(frozen=True)
class View:
    """What is asked of the network: a slice, where on it, and the prompt.

    Attributes:
        z: the slice.
        center: of the square.
        pixel_mm: of its pixels.
        add, cut: clicks on this slice, inside and outside of the structure.
        mask: bool (y, x), the structure on a slice beside this one, or on this one before a correction; None: unknown.
    """

    z: int
    center: Place
    pixel_mm: float
    add: Sequence[Place] = ()
    cut: Sequence[Place] = ()
    mask: np.ndarray | None = None


def clicks_channel(places: Sequence[Place], pixels: int, deviation: float) -> np.ndarray:
    """Gaussians of height 1 at ``places`` (y, x) in pixels of the square: float32 (pixels, pixels), their maximum."""
    steps = np.arange(pixels, dtype=np.float32)
    channel = np.zeros((pixels, pixels), np.float32)
    for y, x in places:
        rows, columns = (np.exp(-((steps - at) ** 2) / (2 * deviation**2)) for at in (y, x))
        np.maximum(channel, np.outer(rows, columns), out=channel)
    return channel


def fitting_pixel(area_mm2: float, prompt: ClickPrompt) -> float:
    """The pixel (mm) at which a structure of this area is ``prompt.diameter_pixels`` wide, within the model's range."""
    diameter = 2 * math.sqrt(area_mm2 / math.pi)
    return float(np.clip(diameter / prompt.diameter_pixels, *prompt.pixel_mm))


class Structure:
    """A structure as it grows; memory is used only on the slices that it was looked for on.

    Attributes:
        mask: bool (z, y, x), in axial order.
        probability: float16 of the same shape; 0 where nobody asked.
        start: the voxel of its first click.
        slices: those that it was looked for on.
    """

    def __init__(self, shape: tuple[int, ...], start: Voxel) -> None:
        self.mask = np.zeros(shape, bool)
        self.probability = np.zeros(shape, np.float16)
        self.start = start
        self.slices: set[int] = set()


@dataclass
class Propagator:
    """Asks a model that reads clicks about one volume.

    Attributes:
        array: (z, y, x) in axial order, as the scanner gave it; only read.
        spacing: (z, y, x), mm.
        intensities: how they reach -1..1.
        prompt: how the model is asked.
        pixels: side of the square.
        infer: a batch (n, channels, pixels, pixels) -> probabilities, numpy (n, pixels, pixels).
        threshold: probability from which a voxel is marked.
        progress: told the slices; cancels.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    intensities: IntensityMap
    prompt: ClickPrompt
    pixels: int
    infer: Callable[[torch.Tensor], np.ndarray]
    threshold: float = 0.5
    progress: Progress = field(default=SILENT)

    def structure(self, start: Voxel) -> Structure:
        """The structure at a click.

        A click near a structure's end or its rim is followed twice: from there, and then from the deepest place on the
        largest slice of what came out, where a structure is told best from what it touches.
        """
        first = self._followed(start)
        if self._central(first):
            return first
        largest = max(first.slices, key=lambda z: (np.count_nonzero(first.mask[z]), -abs(z - start[0])))
        y, x = deepest(first.mask[largest])
        again = self._followed((largest, y, x))
        if not self._widened(again.mask[start[0]], NEAR_MM)[start[1:]]:
            return first
        again.start = start
        return again

    def _central(self, structure: Structure) -> bool:
        """Whether the first click lies in the middle of a slice that is about as large as the largest."""
        z, *at = structure.start
        here = structure.mask[z]
        away = [(a - b) * mm for a, b, mm in zip(deepest(here), at, self.spacing[1:], strict=True)]
        largest = max(self._area(structure.mask[z]) for z in structure.slices)
        area = self._area(here)
        return area >= CENTRAL_AREA * largest and math.hypot(*away) <= CENTRAL * math.sqrt(area / math.pi)

    def _followed(self, start: Voxel) -> Structure:
        """From a place: its slice, then the slices above and below."""
        made = Structure(self.array.shape, start)
        made.mask[start[0]] = self._first_slice(made, start)
        self._propagate(made, start[0])
        return made

    def add(self, structure: Structure, at: Voxel) -> None:
        """Add what lies at a click, as far as it is near to it."""
        extra = Structure(self.array.shape, at)
        known = structure.mask[at[0]] if structure.mask[at[0]].any() else None
        extra.mask[at[0]] = self._first_slice(extra, at, known)
        self._propagate(extra, at[0])
        for z in sorted(extra.slices):
            added = extra.mask[z] & self._disk(at, z, ADD_MM)
            structure.mask[z] |= added
            structure.probability[z][added] = np.maximum(structure.probability[z][added], extra.probability[z][added])
            structure.slices.add(z)

    def cut(self, structure: Structure, at: Voxel) -> None:
        """Take away what the model does not mark any more once it is told that the click is outside."""
        z, *place = at
        here = structure.mask[z]
        if not here.any():
            return
        away = [(a - b) * mm for a, b, mm in zip(deepest(here), place, self.spacing[1:], strict=True)]
        reach_mm = float(np.clip(CUT_SHARE * math.hypot(*away), LEAST_CUT_MM, CUT_MM))
        touched = self._cut_slice(structure, at, z, self._disk(at, z, LEAST_CUT_MM), reach_mm)
        for way in (1, -1):
            z, before = at[0] + way, touched
            while 0 <= z < len(self.array) and before.any():
                before = self._cut_slice(structure, at, z, before, reach_mm)
                z += way

    def end(self, structure: Structure, at: Voxel) -> None:
        """The structure goes no further than the click's slice, seen from its first click."""
        end_at(structure.mask, at[0], structure.start[0])

    def _cut_slice(self, structure: Structure, at: Voxel, z: int, touched: np.ndarray, reach_mm: float) -> np.ndarray:
        """Take away on one slice what touches what was taken on the slice before; returns it, bool (y, x)."""
        mask, core = structure.mask[z], self._disk(at, z, LEAST_CUT_MM)
        if not mask.any():
            return mask
        view = View(z, _center(mask), fitting_pixel(self._area(mask), self.prompt), cut=[at[1:]], mask=mask)
        box, probability = self._probabilities([view])[0]
        away = mask & self._disk(at, z, reach_mm)
        away[box] &= probability < self.threshold
        away = _touching(away | (mask & core), touched)
        structure.mask[z] = mask & ~away
        return away

    def _first_slice(self, made: Structure, at: Voxel, known: np.ndarray | None = None) -> np.ndarray:
        """The mask bool (y, x) on the click's slice.

        The first look is taken with the coarsest pixel, which shows a large structure whole: fine ones show a part of
        it, and the network marks a part of that. Then the pixel is fitted, by steps. Each look but the coarsest is the
        mean with a coarser one.
        """
        z, place = at[0], (float(at[1]), float(at[2]))
        coarsest = pixel_mm = self.prompt.pixel_mm[1]
        mask = self._disk(at, z, 0.0)
        for _ in range(LOOKS):
            sizes = dict.fromkeys((pixel_mm, min(COARSER * pixel_mm, coarsest)))
            box, probability = self._mean([View(z, place, mm, add=[place], mask=known) for mm in sizes])
            marked = self._noted(made, z, box, probability, self._disk(at, z, 0.0))
            if marked.any():
                mask = marked
            fitted = max(fitting_pixel(self._area(mask), self.prompt), pixel_mm / STEP)
            if abs(math.log(fitted / pixel_mm)) < 0.1:
                break
            pixel_mm = fitted
        return mask

    def _propagate(self, made: Structure, start: int) -> None:
        """From the slice ``start`` both ways at once, until the structure ends."""
        if self.spacing[0] > self.prompt.largest_gap_mm:
            return
        depth = len(self.array)
        ahead = {direction: start + direction for direction in (1, -1)}
        while ahead := {way: z for way, z in ahead.items() if 0 <= z < depth}:
            self.progress.stop_if_cancelled()
            before = [made.mask[z - way] for way, z in ahead.items()]
            views = [
                View(z, _center(mask), fitting_pixel(self._area(mask), self.prompt), mask=mask)
                for z, mask in zip(ahead.values(), before, strict=True)
            ]
            masks = self._marked(made, views, before)
            for (way, z), mask, previous in zip(list(ahead.items()), masks, before, strict=True):
                mask = self._limited(mask, previous)
                if self._area(mask) < self.prompt.smallest_mm2:
                    del ahead[way]
                else:
                    made.mask[z] = mask
                    ahead[way] = z + way

    def _limited(self, mask: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """A mask that grew by more than a structure does is kept near to that of the slice before."""
        if self._area(mask) <= GROWTH * self._area(previous) + GROWTH_MM2:
            return mask
        return mask & self._widened(previous, GROWTH_MM)

    def _marked(self, made: Structure, views: Sequence[View], near: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each view the mask bool (y, x): the pieces that touch what lies near."""
        return [
            self._noted(made, view.z, *seen, touched)
            for view, seen, touched in zip(views, self._probabilities(views), near, strict=True)
        ]

    def _noted(
        self, made: Structure, z: int, box: PlaneBox, probability: np.ndarray, touched: np.ndarray
    ) -> np.ndarray:
        """The mask bool (y, x) of what was seen on a slice, whose probability is noted: what touches ``touched``."""
        mask = np.zeros(self.array.shape[1:], bool)
        mask[box] = probability >= self.threshold
        made.probability[z][box] = probability
        made.slices.add(z)
        return _touching(mask, self._widened(touched, NEAR_MM))

    def _mean(self, views: Sequence[View]) -> tuple[PlaneBox, np.ndarray]:
        """The mean probability of several views of a slice, each where it reaches; the last reaches furthest."""
        total = np.zeros((2, *self.array.shape[1:]), np.float32)
        for box, probability in self._probabilities(views):
            total[0][box] += probability
            total[1][box] += 1
        return box, total[0][box] / total[1][box]

    def _probabilities(self, views: Sequence[View]) -> list[tuple[PlaneBox, np.ndarray]]:
        """Of each view the part of the slice that was seen, and the probability there, float32."""
        import torch

        fields = [
            ModelField(
                (self.array.shape[1], self.array.shape[2]), self.spacing[1:], view.center, self.pixels, view.pixel_mm
            )
            for view in views
        ]
        inputs = [self._input(view, place) for view, place in zip(views, fields, strict=True)]
        seen = []
        for place, values in zip(fields, self.infer(torch.cat(inputs)), strict=True):
            rows, columns = place.to_native
            box = used_columns(rows.T), used_columns(columns.T)
            seen.append((box, rows[box[0]] @ values @ columns[box[1]].T))
        return seen

    def _input(self, view: View, place: ModelField) -> torch.Tensor:
        """The channels (1, channels, pixels, pixels) of a view."""
        import torch

        # As FieldSampler does, without a call of torch for each of these small arrays.
        down, across = place.to_field
        y, x = used_columns(down), used_columns(across)
        down, across = down[:, y], across[:, x]
        darkest = np.float32(self.intensities.minimum)
        channels = [down @ (self.intensities(self.array[view.z, y, x]) - darkest) @ across.T + darkest]
        channels += [
            clicks_channel([place.of_native(at) for at in clicks], self.pixels, self.prompt.click_pixels)
            for clicks in (view.add, view.cut)
        ]
        neighbor = np.zeros((self.pixels, self.pixels), np.float32)
        if view.mask is not None:
            neighbor[down @ view.mask[y, x].astype(np.float32) @ across.T >= 0.5] = 1
        return torch.from_numpy(np.stack([*channels, neighbor])[None])

    def _area(self, mask: np.ndarray) -> float:
        """In mm2."""
        return float(np.count_nonzero(mask)) * self.spacing[1] * self.spacing[2]

    def _disk(self, at: Voxel, z: int, radius_mm: float) -> np.ndarray:
        """Pixels (y, x) of a slice within ``radius_mm`` of a voxel."""
        squared = [
            ((np.arange(count) - index) * mm) ** 2
            for count, index, mm in zip(self.array.shape[1:], at[1:], self.spacing[1:], strict=True)
        ]
        return squared[0][:, None] + squared[1] <= radius_mm**2 - ((z - at[0]) * self.spacing[0]) ** 2

    def _widened(self, mask: np.ndarray, by_mm: float) -> np.ndarray:
        """All pixels within ``by_mm`` of a mask (y, x)."""
        from scipy import ndimage

        ys, xs = np.nonzero(mask)
        if not len(ys):
            return mask
        box = tuple(
            slice(max(0, int(at.min()) - reach), int(at.max()) + reach + 1)
            for at, reach in ((ys, math.ceil(by_mm / self.spacing[1])), (xs, math.ceil(by_mm / self.spacing[2])))
        )
        wide = np.zeros_like(mask)
        wide[box] = ndimage.distance_transform_edt(~mask[box], self.spacing[1:]) <= by_mm
        return wide


def deepest(mask: np.ndarray) -> tuple[int, ...]:
    """The place in a mask of any number of axes that is furthest from its border, in voxels."""
    from scipy import ndimage

    box = bounding_box(mask)
    assert box is not None
    inside = ndimage.distance_transform_edt(np.pad(mask[box], 1))[(slice(1, -1),) * mask.ndim]
    place = np.unravel_index(int(inside.argmax()), inside.shape)
    return tuple(int(at) + part.start for at, part in zip(place, box, strict=True))


def _center(mask: np.ndarray) -> Place:
    """The center of a mask (y, x)."""
    ys, xs = np.nonzero(mask)
    return float(ys.mean()), float(xs.mean())


def _touching(mask: np.ndarray, touched: np.ndarray) -> np.ndarray:
    """The pieces of a mask (y, x) that have a pixel in common with ``touched``."""
    from scipy import ndimage

    ys, xs = np.nonzero(mask)
    if not len(ys):
        return mask
    box = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    regions, count = ndimage.label(mask[box], np.ones((3, 3)))
    kept = np.zeros(count + 1, bool)
    kept[regions[touched[box]]] = True
    kept[0] = False
    result = np.zeros_like(mask)
    result[box] = kept[regions]
    return result
