"""Batch norm folded into the convolutions before it, for inference."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .blocks import ConvNorm


@torch.no_grad()
def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy for inference alone, without the batch norms that follow a convolution directly.

    The running mean m, variance v, scale g and shift b of the norm go into the convolution's weight w g / s
    and bias (bias - m) g / s + b with s = sqrt(v + eps), computed in float64. Unet, MRRN and the fusion
    network lose all their batch norms. DenseFCN keeps its: they come before a ReLU and after concatenations
    that others read too, so folding would not be exact there. The generator's instance norm depends on the
    image and stays.

    Args:
        module: any module; it is left as it is.

    Returns:
        A module in eval mode, without gradients, with the same results as ``module.eval()`` up to rounding.
    """
    folded = copy.deepcopy(module).eval().requires_grad_(False)
    for part in folded.modules():
        if isinstance(part, ConvNorm) and isinstance(part.norm, nn.BatchNorm2d):
            norm = part.norm
            scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            shift = (part.conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
            part.conv.weight.copy_(part.conv.weight.double() * scale[:, None, None, None])
            part.conv.bias.copy_(shift)
            part.norm = nn.Identity().eval()
    return folded
