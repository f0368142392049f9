"""A segmented case as its student saw it: slices on the student's field, and the feature maps made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from CMEDLSegmentLib.inference.resampling import FieldSampler
from CMEDLSegmentLib.inference.segmenter import Segmentation
from CMEDLSegmentLib.io.volume import Volume, axial_view
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.networks import Segmentor
from CMEDLSegmentLib.report.contour_drawing import slice_dice

BATCH = 8
"""Slices that a network takes at a time."""


class CaseView:
    """A case after its segmentation, in axial order (inferior to superior).

    Attributes:
        case: its name.
        geometry: the volume's grid as stored.
        axial: the image in axial slices.
        expert, predicted: label values (z, y, x) of the expert and of the student.
        labels: the student's.
        probability: of the student's labels on its field.
        slices: indices of the slices that the student looked at.
        field: where its field lies on them.
        intensities: the image's map to -1..1.
    """

    def __init__(self, case: str, volume: Volume, expert: np.ndarray, result: Segmentation, card: Card) -> None:
        self.case, self.geometry = case, volume.geometry
        self.axial = axial_view(volume.array, volume.geometry)
        self.expert = self.axial.to_axial(expert)
        self.predicted = self.axial.to_axial(result.label)
        self.probability = result.probability
        self.slices, self.field = result.probability.slices, result.probability.field
        self.intensities = card.normalization.fit(self.axial.array)
        self.labels = card.labels
        if len(self.labels) == 1:  # then all that an expert marked is meant, whatever its value
            self.expert = np.where(self.expert > 0, np.uint8(self.labels[0].value), np.uint8(0))

    @property
    def spacing(self) -> tuple[float, float]:
        """In-plane spacing (y, x) of the axial slices, mm."""
        return self.axial.spacing[1:]

    def image(self, z: int) -> np.ndarray:
        """Axial slice ``z`` (y, x) in -1..1."""
        return self.intensities(self.axial.array[z])

    def structure_slices(self) -> np.ndarray:
        """Indices of the slices on which the expert marked anything."""
        return np.flatnonzero(self.expert.any(axis=(1, 2)))

    def scores(self, predicted: np.ndarray, slices: np.ndarray) -> np.ndarray:
        """DSC of label values (n, y, x) on n axial slices, the mean over the labels that either has; NaN without."""
        expert = self.expert[slices]
        each = np.stack([slice_dice(predicted == label.value, expert == label.value) for label in self.labels])
        return np.ma.masked_invalid(each).mean(axis=0).filled(np.nan)

    def contour_masks(self, labels: np.ndarray) -> list[np.ndarray]:
        """The mask of each label that a slice (y, x) of label values has."""
        return [labels == label.value for label in self.labels if (labels == label.value).any()]

    def images(self, slices: np.ndarray, device: torch.device) -> Iterator[Tensor]:
        """The slices on the field, as the Segmenter samples them, in batches (n, 1, f, f) of :data:`BATCH` or fewer."""
        sampler = FieldSampler(self.field, self.intensities, str(device))
        for start in range(0, len(slices), BATCH):
            yield sampler(self.axial.array[slices[start : start + BATCH]])

    def structure_on_field(self, slices: np.ndarray) -> np.ndarray:
        """Where the expert's structure fills at least half of a pixel of the field: bool (n, f, f)."""
        down, across = self.field.to_field
        return down @ (self.expert[slices] > 0).astype(np.float32) @ across.T >= 0.5

    def to_native(self, values: np.ndarray) -> np.ndarray:
        """Values (..., f, f) of the field brought to the native slices (..., y, x); 0 outside the field."""
        rows, columns = self.field.to_native
        return rows @ values @ columns.T


def last_features(segmentor: Segmentor, run: Callable[[], object]) -> tuple[Tensor, Tensor]:
    """The feature maps of a segmentor's last two layers (the paper's hints) in one forward pass.

    Args:
        segmentor: any depth of hints; it is put back.
        run: makes ``segmentor`` go forward once, alone or among other networks.

    Returns:
        (n, c2, h/2, w/2) and (n, c1, h, w).
    """
    caught: list[tuple[Tensor, ...]] = []

    def catch(module: nn.Module, given: object, output: tuple[Tensor, tuple[Tensor, ...]]) -> None:
        caught.append(output[1])

    depth, segmentor.hint_depth = segmentor.hint_depth, "high"
    handle = segmentor.register_forward_hook(catch)
    try:
        run()
    finally:
        handle.remove()
        segmentor.hint_depth = depth
    coarse, fine = caught[-1]
    return coarse, fine
