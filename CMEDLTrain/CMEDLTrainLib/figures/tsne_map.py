"""t-SNE maps of tumor and background pixels by the features of the last two layers (Fig. 6, section IV-D).

Of each case as many pixels of the tumor as of the background, at most 35,000 in all, are taken from 160 x 160 patches
around the tumor on the slices that hold it. A pixel's features are the channels of both layers there; the coarser
layer gives a pixel the value that covers it. Where the paper is silent: channels are scaled to one standard deviation,
so that the layer of the larger numbers does not decide alone, and t-SNE starts from the principal components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from CMEDLSegmentLib.base.colors import MODEL_RED, RATER_COLORS
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.report.contour_drawing import BACKGROUND, BRIGHT, DIM, GAP, font, legend

PATCH = 160
"""Side in pixels of the patch around the tumor."""
CASE_PIXELS = 35_000
"""Pixels of a case at most."""
POINTS = 6_000
"""Pixels of all cases together at most: the time of t-SNE grows faster than their number (minutes on one core)."""
PERPLEXITY, ITERATIONS = 60, 1000
SIDE, TITLE = 520, 44
DOT, OVERSAMPLING = 1.2, 3
"""Radius of a point in pixels; how much larger a map is drawn before it is reduced."""

INSIDE, OUTSIDE = MODEL_RED, RATER_COLORS[1]


@dataclass(frozen=True)
class Embedding:
    """A map.

    Attributes:
        points: (n, 2).
        inside: (n,) whether a point is a pixel of the tumor.
        divergence: what t-SNE descended, at its end (Kullback-Leibler).
    """

    points: np.ndarray
    inside: np.ndarray
    divergence: float


def balanced_pixels(
    masks: np.ndarray, most: int, random: np.random.Generator, side: int = PATCH
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a case, as many inside the structure as outside.

    Args:
        masks: bool (n, h, w), slices of one case; those without the structure are passed over.
        most: pixels to take in all.
        random: draws them, each kind evenly over all slices' patches.
        side: of the patch, centerd on the structure's box and moved inside the slice.

    Returns:
        Slice, row and column of each pixel, (m, 3), rising, and whether it is inside, (m,).
    """
    near = np.zeros_like(masks, dtype=bool)
    for z in np.flatnonzero(masks.any(axis=(1, 2))):
        near[z][_patch(masks[z], side)] = True
    inside, outside = np.argwhere(masks & near), np.argwhere(~masks & near)
    count = min(len(inside), len(outside), most // 2)
    drawn = [kind[random.choice(len(kind), count, replace=False)] for kind in (inside, outside)]
    places, belongs = np.concatenate(drawn), np.repeat([True, False], count)
    order = np.lexsort(places.T[::-1])
    return places[order], belongs[order]


def _patch(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """Rows and columns of the square around a mask (h, w), inside the slice."""
    ends = []
    for axis, size in enumerate(mask.shape):
        marked = np.flatnonzero(mask.any(axis=1 - axis))
        start = (int(marked[0]) + int(marked[-1]) + 1 - side) // 2
        start = min(max(start, 0), max(size - side, 0))
        ends.append(slice(start, start + side))
    return ends[0], ends[1]


def features_at(layers: Sequence[Tensor], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Features (m, channels) of one slice at pixels, the layers' channels one after the other.

    Args:
        layers: feature maps (c, h, w) of the slice; the finest is last and has the slice's size.
        rows, columns: (m,) of the slice.
    """
    height, width = layers[-1].shape[-2:]
    taken = []
    for layer in layers:
        y = torch.as_tensor(rows * layer.shape[-2] // height, device=layer.device)
        x = torch.as_tensor(columns * layer.shape[-1] // width, device=layer.device)
        taken.append(layer[:, y, x].T.float())
    return torch.cat(taken, dim=1).cpu().numpy()


def embed(features: np.ndarray, inside: np.ndarray, seed: int = 0) -> Embedding:
    """Lay the points out in the plane by t-SNE (van der Maaten and Hinton 2008), which takes minutes.

    One call of scikit-learn, which tells no progress and cannot be cancelled.

    Args:
        features: (n, channels).
        inside: (n,) bool.
        seed: of what is random in it.

    Raises:
        InputError: scikit-learn is not installed, or there are too few points for the perplexity.
    """
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise InputError(
            'The t-SNE map needs scikit-learn, which is not installed; "pip install scikit-learn" brings it.'
        ) from error
    if len(features) <= 3 * PERPLEXITY:
        raise InputError(
            f"The t-SNE map needs more than {3 * PERPLEXITY} pixels, half of them inside the structure, and the cases "
            f"have {len(features)}; evaluate more cases."
        )
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    tsne = TSNE(perplexity=PERPLEXITY, max_iter=ITERATIONS, init="pca", random_state=seed)
    points = tsne.fit_transform(scaled.astype(np.float32))
    return Embedding(points.astype(np.float32), np.asarray(inside, bool), float(tsne.kl_divergence_))


def picture(maps: Sequence[tuple[str, Embedding]], structure: str = "tumor") -> Image.Image:
    """Maps side by side, each with its name; ``structure`` is what the legend calls the pixels inside."""
    canvas = Image.new("RGB", (GAP + len(maps) * (SIDE + GAP), TITLE + SIDE + TITLE), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for number, (name, embedding) in enumerate(maps):
        left = GAP + number * (SIDE + GAP)
        draw.text((left, TITLE / 2), f"{name}, {len(embedding.points)} pixels", BRIGHT, font(17), anchor="lm")
        canvas.paste(_scatter(embedding), (left, TITLE))
    below = TITLE + SIDE + TITLE / 2
    settings = f"t-SNE, perplexity {PERPLEXITY}, {ITERATIONS} iterations"
    draw.text((GAP, below), settings, DIM, font(14), anchor="lm")
    legend(draw, canvas.width - GAP, below, ((structure, INSIDE), ("background", OUTSIDE)))
    return canvas


def _scatter(embedding: Embedding) -> Image.Image:
    """Points on a dark square, both kinds mixed so that neither covers the other."""
    side = SIDE * OVERSAMPLING
    panel = Image.new("RGB", (side, side), (0, 0, 0))
    draw = ImageDraw.Draw(panel)
    low, high = embedding.points.min(axis=0), embedding.points.max(axis=0)
    scale = 0.94 * side / max(float((high - low).max()), 1e-6)
    places = (embedding.points - (low + high) / 2) * scale + side / 2
    radius = DOT * OVERSAMPLING
    for index in np.random.default_rng(0).permutation(len(places)):
        x, y = places[index]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), INSIDE if embedding.inside[index] else OUTSIDE)
    return panel.reduce(OVERSAMPLING)
