"""The MRRN of the paper: 38,916,418 parameters, with two classes and in the published wiring."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import (
    ConvNormRelu,
    DoubleConv,
    Hints,
    Segmentor,
    check_choice,
    check_count,
    check_input,
    crop,
    pad_to,
    upsample,
)

WIRINGS = ("connected", "published")


class Unit(NamedTuple):
    """A residual connection unit of the tables below; channels in stream widths (32 in the paper)."""

    in_channels: int
    out_channels: int
    pool: int
    adjust: int


LEVEL_1 = (Unit(2, 2, 2, 1), Unit(3, 2, 2, 1), Unit(3, 2, 2, 1))
LEVEL_2 = (Unit(3, 4, 4, 1), Unit(6, 4, 2, 2), Unit(5, 4, 4, 1))
LEVEL_3 = (Unit(5, 8, 8, 1), Unit(12, 8, 2, 4), Unit(10, 8, 4, 2), Unit(9, 8, 8, 1))
LEVEL_4 = (
    Unit(9, 16, 16, 1),
    Unit(24, 16, 2, 8),
    Unit(20, 16, 4, 4),
    Unit(18, 16, 8, 2),
    Unit(17, 16, 16, 1),
)


class ResidualUnit(nn.Module):
    """x + conv-BN-ReLU(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unit = ConvNormRelu(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.unit(x)


class ResidualConnectionUnit(nn.Module):
    """Joins a feature map with a residual stream that is ``pool`` times as fine.

    The stream is max-pooled and concatenated with the features; two convolutions give the new features;
    these, through a 1x1 convolution and up-sampling, are added to the stream.

    Attributes:
        source: which stream it joins; stream i has stride 2**i.
    """

    def __init__(self, unit: Unit, width: int, level: int) -> None:
        super().__init__()
        self.pool = unit.pool
        self.source = level - (unit.pool.bit_length() - 1)
        self.convs = DoubleConv(unit.in_channels * width, unit.out_channels * width)
        self.adjust = nn.Conv2d(unit.out_channels * width, unit.adjust * width, kernel_size=1)

    def forward(self, features: Tensor, stream: Tensor) -> Tensor:
        """The new features, as coarse as the given ones."""
        return self.convs(torch.cat((F.max_pool2d(stream, self.pool), features), dim=1))

    def update(self, stream: Tensor, features: Tensor) -> Tensor:
        """The stream after the new features are added to it."""
        return stream + upsample(self.adjust(features), self.pool)


class Mrrn(Segmentor):
    """Multiple resolution residually connected network (Jiang et al. 2019).

    A stem convolution, three residual units and a 1x1 convolution with ReLU give the residual stream of full
    size; each pooling starts a coarser stream, made of the features it is given. Levels 1 to 4 go down and
    3' to 1' up, of :class:`ResidualConnectionUnit`; a unit whose pooling is ``p`` joins the stream ``p``
    times as fine. The head joins the up-sampled features with the finest stream: conv-BN-ReLU, three
    residual units, 1x1.

    Wiring: in the published one, level 1' reads the stream of level 1, and the up-sampled features of level
    2', of which the paper takes a hint, go nowhere: a hint loss would train a dead branch. "connected" lets
    level 1' read them, as levels 3' and 2' read theirs: 0.09 % more parameters. The second unit of each
    level above a level that is not read again (4 and 3'; 2' too where connected) has an ``adjust`` nobody
    reads; its weights are kept, for the published count, and not computed.

    Hints, with strides: high = the up-sampled features of levels 2' (4 width x stride 2) and 1' (2 width x
    stride 1); mid = level 4 (16 width x stride 16); low = the stem and the first residual unit (width x
    stride 1, twice).

    Weights keep PyTorch's start: batch norm makes the scale of the 3x3 ones immaterial, and the 1x1 ones
    start small, so that the streams begin near the identity.

    Args:
        in_channels, classes, hints: as :class:`Segmentor` takes them; the paper's count is that of two classes.
        width: channels of the finest residual stream.
        wiring: "connected" or "published".
    """

    STRIDE = 16

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        hints: str = "high",
        width: int = 32,
        wiring: str = "connected",
    ) -> None:
        super().__init__(in_channels, classes, hints)
        check_count(width, "width")
        self.connected = check_choice(wiring, "wiring", WIRINGS) == "connected"
        down = (LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4)
        # On the way up a level's first unit reads other channels than on the way down.
        first = ((LEVEL_3, 17), (LEVEL_2, 9), (LEVEL_1, 5 if self.connected else 3))
        up = [(level[0]._replace(in_channels=channels), *level[1:]) for level, channels in first]
        self.stem = ConvNormRelu(in_channels, width)
        self.stem_units = nn.ModuleList(ResidualUnit(width) for _ in range(3))
        self.stream = nn.Conv2d(width, width, kernel_size=1)
        self.down = nn.ModuleList(self._level(units, width, level) for level, units in enumerate(down, start=1))
        self.up = nn.ModuleList(self._level(units, width, level) for units, level in zip(up, (3, 2, 1), strict=True))
        self.join = ConvNormRelu(3 * width, width)
        self.head_units = nn.ModuleList(ResidualUnit(width) for _ in range(3))
        self.head = nn.Conv2d(width, classes, kernel_size=1)

    @staticmethod
    def _level(units: tuple[Unit, ...], width: int, level: int) -> nn.ModuleList:
        return nn.ModuleList(ResidualConnectionUnit(unit, width, level) for unit in units)

    @staticmethod
    def _run(units: nn.ModuleList, features: Tensor, streams: list[Tensor], final: bool = False) -> Tensor:
        """Run a level, replacing entries of ``streams``; ``final``: nobody reads the last stream after it."""
        for unit in units:
            features = unit(features, streams[unit.source])
            if not (final and unit.source == len(streams) - 1):
                streams[unit.source] = unit.update(streams[unit.source], features)
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, Hints]:
        """See :meth:`Segmentor.forward`."""
        check_input(x, self.in_channels)
        size = (x.shape[-2], x.shape[-1])
        stem = self.stem(pad_to(x, self.STRIDE))
        features = first_unit = self.stem_units[0](stem)
        for unit in self.stem_units[1:]:
            features = unit(features)
        streams = [F.relu(self.stream(features))]
        for units in self.down[:-1]:
            features = self._run(units, F.max_pool2d(features, 2), streams)
            streams.append(features)
        bottleneck = self._run(self.down[-1], F.max_pool2d(features, 2), streams, final=True)
        streams.pop()
        features = self._run(self.up[0], upsample(bottleneck), streams, final=True)
        streams.pop()
        features = self._run(self.up[1], upsample(features), streams, final=self.connected)
        coarse = upsample(features)
        stream = streams.pop()
        features = self._run(self.up[2], coarse if self.connected else stream, streams)
        fine = upsample(features)
        features = self.join(torch.cat((streams[0], fine), dim=1))
        for unit in self.head_units:
            features = unit(features)
        return crop(self.head(features), size), self._hints(
            size,
            high=((coarse, 2), (fine, 1)),
            mid=((bottleneck, self.STRIDE),),
            low=((stem, 1), (first_unit, 1)),
        )
