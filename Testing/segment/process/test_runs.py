"""A run from click to outcome with a real worker: what comes back, what is told, how it stays warm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.model_file import load_model
from CMEDLSegmentLib.process import protocol, voxel_transfer, worker
from CMEDLSegmentLib.process.client import WorkerClient
from CMEDLSegmentLib.process.protocol import Finished, Request, Stage, Started
from segment.inference.small_models import blobs
from segment.process.processes import ANY, PATIENCE, until_stage


def test_runs_are_those_of_the_segmenter_and_the_second_one_finds_the_worker_warm(
    make_client: Callable[..., WorkerClient], model: str, place: Path
) -> None:
    client = make_client()
    volume = blobs()
    expected = Segmenter(load_model(model)).segment(volume, threshold=0.43)
    events: list = []
    client.start(volume, Request(model, threshold=0.43, probability=True))
    first = client.wait(events.append, PATIENCE)
    worker = client.pid
    assert events[0] == Started(warm=False)
    assert isinstance(events[-1], Finished)
    stages = [event for event in events if isinstance(event, Stage)]
    fractions = [stage.fraction for stage in stages]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1
    assert {"Starting the worker process", "Loading the model", "Segmenting on cpu"} <= {s.text for s in stages}
    assert 0 < expected.label.mean() < 1
    assert first.label.dtype == np.uint8
    assert np.array_equal(first.label, expected.label)
    assert first.probability.dtype == np.float32
    assert np.array_equal(first.probability, expected.probability.native())
    summary = first.summary
    assert summary["student"] == "narrow"
    assert summary["threshold"] == 0.43
    assert summary["weights_sha256"] == load_model(model).card.weights_sha256
    assert [component["volume_cc"] for component in summary["components"]] == [
        component.volume_cc for component in expected.components
    ]
    assert summary["components"][0]["center_mm"] == list(expected.components[0].center_mm)
    assert summary["labels"][0]["name"] == "Tumor"
    assert not list(place.iterdir())

    events.clear()
    client.start(volume, Request(model, minimum_cc=1e6))
    second = client.wait(events.append, PATIENCE)
    assert events[0] == Started(warm=True)
    assert "Loading the model" not in {event.text for event in events if isinstance(event, Stage)}
    assert client.pid == worker
    assert not second.label.any()
    assert second.probability is None
    assert second.summary["components"] == []

    client.start(volume, Request("no such model"))
    with pytest.raises(ModelError, match="No model is named"):
        client.wait(timeout=PATIENCE)
    assert client.pid == worker
    assert not client.busy
    client.release()
    assert not client.warm
    with pytest.raises(InputError, match="start one"):
        client.wait(timeout=1)


def test_a_click_hardly_keeps_the_thread_that_makes_it(
    make_client: Callable[..., WorkerClient], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voxels go by a file, which threads write and read."""
    lines: list[bytes] = []
    encode = protocol.encode
    monkeypatch.setattr(
        "CMEDLSegmentLib.process.supervisor.encode", lambda message: lines.append(encode(message)) or lines[-1]
    )
    volume = Volume(np.zeros((60, 512, 512), np.int16), Geometry((512, 512, 60)), "CT")
    volume.array[30, 200:300, 200:300] = 1
    client = make_client("quick", "0.5")
    threads = []

    def watched(original: Callable) -> Callable:
        return lambda *args: threads.append(threading.current_thread()) or original(*args)

    for name in ("write_volume", "read_outcome"):
        monkeypatch.setattr(voxel_transfer, name, watched(getattr(voxel_transfer, name)))
    client.start(volume, ANY)
    until_stage(client, "Segmenting")
    [file] = place.rglob("volume.raw")
    assert file.stat().st_size == volume.array.nbytes
    [line] = lines
    assert len(line) < 2000
    while client.busy:
        events = client.poll()
        time.sleep(0.02)
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    assert np.array_equal(events[-1].outcome.label, volume.array)


def test_the_memory_of_the_gpu_is_given_back_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    freed = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    worker.free_memory()
    assert not freed
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    worker.free_memory()
    assert freed
