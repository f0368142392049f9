"""How good translated images are: KL divergence of intensities, SSIM and PSNR (section IV-F, Table V).

All three are of normalized intensities (-1 to 1, as the networks see them) on the student's field.

- KL divergence: sum of p ln(p / q) over 64 equal bins of -1..1, p the real images of the teacher's modality and q the
  translated ones; half a pixel is added to every bin, so that an empty one makes no infinity. Over unpaired images it
  takes all pixels of the field, air included, and once more the pixels of the structure alone.
- SSIM (Wang et al. 2004: Gaussian weights of 1.5 pixels, 2-D, range 2) and PSNR (range 2), both by scikit-image, need
  both images of one patient. The real one is brought to the other's grid by its position in the scanner, linearly;
  nothing is registered. The pixels that both cover count: SSIM is their mean over all slices of the patient, PSNR is
  of their mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from CMEDLSegmentLib.inference.resampling import FieldSampler
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.io.volume import Geometry, Volume, set_geometry
from CMEDLSegmentLib.models.normalization import IntensityMap, Normalization

from ..cohort.store import Store
from .case_view import BATCH, CaseView
from .comparison import spread

Translate = Callable[[Tensor], Tensor]
"""Student images (n, 1, h, w) -> pseudo-teacher images, both in -1..1."""

BINS = 64
RANGE = 2.0
"""Of normalized intensities."""
CASE_SLICES = 16
"""Slices of a case, evenly spaced, whose translations enter the unpaired histogram."""
REAL_PATCHES = 1024
"""Real patches, evenly spaced over the store's, that enter it."""
_AS_IT_IS = IntensityMap((-1.0, 1.0), (-1.0, 1.0))
_OUTSIDE = -3.0
"""What a resampled volume has where the other does not reach; normalized intensities end at -1."""


def counts(values: np.ndarray) -> np.ndarray:
    """How many of the values, in -1..1, lie in each of the bins: float64 (64,)."""
    return np.histogram(np.clip(values, -1, 1), BINS, (-1.0, 1.0))[0].astype(np.float64)


def divergence(real: np.ndarray, pseudo: np.ndarray) -> float:
    """KL(real || pseudo) in nats of two histograms of counts (bins,); NaN where either is empty; see the module."""
    if not real.sum() or not pseudo.sum():
        return float("nan")
    p, q = ((histogram + 0.5) / (histogram + 0.5).sum() for histogram in (real, pseudo))
    return float(np.sum(p * np.log(p / q)))


@dataclass
class Intensities:
    """Histograms of images met one batch after the other: of the whole field, and of the structure's pixels."""

    everything: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    structure: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, images: np.ndarray, masks: np.ndarray) -> None:
        """Images and bool masks, both (n, h, w)."""
        self.everything += counts(images)
        self.structure += counts(images[masks])


def real_intensities(store: Store) -> Intensities:
    """Of the teacher's real images: the store's training and validation patches."""
    histograms = Intensities()
    indices = np.concatenate([store.select(split, "teacher") for split in ("train", "validation")])
    kept = np.sort(_evenly_spaced(indices, REAL_PATCHES))
    for start in range(0, len(kept), BATCH):
        images, masks = store.read(kept[start : start + BATCH])
        histograms.add(images, masks > 0)
    return histograms


def _evenly_spaced(values: np.ndarray, most: int) -> np.ndarray:
    return values[np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))]


@torch.inference_mode()
def add_translations(histograms: Intensities, view: CaseView, translate: Translate, device: torch.device) -> None:
    """Translate evenly spaced slices of a case and count their intensities."""
    slices = _evenly_spaced(view.slices, CASE_SLICES)
    masks = view.structure_on_field(slices)
    for start, images in zip(range(0, len(slices), BATCH), view.images(slices, device), strict=True):
        histograms.add(translate(images)[:, 0].float().cpu().numpy(), masks[start : start + BATCH])


