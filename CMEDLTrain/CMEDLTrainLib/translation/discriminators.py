"""Discriminators: of images (70 x 70 PatchGAN, section III-B) and of DRIT's content codes (equation 8)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.networks import InstanceNorm, initialize

from ..losses.adversarial import KINDS

SLOPE = 0.2
"""Of the leaky ReLU below zero."""


class PatchDiscriminator(nn.Module):
    """70 x 70 PatchGAN (Isola et al. 2017): a score for each patch of 70 x 70 pixels; 2.76 M parameters.

    Convolutions 4x4 to 1, 2, 4 and 8 times ``width`` channels, the last of stride 1 and the others of stride 2, each
    followed by instance norm (the first is not) and leaky ReLU; then one to a single channel. Biases everywhere.
    Images are scored independently, so that real and generated ones can go in as one batch.

    Args:
        in_channels: channels of the images.
        width: channels of the first convolution.
    """

    SMALLEST = 24
    """Pixels along each side that an image must have."""

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        channels = (in_channels, width, 2 * width, 4 * width, 8 * width, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride, padding=1)
            for before, after, stride in zip(channels[:-1], channels[1:], (2, 2, 2, 1, 1), strict=True)
        )
        self.norm = InstanceNorm()
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) to scores (n, 1, h / 8 - 2, w / 8 - 2), before any sigmoid."""
        first, *middle, last = self.convolutions
        features = F.leaky_relu(first(x), SLOPE)
        for conv in middle:
            features = F.leaky_relu(self.norm(conv(features)), SLOPE)
        return last(features)


class ContentDiscriminator(nn.Module):
    """Which modality a content code comes from (D_c of equation 8), as DRIT has it: 7x7 convolutions of stride 2.

    Padded by 3, so that the code of a small patch has a score too. Instance norm follows all but the third, whose
    output may be a single pixel.

    Args:
        channels: channels of the content code.
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 7, stride=2, padding=3) for _ in range(3))
        self.last = nn.Conv2d(channels, 1, 1)
        self.norm = InstanceNorm()
        initialize(self)

    def forward(self, content: Tensor) -> Tensor:
        """Content codes (n, channels, h, w) to scores (n, 1, ceil(h / 8), ceil(w / 8)), before any sigmoid."""
        *normed, third = self.convolutions
        features = content
        for conv in normed:
            features = F.leaky_relu(self.norm(conv(features)), SLOPE)
        return self.last(F.leaky_relu(third(features), SLOPE))


def gan_kind(asked: str, published: str) -> str:
    """The adversarial loss that is ``asked`` for, or the one a translation was published with.

    Raises:
        InputError: there is no such loss.
    """
    if asked and asked not in KINDS:
        raise InputError(f"There is no adversarial loss '{asked}'; there are: {', '.join(KINDS)}.")
    return asked or published
