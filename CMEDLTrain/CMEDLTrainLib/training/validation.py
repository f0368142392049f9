"""Validation during training: the student's loss and DSC on the patches of the validation patients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..cohort.store import Store
from ..computing.distribution import ALONE, Processes
from ..losses.segmentation import one_hot, probabilities
from ..methods.method import Method

BATCH = 8


@torch.no_grad()
def validate(
    networks: dict[str, nn.Module],
    method: Method,
    store: Store,
    device: torch.device,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Figures over the validation patients, each patient's slices pooled, then the mean over patients.

    Whole volumes, as the student sees them: the store holds every slice of a validation case that the student would
    segment, and those with the structure. Several processes share the patients out; all get all figures.

    Returns:
        ``loss``: the segmentation loss that early stopping watches. ``dsc``: over all slices of a patient.
        ``dsc_structure_slices``: over the slices that hold the structure. ``false_pixels``: foreground pixels per
        slice without the structure.
    """
    for network in networks.values():
        network.eval()
    patients = list(store.by_patient("validation"))
    rows = torch.zeros(len(patients), 5, dtype=torch.float64)
    for number, members in enumerate(patients):
        if number % processes.count == processes.rank:
            rows[number] = torch.tensor(_of_patient(networks, method, store, device, members), dtype=torch.float64)
    rows = processes.summed(rows)
    loss, dsc, dsc_structure = rows[:, :3].mean(dim=0).tolist()
    false_pixels, empty_slices = rows[:, 3:].sum(dim=0).tolist()
    return {
        "loss": loss,
        "dsc": dsc,
        "dsc_structure_slices": dsc_structure,
        "false_pixels": false_pixels / max(1, empty_slices),
    }


def _of_patient(
    networks: dict[str, nn.Module], method: Method, store: Store, device: torch.device, members: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Of one patient's slices: loss, DSC, DSC of slices with the structure, false pixels, slices without it."""
    images, masks = store.read(members)
    targets = torch.from_numpy(masks).to(device)
    parts = [
        method.segment(networks, torch.from_numpy(images[start : start + BATCH, None]).to(device)).float()
        for start in range(0, len(members), BATCH)
    ]
    logits = torch.cat(parts)
    predicted = probabilities(logits)
    marked = (predicted > 0.5).float()
    expert = one_hot(targets, predicted.shape[1])
    holds = (targets > 0).flatten(1).any(dim=1)
    return (
        float(method.validation_loss(logits, targets)),
        _dice(marked, expert),
        _dice(marked[holds], expert[holds]),
        float(marked[~holds].sum()),
        float((~holds).sum()),
    )


def _dice(marked: torch.Tensor, expert: torch.Tensor) -> float:
    """DSC pooled over slices, mean over labels; 1 when both are empty."""
    overlap = 2 * (marked * expert).sum(dim=(0, 2, 3))
    total = marked.sum(dim=(0, 2, 3)) + expert.sum(dim=(0, 2, 3))
    return float(torch.where(total > 0, overlap / total.clamp(min=1), torch.ones_like(total)).mean())