@dataclass(frozen=True)
class PairQuality:
    """A patient's translated image against the real one.

    Attributes:
        case, real_case: names of the translated and of the real image.
        slices: axial slices that both cover, of those that the student looks at.
        ssim, psnr_db, kl: see the module.
    """

    case: str
    real_case: str
    slices: int
    ssim: float
    psnr_db: float
    kl: float


def partners(cases: Sequence[Case], table: Sequence[Case]) -> dict[str, Case]:
    """For each of the cases, by name, the first teacher case of its patient and split, where the table has one."""
    real: dict[tuple[str, str], Case] = {}
    for case in table:
        if case.role == "teacher":
            real.setdefault((case.patient, case.split), case)
    return {case.case: real[key] for case in cases if (key := (case.patient, case.split)) in real}


@torch.inference_mode()
def pair_quality(
    view: CaseView, partner: Case, normalization: Normalization, translate: Translate, device: torch.device
) -> PairQuality | None:
    """Score the translation of a case against its patient's real image; None where they have no slice in common.

    Args:
        view: the student's case.
        partner: the teacher's case of the same patient.
        normalization: of the teacher's modality, as in training.
        translate, device: from the student's modality, and where.

    Raises:
        InputError: the partner's image cannot be read.
    """
    from skimage.metrics import structural_similarity

    similar, squares, pixels, slices = 0.0, 0.0, 0, 0
    histograms = np.zeros((2, BINS))
    real, covered = map(view.axial.to_axial, on_grid(read_volume(partner.image), normalization, view.geometry))
    shared = view.slices[covered[view.slices].any(axis=(1, 2))]
    sampler = FieldSampler(view.field, _AS_IT_IS, str(device))
    for start, images in zip(range(0, len(shared), BATCH), view.images(shared, device), strict=True):
        batch = shared[start : start + BATCH]
        expected = sampler(real[batch])[:, 0].cpu().numpy()
        translated = translate(images)[:, 0].float().cpu().numpy()
        # A pixel counts only where everything that it is sampled from is covered; outside the image is not.
        common = (sampler(np.where(covered[batch], 1.0, -1.0))[:, 0] > 1 - 1e-3).cpu().numpy()
        for image, pseudo, both in zip(expected, translated, common, strict=True):
            if both.any():
                slices, pixels = slices + 1, pixels + int(both.sum())
                settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": RANGE}
                similar += float(structural_similarity(image, pseudo, full=True, **settings)[1][both].sum())
                squares += float(np.square(image - pseudo, dtype=np.float64)[both].sum())
        histograms += [counts(expected[common]), counts(translated[common])]
    if not pixels:
        return None
    return PairQuality(
        case=view.case,
        real_case=partner.case,
        slices=slices,
        ssim=similar / pixels,
        psnr_db=float(10 * np.log10(RANGE**2 / (squares / pixels))) if squares else float("inf"),
        kl=divergence(*histograms),
    )


def on_grid(volume: Volume, normalization: Normalization, target: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """A normalized volume on another grid (z, y, x), -1 where it does not reach, and where it does."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(normalization.fit(volume.array)(volume.array))
    set_geometry(image, volume.geometry)
    grid = sitk.Image(*target.size, sitk.sitkUInt8)
    set_geometry(grid, target)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, _OUTSIDE))
    covered = moved > _OUTSIDE / 2
    return np.where(covered, moved, np.float32(-1)), covered


def summary(real: Intensities, pseudo: Intensities, pairs: Sequence[PairQuality]) -> dict[str, Any]:
    """What ``evaluation.json`` says of the translation: figures, and their :func:`spread` over the pairs, if any."""
    return {
        "kl": divergence(real.everything, pseudo.everything),
        "kl_structure": divergence(real.structure, pseudo.structure),
        "pairs": [vars(pair) for pair in pairs],
        "paired": {name: spread(getattr(pair, name) for pair in pairs) for name in ("ssim", "psnr_db", "kl") if pairs},
    }
