"""What a method is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Losses = dict[str, Tensor]
"""Weighted loss terms by name; their sum is what a phase descends."""


@dataclass(frozen=True)
class Batch:
    """Patches of one role: images (n, 1, h, w) in [-1, 1], masks (n, h, w) integers."""

    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Phase:
    """One optimiser's part of a step: only its own modules receive gradients.

    Attributes:
        modules: names of the networks it updates.
        losses: the batches by role -> loss terms.
        learning_rate: of Adam.
        betas: of Adam.
    """

    name: str
    modules: tuple[str, ...]
    losses: Callable[[dict[str, Batch]], Losses]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Method:
    """Networks, the phases that train them, and what remains as the student.

    Attributes:
        roles: the cohort's roles that it draws batches from.
        networks: all networks by name.
        phases: in the order of a step.
        student: names of the networks that the student needs at test time, the segmentor last.
        segment: the student's networks by name and images (n, 1, h, w) -> logits.
        validation_loss: logits and masks -> the segmentation loss that early stopping watches.
    """

    roles: tuple[str, ...]
    networks: dict[str, nn.Module]
    phases: tuple[Phase, ...]
    student: tuple[str, ...]
    segment: Callable[[dict[str, nn.Module], Tensor], Tensor]
    validation_loss: Callable[[Tensor, Tensor], Tensor]
