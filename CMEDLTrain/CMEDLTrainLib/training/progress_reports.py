"""How training tells how it is doing: events in the run's folder, TensorBoard, and a line for whoever watches.

The same figures are scalars below ``tensorboard`` in the run's folder where that package is installed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.base.text import duration

from ..computing import memory
from ..runs.run_folder import Run

GROUPS = ("losses", "validation")
RATES = ("learning_rate", "images_per_second", "gpu_memory_gb", "memory_gb")
"""Figures of an event that TensorBoard gets."""


class ProgressReports:
    """What one process tells of a run; of several that train it, the first alone tells.

    Args:
        run: the run.
        device: that it is trained on.
        images: student patches of a step, over all processes.
        steps, steps_per_epoch: of the whole run.
        progress: whoever watches.
    """

    def __init__(
        self, run: Run, device: torch.device, images: int, steps: int, steps_per_epoch: int, progress: Progress
    ) -> None:
        self._run, self._device, self._images, self._progress = run, device, images, progress
        self._steps, self._per_epoch = steps, steps_per_epoch
        self._text = "Training"
        self._board: Any = None
        self._first, self._started = 0, time.monotonic()
        self._validation: Mapping[str, float] = {}

    def start(self, step: int, processes: int, validation: Mapping[str, float]) -> None:
        """Training begins at ``step``; ``validation`` are the last figures, empty where there are none."""
        self._validation = validation
        self._first, self._started = step, time.monotonic()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass
        else:  # what it has of later steps is trained again and left out
            self._board = SummaryWriter(str(self._run.folder / "tensorboard"), purge_step=step)
        self.tell(
            "start",
            step=step,
            steps=self._steps,
            device=str(self._device),
            processes=processes,
            tensorboard=self._board is not None,
        )

    def tell(self, event: str, **figures: Any) -> None:
        """Write one event."""
        self._run.report(event, **figures)
        if self._board is None or "step" not in figures:
            return
        scalars = {f"{group}/{name}": value for group in GROUPS for name, value in figures.get(group, {}).items()}
        scalars |= {name: figures[name] for name in RATES if name in figures}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, figures["step"])
        self._board.flush()

    def losses(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """The loss terms after ``step`` steps, with the learning rate as a fraction of the configured one."""
        seconds = self._seconds(step)
        figures: dict[str, Any] = {
            "step": step,
            "steps": self._steps,
            "epoch": step // self._per_epoch,
            "losses": dict(losses),
            "learning_rate": rate,
            "images_per_second": round(self._images / seconds, 2),
            **self._memory(),
            "seconds_left": self._describe(step, losses),
        }
        self.tell("step", **figures, **({"validation": dict(self._validation)} if self._validation else {}))

    def validated(self, step: int, figures: Mapping[str, float], losses: Mapping[str, float], best_epoch: int) -> None:
        """The validation figures after ``step`` steps, with the loss terms of the last one."""
        self._validation = figures
        self.tell(
            "epoch",
            epoch=step // self._per_epoch,
            step=step,
            validation=dict(figures),
            losses=dict(losses),
            best_epoch=best_epoch,
            seconds_left=self._describe(step, losses),
        )

    def show(self, step: int) -> None:
        """Let whoever watches see that ``step`` steps are done."""
        epoch = min(step // self._per_epoch + 1, self._steps // self._per_epoch)
        self._progress(f"Epoch {epoch} of {self._steps // self._per_epoch}: {self._text}", step / self._steps)

    def _seconds(self, step: int) -> float:
        """A step's mean so far, with validations and checkpoints."""
        return (time.monotonic() - self._started) / max(1, step - self._first)

    def _describe(self, step: int, losses: Mapping[str, float]) -> int:
        """Make the text that is shown, what matters most first; the seconds left."""
        left = round((self._steps - step) * self._seconds(step))
        parts = [f"{duration(left)} left"]
        parts += [f"validation DSC {self._validation['dsc']:.3f}"] if "dsc" in self._validation else []
        self._text = ", ".join([*parts, *(f"{name} {value:.3f}" for name, value in losses.items())])
        return left

    def _memory(self) -> dict[str, float]:
        """The most that was in use, in 10^9 bytes."""
        used = memory.peak(self._device)
        if used is None:
            return {}
        return {"gpu_memory_gb" if self._device.type == "cuda" else "memory_gb": round(used / 1e9, 2)}
