"""Make a run's student the mean of its own weights and those of other students.

    python average.py RUN STUDENT.safetensors ...

The student that a short second stage started from and those of other seeds lie in one valley with it; their mean marks
less falsely than one of them, and as much of the tumors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from CMEDLSegmentLib.student import load_student, save_student
from CMEDLTrainLib import checkpoints, runs
from CMEDLTrainLib.training import best_networks


def average(run: runs.Run, others: Sequence[Path]) -> None:
    """Replace the student of a finished ``run`` and the checkpoint that it is exported from."""
    networks = best_networks(run)
    states = [load_student(path).state for path in others]
    with torch.no_grad():
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.stack([value, *(state[f"{name}.{key}"] for state in states)]).mean(dim=0))
    progress = checkpoints.progress(run.best)
    checkpoints.save(run.best, networks, {}, progress)
    save_student(run.student, load_student(run.student).card, networks)


if __name__ == "__main__":
    average(runs.open_run(Path(sys.argv[1])), [Path(path) for path in sys.argv[2:]])
