"""The model's probability, kept small on its own grid and brought to the native grid where it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..base.boxes import Box, bounding_box, box_shape
from ..base.errors import InputError
from ..base.progress import SILENT, Progress
from ..io.volume import triple
from ..metrics.connected_components import NEIGHBORS, ComponentStatistics, SliceWiseComponents
from .resampling import ModelField, used_columns

if TYPE_CHECKING:
    import torch

    from ..io.volume import Geometry


SMOOTHED_ROWS = 16
"""Rows of all slices that are smoothed at a time: 50 MB of a field of 256 pixels and 1500 slices."""


@dataclass(frozen=True, slots=True)
class Component:
    """One connected component of one label, or a tumor that a person clicked.

    Attributes:
        label: the label's value.
        volume_cc: volume in cubic centimeters.
        mean, peak: mean and largest probability of the label over the component, 0 to 1.
        slices: first and last axial slice, as indices of the volume as it is stored.
        n_slices: how many axial slices it is on.
        center_mm: center of mass, LPS, mm.
        click: where a person clicked the tumor first, LPS, mm; None where nobody did.
    """

    label: int
    volume_cc: float
    mean: float
    peak: float
    slices: tuple[int, int]
    n_slices: int
    center_mm: tuple[float, float, float]
    click: tuple[float, float, float] | None = None


def label_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, classes, h, w) -> probability of each label (n, labels, h, w).

    One channel is a sigmoid's; of several, softmax's, channel 0 is the background.
    """
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


def threshold_labels(probability: np.ndarray, labels: Sequence[int], threshold: float) -> np.ndarray:
    """Label map uint8 (...) of probabilities (labels, ...).

    A voxel belongs to the foreground where the labels' probabilities add up to at least ``threshold``, and then
    gets its most probable label.
    """
    winner = np.asarray(labels, dtype=np.uint8)[probability.argmax(axis=0)]
    return np.where(probability.sum(axis=0) >= threshold, winner, np.uint8(0))


def smooth_over_slices(values: np.ndarray, slices: np.ndarray, deviation: float, progress: Progress = SILENT) -> None:
    """Smooth probabilities along the volume's axis by a Gaussian, in place.

    The networks see each slice alone; what neighboring slices show together is surer than what one shows. Slices
    between which one was not seen have nothing to do with each other. At the ends the last slice is repeated.

    Args:
        values: float16 (slices, labels, pixels, pixels).
        slices: axial index of each slice, rising.
        deviation: standard deviation of the Gaussian, in slices, greater than 0; it is cut off at three of them.
    """
    from scipy import ndimage

    for run in np.split(values, np.flatnonzero(np.diff(slices) > 1) + 1):
        for start in range(0, values.shape[2], SMOOTHED_ROWS):
            progress.stop_if_cancelled()
            rows = run[:, :, start : start + SMOOTHED_ROWS]
            rows[:] = ndimage.gaussian_filter1d(
                rows.astype(np.float32), deviation, axis=0, mode="nearest", truncate=3.0
            )


