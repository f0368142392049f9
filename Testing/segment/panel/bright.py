"""A model that marks what is bright, and a CT with bright balls in it: the answer is known to the voxel."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.inference.options import ADD, CUT, Click, SegmentationOptions
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import METADATA_KEY, Card, ClickPrompt, NetworkSpec
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.process.protocol import Outcome

LOW, HIGH = -1000.0, 500.0
LEVEL_HU = -250.0
"""Where the model's probability is one half; it rises from 0.02 to 0.98 within 300 HU around it."""
SHAPE = (24, 64, 64)
SPACING = (1.5, 1.5, 2.0)
"""mm along (x, y, z)."""
LARGE, SMALL = ((12, 36, 22), 9.0), ((14, 20, 46), 5.0)
"""Center (z, y, x) in voxels and radius in mm of the balls."""


CARD = Card(
    name="bright",
    title="Bright is tumor",
    summary="A model for tests: what is bright is tumor.",
    networks=(NetworkSpec("segmentor", "unet", {"width": 1}),),
    labels=(TUMOR,),
    modality="CT",
    normalization=Normalization("window", LOW, HIGH),
    spacing_mm=1.5,
    field=64,
    slices="all",
    threshold=0.5,
    training={},
    intended_use="Tests.",
    unintended_use="Patients.",
    date="2024-05-17",
    program_version="0.1.0",
    data=({"name": "A set", "license": "CC BY-SA 4.0", "attribution": "Its makers, 2019"},),
    weights_sha256="0" * 64,
)


CLICK_CARD = replace(
    CARD,
    name="bright-click",
    title="What is clicked is tumor",
    summary="A model for tests: what is within 6 mm of a click is tumor.",
    networks=(NetworkSpec("segmentor", "unet", {"width": 1}, inputs=("image", "prompt")),),
    prompt=ClickPrompt(),
)
CLICK_MM, MEND_MM = 6.0, 4.0
"""What that model marks around the first click, and adds or cuts around the others."""


def _file(folder: Path, card: Card = CARD) -> Path:
    path = folder / registry.folder_name(card.name) / "0001_test.safetensors"
    path.parent.mkdir(parents=True)
    return path


def install_card(folder: Path, card: Card = CARD) -> None:
    """Put a model without its weights into a folder of installed models (``CMEDL_MODELS``); needs no torch."""
    header = json.dumps({"__metadata__": {METADATA_KEY: card.to_json()}}).encode("utf-8")
    _file(folder, card).write_bytes(struct.pack("<Q", len(header)) + header)


def install_model(folder: Path) -> None:
    """Put the model with its network into a folder of installed models."""
    from CMEDLSegmentLib.models.model_file import save_model

    save_model(_file(folder), CARD, {"segmentor": network()})


def network():
    """A Unet of width 1 that gives :func:`outcome_of`'s probability."""
    import torch

    from CMEDLSegmentLib.networks import create_network

    unet = create_network("unet", width=1).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.zero_()
        for name, parameter in unet.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
        # The image goes through the topmost skip alone, raised by 1 so that no ReLU cuts it.
        outer, inner = unet.encoder[0], unet.decoder[-1]
        outer.first.conv.bias.fill_(1.0)
        for stage in (outer.first, outer.second, inner.first, inner.second):
            stage.conv.weight[0, 0, 1, 1] = 1.0
        unet.head.weight.fill_(20.0)
        unet.head.bias.fill_(-20.0 * (2.0 * (LEVEL_HU - LOW) / (HIGH - LOW)))
    return unet


def distance_mm(ball: tuple) -> np.ndarray:
    """(z, y, x) distance of every voxel's center from a ball's."""
    index = np.indices(SHAPE).transpose(1, 2, 3, 0)
    return np.linalg.norm((index - ball[0]) * SPACING[::-1], axis=-1)


def balls(*chosen: tuple) -> np.ndarray:
    """bool (z, y, x): what lies in one of the balls."""
    return np.logical_or.reduce([distance_mm(ball) <= ball[1] for ball in chosen])


