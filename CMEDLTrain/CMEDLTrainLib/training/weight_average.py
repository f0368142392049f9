"""The exponential moving average of the student's weights, which is validated and becomes the student."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of the student's weights and running statistics, by half-life in steps.

    Args:
        networks: the student's, being trained.
        half_life: steps; 0: the average is the networks themselves.
    """

    def __init__(self, networks: dict[str, nn.Module], half_life: float) -> None:
        self._half_life = half_life
        self.networks = {name: copy.deepcopy(network).requires_grad_(False) for name, network in networks.items()}
        pairs = [
            pair
            for name, network in self.networks.items()
            for pair in zip(network.state_dict().values(), networks[name].state_dict().values(), strict=True)
        ]
        self._lerped = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._weight: Tensor = torch.ones((), device=pairs[0][0].device)

    def weigh(self, step: int) -> None:
        """Set the weight of the networks after step ``step`` against the average so far."""
        weight = 1.0
        if self._half_life > 0:
            # At the start the average follows closely, so that the random initial weights are forgotten.
            weight = max(1 - 0.5 ** (1 / self._half_life), 1 / (step + 1))
        self._weight.fill_(weight)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the networks as they are now; reads nothing but tensors, as a CUDA graph needs."""
        for average, live in self._lerped:
            average.lerp_(live, self._weight)
        for average, live in self._copied:
            average.copy_(live)
