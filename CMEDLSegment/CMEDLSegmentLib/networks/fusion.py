"""The weighted fusion of an image with its pseudo MRI (eq. 14 of the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvNorm, ConvNormRelu, check_count, check_input


class BasicBlock(nn.Module):
    """Two convolutions 3x3 with batch norm beside a shortcut, 1x1 where the shape changes; then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(in_channels, out_channels, stride=stride)
        self.second = ConvNorm(out_channels, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else ConvNorm(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class WeightedFusion(nn.Module):
    """(1 - alpha) x beside alpha x', where a ResNet18 with two fully connected layers finds alpha from both.

    Eq. 14; the reading: one alpha in (0, 1) per image, through a sigmoid; the first fully connected layer
    halves the 512 features. The network's convolutions start from He's normal distribution over the fan-out,
    as those of the ResNet paper; unlike there they have a bias, which batch norm cancels.

    Args:
        image_channels: channels of x, and of x'.
        width: channels of the first stage (64 in ResNet18).
    """

    def __init__(self, image_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        self.image_channels = check_count(image_channels, "image_channels")
        w = check_count(width, "width", smallest=2)
        self.stem = ConvNormRelu(2 * image_channels, w, kernel_size=7, stride=2)
        blocks: list[BasicBlock] = []
        before = w
        for stage in range(4):
            after = w * 2**stage
            blocks += [BasicBlock(before, after, stride=1 if stage == 0 else 2), BasicBlock(after, after, 1)]
            before = after
        self.blocks = nn.ModuleList(blocks)
        self.first = nn.Linear(before, before // 2)
        self.second = nn.Linear(before // 2, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def weigh(self, pair: Tensor) -> Tensor:
        """Alpha (N, 1, 1, 1) in (0, 1), float32, of a batch of pairs as :meth:`forward` takes it."""
        features = F.max_pool2d(self.stem(pair), 3, stride=2, padding=1)
        for block in self.blocks:
            features = block(features)
        hidden = F.relu(self.first(features.mean(dim=(2, 3))))
        return torch.sigmoid(self.second(hidden).float())[:, :, None, None]

    def forward(self, pair: Tensor) -> Tensor:
        """(1 - alpha) times the image's channels and then alpha times the pseudo MRI's, as ``pair`` has them.

        Args:
            pair: (N, 2 image_channels, H, W).

        Raises:
            ModelError: ``pair`` has another number of axes or channels.
        """
        check_input(pair, 2 * self.image_channels)
        alpha = self.weigh(pair).to(pair.dtype)
        image, pseudo = pair.split(self.image_channels, dim=1)
        return torch.cat(((1 - alpha) * image, alpha * pseudo), dim=1)