def add_ct(name: str = "CT"):
    """A volume node with a large and a small ball of 0 HU in air; their rims are softer, as of a scanner."""
    import slicer
    import vtk

    array = np.full(SHAPE, -900.0)
    for ball in (LARGE, SMALL):
        array = np.maximum(array, -900.0 + 900.0 * np.clip(0.72 + (ball[1] - distance_mm(ball)) / 4.0, 0.0, 1.0))
    matrix = vtk.vtkMatrix4x4()
    for axis, step in enumerate((-SPACING[0], -SPACING[1], SPACING[2])):
        matrix.SetElement(axis, axis, step)
    for axis, at in enumerate((48.0, 48.0, -24.0)):
        matrix.SetElement(axis, 3, at)
    node = slicer.util.addVolumeFromArray(np.rint(array).astype(np.int16), matrix, name)
    node.CreateDefaultDisplayNodes()
    return node


def clicked(volume: Volume, clicks: Sequence[Click]) -> np.ndarray:
    """bool (z, y, x): what "bright-click" marks."""
    z, y, x = np.indices(volume.array.shape)
    places = volume.geometry.to_physical(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    steps = {click: (np.linalg.norm(places - click.point, axis=1)).reshape(volume.array.shape) for click in clicks}
    mask = steps[clicks[0]] <= CLICK_MM
    for click in clicks[1:]:
        index = volume.geometry.to_index(np.array([clicks[0].point, click.point]))[:, 2].round()
        if click.action == ADD:
            mask = mask | (steps[click] <= MEND_MM)
        elif click.action == CUT:
            mask = mask & (steps[click] > MEND_MM)
        else:
            mask = mask & (z <= index[1] if index[1] > index[0] else z >= index[1])
    return mask


def outcome_of(volume: Volume, options: SegmentationOptions, probability_too: bool) -> Outcome:
    """What the model finds in a volume, without a network; the pieces by scipy.

    "bright-click" marks what is around the clicks. Beside "bright" the first click adds the same to what it finds.
    """
    from scipy import ndimage

    rise = (volume.array.astype(np.float32) - np.float32(LEVEL_HU)) * np.float32(40.0 / (HIGH - LOW))
    probability = (1.0 / (1.0 + np.exp(-rise))).astype(np.float32)
    threshold = 0.5 if options.threshold is None else options.threshold
    label = (probability >= threshold).astype(np.uint8)
    if options.clicks:
        tumor = clicked(volume, options.clicks)
        label = (tumor | (label > 0) if options.model == CARD.name else tumor).astype(np.uint8)
    regions, count = ndimage.label(label, structure=np.ones((3, 3, 3)))
    components = []
    for number in range(1, count + 1):
        z, y, x = np.nonzero(regions == number)
        values = probability[z, y, x]
        center = volume.geometry.to_physical(np.array([[x.mean(), y.mean(), z.mean()]]))[0]
        components.append(
            {
                "label": 1,
                "volume_cc": len(z) * volume.geometry.voxel_cc,
                "mean": float(values.mean()),
                "peak": float(values.max()),
                "slices": [int(z.min()), int(z.max())],
                "n_slices": len(set(z.tolist())),
                "center_mm": center.tolist(),
            }
        )
    components.sort(key=lambda component: -component["mean"])
    summary = {
        "student": options.model,
        "student_title": "Bright is tumor",
        "weights_sha256": "0" * 64,
        "program_version": "0.1.0",
        "threshold": threshold,
        "slices": "all",
        "minimum_cc": options.minimum_cc,
        "device": "cpu",
        "runtime": "none",
        "seconds": 1.5,
        "timings": {},
        "lung_slices": 0,
        "tumor_volume_cc": sum(component["volume_cc"] for component in components),
        "warnings": ["The model is simple."],
        "labels": [
            {"value": 1, "name": TUMOR.name, "color": list(TUMOR.color), "terminology": TUMOR.terminology},
        ],
        "components": components,
        "series_uid": None,
        "date": "2024-05-17T10:00:00+00:00",
    }
    return Outcome(label, probability if probability_too else None, summary)
