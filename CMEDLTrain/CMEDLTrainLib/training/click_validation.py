"""Validation of a student that reads clicks: whole propagations through the slices of the validation patients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from CMEDLSegmentLib.inference.propagation import Propagator, deepest
from CMEDLSegmentLib.metrics.surface_distance import dice
from CMEDLSegmentLib.models.normalization import IntensityMap

from ..cohort.store import Store
from ..computing.distribution import ALONE, Processes
from ..losses.segmentation import probabilities
from ..methods.method import Method
from ..settings.configuration import Configuration
from .prompts import THRESHOLD, prompt_of

AS_STORED = IntensityMap((-1.0, 1.0), (-1.0, 1.0))
SLICE_MM = 3.0
"""A store does not tell how far its slices are apart; it matters to the distance that is not crossed alone."""


@torch.no_grad()
def validate_clicks(
    networks: dict[str, nn.Module],
    method: Method,
    store: Store,
    device: torch.device,
    configuration: Configuration,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Figures over the validation patients with the structure; each is the mean of its cases, then of the patients.

    A case is asked for twice: by a click in the deepest place of its structure, and by one in a place that is random,
    but the same at each validation. Several processes share the patients out; all get all figures.

    Returns:
        ``loss``: one minus the DSC, which early stopping watches. ``dsc``: over all slices.
        ``dsc_structure_slices``: over the slices that hold the structure. ``overrun``: marked slices beyond its ends.
    """
    for network in networks.values():
        network.eval()

    def infer(images: torch.Tensor) -> np.ndarray:
        logits = method.segment(networks, images.to(device))
        return probabilities(logits)[:, 0].cpu().numpy()

    def propagator(images: np.ndarray) -> Propagator:
        return Propagator(
            array=images,
            spacing=(SLICE_MM, configuration.images.spacing_mm, configuration.images.spacing_mm),
            intensities=AS_STORED,
            prompt=prompt_of(configuration),
            pixels=configuration.augmentation.window,
            infer=infer,
            threshold=THRESHOLD,
        )

    patients = list(store.by_patient("validation"))
    rows = torch.zeros(len(patients), 4, dtype=torch.float64)
    for number, members in enumerate(patients):
        if number % processes.count == processes.rank:
            figures = [row for images, expert in _cases(store, members) for row in _figures(propagator(images), expert)]
            if figures:
                rows[number] = torch.tensor([*np.mean(figures, axis=0), 1.0])
    dsc, dsc_structure, overrun, counted = processes.summed(rows).sum(dim=0).tolist()
    counted = max(counted, 1.0)
    return {
        "loss": 1 - dsc / counted,
        "dsc": dsc / counted,
        "dsc_structure_slices": dsc_structure / counted,
        "overrun": overrun / counted,
    }


def _cases(store: Store, members: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of a patient's slices: images and masks, bool, (n, field, field) of each case that has the structure."""
    records = store.patches.records
    cases = records["case"][members]
    for case in dict.fromkeys(cases.tolist()):
        own = members[cases == case]
        if records["pixels"][own].any():
            images, masks = store.read(own)
            yield images, masks > 0


def _figures(propagator: Propagator, expert: np.ndarray) -> list[tuple[float, float, int]]:
    """For each click: DSC, DSC on the slices with the structure, marked slices without it."""
    places = np.argwhere(expert)
    random = places[np.random.default_rng(len(places)).integers(len(places))]
    holds = expert.any(axis=(1, 2))
    rows = []
    for z, y, x in (deepest(expert), random.tolist()):
        mask = propagator.structure((z, y, x)).mask
        beyond = int(np.count_nonzero(mask.any(axis=(1, 2)) & ~holds))
        rows.append((dice(mask, expert), dice(mask[holds], expert[holds]), beyond))
    return rows
