"""Masks for the tests of the measures: closed forms, random ones and the real raters'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.base.boxes import bounding_box
from CMEDLSegmentLib.metrics.surface_distance import Grid, MaskSurface
from segment.agreement.rated import nodule

Pair = tuple[np.ndarray, np.ndarray, tuple[float, float, float]]


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], side: int) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(first, first + side) for first in start)] = 1
    return mask


def ellipsoid(
    shape: tuple[int, int, int],
    radii_mm: tuple[float, float, float],
    spacing: tuple[float, float, float],
    center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """An ellipsoid around the volume's middle, or as far from it as ``center_mm`` says."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * step - middle for n, step, middle in zip(shape, spacing, center_mm, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return sum((along / radius) ** 2 for along, radius in zip(grid, radii_mm, strict=True)) <= 1.0


def sphere(shape: tuple[int, int, int], radius_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    return ellipsoid(shape, (radius_mm,) * 3, spacing)


def blobs(seed: int) -> Pair:
    """Two irregular masks, from much alike to hardly, and an anisotropic spacing; many touch the volume's edges."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    shape = tuple(random.integers((4, 8, 8), (16, 30, 30)))
    spacing = tuple(random.uniform(0.5, 4.0, 3)) if seed % 2 else tuple(random.choice([0.5, 0.7, 1.0, 2.5], 3))
    field = gaussian_filter(random.normal(size=shape), random.uniform(0.5, 2.5))
    other = field + random.uniform(0.0, 1.5) * gaussian_filter(random.normal(size=shape), random.uniform(0.5, 2.5))
    shares = random.uniform(0.2, 0.98, 2)
    return field > np.quantile(field, shares[0]), other > np.quantile(other, shares[1]), spacing


def marked(mask: np.ndarray, spacing: tuple[float, float, float]) -> MaskSurface:
    """A mask on a grid of its own."""
    return MaskSurface(mask, Grid(bounding_box(mask), spacing))


def nodules(data_root: Path) -> Iterator[tuple[str, list[np.ndarray], tuple[float, float, float]]]:
    """Every real nodule: its name, its four radiologists' masks and the spacing (z, y, x)."""
    for folder in sorted((data_root / "lidc_raters").iterdir()):
        case = nodule(folder)
        yield case.name, [rater.mask for rater in case.raters], case.spacing
