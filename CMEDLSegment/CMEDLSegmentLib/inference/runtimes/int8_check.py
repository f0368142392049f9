"""Whether int8 marks what fp32 marks, on real slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...metrics.surface_distance import dice
from ...networks import fold_batch_norm
from ..probability import label_probabilities, threshold_labels
from .plan import Plan, openvino_installed
from .quantization import quantized

if TYPE_CHECKING:
    from ...models.model_card import Card
    from ...models.model_file import ModelFile

Runs = Callable[[torch.Tensor], torch.Tensor]
"""Normalized slices (n, 1, pixels, pixels) -> logits (n, classes, pixels, pixels)."""

AGREEMENT = 0.995
"""DSC between int8 and fp32 that int8 has to reach to be used."""


def check_int8(model: ModelFile, cases: Iterable[torch.Tensor]) -> dict[str, Any]:
    """Compare int8 with fp32 on real cases: what a card's ``int8`` holds when it passes.

    Args:
        model: with its calibrated ranges in ``model.int8``.
        cases: for each patient the normalized slices (n, 1, pixels, pixels); other patients than the calibration's.

    Returns:
        ``dsc_mean`` and ``dsc_min`` over the ``cases`` (and labels) that fp32 marks; ``empty``, how many it does not
        mark; ``dsc_pooled`` over the pixels of all of them, so that what int8 marks in an empty case counts by its
        size; ``slices``; ``runtime``; and ``passed``: whether the mean and the pooled DSC reach :data:`AGREEMENT`.
    """
    if openvino_installed():
        from .openvino_runtime import OpenVinoRuntime

        name, int8 = "openvino", OpenVinoRuntime(model, Plan("cpu", "openvino", "int8", 1))
    else:
        name, int8 = "torch, simulated", quantized(model.build(), model.int8)
    return {**agreement(model.card, fold_batch_norm(model.build()), int8, cases), "runtime": name}


def agreement(card: Card, plain: Runs, other: Runs, cases: Iterable[torch.Tensor]) -> dict[str, Any]:
    """What :func:`check_int8` tells, but for the runtime, of two ways to run a card's networks."""
    values = [label.value for label in card.labels]
    scores: list[float] = []
    empty = slices = shared = total = 0
    for case in cases:
        slices += len(case)
        a, b = (_marked(network, case, values, card.threshold) for network in (plain, other))
        for mine, theirs in ((a == value, b == value) for value in values):
            shared += int(np.count_nonzero(mine & theirs))
            total += int(np.count_nonzero(mine)) + int(np.count_nonzero(theirs))
            if mine.any():
                scores.append(dice(mine, theirs))
            else:
                empty += 1
    # Where fp32 marks nothing there is nothing to agree on: NaN, which does not pass.
    mean, pooled = (float(np.mean(scores)), 2 * shared / total) if scores else (math.nan, math.nan)
    return {
        "dsc_mean": mean,
        "dsc_min": float(min(scores, default=math.nan)),
        "dsc_pooled": pooled,
        "cases": len(scores),
        "empty": empty,
        "slices": slices,
        "passed": mean >= AGREEMENT and pooled >= AGREEMENT,
    }


@torch.inference_mode()
def _marked(network: Runs, case: torch.Tensor, values: list[int], threshold: float) -> np.ndarray:
    """The label map (n, pixels, pixels) of a case, one slice at a time."""
    return np.stack(
        [threshold_labels(label_probabilities(network(image[None]))[0].numpy(), values, threshold) for image in case]
    )
