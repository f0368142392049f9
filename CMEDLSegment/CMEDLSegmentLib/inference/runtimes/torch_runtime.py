"""The runtime that is always there: PyTorch, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...networks import fold_batch_norm

if TYPE_CHECKING:
    from ...models.model_file import ModelFile
    from .plan import Plan

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """Batch norm folded, channels last, the whole network in the plan's precision."""

    def __init__(self, model: ModelFile, plan: Plan) -> None:
        self._type = TYPES[plan.precision]
        network = fold_batch_norm(model.build())
        self._network = network.to(plan.device, self._type, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized slices (n, 1, pixels, pixels) float32 on the device -> logits, float32."""
        return self._network(images.to(self._type, memory_format=torch.channels_last)).float()
