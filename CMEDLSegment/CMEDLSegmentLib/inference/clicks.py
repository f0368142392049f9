"""Tumors that a person clicked: contoured by a model that reads clicks, or by the probability around the click.

A model that finds tumors by itself (no ``Card.prompt``) goes first; the clicked tumors are added to what it finds. A
model that reads clicks (``Card.prompt``) is all that runs where it is the one that was asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..base.boxes import Box, bounding_box, enclosing_box, moved_box
from ..base.errors import InputError
from ..base.progress import SILENT, Progress
from ..base.text import counted
from ..io.volume import axial_view, triple
from ..metrics.connected_components import NEIGHBORS, connected_components
from ..models import registry
from .clicked_tumor import ClickedTumor, Voxel, clicked_tumors, cut_around, end_at
from .options import ADD, AUTO, CUT, THRESHOLD, Click, SegmentationOptions
from .probability import ProbabilityField, erase_components

if TYPE_CHECKING:
    from ..io.volume import Geometry, Volume
    from ..models.model_card import Card
    from .segmenter import Segmentation, Segmenter

Load = Callable[[str], "Segmenter"]
"""Gives the segmenter of a model by its name or file; one that was made before where it can."""

NEAR_PIXELS = 3.0
"""The peak around a click is looked for within so many of the model's pixels, on the click's slice."""
SHARE_OF_PEAK = 0.3
"""The contour at a click runs where the probability is this share of the peak."""
LEAST_PEAK = 0.01
"""Below this peak the model sees nothing at a click."""
FIRST_REACH_MM = 20.0
"""How far from a click a region is looked for at first; it is grown on as far as it goes."""
FOUND = 0.7
"""Fraction of the work at which the automatic model is done where another answers the clicks."""


def segment(volume: Volume, options: SegmentationOptions, load: Load, progress: Progress = SILENT) -> Segmentation:
    """Segment a volume: what the model finds, and the tumors that were clicked.

    A component that overlaps a clicked tumor of its label is replaced by it. The probability stays that of the model
    that found the others.

    Args:
        volume: its array is only read.
        options: how to segment.
        load: gives the segmenters of the models.
        progress: told the stage and the fraction of the whole.

    Raises:
        InputError: as :meth:`.segmenter.Segmenter.segment` and :func:`segmenters_for`; or a click is outside of the
            image or of what the model looked at, nothing is seen there, or nothing is left of its tumor. The message
            names the click.
        ModelError, DeviceError, Cancelled: as :meth:`.segmenter.Segmenter.segment`.
    """
    segmenter, answering = segmenters_for(options, load)
    if not options.clicks:
        return segmenter.segment(volume, options, progress)
    tumors = clicked_tumors(options.clicks, volume.geometry)
    if segmenter.model.card.prompt is not None:
        prompted = segmenter.segment(volume, options, progress)
        regions = [_prompted_region(prompted, tumor, volume.geometry) for tumor in tumors]
        merged = _merged(prompted, [region for region in regions if region], volume.geometry, progress)
        return replace(merged, click_card=segmenter.model.card)
    found = 1.0 if answering is None else FOUND
    automatic = segmenter.segment(volume, replace(options, clicks=()), progress.part(0.0, found))
    begin = time.perf_counter()
    answered: list[_Region] = []
    for number, tumor in enumerate(tumors):
        progress.stop_if_cancelled()
        if answering is None:
            answered.append(_threshold_region(automatic.probability, tumor))
            continue
        ends = (found + (1.0 - found) * (number + more) / len(tumors) for more in (0, 1))
        share = progress.part(*ends).under(f"Clicked tumor {number + 1} of {len(tumors)}")
        answered.append(_model_region(volume, options, tumor, segmenter.model.card, answering, automatic, share))
    merged = _merged(automatic, answered, volume.geometry, progress)
    merged.warnings.append(_answer_told(segmenter.model.card, answering, len(tumors)))
    seconds = time.perf_counter() - begin
    return replace(
        merged,
        click_card=None if answering is None else answering.model.card,
        seconds=merged.seconds + seconds,
        timings={**merged.timings, "clicks": seconds},
    )


def segmenters_for(options: SegmentationOptions, load: Load) -> tuple[Segmenter, Segmenter | None]:
    """The model's segmenter, and that of the model that answers the clicks where another one does.

    Raises:
        InputError: the model reads clicks and there are none, or the one that is to answer them reads none or another
            modality.
        ModelError: a model is not there or damaged.
    """
    segmenter = load(options.model)
    card = segmenter.model.card
    if card.prompt is not None and not options.clicks:
        raise InputError(
            f"Model '{card.name}' segments the tumors that are clicked; give the place of one, on the command line by "
            "--click X,Y,Z."
        )
    entry = click_model(options, card)
    return segmenter, None if entry is None else load(str(entry.path) if entry.origin == registry.FILE else entry.name)


def click_model(options: SegmentationOptions, card: Card) -> registry.Entry | None:
    """The model that answers the clicks beside that of ``card``; None where none is asked or needed.

    Raises:
        InputError, ModelError: as :func:`segmenters_for`.
    """
    if not options.clicks or card.prompt is not None or options.click_model == THRESHOLD:
        return None
    if options.click_model == AUTO:
        return registry.click_reader(registry.list_models(), card)
    entry = registry.entry(options.click_model)
    if entry.card is not None and entry.card.prompt is None:
        raise InputError(
            f"Model '{entry.name}' reads no clicks; give one that does, '{THRESHOLD}' or '{AUTO}' to answer them."
        )
    if entry.card is not None and entry.card.modality != card.modality:
        raise InputError(
            f"Model '{entry.name}' reads {entry.card.modality}, but '{card.name}' reads {card.modality}; give another "
            "one to answer the clicks."
        )
    return entry


def local_threshold(probability: ProbabilityField, click: Click, voxel: Voxel) -> tuple[int, Box, np.ndarray]:
    """The contour at a click where no model reads clicks: the probability is thresholded anew around it.

    The threshold is 0.3 of the highest probability within 3 of the model's pixels on the click's slice. What is
    26-connected to the click on the native grid is the region. Where the click's own voxel is below the threshold, a
    straight line joins it to the peak.

    Args:
        probability: the model's, on the slices that it saw.
        click: for messages.
        voxel: of the click.

    Returns:
        The value of the label that peaks there, a tight box, and the mask, bool (z, y, x) of the box.

    Raises:
        InputError: the model has not looked at the slice, or sees nothing there; the message names the click.
    """
    if voxel[0] not in probability.slices:
        raise InputError(
            f"The click {click} is on a slice that the model has not looked at; ask for all slices, or for another "
            "model to answer the click."
        )
    shape, spacing = probability.geometry.axial.shape, probability.geometry.axial_spacing
    near_mm = NEAR_PIXELS * probability.field.pixel_mm
    box = _box_around(voxel, [0, *(math.ceil(near_mm / mm) for mm in spacing[1:])], shape)
    corner = [part.start for part in box]
    y, x = ((np.arange(p.start, p.stop) - at) * mm for p, at, mm in zip(box[1:], voxel[1:], spacing[1:], strict=True))
    disk = y[:, None] ** 2 + x**2 <= near_mm**2
    around = {value: np.where(disk, probability.part(box, value)[0], 0.0) for value in probability.labels}
    label = max(around, key=lambda value: float(around[value].max()))
    peak = float(around[label].max())
    if peak < LEAST_PEAK:
        raise InputError(
            f"The model sees nothing at the click {click}; click into the tumor, or have a model that reads clicks "
            "answer it."
        )
    threshold = SHARE_OF_PEAK * peak
    at_peak = np.unravel_index(int(around[label].argmax()), disk.shape)
    below = around[label][voxel[1] - corner[1], voxel[2] - corner[2]] < threshold
    line = _line(voxel, (voxel[0], int(at_peak[0]) + corner[1], int(at_peak[1]) + corner[2])) if below else [voxel]
    return label, *_grown(lambda part: probability.part(part, label) >= threshold, voxel, line, shape, spacing)


def _box_around(voxel: Voxel, reach: Sequence[int], shape: Sequence[int]) -> Box:
    return tuple(
        slice(max(index - by, 0), min(index + by + 1, count))
        for index, by, count in zip(voxel, reach, shape, strict=True)
    )


def _line(start: Voxel, stop: Voxel) -> list[Voxel]:
    """The voxels of a straight line, each touching the next."""
    steps = max(abs(a - b) for a, b in zip(start, stop, strict=True)) + 1
    return [(z, y, x) for z, y, x in np.rint(np.linspace(start, stop, steps)).astype(int).tolist()]


def _grown(
    marked: Callable[[Box], np.ndarray],
    seed: Voxel,
    line: Sequence[Voxel],
    shape: Sequence[int],
    spacing: Sequence[float],
) -> tuple[Box, np.ndarray]:
    """The 26-connected region around a voxel: a tight box, and the region's mask in it.

    It is looked for in a box that grows until the region touches no face of it, so that the time goes by its size.

    Args:
        marked: bool (z, y, x) of a box.
        line: voxels that belong to the region whatever ``marked`` says.
    """
    from scipy import ndimage

    reach = [math.ceil(FIRST_REACH_MM / mm) for mm in spacing]
    reach = [max(by, *(abs(voxel[axis] - seed[axis]) for voxel in line)) for axis, by in enumerate(reach)]
    while True:
        box = _box_around(seed, reach, shape)
        corner = [part.start for part in box]
        mask = marked(box)
        for voxel in line:
            mask[tuple(np.subtract(voxel, corner))] = True
        regions, _ = ndimage.label(mask, NEIGHBORS)
        region = regions == regions[tuple(np.subtract(seed, corner))]
        inner = bounding_box(region)
        assert inner is not None
        cut = [
            (part.start == 0 and whole.start > 0) or (part.stop == whole.stop - whole.start and whole.stop < count)
            for part, whole, count in zip(inner, box, shape, strict=True)
        ]
        if not any(cut):
            return moved_box(inner, corner), region[inner]
        reach = [2 * by if more else by for by, more in zip(reach, cut, strict=True)]


@dataclass
class _Region:
    """A clicked tumor as it was answered.

    Attributes:
        tumor: what was clicked.
        value: its label's, in the result.
        box, mask: slices (z, y, x) of the native grid in axial order, and bool (z, y, x) of them.
        probability, source: whose probability it is, and of which label there; None is any.
    """

    tumor: ClickedTumor
    value: int
    box: Box
    mask: np.ndarray
    probability: ProbabilityField
    source: int | None


def _threshold_region(probability: ProbabilityField, tumor: ClickedTumor) -> _Region:
    """A clicked tumor by :func:`local_threshold`, mended as its clicks say."""
    first = tumor.voxels[0]
    value, box, mask = local_threshold(probability, tumor.clicks[0], first)
    for click, voxel in zip(tumor.clicks[1:], tumor.voxels[1:], strict=True):
        at = triple(index - part.start for index, part in zip(voxel, box, strict=True))
        if click.action == ADD:
            more, added = local_threshold(probability, click, voxel)[1:]
            around = enclosing_box([box, more])
            assert around is not None
            both = np.zeros([part.stop - part.start for part in around], bool)
            for of, own in ((box, mask), (more, added)):
                both[moved_box(of, [-part.start for part in around])] |= own
            box, mask = around, both
        elif click.action == CUT:
            cut_around(mask, at, probability.geometry.axial_spacing)
        else:
            end_at(mask, at[0], first[0] - box[0].start)
    return _region(tumor, value, box, mask, probability, value)


def _model_region(
    volume: Volume,
    options: SegmentationOptions,
    tumor: ClickedTumor,
    card: Card,
    answering: Segmenter,
    automatic: Segmentation,
    progress: Progress,
) -> _Region:
    """A clicked tumor by a model that reads clicks; what it warns of is added to the automatic result's warnings."""
    asked = replace(options, clicks=tumor.clicks, threshold=None, minimum_cc=0.0)
    answer = answering.segment(volume, asked, progress)
    automatic.warnings.extend(text for text in answer.warnings if text not in automatic.warnings)
    view = axial_view(answer.label, volume.geometry).array
    box = bounding_box(view)
    if box is None:
        raise _nothing_left(tumor)
    names = {label.value: label.name for label in answering.model.card.labels}
    name = names[int(np.bincount(view[box].ravel())[1:].argmax()) + 1]
    value = next((label.value for label in card.labels if label.name == name), card.labels[0].value)
    return _region(tumor, value, box, view[box] > 0, answer.probability, None)


