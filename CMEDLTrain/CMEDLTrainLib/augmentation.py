"""Augmentation on the device: one sampling grid per batch for flip, scale, rotation, shift and elastic deformation.

Images are sampled linearly and masks by the nearest pixel through the same grid, so that they cannot drift apart.
Outside the patch is the lowest normalised intensity, -1 (air on CT).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .configuration import Augmentation


def augment(
    images: Tensor, masks: Tensor, settings: Augmentation, spacing_mm: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random versions of a batch of patches.

    Args:
        images: (n, channels, h, w) in [-1, 1].
        masks: (n, h, w) integers.
        settings: what may change and how far.
        spacing_mm: size of a pixel.
        generator: source of all randomness, on the CPU so that every device sees the same draw.

    Returns:
        Images and masks of the same shapes and types.
    """
    if settings.erase > 0:
        images, masks = _erased(images, masks, settings.erase, generator)
    grid = sampling_grid(len(images), images.shape[-2:], settings, spacing_mm, generator).to(images.device)
    images = F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
    sampled = F.grid_sample(
        masks[:, None].to(images.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    if settings.intensity > 0:
        gain, offset = (_uniform((2, len(images)), -1, 1, generator) * settings.intensity).to(images.device)
        images = images * (1 + gain[:, None, None, None]) + offset[:, None, None, None]
    return images.clamp(-1, 1), sampled[:, 0].to(masks.dtype)


def sampling_grid(
    count: int, shape: tuple[int, int], settings: Augmentation, spacing_mm: float, generator: torch.Generator
) -> Tensor:
    """Where each output pixel comes from: (count, h, w, 2) as ``grid_sample`` wants it (align_corners off)."""
    height, width = shape
    low, high = (math.log(value) for value in settings.scale)
    scale = torch.exp(_uniform((count,), low, high, generator))
    angle = _uniform((count,), -1, 1, generator) * math.radians(settings.rotation_degrees)
    shift = _uniform((count, 2), -1, 1, generator) * settings.shift_mm / spacing_mm
    mirror = torch.ones(count)
    if settings.flip:
        mirror -= 2.0 * (torch.rand(count, generator=generator) < 0.5)
    # Pixels rather than grid_sample's [-1, 1], so that a rotation stays one where the patch is not square.
    rows, columns = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    x, y = columns[None], rows[None]
    cosine, sine = (torch.cos(angle) / scale)[:, None, None], (torch.sin(angle) / scale)[:, None, None]
    source_x = (cosine * x - sine * y) * mirror[:, None, None] + shift[:, 0, None, None]
    source_y = sine * x + cosine * y + shift[:, 1, None, None]
    if settings.elastic_mm > 0:
        knots = [max(4, round(side * spacing_mm / settings.elastic_spacing_mm) + 1) for side in shape]
        control = torch.randn((count, 2, *knots), generator=generator) * settings.elastic_mm / spacing_mm
        bend = F.interpolate(control, size=shape, mode="bicubic", align_corners=True)
        source_x, source_y = source_x + bend[:, 0], source_y + bend[:, 1]
    return torch.stack([source_x * 2 / width, source_y * 2 / height], dim=-1)


def _erased(images: Tensor, masks: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace the structure of some patches by the mirrored other side of the body, softly blended: a negative.

    Left as it is: a patch whose mirror image has the structure in the same place.
    """
    chosen = (torch.rand(len(images), generator=generator) < share).nonzero()[:, 0].to(images.device)
    if len(chosen) == 0:
        return images, masks
    whole, marked = images[chosen], (masks[chosen] > 0).to(images.dtype)[:, None]
    near = F.max_pool2d(F.max_pool2d(marked, 9, stride=1, padding=4), 9, stride=1, padding=4)
    # The average of a mask that was widened by more than its own reach is still 1 wherever the structure was.
    blend = F.avg_pool2d(near, 5, stride=1, padding=2, count_include_pad=False)
    blend = blend * ((blend * marked.flip(-1)).amax(dim=(1, 2, 3), keepdim=True) == 0)
    erased = whole + blend * (whole.flip(-1) - whole)
    left = (masks[chosen] * (blend[:, 0] < 1)).to(masks.dtype)
    return images.index_copy(0, chosen, erased), masks.index_copy(0, chosen, left)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
