"""Models for the tests, and files that are wrong in one way each.

The hashes are computed here from the text of ``model.py``, not by its functions.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentLib.models.model_card import Card, NetworkSpec
from CMEDLSegmentLib.models.model_file import save_model
from CMEDLSegmentLib.models.normalization import CT_WINDOW
from CMEDLSegmentLib.networks import create_network

UNET = NetworkSpec("segmentor", "unet", {"width": 4})
LIVER = Label(
    2,
    "Liver",
    (0.8, 0.4, 0.2),
    {"category": ["SCT", "123037004", "Anatomical Structure"], "type": ["SCT", "10200004", "Liver"]},
)


def a_card(**changes: Any) -> Card:
    """A good card of a narrow Unet, with ``changes``."""
    fields = {
        "name": "narrow",
        "title": "Narrow Unet",
        "summary": "A model for tests.",
        "networks": (UNET,),
        "labels": (TUMOR,),
        "modality": "CT",
        "normalization": CT_WINDOW,
        "spacing_mm": 1.5,
        "field": 256,
        "slices": "lung",
        "threshold": 0.4,
        "training": {"method": "ct-only", "seed": 3},
        "intended_use": "Tests.",
        "unintended_use": "Patients.",
        "date": "2024-05-17",
        "program_version": "0.1.0",
        "data": ({"name": "A set", "license": "CC BY-SA 4.0", "attribution": "Its makers, 2019"},),
        "figures": ({"measure": "DSC", "value": 0.71, "spread": 0.12, "n": 12, "data": "held-out patients"},),
    }
    return Card(**{**fields, **changes})


def modules_of(card: Card, seed: int = 0) -> dict[str, nn.Module]:
    """The card's networks with seeded weights, batch-norm statistics included."""
    torch.manual_seed(seed)
    modules = {spec.name: create_network(spec.kind, **spec.arguments).eval() for spec in card.networks}
    for module in modules.values():
        for key, value in module.state_dict().items():
            if key.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return modules


def a_model_file(path: Path, seed: int = 0, **changes: Any) -> Card:
    """Save a model of :func:`a_card` at ``path``; returns the card as written."""
    return save_model(path, a_card(**changes), modules_of(a_card(**changes), seed))


def header_of(data: bytes) -> dict[str, Any]:
    """A file's header, by the format's definition."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


def weights_hash(data: bytes) -> str:
    """SHA-256 of a file's tensors, from its raw bytes and the definition in ``model.py``."""
    (length,) = struct.unpack("<Q", data[:8])
    digest = hashlib.sha256()
    for key, entry in sorted(header_of(data).items()):
        if key == "__metadata__":
            continue
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        shape = "x".join(map(str, entry["shape"]))
        digest.update(b"\0".join([key.encode(), entry["dtype"].encode(), shape.encode(), data[start:stop]]))
    return digest.hexdigest()


def card_hash(card: dict[str, Any]) -> str:
    """SHA-256 of a card's canonical JSON."""
    text = json.dumps(card, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def forge(
    path: Path,
    tensors: Callable[[dict[str, np.ndarray]], object] = len,
    card: Callable[[dict[str, Any]], object] = len,
) -> None:
    """Rewrite a model's file with changed tensors and a changed card, and with hashes that fit them."""
    data = path.read_bytes()
    arrays = {key: array.copy() for key, array in safetensors.numpy.load(data).items()}
    stored = json.loads(header_of(data)["__metadata__"]["cmedl-card"])
    del stored["card_sha256"]
    tensors(arrays)
    stored["weights_sha256"] = weights_hash(safetensors.numpy.save(arrays))
    card(stored)
    stored["card_sha256"] = card_hash(stored)
    path.write_bytes(safetensors.numpy.save(arrays, {"cmedl-card": json.dumps(stored)}))
