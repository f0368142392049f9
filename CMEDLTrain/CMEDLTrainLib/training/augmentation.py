"""Augmentation on the device: one sampling grid per batch for flip, scale, rotation, shift and elastic deformation.

Images are sampled linearly and masks by the nearest pixel through the same grid, so that they cannot drift apart.
Outside the patch is the lowest normalized intensity, -1 (air on CT).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings.configuration import Augmentation


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
        Images and masks of the same types; of the same shapes too, or of ``settings.window`` pixels squared.
    """
    if settings.erase > 0:
        images, masks = _erased(images, masks, settings.erase, generator)
    height, width = images.shape[-2:]
    center = torch.zeros(len(images), 2)
    if settings.window:
        center = _window_centers(masks.cpu(), settings.window, generator)
        height, width = min(height, settings.window), min(width, settings.window)
    grid = sampling_grid((height, width), center, images.shape[-2:], settings, spacing_mm, generator, images.device)
    images, sampled = sample_images(images, grid), sample_masks(masks[:, None], grid)
    if settings.paste > 0:
        images, sampled = _pasted(images, sampled, settings.paste, generator)
    return change_intensity(images, settings, generator), sampled[:, 0].to(masks.dtype)


def sample_images(images: Tensor, grid: Tensor) -> Tensor:
    """Images (n, channels, h, w) at the places of a grid, linearly."""
    return F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


def sample_masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Masks (n, channels, h, w) at the places of a grid, each the nearest pixel's, as floating numbers."""
    return F.grid_sample(masks.to(grid.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False)


def change_intensity(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Images with a random gain and offset, where the settings ask for them, in [-1, 1]."""
    if settings.intensity > 0:
        gain, offset = (_uniform((2, len(images)), -1, 1, generator) * settings.intensity).to(images.device)
        images = images * (1 + gain[:, None, None, None]) + offset[:, None, None, None]
    return images.clamp(-1, 1)


def _window_centers(masks: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Centers of random windows inside patches: (n, 2) as (x, y) pixels from the middle of a patch.

    Three of four windows of a patch with a structure are near one of its pixels, within a quarter of a side; the
    others, and those of a patch without, are anywhere.
    """
    count, height, width = masks.shape
    room = torch.tensor([max(0, width - side), max(0, height - side)]) / 2
    anywhere = _uniform((count, 2), -1, 1, generator) * room
    marked = (masks > 0).flatten(1)
    pixel = (torch.rand(marked.shape, generator=generator) * marked).argmax(dim=1)
    structure = torch.stack([pixel % width - (width - 1) / 2, pixel // width - (height - 1) / 2], dim=1)
    near = structure + _uniform((count, 2), -1, 1, generator) * side / 4
    wanted = marked.any(dim=1) & (torch.rand(count, generator=generator) < 0.75)
    return torch.where(wanted[:, None], near.clamp(-room, room), anywhere)


def sampling_grid(
    shape: tuple[int, int],
    center: Tensor,
    source: tuple[int, int],
    settings: Augmentation,
    spacing_mm: float,
    generator: torch.Generator,
    device: torch.device,
    zoom: Tensor | None = None,
) -> Tensor:
    """Where each output pixel of ``shape`` comes from: (n, h, w, 2) as ``grid_sample`` wants it (align_corners off).

    ``center`` (n, 2) as (x, y) comes to the middle of the output, in pixels from the middle of a patch of the shape
    ``source``; ``zoom`` (n,) is how many pixels of the output one of the patch becomes, before the random scale. The
    grid is made on ``device``, from the few numbers that were drawn.
    """
    (height, width), count = shape, len(center)
    low, high = (math.log(value) for value in settings.scale)
    scale = torch.exp(_uniform((count,), low, high, generator))
    if zoom is not None:
        scale = scale * zoom
    angle = _uniform((count,), -1, 1, generator) * math.radians(settings.rotation_degrees)
    shift = center + _uniform((count, 2), -1, 1, generator) * settings.shift_mm / spacing_mm
    mirror = torch.ones(count)
    if settings.flip:
        mirror -= 2.0 * (torch.rand(count, generator=generator) < 0.5)
    drawn = torch.stack([torch.cos(angle) / scale, torch.sin(angle) / scale, mirror, *shift.unbind(dim=1)])
    cosine, sine, mirror, shift_x, shift_y = drawn.to(device, non_blocking=True)[:, :, None, None]
    # Pixels rather than grid_sample's [-1, 1], so that a rotation stays one where the patch is not square.
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device) - (height - 1) / 2,
        torch.arange(width, device=device) - (width - 1) / 2,
        indexing="ij",
    )
    x, y = columns[None], rows[None]
    source_x = (cosine * x - sine * y) * mirror + shift_x
    source_y = sine * x + cosine * y + shift_y
    if settings.elastic_mm > 0:
        knots = [max(4, round(side * spacing_mm / settings.elastic_spacing_mm) + 1) for side in shape]
        control = torch.randn((count, 2, *knots), generator=generator) * settings.elastic_mm / spacing_mm
        bend = F.interpolate(control.to(device, non_blocking=True), size=shape, mode="bicubic", align_corners=True)
        source_x, source_y = source_x + bend[:, 0], source_y + bend[:, 1]
    return torch.stack([source_x * 2 / source[1], source_y * 2 / source[0]], dim=-1)


def _erased(images: Tensor, masks: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace the structure of some patches by the mirrored other side of the body, softly blended: a negative.

    Left as it is: a patch whose mirror image has the structure in the same place.
    """
    chosen = (torch.rand(len(images), generator=generator) < share).nonzero()[:, 0].to(images.device)
    if len(chosen) == 0:
        return images, masks
    whole, marked = images[chosen], (masks[chosen] > 0).to(images.dtype)[:, None]
    blend = _around(marked)
    blend = blend * ((blend * marked.flip(-1)).amax(dim=(1, 2, 3), keepdim=True) == 0)
    erased = whole + blend * (whole.flip(-1) - whole)
    left = (masks[chosen] * (blend[:, 0] < 1)).to(masks.dtype)
    return images.index_copy(0, chosen, erased), masks.index_copy(0, chosen, left)


def _pasted(images: Tensor, masks: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lay the structure of the next patch of the batch, with a rim of its surroundings, into some patches.

    After CarveMix (Zhang et al. 2021): each structure is seen in more places than it was found in. ``masks`` is
    (n, 1, h, w) in the images' type; the donor's rim overwrites the mask of the patch as it overwrites its image.
    """
    chosen = (torch.rand(len(images), generator=generator) < share).to(images.device)[:, None, None, None]
    donor, labels = images.roll(1, 0), masks.roll(1, 0)
    blend = _around((labels > 0).to(images.dtype)) * chosen
    return images + blend * (donor - images), torch.where(blend > 0.5, labels, masks)


def _around(marked: Tensor) -> Tensor:
    """A soft mask (n, 1, h, w) that is 1 on what is marked and falls to 0 some pixels around it."""
    near = F.max_pool2d(F.max_pool2d(marked, 9, stride=1, padding=4), 9, stride=1, padding=4)
    # The average of a mask that was widened by more than its own reach is still 1 wherever the structure was.
    return F.avg_pool2d(near, 5, stride=1, padding=2, count_include_pad=False)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
