"""Each segmentor, narrow, learns four slices by heart: what its loss, its gradients and its running statistics do fits
together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from CMEDLSegmentLib.phantom import abdomen
from CMEDLTrainLib import methods
from CMEDLTrainLib.methods import Batch, Step
from CMEDLTrainLib.settings.configuration import PRESETS, Network

LIVER = 1
NETWORKS = {
    "unet": ({"width": 4}, 0.02, 160),
    # Dropout is there to keep a network from learning by heart.
    "densefcn": ({"width": 8, "growth": 4, "dropout": 0.0}, 0.02, 90),
    "mrrn": ({"width": 4}, 0.01, 130),
}
"""Arguments, learning rate, steps."""


@pytest.fixture(scope="module")
def slices() -> Batch:
    """Four slices of a phantom's liver, 32 x 32."""
    phantom = abdomen("T2", 3, (16, 32, 32), (10.0, 12.0, 12.0))
    liver = phantom.mask == LIVER
    kept = np.argsort(liver.sum(axis=(1, 2)))[-4:]
    images = np.clip(phantom.image.array[kept] / 300.0 - 1.0, -1.0, 1.0).astype(np.float32)
    return Batch(torch.from_numpy(images)[:, None], torch.from_numpy(liver[kept].astype(np.uint8)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_segmentor_learns_four_slices_by_heart(slices, kind):
    arguments, rate, steps = NETWORKS[kind]
    torch.manual_seed(0)
    made = methods.create(replace(PRESETS["tiny"], network=Network(kind, arguments)))
    network = made.networks["segmentor"]
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(made.phases[0].losses({"student": slices}, Step(torch.Generator())).values()).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        marked = made.segment(made.networks, slices.images)[:, 0] > 0
    expert = slices.masks > 0
    assert 2 * (marked & expert).sum() / (marked.sum() + expert.sum()) > 0.95
