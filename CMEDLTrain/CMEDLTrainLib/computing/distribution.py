"""Several processes train one run together: what they share, and what each has for itself.

``torchrun --nproc-per-node N -m CMEDLTrainLib run ...`` starts them, on one machine or several that see the same files.
Each works on its part of a step's patches, with augmentation, dropout, sampled styles and image pools of its own.
Gradients and the running statistics of batch norm are averaged after each step, sums that a loss pools over the batch
are added up over all processes, so that weights and optimizers are the same everywhere. The first process alone writes.

Tensors on a GPU travel by NCCL, all others, and with them every decision, by gloo: deciding waits for no GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from CMEDLSegmentLib.base.errors import CMEDLError, DeviceError

PATIENCE = timedelta(days=1)
"""How long processes wait for one that prepares slices or writes; that one has died is noticed at once all the same."""

T = TypeVar("T")


class ProcessLost(CMEDLError):
    """Another process of the same training ended before its time."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training as one of them sees them; by default it is alone and nothing travels.

    Every method but ``first`` has to be called by all of them, in the same order.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        local_rank: number among those of this machine: which of its GPUs is this process's.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes the run's folder and talks to the user."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over the processes into each tensor; all of one type, on one device."""
        self._exchange(tensors, lambda flat: self.summed(flat).div_(self.count))

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Put the first process's values into each tensor; all of one type, on one device."""
        self._exchange(tensors, lambda flat: dist.broadcast(flat, 0))

    def _exchange(self, tensors: Sequence[Tensor], exchange: Callable[[Tensor], object]) -> None:
        """Let ``exchange`` change all values at once, where there are several processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _noticing_losses():
            exchange(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        values = [part.view(tensor.shape) for tensor, part in zip(tensors, parts, strict=True)]
        torch._foreach_copy_(list(tensors), values)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the processes, put into ``values`` too."""
        if self.count > 1:
            with _noticing_losses():
                dist.all_reduce(values)
        return values

    def any_wants(self, *wishes: bool) -> list[bool]:
        """For each wish, whether at least one process has it."""
        if self.count == 1:
            return list(wishes)
        return (self.summed(torch.tensor(wishes, dtype=torch.int64)) > 0).tolist()

    def gathered(self, values: Tensor) -> list[Tensor]:
        """What each process has of a tensor in memory, shaped alike: all of them in the first, none in the others."""
        if self.count == 1:
            return [values]
        gathered = [torch.empty_like(values) for _ in range(self.count)] if self.first else None
        with _noticing_losses():
            dist.gather(values, gathered)
        return gathered or []

    def wait(self) -> None:
        """Until all of them are here."""
        self.summed(torch.zeros(1))

    def in_turn(self, action: Callable[[], T]) -> T:
        """What ``action`` returns: called by the first process, then by one of each machine, then by the others.

        So that what the first leaves in a shared folder is found by the others, and is made once on each machine where
        the folder is not shared.
        """
        mine = 0 if self.first else 1 if self.local_rank == 0 else 2
        results = []
        for turn in range(3):
            if turn == mine:
                results.append(action())
            self.wait()
        return results[0]


ALONE = Processes()
_pooling = ALONE
"""Whose batches :func:`pooled` adds up now."""


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started this one with, all of them there; this one alone where it was not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    with _noticing_losses():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    processes = Processes(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    processes.wait()
    yield processes
    # Not after an error: with one of them lost, saying farewell in order could wait for it.
    dist.destroy_process_group()


@contextlib.contextmanager
def pooling(processes: Processes) -> Iterator[None]:
    """While inside, losses pool over the batches of all these processes."""
    global _pooling
    before, _pooling = _pooling, processes
    try:
        yield
    finally:
        _pooling = before


def pooled(sums: Tensor) -> Tensor:
    """Sums over the batch -> over the batches of all processes that train together, with gradients.

    A loss f of sums S = sum_r s_r is then the same in every process, as if one had the whole batch. Its gradient there
    is sum_r f'(S) ds_r; since gradients are averaged afterwards, each process has to give ``count`` times f'(S) ds_r.
    """
    if _pooling.count == 1:
        return sums
    return _Pooled.apply(sums, _pooling.count)


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, count: int) -> Tensor:
        ctx.count = count
        return _pooling.summed(sums.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.count, None


def choose_device(name: str, processes: Processes = ALONE) -> torch.device:
    """``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu`` as a device that is there; of several processes on a machine
    with GPUs, each gets its own.

    Raises:
        DeviceError: it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and processes.count > 1:
        name = f"cuda:{processes.local_rank}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"The device '{name}' is not available on this machine; choose auto or cpu.") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # patches are of one size
    return device


@contextlib.contextmanager
def _noticing_losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "Another process of this training ended or cannot be reached; see what it said, then resume the run with "
            "as many processes."
        ) from error
