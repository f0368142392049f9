"""What a run takes, measured before it starts: memory, seconds a step, time in all; and what would fit instead.

A dry step is a real one: the configured networks on the configured device at the configured batch, in a run of its own
that is thrown away. Only ``torch.compile`` is left out, which takes minutes and would be all that is timed: compiled
steps take less. Nothing of it reaches the training, whose every step draws from generators of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.text import counted, duration

from ..cohort.store import Store
from ..computing import memory
from ..computing.distribution import choose_device
from ..runs import run_folder
from ..settings.configuration import Configuration
from .engine import Trainer

STEPS, STEPS_CUDA = 2, 8
"""Steps tried. Adam's moments come with the first; a GPU's first ones choose algorithms and fill caches."""
PATIENCE_S = 30.0
"""A first step that took longer than this is not repeated."""
SMALL = (2, 3)
"""Batches that tell what a larger one needs. Batch norm may not be able to learn from one patch alone."""
MARGIN = 0.95
"""Of the memory there is, what a batch may take that was not tried."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes."""

    device: str
    method: str
    batch: int
    memory_gb: float | None
    """At the peak of a step, in 10^9 bytes: of a GPU's memory its tensors, on the CPU the whole process; None where the
    system does not tell."""
    available_gb: float | None
    seconds_per_step: float
    steps_per_epoch: int
    epochs: int
    """Of the longest run; early stopping may end it sooner."""
    prepared: bool = True
    """Whether the slices were counted; if not, the scans' headers tell the most that there can be."""

    @property
    def seconds(self) -> float:
        """Of the whole run, without validation."""
        return self.epochs * self.steps_per_epoch * self.seconds_per_step

    def to_json(self) -> dict[str, Any]:
        """All of it, and ``steps``, ``seconds_per_epoch`` and ``seconds``."""
        derived = {"steps": self.epochs * self.steps_per_epoch, "seconds": self.seconds}
        return {**asdict(self), "seconds_per_epoch": self.seconds_per_step * self.steps_per_epoch, **derived}

    def report(self) -> str:
        """A sentence on a step and one on the whole."""
        used = "" if self.memory_gb is None else f"{self.memory_gb:.2f} GB"
        used += "" if self.available_gb is None else f" of {self.available_gb:.1f} GB"
        most = "" if self.prepared else "at most "
        return (
            f"A step with batch {self.batch} takes {self.seconds_per_step:.3g} s{used and ' and '}{used} on "
            f"{self.device}. {counted(self.epochs, 'epoch')} of {most}"
            f"{counted(self.steps_per_epoch, 'step')} take{'s' if self.epochs == 1 else ''} {most}"
            f"{duration(self.seconds)}, validation aside."
        )


@dataclass(frozen=True)
class _Trial:
    """Steps tried with one batch."""

    bytes: int | None
    seconds: float
    steps_per_epoch: int


def dry_step(configuration: Configuration, store: Store) -> Estimate:
    """Try steps of a run before it starts.

    Args:
        configuration: of the run.
        store: its slices.

    Raises:
        InputError: the memory does not suffice; the message says what would fit. Or the run cannot be built.
        DeviceError: the configured device is absent.
    """
    device, batch = choose_device(configuration.device), configuration.optimization.batch
    free = memory.available(device)
    trials: dict[int, _Trial] = {}
    # Nothing stops a process in time that takes too much of the CPU's memory: there, small batches tell before.
    sizes = [size for size in SMALL if size < batch] if device.type == "cpu" and free is not None else []
    for size in (*sizes, batch):
        trial = None if free is not None and _needed(trials, size) > free else _tried(configuration, store, size)
        if trial is None:
            raise _too_large(configuration, store, trials, free)
        trials[size] = trial
    tried = trials[batch]
    memory.start_peak(device)  # frees what was tried, before the run builds the same again
    return Estimate(
        device=str(device),
        method=configuration.method,
        batch=batch,
        memory_gb=None if tried.bytes is None else round(tried.bytes / 1e9, 3),
        available_gb=None if free is None else round(free / 1e9, 3),
        seconds_per_step=round(tried.seconds, 6),
        steps_per_epoch=tried.steps_per_epoch,
        epochs=configuration.optimization.epochs,
    )


def _tried(configuration: Configuration, store: Store, batch: int) -> _Trial | None:
    """Some steps with ``batch``, the later ones timed; None where the memory did not suffice.

    Raises:
        InputError: the run cannot be built, or the batch is too small for batch norm.
    """
    tried = replace(configuration, optimization=replace(configuration.optimization, batch=batch, compile=False))
    device = choose_device(tried.device)
    memory.start_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        try:
            trainer = Trainer(run_folder.create(Path(folder) / "dry", tried), store)
            seconds = _seconds(trainer, STEPS_CUDA if device.type == "cuda" else STEPS)
        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            return None
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "Batch norm cannot learn from a single patch that a network shrinks to one pixel; set "
                "optimization.batch=2 or more, or a larger images.field."
            ) from error
        return _Trial(memory.peak(device), median(seconds[len(seconds) // 2 :]), trainer.steps_per_epoch)


def _seconds(trainer: Trainer, steps: int) -> list[float]:
    """Of each step, until the device has done it."""
    seconds: list[float] = []
    for step in range(steps):
        started = time.perf_counter()
        for loss in trainer._step(step).values():
            loss.item()
        seconds.append(time.perf_counter() - started)
        if seconds[0] > PATIENCE_S:
            break
    return seconds


def _lacks_memory(error: Exception) -> bool:
    # The CPU's allocator and Apple's devices raise a plain RuntimeError.
    messages = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in messages)


def _needed(trials: Mapping[int, _Trial], batch: int) -> float:
    """Bytes that ``batch`` will take, on the line through two batches that were tried; 0 where it is not known."""
    if len(trials) < 2:
        return 0.0
    (small, first), (large, second) = sorted(trials.items())[:2]
    if first.bytes is None or second.bytes is None:
        return 0.0
    return first.bytes + (second.bytes - first.bytes) / (large - small) * (batch - small)


def _too_large(configuration: Configuration, store: Store, trials: dict[int, _Trial], free: int | None) -> InputError:
    """Says which batch would fit, by the line through the smallest ones."""
    batch = configuration.optimization.batch
    for size in (1, 2):
        with contextlib.suppress(InputError):  # too small
            if size < batch and size not in trials and (trial := _tried(configuration, store, size)) is not None:
                trials[size] = trial
    takes = f"A step with batch {batch}"
    needed = _needed(trials, batch)
    takes += f" takes about {needed / 1e9:.2f} GB, and" if needed else " does not fit into the memory:"
    takes += " there is not enough." if free is None else f" {free / 1e9:.2f} GB are there."
    fitting = [
        size for size in range(1, batch) if size in trials or (needed and _needed(trials, size) <= MARGIN * (free or 0))
    ]
    if fitting:
        return InputError(f"{takes} A batch of {max(fitting)} fits: --set optimization.batch={max(fitting)}.")
    return InputError(
        f"{takes} Not even a batch of 1 fits; choose a narrower network (--set network.arguments.width=...), a smaller "
        "field (--set images.field=...) or half precision (--set optimization.precision=bf16)."
    )
