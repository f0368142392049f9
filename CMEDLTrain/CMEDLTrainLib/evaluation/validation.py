"""Validation during training: the student's loss and DSC on the patches of the validation patients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..cohort.store import Store
from ..losses.segmentation import one_hot, probabilities
from ..methods.method import Method

BATCH = 8


@torch.no_grad()
def validate(networks: dict[str, nn.Module], method: Method, store: Store, device: torch.device) -> dict[str, float]:
    """Figures over the validation patients, each patient's slices pooled, then the mean over patients.

    Returns:
        ``loss``: the segmentation loss that early stopping watches. ``dsc``: over all slices of a patient.
        ``dsc_structure_slices``: over the slices that hold the structure. ``false_pixels``: foreground pixels per
        slice without the structure.
    """
    for network in networks.values():
        network.eval()
    losses, dsc, dsc_structure = [], [], []
    false_pixels, empty_slices = 0.0, 0
    for members in store.by_patient("validation"):
        images, masks = store.read(members)
        targets = torch.from_numpy(masks).to(device)
        parts = [
            method.segment(networks, torch.from_numpy(images[start : start + BATCH, None]).to(device)).float()
            for start in range(0, len(members), BATCH)
        ]
        logits = torch.cat(parts)
        losses.append(float(method.validation_loss(logits, targets)))
        predicted = probabilities(logits)
        found = (predicted > 0.5).float()
        wanted = one_hot(targets, predicted.shape[1])
        holds = (targets > 0).flatten(1).any(dim=1)
        dsc.append(_dice(found, wanted))
        dsc_structure.append(_dice(found[holds], wanted[holds]))
        false_pixels += float(found[~holds].sum())
        empty_slices += int((~holds).sum())
    return {
        "loss": float(np.mean(losses)),
        "dsc": float(np.mean(dsc)),
        "dsc_structure_slices": float(np.mean(dsc_structure)),
        "false_pixels": false_pixels / max(1, empty_slices),
    }


def _dice(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """DSC pooled over slices, mean over labels; 1 when both are empty."""
    overlap = 2 * (found * wanted).sum(dim=(0, 2, 3))
    total = found.sum(dim=(0, 2, 3)) + wanted.sum(dim=(0, 2, 3))
    return float(torch.where(total > 0, overlap / total.clamp(min=1), torch.ones_like(total)).mean())
