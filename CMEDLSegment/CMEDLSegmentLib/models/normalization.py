"""From a scanner's intensities to the -1..1 that the networks see.

A :class:`Normalization` is what the model card stores. Fitted to one volume it becomes an :class:`IntensityMap`, a
piecewise linear function that is applied to its slices. Three forms:

- ``window``: CT, a fixed window in HU, clipped.
- ``percentile`` without landmarks: MR, clipped at two percentiles of the volume.
- ``percentile`` with landmarks: MR, histogram standardization (Nyul, Udupa and Zhang, "New variants of a
  method of MRI scale standardization", IEEE TMI 19(2), 2000): percentiles of the volume's foreground are
  moved to the landmarks learned from training volumes, then intensities are clipped at the last landmark, or
  at a fixed ``maximum`` of the standard scale (the paper: 1136 for T1w, 1814 for T2w).

Everything comes from one histogram, taken slab by slab, so that a volume of gigabytes costs megabytes, and
six orientations of one volume give one map.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base import schema
from ..base.errors import InputError, ModelError
from ..base.schema import required, setting

KINDS = ("window", "percentile")
LANDMARK_PERCENTILES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
"""Deciles: the variant that Nyul et al. found the most accurate."""

_BINS = 1 << 20
"""Bins for floating volumes: one millionth of the volume's range each; fewer integers are exact."""

_SLAB_VOXELS = 1 << 22


@dataclass(frozen=True)
class IntensityMap:
    """Piecewise linear from ``source`` intensities (increasing) to ``target`` (-1..1), constant outside.

    Call it with an array of any shape and numeric type; it returns float32 of that shape.
    """

    source: tuple[float, ...]
    target: tuple[float, ...]

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """``array`` mapped to float32 in -1..1."""
        if len(self.source) > 2:
            return np.interp(array, self.source, self.target).astype(np.float32)
        # Two knots, the common case: in place, without the float64 copies of np.interp.
        (x0, x1), (y0, y1) = self.source, self.target
        mapped = array.astype(np.float32)
        np.clip(mapped, x0, x1, out=mapped)
        mapped -= np.float32(x0)
        mapped *= np.float32((y1 - y0) / (x1 - x0))
        mapped += np.float32(y0)
        return np.clip(mapped, y0, y1, out=mapped)

    @property
    def minimum(self) -> float:
        """The value of the darkest input: what a field is padded with."""
        return self.target[0]


