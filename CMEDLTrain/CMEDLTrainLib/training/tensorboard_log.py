"""A run's figures for TensorBoard too, below ``tensorboard`` in its folder, where that package is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

GROUPS = ("losses", "validation")
RATES = ("learning_rate", "images_per_second", "gpu_memory_gb", "memory_gb")


class TensorBoardLog:
    """Writes the numbers of a run's events as scalars over steps.

    Attributes:
        installed: whether TensorBoard is; if not, nothing is written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Go on in ``folder``, the run's; what it has of steps after ``step`` is trained again and left out."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
        else:
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        self.installed = self._writer is not None

    def take(self, figures: Mapping[str, Any]) -> None:
        """Write what an event tells of its ``step``: losses, validation figures and rates."""
        if self._writer is None or "step" not in figures:
            return
        scalars = {f"{group}/{name}": value for group in GROUPS for name, value in figures.get(group, {}).items()}
        scalars |= {name: figures[name] for name in RATES if name in figures}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, figures["step"])
        self._writer.flush()
