"""Models that answer the same everywhere, small scans, and a way to call the command in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from CMEDLSegmentLib.cli import main
from CMEDLSegmentLib.inference import pipeline
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.models.model_file import save_model
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.networks import create_network
from segment.models.making import a_card

SHAPE = (6, 24, 20)
GEOMETRY = Geometry((20, 24, 6), (2.0, 2.0, 5.0), (-10.0, 5.0, 40.0))
"""48 x 40 mm in-plane: all of it lies in the models' field of 64 x 64 mm."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one line of stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Calls ``cmedl-segment``; a user's folders lie in the test's own."""
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "user-models"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work with torch, which starts at once; the faster runtime takes seconds to make itself ready."""
    monkeypatch.setattr(pipeline, "load_segmenter", torch_segmenter)


def torch_segmenter(options: SegmentationOptions) -> Segmenter:
    """What ``load_segmenter`` gives where nothing faster is installed."""
    return Segmenter(registry.load(options.model), device=options.device, runtime="torch")


def make_model(path: Path, logit: float, **changes: object) -> Path:
    """A model whose every logit is ``logit``, so that what it marks is known without it."""
    torch.manual_seed(0)
    network = create_network("unet", width=2, classes=1)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(logit)
    fields: dict[str, Any] = {
        "name": path.stem,
        "networks": (NetworkSpec("segmentor", "unet", {"width": 2, "classes": 1}),),
        "normalization": Normalization("window", -1000.0, 500.0),
        "spacing_mm": 2.0,
        "field": 32,
        "slices": "all",
        "threshold": 0.5,
    }
    save_model(path, a_card(**{**fields, **changes}), {"segmentor": network})
    return path


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is 0.73 sure of every voxel."""
    return make_model(tmp_path_factory.mktemp("student") / "everything.safetensors", 1.0)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A CT file of noise in HU."""
    array = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
    write_image(tmp_path / "scan.nii.gz", array, GEOMETRY)
    return tmp_path / "scan.nii.gz"
