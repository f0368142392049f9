"""The DenseFCN57 of the paper: 1,374,001 parameters with one input channel, one class and its own widths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Hints, Segmentor, check_count, check_fraction, check_input, crop, pad_to

BLOCKS = 5
LAYERS = 4


class DenseLayer(nn.Module):
    """Batch norm, ReLU, convolution, dropout: 3x3 in a dense block, 1x1 in a transition down."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    """Four layers, each reading the block's input and all earlier outputs; (N, in, H, W).

    Returns what the last layer read, and what each layer gave.
    """

    def __init__(self, in_channels: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(in_channels + i * growth, growth, 3, dropout) for i in range(LAYERS))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        read = x
        given = [self.layers[0](x)]
        for layer in self.layers[1:]:
            read = torch.cat((x, *given), dim=1)
            given.append(layer(read))
        return read, given


class DenseFCN(Segmentor):
    """FC-DenseNet (Jegou et al. 2017) with five blocks of four layers each way.

    First convolution ``width``; five dense blocks of growth ``growth``, each followed by a transition down
    (batch norm, ReLU, 1x1, dropout, max-pool); a bottleneck block; five transitions up (transposed 3x3,
    stride 2) of the four new maps of the block below, cut to the skip and concatenated with it; a 1x1 head
    on all maps of the last block.

    Hints, with strides: high = the input of the last dense layer of the penultimate up block (228 x stride 2
    at paper width) and the head's input (192 x stride 1); mid = the new maps of the bottleneck (48 x stride
    32); low = the first convolution (48 x stride 1) and the first dense layer (12 x stride 1).

    Multiples of 16 (from 32) go in as they are: where the fifth pooling meets an odd size it drops the last
    row or column, as in the original, and so does the bottleneck's hint. Weights start from He's uniform
    distribution, as the original's.

    Args:
        in_channels, classes, hints: as :class:`Segmentor` takes them.
        width: channels of the first convolution.
        growth: channels each dense layer adds.
        dropout: probability of dropping a value in training, 0 to below 1.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        hints: str = "high",
        width: int = 48,
        growth: int = 12,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(in_channels, classes, hints)
        check_count(width, "width")
        check_count(growth, "growth")
        dropout = check_fraction(dropout, "dropout")
        new = LAYERS * growth
        skips = [width + (i + 1) * new for i in range(BLOCKS)]
        self.first = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
        self.down = nn.ModuleList(DenseBlock(skip - new, growth, dropout) for skip in skips)
        self.transition_down = nn.ModuleList(DenseLayer(skip, skip, 1, dropout) for skip in skips)
        self.bottleneck = DenseBlock(skips[-1], growth, dropout)
        self.transition_up = nn.ModuleList(nn.ConvTranspose2d(new, new, kernel_size=3, stride=2) for _ in skips)
        self.up = nn.ModuleList(DenseBlock(new + skip, growth, dropout) for skip in reversed(skips))
        self.head = nn.Conv2d(2 * new + skips[0], classes, kernel_size=1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Hints]:
        """See :meth:`Segmentor.forward`."""
        check_input(x, self.in_channels)
        size = (x.shape[-2], x.shape[-1])
        first = features = self.first(pad_to(x, 16, smallest=2**BLOCKS))
        skips: list[Tensor] = []
        low: tuple[tuple[Tensor, int], ...] = ()
        for block, transition in zip(self.down, self.transition_down, strict=True):
            _, new = block(features)
            low = low or ((first, 1), (new[0], 1))
            skips.append(torch.cat((features, *new), dim=1))
            features = F.max_pool2d(transition(skips[-1]), 2)
        features = bottleneck = torch.cat(self.bottleneck(features)[1], dim=1)
        read = penultimate = bottleneck
        for transition, block in zip(self.transition_up, self.up, strict=True):
            skip = skips.pop()
            up = crop(transition(features), (skip.shape[-2], skip.shape[-1]))
            joined = torch.cat((up, skip), dim=1)
            penultimate = read
            read, new = block(joined)
            features = torch.cat(new, dim=1)
        last = torch.cat((joined, features), dim=1)
        return crop(self.head(last), size), self._hints(
            size, high=((penultimate, 2), (last, 1)), mid=((bottleneck, 2**BLOCKS),), low=low
        )