def _prompted_region(prompted: Segmentation, tumor: ClickedTumor, geometry: Geometry) -> _Region | None:
    """The component at a tumor's first click in what a model that reads clicks has made of all of them."""
    view = axial_view(prompted.label, geometry).array
    value = int(view[tumor.voxels[0]])
    if not value:
        return None
    first, last = prompted.probability.slices[[0, -1]].tolist()  # nothing is marked on others
    for component in connected_components(view[first : last + 1] == value):
        box = moved_box(component.box, (first, 0, 0))
        if component.holds(np.array([tumor.voxels[0]]) - [first, 0, 0]):
            return _region(tumor, value, box, component.mask, prompted.probability, value)
    return None


def _region(
    tumor: ClickedTumor, value: int, box: Box, mask: np.ndarray, probability: ProbabilityField, source: int | None
) -> _Region:
    tight = bounding_box(mask)
    if tight is None:
        raise _nothing_left(tumor)
    return _Region(tumor, value, moved_box(tight, [part.start for part in box]), mask[tight], probability, source)


def _nothing_left(tumor: ClickedTumor) -> InputError:
    return InputError(
        f"Nothing is marked of the tumor at the click {tumor.clicks[0]}; click into the tumor, and cut less away."
    )


def _merged(base: Segmentation, regions: Sequence[_Region], geometry: Geometry, progress: Progress) -> Segmentation:
    """A result with clicked tumors in it; its own label map is changed.

    A voxel belongs to the first tumor that has it. Components of a tumor's label that overlap it go; of other labels
    only the voxels.
    """
    view = axial_view(base.label, geometry).array
    taken = np.zeros(view.shape, bool)  # memory is used where something is marked
    warnings, kept = list(base.warnings), []
    for region in regions:
        mask = region.mask & ~taken[region.box]
        taken[region.box] |= mask
        if mask.any():
            kept.append(replace(region, mask=mask))
        else:
            warnings.append(f"The click {region.tumor.clicks[0]} is in a tumor that was clicked before.")
    for value in sorted({region.value for region in kept}):
        where = np.zeros(view.shape, bool)
        for region in kept:
            if region.value == value:
                where[region.box] |= region.mask
        erase_components(view, value, where)
    for region in kept:
        view[region.box][region.mask] = 0
    others = base.probability.components(base.label, progress)
    clicked = []
    for region in kept:
        view[region.box][region.mask] = region.value
        values = region.probability.part(region.box, region.source)
        described = base.probability.component(region.value, region.box, region.mask, values)
        clicked.append(replace(described, click=region.tumor.clicks[0].point))
    return replace(base, components=[*clicked, *others], warnings=warnings)


def _answer_told(card: Card, answering: Segmenter | None, count: int) -> str:
    """Which way answered the clicks, a sentence for the user."""
    tumors = counted(count, "clicked tumor")
    if answering is not None:
        return f"{tumors}: contoured by model '{answering.model.card.name}', which reads clicks."
    return (
        f"{tumors}: contoured by the probability of model '{card.name}' around the click, from "
        f"{SHARE_OF_PEAK:g} of its peak there on; no model that reads clicks was asked."
    )
