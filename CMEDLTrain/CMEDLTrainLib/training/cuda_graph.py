"""The device's part of a step as one CUDA graph: thousands of small launches become one.

What a graph repeats is fixed addresses, so that all that changes from step to step has to lie in tensors: the batches
are copied into the same ones, learning rates and the average's weight are tensors, and random numbers come from
generators that the graph knows, seeded before each replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..methods import Batch

WARM_UP = 3
"""Steps that run as they are before one is captured: they create optimizer states and choose kernels."""


class StepGraph:
    """Runs ``body`` on batches of one shape: the first three times as it is, from then on as a captured graph.

    Args:
        body: batches by role -> loss terms; one whole update, without anything that waits for the device.
        generators: of the device, that ``body`` draws from beside the default one.
    """

    def __init__(self, body: Callable[[dict[str, Batch]], dict[str, Tensor]], generators: Sequence[torch.Generator]):
        self._body, self._generators = body, generators
        self._stream = torch.cuda.Stream()
        self._batches: dict[str, Batch] = {}
        self._warmed = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._terms: dict[str, Tensor] = {}

    def __call__(self, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """One update; the terms that it returns are overwritten by the next."""
        if not self._batches:
            self._batches = {
                role: Batch(*(part if part is None else part.clone() for part in batch.parts))
                for role, batch in batches.items()
            }
        for role, batch in batches.items():
            for kept, part in zip(self._batches[role].parts, batch.parts, strict=True):
                if kept is not None:
                    kept.copy_(part)
        if self._warmed < WARM_UP:
            return self._warm_up()
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()
        return self._terms

    def _warm_up(self) -> dict[str, Tensor]:
        # On a stream of its own, as the capture: gradients that the default stream made could not be captured.
        self._warmed += 1
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            terms = self._body(self._batches)
        torch.cuda.current_stream().wait_stream(self._stream)
        return terms

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            self._terms = self._body(self._batches)
        return graph
