"""The faster runtime on a CPU: OpenVINO, the optional extra "fast"."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ...networks import fold_batch_norm
from .quantization import quantized, quantized_convolution

# OpenVINO tells its maker over the network of its import and of every conversion, unless it finds this package
# missing; then it uses a silent stub of its own. A program that reads patients' scans must not call anybody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: no such package

import openvino  # noqa: E402

if TYPE_CHECKING:
    from ...models.model_file import ModelFile
    from .plan import Plan

CHANNELS = 64
STREAMS = 2
"""Slices in work at the same time; each stream holds activations of its own."""


class OpenVinoRuntime:
    """The model's folded network, compiled by OpenVINO for single slices that run side by side."""

    def __init__(self, model: ModelFile, plan: Plan) -> None:
        network = model.build()
        whole = quantized(network, model.int8) if plan.precision == "int8" else fold_batch_norm(network)
        converted = _convert(whole, torch.zeros(1, model.card.channels, model.card.field, model.card.field))
        compiled = _compile(converted, plan.precision)
        self._requests = [compiled.create_infer_request() for _ in range(plan.batch)]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized slices (n, 1, pixels, pixels) float32 -> logits, float32; n is at most the plan's batch."""
        pairs = list(zip(images.numpy(), self._requests, strict=False))
        for image, request in pairs:
            request.start_async([image[None]])
        for _, request in pairs:
            request.wait()
        return torch.from_numpy(np.concatenate([request.get_output_tensor().data for _, request in pairs]))


@functools.cache
def int8_is_exact() -> bool:
    """Whether this CPU adds products of 8-bit numbers without saturation.

    CPUs with VNNI or AMX do. Older ones add two products in 16 bits, where 2 x 255 x 127 does not fit; a model that
    was checked elsewhere would be wrong there. One small convolution of the largest numbers tells.
    """
    convolution = nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, bias=False)
    nn.init.constant_(convolution.weight, 1.0)
    image = torch.ones(1, CHANNELS, 16, 16)
    compiled = _compile(_convert(quantized_convolution(convolution, 0.0, 1.0), image), "int8")
    products = convolution.in_channels * 9
    return bool(np.abs(compiled(image.numpy())[0] / products - 1.0).max() < 0.01)


HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def _compile(model: openvino.Model, precision: str) -> openvino.CompiledModel:
    """Without the hint OpenVINO takes bf16 where the CPU has it, which is not fp32's result."""
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "NUM_STREAMS": STREAMS}
    return openvino.Core().compile_model(model, "CPU", settings)


def _convert(network: nn.Module, example: torch.Tensor) -> openvino.Model:
    """The network as OpenVINO's model for inputs of the example's size."""
    with torch.no_grad(), warnings.catch_warnings():
        # The size is fixed, so it is right that the trace keeps what the network decides by it.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # OpenVINO reads TorchScript faster and more widely than what newer PyTorch recommends instead.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network, example, check_trace=False)
    return openvino.convert_model(traced, input=[list(example.shape)])
