"""The number format that losses are computed in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_float32(values: Tensor) -> Tensor:
    """``values`` in float32, also under autocast to bfloat16; float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def l1_loss(images: Tensor, others: Tensor) -> Tensor:
    """The mean absolute difference, in float32 as :func:`to_float32` has it."""
    return F.l1_loss(to_float32(images), to_float32(others))
