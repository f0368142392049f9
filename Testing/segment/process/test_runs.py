"""A run from click to outcome with a real worker: what comes back, what is told, how it stays warm."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.inference import clicks
from CMEDLSegmentLib.inference.options import Click, SegmentationOptions
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.model_file import load_model
from CMEDLSegmentLib.process import protocol, voxel_transfer, worker
from CMEDLSegmentLib.process.client import SegmentationRun, WorkerClient
from segment.inference.small_models import blobs
from segment.models.making import a_model_file
from segment.panel import bright
from segment.process.processes import ANY, PATIENCE, until_stage


def stages_of(run: SegmentationRun) -> list[tuple]:
    """Every stage of a run, looked at until it is over."""
    stages = []
    while not run.done():
        stages.append(run.stage)
        time.sleep(0.001)
    return stages


def test_runs_are_those_of_the_segmenter_and_the_second_one_finds_the_worker_warm(
    make_client: Callable[..., WorkerClient], model: str, place: Path
) -> None:
    client = make_client()
    volume = blobs()
    options = SegmentationOptions(model, threshold=0.43)
    expected = Segmenter(load_model(model)).segment(volume, options)
    run = client.start(volume, options, probability=True)
    assert not run.warm
    stages = stages_of(run)
    first = run.result(0)
    worker = client.pid
    texts, fractions, *_ = zip(*stages, strict=True)
    assert list(fractions) == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1
    assert {"Starting the worker process", "Loading the model", "Segmenting on cpu"} <= set(texts)
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

    run = client.start(volume, SegmentationOptions(model, minimum_cc=1e6))
    assert run.warm
    assert "Loading the model" not in {text for text, _, _, _ in stages_of(run)}
    second = run.result(0)
    assert client.pid == worker
    assert not second.label.any()
    assert second.probability is None
    assert second.summary["components"] == []

    run = client.start(volume, SegmentationOptions("no such model"))
    with pytest.raises(ModelError, match="'no such model'"):
        run.result(PATIENCE)
    assert client.pid == worker
    assert not client.busy
    client.release()
    assert not client.warm


def test_clicks_travel_to_the_worker_and_what_came_of_them_back(
    make_client: Callable[..., WorkerClient], tmp_path: Path
) -> None:
    bright.install_model(tmp_path / "models")
    [model] = (tmp_path / "models").rglob("*.safetensors")
    volume = blobs()
    volume.array[volume.array > 0] = -400
    volume.array[:11][volume.array[:11] == -400] = 300
    missed, cut = (
        tuple(volume.geometry.to_physical(np.array([at]))[0].tolist()) for at in ((33, 40, 15), (33, 46, 15))
    )
    options = SegmentationOptions(str(model), clicks=(Click(missed), Click(cut, "cut")), click_model="threshold")
    segmenter = Segmenter(load_model(model), "cpu")
    expected = clicks.segment(volume, options, lambda name: segmenter)
    outcome = make_client().start(volume, options).result(PATIENCE)
    assert np.array_equal(outcome.label, expected.label)
    first, second = outcome.summary["components"]
    assert (first["click"], first["likely"], "click" in second) == (list(missed), True, False)
    assert outcome.summary["clicks"] == [
        {"point": list(missed), "action": "tumor"},
        {"point": list(cut), "action": "cut"},
    ]
    assert outcome.summary["click_model"] == "threshold"


def test_two_models_are_kept_and_the_one_unused_for_longest_goes(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file in files:
        a_model_file(file, name=file.stem)
    kept = worker.Worker(io.BytesIO(), io.BytesIO(), 1.0, 0)
    a, b, c = map(str, files)
    first, second = (kept._segmenter(name, "cpu") for name in (a, b))
    assert (first.model.card.name, second.model.card.name) == ("a", "b")
    assert kept._segmenter(a, "cpu") is first
    third = kept._segmenter(c, "cpu")
    assert kept._segmenter(a, "cpu") is first
    assert kept._segmenter(c, "cpu") is third
    assert kept._segmenter(b, "cpu") is not second
    # The same file with other weights is another model.
    a_model_file(files[1], seed=1, name="changed")
    assert kept._segmenter(b, "cpu").model.card.name == "changed"
    assert kept._segmenter(c, "cpu") is third


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
    run = client.start(volume, ANY)
    until_stage(run, "Segmenting")
    [file] = place.rglob("volume.raw")
    assert file.stat().st_size == volume.array.nbytes
    [line] = lines
    assert len(line) < 2000
    outcome = run.result(PATIENCE)
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    assert np.array_equal(outcome.label, volume.array)


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
