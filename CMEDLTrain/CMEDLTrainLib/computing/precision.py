"""The number format that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float32(values: Tensor) -> Tensor:
    """``values`` in float32, also under autocast to bfloat16; float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
