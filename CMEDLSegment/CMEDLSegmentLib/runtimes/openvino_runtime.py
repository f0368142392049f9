"""The faster runtime on a CPU: OpenVINO, the optional extra "fast"."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..networks import fold_batch_norm
from .quantisation import quantised

# OpenVINO tells its maker over the network of its import and of every conversion, unless it finds this package
# missing; then it uses a silent stub of its own. A program that reads patients' scans must not call anybody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

if TYPE_CHECKING:
    from ..student import Student
    from .plan import Plan

STREAMS = 2
"""Slices in work at the same time; each stream holds activations of its own."""


class OpenVinoRuntime:
    """The student's folded network, compiled by OpenVINO for single slices that run side by side."""

    def __init__(self, student: Student, plan: Plan) -> None:
        network = student.build()
        whole = quantised(network, student.int8) if plan.precision == "int8" else fold_batch_norm(network)
        model = _convert(whole, student.card.field)
        # Without the hint OpenVINO takes bf16 where the CPU has it, which is not fp32's result.
        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {"INFERENCE_PRECISION_HINT": HINTS[plan.precision], "NUM_STREAMS": STREAMS},
        )
        self._requests = [compiled.create_infer_request() for _ in range(plan.batch)]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised slices (n, 1, pixels, pixels) float32 -> logits, float32; n is at most the plan's batch."""
        pairs = list(zip(images.numpy(), self._requests, strict=False))
        for image, request in pairs:
            request.start_async([image[None]])
        for _, request in pairs:
            request.wait()
        return torch.from_numpy(np.concatenate([request.get_output_tensor().data for _, request in pairs]))


HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def _convert(network: nn.Module, pixels: int) -> openvino.Model:
    """The network as OpenVINO's model for one slice of a fixed size."""
    example = torch.zeros(1, 1, pixels, pixels)
    with torch.no_grad(), warnings.catch_warnings():
        # The size is fixed, so it is right that the trace keeps what the network decides by it.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # OpenVINO reads TorchScript faster and more widely than what newer PyTorch recommends instead.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network, example, check_trace=False)
    return openvino.convert_model(traced, input=[list(example.shape)])