@dataclass(frozen=True)
class Normalization:
    """How intensities reach -1..1; see the module for the forms.

    Attributes:
        kind: ``window`` or ``percentile``.
        low, high: the window in HU, or two percentiles (0..100). With landmarks, ``low`` is a percentile of
            the whole volume (its darkness, 0 on the standard scale) and ``high`` one of its foreground.
        landmarks: pairs (percentile of the foreground, intensity on the standard scale), both rising; the
            last percentile is ``high``. The foreground is the voxels above the volume's mean.
        maximum: clip the standard scale here instead of at the last landmark.

    Raises:
        ModelError: a field has a wrong type or value; the message names it.
    """

    kind: str = required(choices=KINDS)
    low: float = required(low=-1e6, high=1e6)
    high: float = required(low=-1e6, high=1e6)
    landmarks: tuple[tuple[float, float], ...] = setting((), low=0.0)
    maximum: float | None = setting(None, low=1e-6)

    def __post_init__(self) -> None:
        with schema.named("the card's field", ModelError):
            schema.conform(self, "normalization")
            self._check_order()

    def _check_order(self) -> None:
        low, high, landmarks = (f"normalization.{name}" for name in ("low", "high", "landmarks"))
        for path, value in ((low, self.low), (high, self.high)):
            if self.kind == "percentile" and not 0 <= value <= 100:
                raise schema.wrong(path, "a percentile, 0 to 100", value)
        if self.low >= self.high:
            raise schema.wrong(high, f"above normalization.low ({self.low:g})", self.high)
        if not self.landmarks:
            if self.maximum is not None:
                raise schema.SchemaError("normalization.maximum", "needs 'normalization.landmarks'")
            return
        if self.kind != "percentile":
            raise schema.SchemaError(landmarks, "needs the kind 'percentile'")
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(self.landmarks))
        # What rises to ``high`` is at most 100 as well.
        if not rising or self.landmarks[-1][0] != self.high or self.landmarks[-1][1] <= 0:
            raise schema.wrong(landmarks, f"rising pairs that end at the percentile {self.high:g}", self.landmarks)

    def fit(self, volume: np.ndarray) -> IntensityMap:
        """The map for one whole volume (z, y, x), from its own statistics where the kind asks for them.

        Raises:
            InputError: the volume holds one intensity only, or NaN or infinite voxels.
        """
        if self.kind == "window":
            return IntensityMap((self.low, self.high), (-1.0, 1.0))
        histogram = Histogram.of(volume)
        if not self.landmarks:
            low, high = histogram.percentiles((self.low, self.high))
            return IntensityMap(_apart(low, high), (-1.0, 1.0))
        return self._standardized(histogram)

    def _standardized(self, histogram: Histogram) -> IntensityMap:
        """Knots from the volume's landmarks to the standard scale, cut and scaled to -1..1."""
        percentiles, goals = zip(*self.landmarks, strict=True)
        source, standard = _knots(histogram, self.low, percentiles, goals)
        top = self.maximum if self.maximum is not None else standard[-1]
        if standard[-1] < top:
            # Brighter than every landmark: the last piece goes on, as Nyul et al. do; a flat one cannot.
            slope = (standard[-1] - standard[-2]) / (source[-1] - source[-2])
            if slope > 0:
                source.append(source[-1] + (top - standard[-1]) / slope)
                standard.append(top)
        elif standard[-1] > top:
            above = next(i for i, value in enumerate(standard) if value > top)
            rise = (top - standard[above - 1]) / (standard[above] - standard[above - 1])
            cut = source[above - 1] + rise * (source[above] - source[above - 1])
            source = [*source[:above], max(cut, np.nextafter(source[above - 1], np.inf))]
            standard = [*standard[:above], top]
        return IntensityMap(tuple(source), tuple(2.0 * value / top - 1.0 for value in standard))

    def to_dict(self) -> dict[str, Any]:
        """As stored in a card: only the fields that say something."""
        return schema.write(self, sparse=True)

    @classmethod
    def from_dict(cls, stored: object) -> Normalization:
        """Raises ModelError for a missing, unknown or wrong field, which the message names."""
        with schema.named("the card's field", ModelError):
            return schema.read(cls, stored, "normalization")


CT_WINDOW = Normalization("window", -1000.0, 500.0)
"""The paper's window for lung CT, in HU."""


def fit_landmarks(
    volumes: Iterable[np.ndarray],
    low: float = 1.0,
    high: float = 99.8,
    percentiles: Sequence[float] = LANDMARK_PERCENTILES,
    maximum: float | None = None,
) -> Normalization:
    """Learn the standard scale from training volumes: each landmark is their mean (Nyul et al., 2000).

    Each volume is first moved so that its darkness (percentile ``low`` of all voxels) is 0 and its percentile
    ``high`` of the foreground is S; S is the mean over the volumes of that span, so that the standard scale
    has the training set's own units and a ``maximum`` given in those units means what it says.

    Args:
        volumes: arrays (z, y, x); read one at a time, so a generator keeps one in memory.
        low, high: percentiles, as in :class:`Normalization`.
        percentiles: of the foreground, rising, below ``high``.
        maximum: fixed clip on the standard scale.

    Raises:
        InputError: no volume, or one with a single intensity or NaN or infinite voxels.
    """
    percentiles = (*percentiles, high)
    spans, shapes = [], []
    for volume in volumes:
        histogram = Histogram.of(volume)
        dark = histogram.percentiles((low,))[0]
        values = histogram.foreground().percentiles(percentiles) - dark
        if values[-1] <= 0:
            raise InputError(_ONE_INTENSITY)
        spans.append(values[-1])
        shapes.append(np.maximum(values, 0.0) / values[-1])
    if not spans:
        raise InputError("Histogram landmarks need at least one training volume; none was given.")
    landmarks = np.mean(shapes, axis=0) * np.mean(spans)
    pairs = tuple((float(p), float(s)) for p, s in zip(percentiles, landmarks, strict=True))
    return Normalization("percentile", low, high, pairs, maximum)


