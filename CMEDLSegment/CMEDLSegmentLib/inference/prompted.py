"""What a model that reads clicks makes of a volume: a structure for each click that starts one; others mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import InputError
from ..base.progress import Progress
from .clicked_tumor import clicked_tumors
from .options import ADD, CUT, END, Click
from .probability import ProbabilityField
from .propagation import Propagator, Structure
from .resampling import ModelField

if TYPE_CHECKING:
    import torch

    from ..io.volume import AxialView, Volume
    from ..models.model_card import Card

SURE = 2e-3
"""By how much a voxel that a rule marks, or does not, is at least above the threshold, or below it."""


def clicked_probability(
    volume: Volume,
    card: Card,
    clicks: Sequence[Click],
    threshold: float,
    infer: Callable[[torch.Tensor], np.ndarray],
    progress: Progress,
) -> ProbabilityField:
    """The probability of the structures at the clicks; thresholded, it is what the propagation marked.

    Args:
        volume: its array is only read.
        card: of the model, with ``prompt``.
        clicks: in order; the first starts a structure.
        threshold: probability from which a voxel is marked.
        infer: a batch (n, channels, field, field) -> probabilities, numpy (n, field, field).
        progress: told which tumor is worked on; cancels between slices.

    Raises:
        InputError: there is no click, or as :func:`.clicked_tumor.clicked_tumors`.
    """
    from ..io.volume import axial_view

    assert card.prompt is not None
    tumors = clicked_tumors(clicks, volume.geometry)
    if not tumors:
        raise InputError(f"Model '{card.name}' segments the tumors that are clicked; give the place of one.")
    view = axial_view(volume.array, volume.geometry)
    propagator = Propagator(
        array=view.array,
        spacing=view.spacing,
        intensities=card.normalization.fit(view.array),
        prompt=card.prompt,
        pixels=card.field,
        infer=infer,
        threshold=threshold,
        progress=progress,
    )
    mend = {ADD: propagator.add, CUT: propagator.cut, END: propagator.end}
    structures: list[Structure] = []
    for number, tumor in enumerate(tumors):
        progress(f"Following click {number + 1} of {len(tumors)}", number / len(tumors))
        structure = propagator.structure(tumor.voxels[0])
        for click, voxel in zip(tumor.clicks[1:], tumor.voxels[1:], strict=True):
            mend[click.action](structure, voxel)
        structures.append(structure)
    return _field(structures, view, card, volume, threshold)


def _field(
    structures: Sequence[Structure], view: AxialView, card: Card, volume: Volume, threshold: float
) -> ProbabilityField:
    """All structures on one field around them, with the volume's finest pixels."""
    shape, spacing = view.array.shape, view.spacing
    slices = np.array(sorted(set().union(*(structure.slices for structure in structures))), np.int64)
    planes = []
    for z in slices:
        mask, plane = np.zeros(shape[1:], bool), np.zeros(shape[1:], np.float32)
        for structure in structures:
            mask |= structure.mask[z]
            np.maximum(plane, structure.probability[z], out=plane)
        planes.append(np.where(mask, np.maximum(plane, threshold + SURE), np.minimum(plane, threshold - SURE)))
    reached = np.any([plane > 0 for plane in planes], axis=0)
    ys, xs = (np.flatnonzero(reached.any(axis=axis)) for axis in (1, 0))
    pixel_mm = min(spacing[1:])
    extent = max((ys[-1] - ys[0] + 1) * spacing[1], (xs[-1] - xs[0] + 1) * spacing[2])
    pixels = int(np.ceil(extent / pixel_mm - 1e-6)) + 1
    # On whole voxels where they are square, so that nothing is interpolated.
    half = (pixels - 1) / 2
    center = (ys[0] + half * pixel_mm / spacing[1], xs[0] + half * pixel_mm / spacing[2])
    field = ModelField((shape[1], shape[2]), spacing[1:], center, pixels, pixel_mm)
    down, across = field.to_field
    values = np.stack([down @ plane @ across.T for plane in planes])[:, None].astype(np.float16)
    return ProbabilityField(values, slices, field, volume.geometry, (card.labels[0].value,))
