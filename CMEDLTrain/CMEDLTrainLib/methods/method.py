"""What a method is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Generator, Tensor, nn

from CMEDLSegmentLib.card import NetworkSpec

from ..configuration import Configuration

Losses = dict[str, Tensor]
"""Weighted loss terms by name; their sum is what a phase descends."""


@dataclass(frozen=True)
class Batch:
    """Patches of one role: images (n, 1, h, w) in [-1, 1], masks (n, h, w) integers."""

    images: Tensor
    masks: Tensor


@dataclass
class Step:
    """What the phases of one step share.

    Attributes:
        random: seeded with the run's seed and the step's number, so that a resumed run draws the same.
        tensors: what an earlier phase made and a later one needs, such as translated images for the discriminators.
    """

    random: Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Networks that a phase updates with one learning rate.

    Attributes:
        modules: their names.
        learning_rate, betas: of Adam.
    """

    modules: tuple[str, ...]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Phase:
    """One forward and backward pass of a step: only the networks of its parts receive gradients.

    Attributes:
        parts: what it updates.
        losses: the batches by role and what the step's phases share -> loss terms.
    """

    name: str
    parts: tuple[Part, ...]
    losses: Callable[[dict[str, Batch], Step], Losses]

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of all networks that it updates."""
        return tuple(name for part in self.parts for name in part.modules)


@dataclass(frozen=True)
class Method:
    """Networks, the phases that train them, and what remains as the student.

    Attributes:
        roles: the cohort's roles that it draws batches from.
        networks: all networks by name, and modules without weights whose state a resumed run needs.
        phases: in the order of a step.
        student: the networks that the student needs at test time, as its card names them, the segmentor last.
        segment: the student's networks by name and images (n, 1, h, w) -> logits.
        validation_loss: logits and masks -> the segmentation loss that early stopping watches.
    """

    roles: tuple[str, ...]
    networks: dict[str, nn.Module]
    phases: tuple[Phase, ...]
    student: tuple[NetworkSpec, ...]
    segment: Callable[[dict[str, nn.Module], Tensor], Tensor]
    validation_loss: Callable[[Tensor, Tensor], Tensor]


def segmentor_arguments(configuration: Configuration) -> dict[str, object]:
    """What the configured segmentor is made of: one image in; one class for one label, else the background too."""
    labels = len(configuration.labels)
    return {"in_channels": 1, "classes": 1 if labels == 1 else 1 + labels, **configuration.network.arguments}
