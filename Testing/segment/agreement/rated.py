"""Rated cases for the tests of agreement: small ones made by hand or from smooth noise, and real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.io.delineation import MODEL, Delineation, RatedCase
from CMEDLSegmentLib.io.volume import Geometry


def rated_case(
    raters: Mapping[str, np.ndarray],
    model: np.ndarray | None = None,
    spacing: tuple[float, float, float] = (2.0, 1.0, 1.0),
    name: str = "case",
) -> RatedCase:
    """A case of masks (z, y, x) with ``spacing`` (z, y, x) in mm."""
    shape = next(iter(raters.values())).shape
    return RatedCase(
        name,
        Geometry(size=shape[::-1], spacing=spacing[::-1]),
        tuple(Delineation(rater, np.asarray(mask, bool)) for rater, mask in raters.items()),
        None if model is None else Delineation(MODEL, np.asarray(model, bool)),
    )


def noisy_masks(count: int, seed: int, shape: tuple[int, int, int] = (10, 18, 16)) -> list[np.ndarray]:
    """Masks of one irregular structure, each a little different; some touch the volume's edge."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    common = gaussian_filter(random.normal(size=shape), 2)
    own = [gaussian_filter(random.normal(size=shape), 2) for _ in range(count)]
    return [common + random.uniform(0.2, 0.8) * field > 0.05 for field in own]


def noisy_case(raters: int, seed: int, name: str = "case") -> RatedCase:
    """A case of ``raters`` raters called R1, R2, ... and a model."""
    *masks, model = noisy_masks(raters + 1, seed)
    return rated_case({f"R{number}": mask for number, mask in enumerate(masks, start=1)}, model, name=name)


def nodule(folder: Path) -> RatedCase:
    """A nodule of ``lidc_raters`` with its four radiologists."""
    import SimpleITK as sitk

    images = [sitk.ReadImage(str(folder / f"rater{number}.nii.gz")) for number in range(1, 5)]
    masks = {f"R{number}": sitk.GetArrayFromImage(image) > 0 for number, image in enumerate(images, start=1)}
    return rated_case(masks, spacing=images[0].GetSpacing()[::-1], name=folder.name)
