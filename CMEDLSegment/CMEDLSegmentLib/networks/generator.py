"""The CycleGAN generator of the paper: 11.37 M parameters from one channel to one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import check_count, check_input, crop, pad_to


class InstanceNorm(nn.Module):
    """Instance norm without affine parameters or running statistics, of (n, c, h, w).

    On a CPU the framework's, many times as fast there, brought back to channels_last where the input was. Elsewhere,
    and for a single pixel, which that refuses, :func:`normalize`. The input comes back in its own type.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[2] * x.shape[3] > 1:
            last = x.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            return F.instance_norm(x, eps=self.eps).contiguous(memory_format=layout)
        return normalize(x, self.eps)


def normalize(x: Tensor, eps: float) -> Tensor:
    """``x`` (n, c, h, w) with mean 0 and variance 1 over the pixels of each channel of each image.

    The statistics are taken in float32 (float64 of a float64 input).
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
    return ((wide - mean) * torch.rsqrt(variance + eps)).to(x.dtype)


def initialize(module: nn.Module) -> None:
    """Start the convolutions of a translation network from N(0, 0.02), their biases from zero.

    On the meta device there is nothing to start, and drawing there would import PyTorch's compiler.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and not part.weight.is_meta:
            nn.init.normal_(part.weight, 0.0, 0.02)
            nn.init.zeros_(part.bias)


class ResidualBlock(nn.Module):
    """x + (reflect-padded conv 3x3, instance norm, ReLU, the same without ReLU)(x); needs 2 x 2 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm = InstanceNorm()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.second(F.relu(self.norm(self.first(x)))))


class Generator(nn.Module):
    """ResNet generator of CycleGAN (Zhu et al. 2017): one modality in, the other out, both in [-1, 1].

    Reflect-padded 7x7, two convolutions of stride 2, ``blocks`` residual blocks, two of half stride, 7x7,
    tanh; instance norm without affine and ReLU between. Biases everywhere, as the published count has them,
    although instance norm cancels all but the last. Weights start from N(0, 0.02), biases from zero.

    Args:
        in_channels, out_channels: channels of the two modalities.
        width: channels of the first convolution.
        blocks: number of residual blocks.
    """

    STRIDE = 4

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.in_channels = check_count(in_channels, "in_channels")
        self.out_channels = check_count(out_channels, "out_channels")
        w = check_count(width, "width")
        check_count(blocks, "blocks")
        self.first = nn.Conv2d(in_channels, w, 7, padding=3, padding_mode="reflect")
        self.down = nn.ModuleList(nn.Conv2d(w * factor, 2 * w * factor, 3, stride=2, padding=1) for factor in (1, 2))
        self.blocks = nn.ModuleList(ResidualBlock(4 * w) for _ in range(blocks))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * w * factor, w * factor, 3, stride=2, padding=1, output_padding=1)
            for factor in (2, 1)
        )
        self.last = nn.Conv2d(w, out_channels, 7, padding=3, padding_mode="reflect")
        self.norm = InstanceNorm()
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Image (N, in_channels, H, W) in [-1, 1], of any H and W, to (N, out_channels, H, W) in [-1, 1].

        Raises:
            ModelError: ``x`` has another number of axes or channels.
        """
        check_input(x, self.in_channels)
        size = (x.shape[-2], x.shape[-1])
        features = F.relu(self.norm(self.first(pad_to(x, self.STRIDE, smallest=2 * self.STRIDE))))
        for conv in self.down:
            features = F.relu(self.norm(conv(features)))
        for block in self.blocks:
            features = block(features)
        for conv in self.up:
            features = F.relu(self.norm(conv(features)))
        return crop(torch.tanh(self.last(features)), size)
