"""The Unet of the paper: 13,394,177 parameters with one input channel, one class and base width 64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import DoubleConv, Hints, Segmentor, check_count, check_input, crop, pad_to, upsample


class Unet(Segmentor):
    """Unet with bilinear up-sampling (Ronneberger et al. 2015, in the variant the paper's count fixes).

    Stages of two convolutions: down 64-128-256-512-512 with max-pooling between, up 1024->256, 512->128,
    256->64, 128->64 after concatenation with the skip, and a 1x1 head; all channel counts scale with
    ``width``.

    Hints, with strides: high = the last two up stages (width x stride 2, width x stride 1);
    mid = the bottleneck (8 width x stride 16); low = the first two convolutions (width x stride 1, twice).

    Weights keep PyTorch's start: every hidden convolution is followed by batch norm, which makes its scale
    immaterial.

    Args:
        in_channels, classes, hints: as :class:`Segmentor` takes them.
        width: channels of the first stage.
    """

    STRIDE = 16

    def __init__(self, in_channels: int = 1, classes: int = 1, hints: str = "high", width: int = 64) -> None:
        super().__init__(in_channels, classes, hints)
        w = check_count(width, "width")
        down = (w, 2 * w, 4 * w, 8 * w, 8 * w)
        up = (4 * w, 2 * w, w, w)
        self.encoder = nn.ModuleList(
            DoubleConv(before, after) for before, after in zip((in_channels, *down), down, strict=False)
        )
        below = (down[-1], *up)
        self.decoder = nn.ModuleList(DoubleConv(below[i] + skip, up[i]) for i, skip in enumerate(reversed(down[:-1])))
        self.head = nn.Conv2d(up[-1], classes, kernel_size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Hints]:
        """See :meth:`Segmentor.forward`."""
        check_input(x, self.in_channels)
        size = (x.shape[-2], x.shape[-1])
        first = self.encoder[0].first(pad_to(x, self.STRIDE))
        features = self.encoder[0].second(first)
        low = ((first, 1), (features, 1))
        skips = [features]
        for stage in self.encoder[1:]:
            features = stage(F.max_pool2d(features, 2))
            skips.append(features)
        bottleneck = skips.pop()
        high: list[Tensor] = []
        for stage in self.decoder:
            features = stage(torch.cat((skips.pop(), upsample(features)), dim=1))
            high.append(features)
        return crop(self.head(features), size), self._hints(
            size, high=((high[-2], 2), (high[-1], 1)), mid=((bottleneck, self.STRIDE),), low=low
        )
