"""Models and volumes for the Segmenter's tests: narrow, quick, with answers known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.model_card import Card, NetworkSpec
from CMEDLSegmentLib.models.model_file import ModelFile
from segment.models import making


def a_card(labels: int = 1, **changes: object) -> Card:
    """A card of a narrow Unet that reads every slice."""
    named = (TUMOR, *(Label(n, f"Organ {n}", (0.1, 0.8, 0.1), TUMOR.terminology) for n in range(2, labels + 1)))
    classes = 1 if labels == 1 else labels + 1
    fields = {
        "networks": (NetworkSpec("segmentor", "unet", {"width": 4, "classes": classes}),),
        "labels": named,
        "field": 64,
        "slices": "all",
        "threshold": 0.5,
    }
    return making.a_card(**{**fields, **changes})


def a_model(card: Card) -> ModelFile:
    """A model with seeded random weights; the batch norms' statistics are not those of a fresh network."""
    modules = making.modules_of(card).items()
    state = {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}
    return ModelFile(card, state, Path("student.safetensors"))


def linear(slope: float, level: float) -> Callable:
    """What starts a runtime whose one logit is ``slope`` (intensity - ``level``) of the normalized image."""
    return lambda model, plan: lambda images: (images - level) * slope


def blobs() -> Volume:
    """A CT of air, three balls of 300 HU in it; anisotropic, off-center, an origin of its own."""
    geometry = Geometry((50, 60, 24), (1.1, 0.9, 2.5), (-40.0, 12.0, 700.0))
    z, y, x = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    array = np.full(geometry.shape, -1000, dtype=np.int16)
    for cz, cy, cx, radius in ((6, 20, 15, 9.0), (15, 40, 33, 7.0), (20, 12, 40, 3.0)):
        distance = ((z - cz) * 2.5) ** 2 + ((y - cy) * 0.9) ** 2 + ((x - cx) * 1.1) ** 2
        array[distance <= radius**2] = 300
    return Volume(array=array, geometry=geometry, modality="CT")
