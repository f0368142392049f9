"""Segmentation losses: soft Dice and cross-entropy, for one label (sigmoid) and for several (softmax).

Equation 1 of the paper writes a log-likelihood while its text says Dice loss; soft Dice is the default reading and
cross-entropy the option.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..computing.distribution import pooled
from ..computing.precision import to_float32


def probabilities(logits: Tensor) -> Tensor:
    """Foreground probabilities (n, labels, h, w) of logits (n, classes, h, w).

    One class is a sigmoid; more are a softmax whose class 0 is background and is left out.
    """
    logits = to_float32(logits)
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


def one_hot(mask: Tensor, labels: int) -> Tensor:
    """Integer mask (n, h, w) as float indicators (n, labels, h, w) of the labels 1, 2, ..."""
    values = torch.arange(1, labels + 1, device=mask.device, dtype=mask.dtype)
    return (mask[:, None] == values[None, :, None, None]).float()


def soft_dice_loss(
    logits: Tensor, mask: Tensor, smooth: float = 1.0, recall: float = 0.5, each: bool = False
) -> Tensor:
    """One minus the soft Dice coefficient, pooled over the batch (of all processes) and averaged over the labels.

    Pooling over the batch keeps the loss defined on slices without the structure: there it only counts the false
    foreground, instead of jumping between 0 and 1.

    Args:
        logits: (n, classes, h, w).
        mask: (n, h, w), integers.
        smooth: added to numerator and denominator (pixels).
        recall: weight of what is missed against what is marked falsely, 0 to 1: the Tversky index (Salehi et al.
            2017), which is Dice at 0.5.
        each: the mean over the patches of the loss of each, instead of pooling.
    """
    predicted = probabilities(logits)
    target = one_hot(mask, predicted.shape[1])
    over = (2, 3) if each else (0, 2, 3)
    overlap = (predicted * target).sum(dim=over)
    total = 2 * ((1 - recall) * predicted.sum(dim=over) + recall * target.sum(dim=over))
    if not each:
        overlap, total = pooled(torch.stack((overlap, total)))
    return 1 - ((2 * overlap + smooth) / (total + smooth)).mean()


def cross_entropy_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Equation 1 as written: mean over pixels of the negative log-likelihood of the expert's label."""
    logits = to_float32(logits)
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (mask > 0).to(logits.dtype))
    return F.cross_entropy(logits, mask.long())


def segmentation_loss(
    logits: Tensor,
    mask: Tensor,
    dice: float = 1.0,
    cross_entropy: float = 0.0,
    recall: float = 0.5,
    each: bool = False,
) -> Tensor:
    """``dice`` x soft Dice + ``cross_entropy`` x cross-entropy: the two readings of equation 1.

    ``recall`` and ``each`` are soft Dice's.
    """
    loss = to_float32(logits.new_zeros(()))
    if dice:
        loss = loss + dice * soft_dice_loss(logits, mask, recall=recall, each=each)
    if cross_entropy:
        loss = loss + cross_entropy * cross_entropy_loss(logits, mask)
    return loss