_ONE_INTENSITY = (
    "The volume's intensities do not vary enough to be normalized: most voxels hold one value; give an "
    "image, not a mask or an empty volume."
)


def _apart(low: float, high: float) -> tuple[float, float]:
    if not low < high:
        raise InputError(_ONE_INTENSITY)
    return float(low), float(high)


def _knots(
    histogram: Histogram, low: float, percentiles: Sequence[float], standard: Sequence[float]
) -> tuple[list[float], list[float]]:
    """The volume's landmark intensities, strictly rising, and where each goes on the standard scale."""
    dark = float(histogram.percentiles((low,))[0])
    bright = histogram.foreground().percentiles(percentiles)
    _apart(dark, float(bright[-1]))
    source, target = [dark], [0.0]
    for value, goal in zip(bright.tolist(), standard, strict=True):
        if value > source[-1]:
            source.append(value)
            target.append(goal)
        elif len(target) > 1:
            # Landmarks that fall on one intensity (coarse scales): the brighter goal, so the last one holds.
            target[-1] = goal
    return source, target


@dataclass(frozen=True)
class Histogram:
    """Counts of a volume's intensities: ``values`` rise, each met ``counts`` times."""

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, volume: np.ndarray) -> Histogram:
        """Exact for integers that span less than 2^20; otherwise to 2^-20 of the volume's range.

        Raises:
            InputError: no voxels, or NaN or infinite ones.
        """
        if not volume.size:
            raise InputError("The volume has no voxels; give an image.")
        slabs = _slabs(volume)
        ends = np.array([(slab.min(), slab.max()) for slab in slabs])
        # NaN spreads through min and max, infinity is one of them: two looks find every bad voxel.
        if not np.isfinite(ends).all():
            raise InputError("The volume has NaN or infinite voxels; repair them before segmenting it.")
        low, high = ends[:, 0].min().item(), ends[:, 1].max().item()
        exact = np.issubdtype(volume.dtype, np.integer) and high - low < _BINS
        bins = int(high - low) + 1 if exact else _BINS
        scale = 1.0 if exact or high == low else (bins - 1) / (float(high) - float(low))
        counts = np.zeros(bins, np.int64)
        for slab in slabs:
            offset = slab.astype(np.int64) - int(low) if exact else (slab.astype(np.float64) - low) * scale
            index = offset if exact else np.rint(offset).astype(np.int64)
            counts += np.bincount(index.ravel(), minlength=bins)
        met = np.flatnonzero(counts)
        return cls(float(low) + met / scale, counts[met])

    def percentiles(self, wanted: Sequence[float]) -> np.ndarray:
        """Linear between order statistics, as ``numpy.percentile`` of the voxels themselves."""
        rank = np.asarray(wanted, np.float64) / 100.0 * (self.counts.sum() - 1)
        below = np.cumsum(self.counts)
        lower = self.values[np.searchsorted(below, np.floor(rank), side="right")]
        upper = self.values[np.searchsorted(below, np.ceil(rank), side="right")]
        return lower + (rank - np.floor(rank)) * (upper - lower)

    def foreground(self) -> Histogram:
        """The part above the mean, which leaves out the air around a patient; the whole if constant."""
        mean = float(self.values @ self.counts) / float(self.counts.sum())
        above = self.values > mean
        return Histogram(self.values[above], self.counts[above]) if above.any() else self


def _slabs(volume: np.ndarray) -> list[np.ndarray]:
    """The volume in views of about four million voxels."""
    step = max(1, _SLAB_VOXELS * len(volume) // volume.size)
    return [volume[start : start + step] for start in range(0, len(volume), step)]
