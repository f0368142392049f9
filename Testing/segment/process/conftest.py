"""A model in a file, workers that end with the test, and commands that only look like a Python interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.models.model_file import load_model
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.process.client import WorkerClient
from segment.inference.small_models import blobs
from segment.models.making import a_model_file
from segment.process.processes import FAKE


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of a narrow model that reads every slice."""
    path = tmp_path_factory.mktemp("student") / "narrow.safetensors"
    a_model_file(path, slices="all", field=64, threshold=0.5, normalization=Normalization("window", -1000.0, 500.0))
    return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the clients of a test make their folders; empty again at its end."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    return folder


@pytest.fixture
def make_client(place: Path) -> Iterator[Callable[..., WorkerClient]]:
    """Makes clients, closed at the end of the test."""
    made: list[WorkerClient] = []

    def make(*behavior: str, **settings: object) -> WorkerClient:
        """A client; with a ``behavior`` of ``fake_python.py`` its worker is no worker."""
        if behavior:
            settings["python"] = [sys.executable, str(FAKE), *behavior]
        made.append(WorkerClient(**{"folder": place, **settings}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="session")
def expected_blobs(model: str) -> bytes:
    """The label that the model makes of the balls, computed in this process."""
    return Segmenter(load_model(model)).segment(blobs()).label.tobytes()
