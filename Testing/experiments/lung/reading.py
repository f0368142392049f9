"""How a run's student is best read: threshold and smoothing over the slices, on the run's validation patients.

    python reading.py RUN

For each threshold and each smoothing (standard deviation in slices, which are 3 mm apart by the nominal spacing) it
prints the DSC on slices with tumor, that on all slices, and the pixels marked on a slice without tumor, each the mean
over the validation patients.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from CMEDLSegmentLib.inference.probability import smooth_over_slices
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.training.train_run import best_networks, slices_of

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
DEVIATIONS = (0.0, 0.5, 1.0, 1.5, 2.0)
BATCH = 8


def patients(run: run_folder.Run) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each validation patient, by slice: probability (n, 1, field, field), expert's mask, axial index."""
    network, store = best_networks(run)["segmentor"], slices_of(run)
    for indices in store.by_patient("validation"):
        images, masks = store.read(indices)
        with torch.inference_mode():
            batches = torch.from_numpy(images)[:, None].split(BATCH)
            values = torch.cat([network(batch)[0].sigmoid() for batch in batches]).half().numpy()
        yield values, masks > 0, np.array([store.patches[int(index)].slice for index in indices])


def figures(marked: np.ndarray, expert: np.ndarray) -> tuple[float, float, float]:
    """DSC on slices with tumor, DSC on all slices, pixels marked on a slice without tumor."""
    tumor = expert.any(axis=(1, 2))
    false = marked[~tumor].sum() / max(1, np.count_nonzero(~tumor))
    return _dsc(marked[tumor], expert[tumor]), _dsc(marked, expert), float(false)


def _dsc(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


if __name__ == "__main__":
    known = list(patients(run_folder.open_run(Path(sys.argv[1]))))
    for deviation in DEVIATIONS:
        read = []
        for values, expert, slices in known:
            smooth = values.copy()
            if deviation:
                smooth_over_slices(smooth, slices, deviation)
            read.append((smooth[:, 0], expert))
        for threshold in THRESHOLDS:
            of_patients = [figures(values >= threshold, expert) for values, expert in read]
            tumor, every, false = np.mean(of_patients, axis=0)
            print(f"{deviation} slices, threshold {threshold}: DSC {tumor:.4f}, all {every:.4f}, false {false:.1f}")
