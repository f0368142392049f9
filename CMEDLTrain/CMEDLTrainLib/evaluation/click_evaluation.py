"""How a student that reads clicks does: each case asked for by a central click and by random ones, and then mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.inference.options import ADD, CUT, DEFAULTS, Click
from CMEDLSegmentLib.inference.propagation import deepest
from CMEDLSegmentLib.inference.segmenter import Segmentation, Segmenter
from CMEDLSegmentLib.io.volume import AxialView, Volume, axial_view, triple
from CMEDLSegmentLib.metrics.surface_distance import dice

from .click_figures import CENTRAL, RANDOM, RANDOM_CLICKS, SEED, ClickFigures

INNER_MM = 2.5
"""A random click is so far inside, where the structure is as thick as that on a slice: who clicks aims at it."""


def click_case(
    segmenter: Segmenter, name: str, volume: Volume, expert: np.ndarray, progress: Progress = SILENT
) -> tuple[Segmentation | None, list[ClickFigures]]:
    """Ask for a case's structure by simulated clicks.

    Args:
        segmenter: of a model that reads clicks.
        name: of the case.
        volume: the scan.
        expert: labels (z, y, x) on its grid.

    Returns:
        What the central click gave, and the figures of all; None and none where the expert marked nothing.
    """
    view = axial_view(volume.array, volume.geometry)
    meant = largest_piece(view.to_axial(expert) != 0)
    if not meant.any():
        return None, []
    first, figures = None, []
    places = [(CENTRAL, central_click(meant)), *((RANDOM, at) for at in random_clicks(meant, view.spacing))]
    for number, (kind, place) in enumerate(places):
        step = progress.part(number / len(places), (number + 1) / len(places))
        click = Click(lps(view, place))
        result = segmenter.segment(volume, replace(DEFAULTS, clicks=(click,)), step.part(0.0, 0.7))
        marked = view.to_axial(result.label) != 0
        mended = None
        if kind == CENTRAL:
            first = result
            correction = correcting_click(marked, meant, view)
            if correction is not None:
                after = segmenter.segment(volume, replace(DEFAULTS, clicks=(click, correction)), step.part(0.7, 1.0))
                mended = dice(view.to_axial(after.label) != 0, meant)
        holds = meant.any(axis=(1, 2))
        on_its_slices = dice(marked[holds], meant[holds])
        figures.append(
            ClickFigures(
                name,
                kind,
                click.point,
                dice(marked, meant),
                on_its_slices,
                overrun(marked, meant),
                result.seconds,
                mended,
            )
        )
    return first, figures


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest 26-connected piece of a mask (z, y, x)."""
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]) if count > 1 else mask


def central_click(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel of a mask (z, y, x) that is deepest on its largest slice."""
    z = int(mask.sum(axis=(1, 2)).argmax())
    y, x = deepest(mask[z])
    return z, y, x


def random_clicks(mask: np.ndarray, spacing: Sequence[float], count: int = RANDOM_CLICKS) -> list[tuple[int, int, int]]:
    """``count`` random voxels inside a mask (z, y, x), spacing in mm; the same ones at each call."""
    deep = np.stack([ndimage.distance_transform_edt(np.pad(plane, 1), spacing[1:])[1:-1, 1:-1] for plane in mask])
    places = np.argwhere(deep >= min(INNER_MM, 0.7 * float(deep.max())))
    random = np.random.default_rng([SEED, int(mask.sum())])
    return [triple(int(index) for index in places[at]) for at in random.integers(len(places), size=count)]


def correcting_click(marked: np.ndarray, meant: np.ndarray, view: AxialView) -> Click | None:
    """What a person would click next: the deepest place of the largest error on a slice; None where there is none."""
    errors = [(CUT, marked & ~meant), (ADD, meant & ~marked)]
    action, error = max(errors, key=lambda item: int(item[1].sum(axis=(1, 2)).max()))
    return Click(lps(view, central_click(error)), action) if error.any() else None


def overrun(marked: np.ndarray, meant: np.ndarray) -> int:
    """Slices that are marked beyond the ends of what was meant, at the end with more."""
    own, expert = (np.flatnonzero(mask.any(axis=(1, 2))) for mask in (marked, meant))
    return max(0, int(expert[0] - own[0]), int(own[-1] - expert[-1])) if len(own) else 0


def lps(view: AxialView, place: Sequence[int]) -> tuple[float, float, float]:
    """The position of a voxel (z, y, x), mm."""
    return triple(view.geometry.to_physical(np.array([place[::-1]], float))[0].tolist())
