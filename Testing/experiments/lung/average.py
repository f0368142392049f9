"""Make a run's student the mean of its own weights and those of other students, and say how it is read.

    python average.py RUN STUDENT.safetensors ... --threshold 0.4 --smoothing-mm 3

The student that a short second stage started from and those of other seeds lie in one valley with it; their mean marks
less falsely than one of them, and as much of the tumors. Threshold and smoothing are what validation patients chose
(``reading.py``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from CMEDLSegmentLib.models.model_file import load_model, save_model
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.training import checkpoints
from CMEDLTrainLib.training.train_run import best_networks


def average(run: run_folder.Run, others: Sequence[Path], threshold: float, smoothing_mm: float) -> None:
    """Replace the student of a finished ``run`` and the checkpoint that it is exported from."""
    networks = best_networks(run)
    states = [load_model(path).state for path in others]
    with torch.no_grad():
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.stack([value, *(state[f"{name}.{key}"] for state in states)]).mean(dim=0))
    progress = checkpoints.progress(run.best)
    checkpoints.save(run.best, networks, {}, progress)
    card = replace(load_model(run.student).card, threshold=threshold, smoothing_mm=smoothing_mm)
    save_model(run.student, card, networks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--smoothing-mm", type=float, required=True)
    options = parser.parse_args()
    average(run_folder.open_run(options.run), options.students, options.threshold, options.smoothing_mm)
