"""Older translated images for the discriminators to learn from (Shrivastava et al. 2017; CycleGAN: 50)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..computing.precision import to_float32


class ImagePool(nn.Module):
    """Stores translated images; gives for each new one either itself or an older one, whose place it takes.

    While it fills, images are stored and given back. From then on a coin decides for each: the image itself, or a
    stored one drawn at random. A module with buffers, so that a checkpoint keeps it; its draws come from the given
    generator, so that a resumed run draws the same. Nothing waits for the device: all decisions are tensors, and with a
    generator of that device nothing is copied to it either, as a CUDA graph needs.

    Args:
        size: images stored at most.
    """

    images: Tensor
    """(size, c, h, w); no rows before the first image has told c, h and w."""
    count: Tensor
    """How many of them hold an image."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0, 1, 1, 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, images: Tensor, random: torch.Generator) -> Tensor:
        """New images (n, c, h, w) -> as many for the discriminator, without a graph, in float32 at least."""
        new = to_float32(images)
        if len(self.images) == 0:
            self.images = new.new_zeros((self.size, *new.shape[1:]))
        slots = self._draw(self.size, len(new), random)
        coins = self._draw(2, len(new), random)
        given = []
        # One after the other: an image may be given away again within its own batch.
        for image, drawn, coin in zip(new.split(1), slots, coins, strict=True):
            filling = self.count < self.size
            slot = torch.where(filling, self.count, drawn).reshape(1)
            stored = self.images.index_select(0, slot)
            swap = ~filling & (coin == 1)
            given.append(torch.where(swap, stored, image))
            self.images.index_copy_(0, slot, torch.where(filling | swap, image, stored))
            self.count += filling
        return torch.cat(given)

    def holding(self, images: Tensor, count: Tensor) -> ImagePool:
        """This pool with the contents of another of its size: its ``images`` and ``count``."""
        self.images, self.count = images, count
        return self

    def _draw(self, below: int, n: int, random: torch.Generator) -> Tensor:
        drawn = torch.randint(below, (n,), generator=random, device=random.device)
        return drawn.to(self.images.device, non_blocking=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the shape of the stored images, which a pool that has seen none yet cannot know."""
        stored = state_dict.get(f"{prefix}images")
        if stored is not None:
            self.images = self.images.new_empty(stored.shape, dtype=stored.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)
