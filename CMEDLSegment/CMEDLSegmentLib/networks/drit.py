"""DRIT's translator (Lee et al. 2018; section III-A2 of the paper): content of an image, drawn in a modality's style.

What a model needs of it at test time; the style encoders and discriminators are of training alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import check_count, check_input, crop, pad_to
from .generator import InstanceNorm, ResidualBlock, initialize


class LayerNorm(nn.Module):
    """Norm over channels and pixels of each image, then a scale and a shift per channel.

    As in DRIT: codes are constant over an image, and an instance norm would take away what they add to a channel's
    mean.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(1, 2, 3), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
        return ((wide - mean) * scale + self.bias[:, None, None]).to(x.dtype)


class ContentEncoder(nn.Module):
    """Fully convolutional encoder of the content, the part of an image that both modalities share.

    Reflect-padded 7x7 and leaky ReLU, two convolutions of stride 2 with instance norm and ReLU, residual blocks.

    Args:
        in_channels: channels of the image.
        width: channels of the first convolution; the content has four times as many.
        blocks: number of residual blocks.
    """

    STRIDE = 4

    def __init__(self, in_channels: int = 1, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.in_channels = check_count(in_channels, "in_channels")
        w = check_count(width, "width")
        check_count(blocks, "content_blocks")
        self.first = nn.Conv2d(in_channels, w, 7, padding=3, padding_mode="reflect")
        self.down = nn.ModuleList(nn.Conv2d(w * factor, 2 * w * factor, 3, stride=2, padding=1) for factor in (1, 2))
        self.blocks = nn.ModuleList(ResidualBlock(4 * w) for _ in range(blocks))
        self.norm = InstanceNorm()
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Image (N, in_channels, H, W) in [-1, 1] to content (N, 4 width, ceil(H / 4), ceil(W / 4)), 2 x 2 or more.

        Raises:
            ModelError: ``x`` has another number of axes or channels.
        """
        check_input(x, self.in_channels)
        features = F.leaky_relu(self.first(pad_to(x, self.STRIDE, smallest=2 * self.STRIDE)), 0.01)
        for conv in self.down:
            features = F.relu(self.norm(conv(features)))
        for block in self.blocks:
            features = block(features)
        return features


class StyleGenerator(nn.Module):
    """Draws a content in one modality: content and style codes in, an image in [-1, 1] out.

    The codes are laid beside the content as constant channels, and again before each layer that follows the residual
    blocks: two convolutions of half stride with :class:`LayerNorm` and ReLU, a 1x1 convolution, tanh.

    Args:
        out_channels: channels of the image.
        width: a quarter of the content's channels.
        blocks: number of residual blocks (paper: 6).
        codes: length of the style vector.
    """

    def __init__(self, out_channels: int = 1, width: int = 64, blocks: int = 6, codes: int = 8) -> None:
        super().__init__()
        check_count(out_channels, "out_channels")
        w = check_count(width, "width")
        check_count(blocks, "blocks")
        s = check_count(codes, "codes")
        self.blocks = nn.ModuleList(ResidualBlock(4 * w + s) for _ in range(blocks))
        # The first reads the blocks' channels, of which the codes are some; the codes as they were come beside.
        sizes = ((4 * w + 2 * s, 2 * w), (2 * w + s, w))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1) for before, after in sizes
        )
        self.norms = nn.ModuleList(LayerNorm(after) for _, after in sizes)
        self.last = nn.Conv2d(w + s, out_channels, 1)
        initialize(self)

    def forward(self, content: Tensor, style: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Content (N, 4 width, h, w), style (N, codes) to images (N, out_channels, 4 h, 4 w), cropped to ``size``."""
        features = _beside(content, style)
        for block in self.blocks:
            features = block(features)
        for conv, norm in zip(self.up, self.norms, strict=True):
            features = F.relu(norm(conv(_beside(features, style))))
        image = torch.tanh(self.last(_beside(features, style)))
        return image if size is None else crop(image, size)


class StyleTranslator(nn.Module):
    """One modality in, the other out: a content encoder and the generator of the other modality.

    Without a style vector the image is drawn in the mean style, the zero that the KL term draws the codes towards, so
    that a translation at test time is one and the same each time.

    Args:
        in_channels, out_channels: channels of the two modalities.
        width: channels of the encoder's first convolution.
        blocks: residual blocks of the generator.
        content_blocks: residual blocks of the encoder.
        codes: length of the style vector.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        blocks: int = 6,
        content_blocks: int = 4,
        codes: int = 8,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.content = ContentEncoder(in_channels, width, content_blocks)
        self.generator = StyleGenerator(out_channels, width, blocks, codes)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Image (N, in_channels, H, W), of any H and W, and style (N, codes) to (N, out_channels, H, W), in [-1, 1].

        Raises:
            ModelError: ``x`` has another number of axes or channels.
        """
        content = self.content(x)
        if style is None:
            style = content.new_zeros((x.shape[0], self.codes))
        return self.generator(content, style, (x.shape[-2], x.shape[-1]))


def _beside(features: Tensor, style: Tensor) -> Tensor:
    """Features (N, C, h, w) and after them the codes as constant channels, in the features' type and layout."""
    maps = style.to(features.dtype)[:, :, None, None].expand(-1, -1, *features.shape[-2:])
    last = features.is_contiguous(memory_format=torch.channels_last)
    return torch.cat((features, maps.contiguous(memory_format=torch.channels_last) if last else maps), dim=1)
