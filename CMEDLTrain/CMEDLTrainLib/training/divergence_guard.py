"""Watches training for what must not be saved: losses that are no number or explode, weights that are no number."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import CMEDLError

ABSURD = 1e6
"""No weighted loss term of any method comes near this while it learns."""
JUMP = 1000.0
"""A term that is so many times its median, or so large where the median is below one, has exploded."""
REMEMBERED = 21
"""Values of each term that its median is of; those read since the process started."""


class TrainingFailed(CMEDLError):
    """A loss or a weight is no finite number, or a loss has exploded; the last checkpoint is intact.

    Attributes:
        term: the loss term, or the network whose weights it is.
    """

    def __init__(self, term: str, what: str) -> None:
        super().__init__(
            f"{what}; the last checkpoint is intact. Resume with a lower learning rate, or with precision fp32."
        )
        self.term = term


class DivergenceGuard:
    """Keeps the last values of each loss term, and refuses those that show that training has failed."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}

    def losses(self, losses: Mapping[str, float], step: int) -> None:
        """Look at the weighted loss terms by name, as they were in the last step before ``step``.

        Raises:
            TrainingFailed: one is not finite, above 1e6, or above 1000 and 1000 times its median so far.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingFailed(name, f"The loss term '{name}' became {value} before step {step}")
            recent = self._values.setdefault(name, deque(maxlen=REMEMBERED))
            usual = statistics.median(map(abs, recent)) if recent else math.inf
            if abs(value) > min(ABSURD, JUMP * max(1.0, usual)):
                raise TrainingFailed(name, f"The loss term '{name}' exploded to {value:.3g} before step {step}")
            recent.append(value)


def check_validation(loss: float, step: int) -> None:
    """Look at the validation loss: weights that are finite but huge show there first.

    Raises:
        TrainingFailed: it is not finite.
    """
    if not math.isfinite(loss):
        raise TrainingFailed("validation", f"The validation loss became {loss} before step {step}")


@torch.no_grad()
def check_weights(networks: Mapping[str, nn.Module], step: int) -> None:
    """Look at every weight: a step with a finite loss can still leave them not finite.

    Raises:
        TrainingFailed: those of a network are not; it is named.
    """
    norms: dict[str, Tensor] = {}
    for name, network in networks.items():
        weights = list(network.parameters())
        if weights:
            norms[name] = torch.stack(torch._foreach_norm(weights, ord=math.inf)).amax()
    for name, norm in norms.items():
        if not math.isfinite(norm):
            raise TrainingFailed(name, f"The weights of the network '{name}' became {float(norm)} before step {step}")
