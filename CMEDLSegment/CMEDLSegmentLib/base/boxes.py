"""Boxes of an array: a slice along each of its axes, as numpy indexes with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Box = tuple[slice, ...]


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around what is not 0 in an array of any dimension; None where nothing is."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # What the axes before leave over is all that the next one has to look at.
        part = mask[tuple(box)]
        inside = np.flatnonzero(part.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(inside):
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def enclosing_box(boxes: Iterable[Box | None]) -> Box | None:
    """The smallest box around boxes; None stands for no box, and is the answer where all are."""
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*known, strict=True))


def moved_box(box: Box, offset: Sequence[int]) -> Box:
    """A box that lies ``offset`` further along each axis."""
    return tuple(slice(part.start + by, part.stop + by) for part, by in zip(box, offset, strict=True))


def box_within(box: Box, outer: Box) -> Box:
    """``box`` in the indices of the part of the array that ``outer`` cuts out."""
    return moved_box(box, [-part.start for part in outer])


def box_shape(box: Box) -> tuple[int, ...]:
    """How many elements a box has along each axis."""
    return tuple(part.stop - part.start for part in box)


def box_corners(low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> np.ndarray:
    """The eight corners (8, 3) of the box from ``low`` to ``high`` (3,)."""
    return np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
