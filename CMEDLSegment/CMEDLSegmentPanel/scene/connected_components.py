"""The connected pieces of a mask, each with its own box; pure numpy and scipy."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator

import numpy as np

from CMEDLSegmentLib.io.volume import triple

Box = tuple[slice, slice, slice]

BLOCK = 8
TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity, as in the model's components."""


def prepare() -> None:
    """Import what :func:`connected_components` needs in another thread: half a second, for which no view waits."""
    threading.Thread(target=importlib.import_module, args=("scipy.ndimage",)).start()


def connected_components(array: np.ndarray) -> Iterator[tuple[Box, np.ndarray]]:
    """The 26-connected pieces of ``array`` (bool, z, y, x), each with its box and bool mask in it.

    Voxels that touch lie in blocks that touch, so regions of blocks are found first: what is far apart never shares an
    array, and a few small tumors in a large box take milliseconds.
    """
    from scipy import ndimage

    if array.size == 0:
        return
    regions, _ = ndimage.label(_blocks(array), structure=TOUCHING)
    for number, coarse in enumerate(ndimage.find_objects(regions), start=1):
        box = tuple(slice(part.start * BLOCK, part.stop * BLOCK) for part in coarse)
        own = regions[coarse] == number
        for axis in range(3):
            own = own.repeat(BLOCK, axis=axis)
        part = array[box]
        part = part & own[tuple(slice(count) for count in part.shape)]
        labels, _ = ndimage.label(part, structure=TOUCHING)
        for inner_number, inner in enumerate(ndimage.find_objects(labels), start=1):
            placed = triple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
            yield placed, labels[inner] == inner_number


def _blocks(array: np.ndarray) -> np.ndarray:
    """Which blocks of BLOCK voxels a side hold something."""
    for axis in range(3):
        array = np.logical_or.reduceat(array, np.arange(0, array.shape[axis], BLOCK), axis=axis)
    return array
