"""Make a run's student the mean of its own weights and those of the student that it started from.

    python average.py RUN START.safetensors

After a short second stage both lie in one valley; their mean marks less falsely than the second alone, and as much of
the tumors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from CMEDLSegmentLib.student import load_student, save_student
from CMEDLTrainLib import checkpoints, runs
from CMEDLTrainLib.training import best_networks


def average(run: runs.Run, start: Path) -> None:
    """Replace the student of a finished ``run`` and the checkpoint that it is exported from."""
    networks = best_networks(run)
    before = load_student(start).state
    with torch.no_grad():
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(before[f"{name}.{key}"], 0.5)
    progress = checkpoints.load(run.best, {}, {})
    checkpoints.save(run.best, networks, {}, progress)
    save_student(run.student, load_student(run.student).card, networks)


if __name__ == "__main__":
    average(runs.open_run(Path(sys.argv[1])), Path(sys.argv[2]))
