"""What the segmentors share: the convolution unit, hint depths, padding to a size the poolings divide."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..base.errors import ModelError

HINT_DEPTHS = ("high", "mid", "low")
"""Where the hints are read: ``high`` the paper's last two, ``mid`` the bottleneck, ``low`` the first two."""

LARGEST_COUNT = 1024
"""The largest channel count an argument may ask for: a damaged card must not exhaust the memory."""


class ConvNorm(nn.Module):
    """Convolution with bias, then batch norm; (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).

    One class for every such pair, because :func:`.folding.fold_batch_norm` finds them by it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class ConvNormRelu(ConvNorm):
    """:class:`ConvNorm`, then ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class DoubleConv(nn.Module):
    """Two :class:`ConvNormRelu`; (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(in_channels, out_channels)
        self.second = ConvNormRelu(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def pad_to(x: Tensor, multiple: int, smallest: int = 1) -> Tensor:
    """Repeat the last row and column up to multiples of ``multiple`` that are ``smallest`` or more.

    Only the far sides grow, so that a feature map of stride ``s`` is brought back by keeping its first
    ``ceil(size / s)`` rows and columns (:func:`crop`). An input that fits is returned as it is.
    """
    height, width = x.shape[-2:]
    below = max(height + -height % multiple, smallest) - height
    right = max(width + -width % multiple, smallest) - width
    if below == 0 and right == 0:
        return x
    return F.pad(x, (0, right, 0, below), mode="replicate")


def crop(x: Tensor, size: tuple[int, int], stride: int = 1) -> Tensor:
    """The part of a feature map of this stride that belongs to an input of ``size`` (height, width)."""
    height, width = -(-size[0] // stride), -(-size[1] // stride)
    return x if x.shape[-2:] == (height, width) else x[..., :height, :width]


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """Bilinear, corners aligned, as in the architecture whose parameter count the paper gives."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=True)


def check_input(x: Tensor, in_channels: int) -> None:
    """Raise ModelError unless ``x`` is (N, in_channels, H, W) with at least one pixel."""
    if x.ndim != 4 or x.shape[1] != in_channels or 0 in x.shape[-2:]:
        raise ModelError(f"The network reads batches of shape (N, {in_channels}, height, width), not {tuple(x.shape)}.")


def check_count(value: Any, name: str, smallest: int = 1) -> int:
    """``value`` if it is a whole number in range; raises ModelError naming the argument otherwise."""
    fits = type(value) is int and smallest <= value <= LARGEST_COUNT
    return _checked(value, name, fits, f"a whole number from {smallest} to {LARGEST_COUNT}")


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """``value`` if it is one of ``choices``; raises ModelError naming the argument otherwise."""
    return _checked(value, name, isinstance(value, str) and value in choices, f"one of {', '.join(choices)}")


def check_fraction(value: Any, name: str) -> float:
    """``value`` if it is a number in [0, 1); raises ModelError naming the argument otherwise."""
    return float(_checked(value, name, type(value) in (int, float) and 0 <= value < 1, "a number from 0 to below 1"))


def _checked(value: Any, name: str, fits: bool, wanted: str) -> Any:
    if not fits:
        raise ModelError(f"Network argument '{name}' must be {wanted}, not {value!r}.")
    return value


Hints = tuple[Tensor, ...]
"""Feature maps (N, C, H, W), ordered from coarse to fine (in network order where they are as fine)."""


class Segmentor(nn.Module):
    """Base of the segmentors: ``forward(x)`` returns (logits, hints) in one pass at any input size.

    Args:
        in_channels: channels of the input.
        classes: channels of the logits.
        hints: one of :data:`HINT_DEPTHS`, kept as ``hint_depth``.

    Raises:
        ModelError: an argument, also of the class below, is out of range.
    """

    def __init__(self, in_channels: int, classes: int, hints: str) -> None:
        super().__init__()
        self.in_channels = check_count(in_channels, "in_channels")
        self.classes = check_count(classes, "classes")
        self.hint_depth = check_choice(hints, "hints", HINT_DEPTHS)

    def forward(self, x: Tensor) -> tuple[Tensor, Hints]:
        """Normalized intensities (N, in_channels, H, W) to logits (N, classes, H, W) and the hints of the chosen depth.

        A hint is ceil(H / stride) x ceil(W / stride).

        Raises:
            ModelError: ``x`` has another number of axes or channels.
        """
        raise NotImplementedError

    def _hints(self, size: tuple[int, int], **depths: tuple[tuple[Tensor, int], ...]) -> Hints:
        """Of the maps of each depth, with their strides, those of the chosen one, cut to an input of ``size``."""
        return tuple(crop(hint, size, stride) for hint, stride in depths[self.hint_depth])
