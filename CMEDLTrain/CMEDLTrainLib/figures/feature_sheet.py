"""Feature maps of channels 1 to 24 of the last layer, networks side by side (Fig. 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from CMEDLSegmentLib.report.contour_drawing import BACKGROUND, BRIGHT, GAP, font

CHANNELS, ACROSS = 24, 6
TILE, BORDER, HEAD = 104, 4, 36
"""Pixels: side of a map, space between maps, height of a heading."""
DARK_PERCENTILE, BRIGHT_PERCENTILE = 1.0, 99.5


@dataclass(frozen=True)
class Maps:
    """A network's feature maps of one slice.

    Attributes:
        name: what the heading says.
        values: (c, h, w); the first 24 channels are shown.
        group: networks of one group share the gray scale of a channel, such as student and teacher, whose channels a
            hint makes alike; those of different networks have nothing in common.
    """

    name: str
    values: np.ndarray
    group: int = 0


def sheet(networks: Sequence[Maps], beside: Image.Image | None = None) -> Image.Image:
    """A block of 6 x 4 maps for each network.

    Each channel is shown from its 1st to its 99.5th percentile over the networks of its group; a channel that is the
    same everywhere is black. Networks with fewer channels have fewer maps.

    Args:
        networks: from left to right.
        beside: a picture to the left of them, such as the slice with its contours.
    """
    width = ACROSS * (TILE + BORDER) - BORDER
    height = (CHANNELS // ACROSS) * (TILE + BORDER) - BORDER
    left = GAP if beside is None else 2 * GAP + beside.width
    size = (left + len(networks) * (width + 2 * GAP) - GAP, max(HEAD + height, 0 if beside is None else beside.height))
    picture = Image.new("RGB", (size[0], size[1] + GAP), BACKGROUND)
    if beside is not None:
        picture.paste(beside, (GAP, 0))
    draw = ImageDraw.Draw(picture)
    groups = {network.group for network in networks}
    ranges = {group: _ranges([network.values for network in networks if network.group == group]) for group in groups}
    for number, network in enumerate(networks):
        x = left + number * (width + 2 * GAP)
        draw.text((x, HEAD / 2), network.name, BRIGHT, font(17), anchor="lm")
        for channel, values in enumerate(network.values[:CHANNELS]):
            down, across = divmod(channel, ACROSS)
            tile = Image.fromarray(_gray(values, ranges[network.group][channel])).resize((TILE, TILE))
            picture.paste(tile.convert("RGB"), (x + across * (TILE + BORDER), HEAD + down * (TILE + BORDER)))
    return picture


def _ranges(values: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """Black and white of each channel, over all of the networks that have it."""
    ranges = []
    for channel in range(min(CHANNELS, max(map(len, values)))):
        shown = np.concatenate([maps[channel].ravel() for maps in values if channel < len(maps)])
        low, high = np.percentile(shown, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
        # A sparse channel, active on fewer pixels than the percentile leaves out, still has something to show.
        ranges.append((float(low), float(high) if high > low else float(shown.max())))
    return ranges


def _gray(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """uint8 of values (h, w) from black to white."""
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.round(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