@dataclass(frozen=True)
class ProbabilityField:
    """Probability of each label, on the model's grid of the slices that it saw; elsewhere it is 0.

    Attributes:
        values: float16 (slices, labels, pixels, pixels).
        slices: axial index (from the inferior end) of each slice, rising.
        field: the placement of the model's field on the native slices.
        geometry: the native grid.
        labels: the value of each label, in the order of ``values``.
    """

    values: np.ndarray
    slices: np.ndarray
    field: ModelField
    geometry: Geometry
    labels: tuple[int, ...]

    def native(self) -> np.ndarray:
        """Probability of any label on the native grid, float32 (z, y, x); 0 outside the model's field."""
        from ..io.volume import axial_view

        result = np.zeros(self.geometry.shape, dtype=np.float32)
        view = axial_view(result, self.geometry).array
        for z, plane in self.planes():
            view[z] = plane
        return result

    def planes(self, label: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """For every slice that the model saw: its axial index, and the probability on the native slice (y, x).

        Args:
            label: one label's value; None is the probability of any label.
        """
        rows, columns = self.field.to_native
        for z, values in zip(self.slices, self.values, strict=True):
            chosen = values.sum(axis=0, dtype=np.float32) if label is None else values[self.labels.index(label)]
            yield int(z), np.clip(rows @ chosen.astype(np.float32) @ columns.T, 0.0, 1.0)

    def part(self, box: Box, label: int | None = None) -> np.ndarray:
        """The probability in a box (z, y, x) of the native grid in axial order, float32; 0 where the model saw nothing.

        Args:
            label: one label's value; None is the probability of any label.
        """
        result = np.zeros(box_shape(box), np.float32)
        rows, columns = (matrix[part] for matrix, part in zip(self.field.to_native, box[1:], strict=True))
        taps_y, taps_x = used_columns(rows), used_columns(columns)
        first, last = np.searchsorted(self.slices, [box[0].start, box[0].stop])
        values = self.values[first:last, :, taps_y, taps_x].astype(np.float32)
        chosen = values.sum(axis=1) if label is None else values[:, self.labels.index(label)]
        planes = rows[:, taps_y] @ chosen @ columns[:, taps_x].T
        result[self.slices[first:last] - box[0].start] = np.clip(planes, 0.0, 1.0)
        return result

    def segment(
        self, threshold: float, minimum_cc: float = 0.0, progress: Progress = SILENT
    ) -> tuple[np.ndarray, list[Component]]:
        """Threshold on the native grid and keep the components of at least ``minimum_cc``.

        See :func:`threshold_labels`; components are 26-connected, each label's on its own.

        Returns:
            The label map uint8 (z, y, x) as stored, and its components, highest mean probability first.

        Raises:
            InputError: the threshold is not between 0 and 1, or the volume negative or not finite.
        """
        from ..io.volume import axial_view

        if not 0.0 < threshold < 1.0:
            raise InputError(f"A threshold of {threshold:g} makes no sense; give one between 0 and 1.")
        if not 0.0 <= minimum_cc < np.inf:
            raise InputError(f"A smallest volume of {minimum_cc:g} cc makes no sense; give 0 or more.")
        result = np.zeros(self.geometry.shape, dtype=np.uint8)
        view = axial_view(result, self.geometry)
        finders = {value: SliceWiseComponents() for value in self.labels}
        boxes: dict[int, Box] = {}
        for z, box, probability in self._foreground(threshold):
            progress.stop_if_cancelled()
            label = threshold_labels(probability, self.labels, threshold)
            boxes[z] = box
            view.array[z][box] = label
            for i, (value, finder) in enumerate(finders.items()):
                finder.add(z, box, label == value, probability[i])
        components: list[Component] = []
        smallest = minimum_cc / self.geometry.voxel_cc
        for value, finder in finders.items():
            statistics = finder.finish()
            kept = statistics.voxels >= smallest - 1e-6
            for z, dropped in finder.regions_of(~kept):
                _erase(view.array[z][boxes[z]], value, dropped)
            components += self._describe(value, statistics, np.flatnonzero(kept), view.geometry)
        return result, _by_confidence(components)

    def components(self, label: np.ndarray, progress: Progress = SILENT) -> list[Component]:
        """The components of a label map (z, y, x) on the native grid, as :meth:`segment` gives them."""
        from ..io.volume import axial_view

        view = axial_view(label, self.geometry)
        components: list[Component] = []
        for value in self.labels:
            finder = SliceWiseComponents()
            for z, plane in enumerate(view.array):
                progress.stop_if_cancelled()
                mask = plane == value
                if box := bounding_box(mask):
                    finder.add(z, box, mask[box], self.part((slice(z, z + 1), *box), value)[0])
            statistics = finder.finish()
            components += self._describe(value, statistics, np.arange(len(statistics.voxels)), view.geometry)
        return _by_confidence(components)

    def component(self, value: int, box: Box, mask: np.ndarray, values: np.ndarray) -> Component:
        """A mask as one component of the label ``value``, also where it is in pieces.

        Args:
            box: slices (z, y, x) of the native grid in axial order.
            mask, values: bool, and probabilities, (z, y, x) of the box; something is marked.
        """
        index = np.stack(np.nonzero(mask)) + [[part.start] for part in box]
        inside = values[mask].astype(np.float64)
        figures = (len(inside), inside.sum(), inside.max(), index.mean(axis=1), index[0].min(), index[0].max())
        statistics = ComponentStatistics(*(np.array([figure]) for figure in figures))
        (described,) = self._describe(value, statistics, np.array([0]), self.geometry.axial)
        return replace(described, n_slices=len(np.unique(index[0])))

    def _foreground(self, threshold: float) -> Iterator[tuple[int, Box, np.ndarray]]:
        """For every slice with foreground: its axial index, a native box around it, the probabilities there.

        Linear interpolation never exceeds its samples, so that nothing outside the box of the model's
        pixels at or above the threshold can reach it; only that box is brought to the native grid.
        """
        rows, columns = self.field.to_native
        limit = threshold - 1e-5
        for z, values in zip(self.slices, self.values, strict=True):
            high = values.sum(axis=0, dtype=np.float32) >= limit
            if not high.any():
                continue
            box, parts = [], []
            for matrix, reached in ((rows, high.any(axis=1)), (columns, high.any(axis=0))):
                native = used_columns(matrix[:, reached].T)
                taps = used_columns(matrix[native])
                box.append(native)
                parts.append((matrix[native, taps], taps))
            (by, taps_y), (bx, taps_x) = parts
            cut = values[:, taps_y, taps_x].astype(np.float32)
            yield int(z), (box[0], box[1]), by @ cut @ bx.T

    def _describe(
        self, value: int, statistics: ComponentStatistics, kept: np.ndarray, view: Geometry
    ) -> list[Component]:
        """The kept components of one label in the terms of the volume as it is stored."""
        corners = self.geometry.to_index(view.to_physical(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])))
        axis = int(np.argmax(np.abs(corners[1] - corners[0])))
        start, step = round(corners[0, axis]), round(corners[1, axis] - corners[0, axis])
        centers = view.to_physical(statistics.center[:, ::-1])
        described = []
        for i in kept:
            first, last = int(statistics.first[i]), int(statistics.last[i])
            low, high = sorted((start + step * first, start + step * last))
            described.append(
                Component(
                    label=value,
                    volume_cc=float(statistics.voxels[i] * self.geometry.voxel_cc),
                    mean=float(min(statistics.total[i] / statistics.voxels[i], 1.0)),
                    peak=float(min(statistics.peak[i], 1.0)),
                    slices=(low, high),
                    n_slices=last - first + 1,
                    center_mm=triple(float(c) for c in centers[i]),
                )
            )
        return described


def _by_confidence(components: list[Component]) -> list[Component]:
    """Highest mean probability first."""
    return sorted(components, key=lambda component: (-component.mean, -component.volume_cc))


def erase_components(label: np.ndarray, value: int, where: np.ndarray) -> None:
    """Set to 0, in place, the components of one label that have a voxel in a mask.

    Args:
        label: label map (z, y, x).
        value: the label's.
        where: the mask, bool (z, y, x).
    """
    finder, boxes = SliceWiseComponents(), {}
    for z, plane in enumerate(label):
        mask = plane == value
        if box := bounding_box(mask):
            boxes[z] = box
            finder.add(z, box, mask[box], where[z][box])
    touched = finder.finish().peak > 0
    for z, dropped in finder.regions_of(touched):
        _erase(label[z][boxes[z]], value, dropped)


def _erase(part: np.ndarray, value: int, dropped: np.ndarray) -> None:
    """Set dropped regions of one label on a part of a slice to 0, numbering the regions as when they were found."""
    from scipy import ndimage

    regions, _ = ndimage.label(part == value, NEIGHBORS[1])
    part[np.append(False, dropped)[regions]] = 0
