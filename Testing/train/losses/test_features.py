"""VGG features against networks built from the published configurations, and every way their weights come."""

import hashlib
import os
import pickle
import re
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLTrainLib.losses import features as module
from CMEDLTrainLib.losses.features import VggFeatures, load_features

PUBLISHED = {
    "vgg16": ["1_1", "1_2", "M", "2_1", "2_2", "M", "3_1", "3_2", "3_3", "M", "4_1", "4_2"],
    "vgg19": ["1_1", "1_2", "M", "2_1", "2_2", "M", "3_1", "3_2", "3_3", "3_4", "M", "4_1", "4_2"],
}
"""The layers of configurations D and E of Simonyan and Zisserman (2015) beyond conv4_1, M for max-pooling."""
TAPS = {"vgg16": ["3_2", "3_3", "4_1"], "vgg19": ["3_3", "3_4", "4_1"]}
WIDTH = 3


def torchvision_like(kind: str, width: int = WIDTH) -> tuple[nn.Sequential, dict[str, int]]:
    """``features`` as torchvision lays it out, with random weights, and the place after each layer's ReLU."""
    layers: list[nn.Module] = []
    after, channels = {}, 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in PUBLISHED[kind]:
            if name == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            filters = width * 2 ** (int(name[0]) - 1)
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight)
            after[name], channels = len(layers), filters
    return nn.Sequential(*layers), after


def a_state(kind: str) -> dict[str, Tensor]:
    """A state as in torchvision's files, with layers that are not needed."""
    state = {f"features.{key}": value for key, value in torchvision_like(kind)[0].state_dict().items()}
    return {**state, "classifier.0.weight": torch.zeros(2, 2)}


def images(side: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_same(features: list[Tensor], expected: list[Tensor]) -> None:
    assert [layer.shape for layer in features] == [layer.shape for layer in expected]
    for ours, theirs in zip(features, expected, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_features_of_torchvisions_weights_are_those_of_torchvisions_network_and_preprocessing(kind, tmp_path):
    network, after = torchvision_like(kind)
    torch.save(a_state(kind), tmp_path / "weights.pth")
    # As torchvision's documentation of the weights says it: to RGB in 0..1, then normalized channel by channel.
    rgb = ((images() + 1) / 2).repeat(1, 3, 1, 1)
    mean, std = (torch.tensor(three)[:, None, None] for three in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    prepared = (rgb - mean) / std
    loaded = load_features(str(tmp_path / "weights.pth"))
    assert loaded.kind == kind
    assert_same(loaded(images()), [network[: after[name]](prepared).detach() for name in TAPS[kind]])


def caffe(weights: dict[str, np.ndarray], kind: str, batch: Tensor) -> list[Tensor]:
    """Caffe's network as its data's README states it: BGR, 0..255, minus (103.939, 116.779, 123.68)."""
    x = ((batch + 1) / 2 * 255).repeat(1, 3, 1, 1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    taps, number = [], 0
    for name in PUBLISHED[kind][: PUBLISHED[kind].index("4_1") + 1]:
        if name == "M":
            x, number = F.max_pool2d(x, 2, 2), number + 1
            continue
        weight, bias = (torch.from_numpy(weights[f"features.{number}.{part}"]) for part in ("weight", "bias"))
        x, number = F.conv2d(x, weight, bias, padding=1).relu(), number + 2
        if name in TAPS[kind]:
            taps.append(x)
    return taps


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_features_of_caffes_weights_are_those_of_caffes_preprocessing(kind, tmp_path):
    arrays = {key: value.numpy() for key, value in a_state(kind).items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    loaded = load_features(str(tmp_path / "weights.npz"))
    expected = caffe(arrays, kind, images())
    assert_same(loaded(images()), expected)
    # The reference tells the conventions apart: swapped channels or the other's means are not within rounding.
    other = load_features(f"torchvision:{tmp_path / 'weights.npz'}")(images())
    assert float((other[0] - expected[0]).norm() / expected[0].norm()) > 0.01
    assert_same(load_features(f"caffe:{tmp_path / 'weights.npz'}")(images()), expected)


def test_the_oxford_weights_are_read_by_their_folder_and_compute_what_caffes_network_does(data_root, monkeypatch):
    folder = data_root / "vgg16"
    if not folder.is_dir():
        pytest.skip("no vgg16 among the data")
    monkeypatch.setenv("CMEDL_DATA", str(data_root))
    loaded = load_features("$CMEDL_DATA/vgg16")
    with np.load(next(folder.glob("*.npz"))) as arrays:
        expected = caffe({key: arrays[key].astype(np.float32) for key in arrays.files}, "vgg16", images(32))
    assert [layer.shape[1:] for layer in expected] == [(256, 8, 8), (256, 8, 8), (512, 4, 4)]
    assert_same(loaded(images(32)), expected)


def test_a_picture_of_256_gives_the_sizes_that_the_paper_states():
    loaded = load_features("random:8")(images(256)[:1])
    assert [tuple(layer.shape[1:]) for layer in loaded] == [(32, 64, 64), (32, 64, 64), (64, 32, 32)]
    shapes = {key: tuple(value.shape) for key, value in module.random_features().state_dict().items()}
    assert shapes["features.14.weight"] == (256, 256, 3, 3)
    assert shapes["features.19.weight"] == (512, 256, 3, 3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_each_kind_of_file_gives_the_same_weights(suffix, tmp_path):
    path, state = tmp_path / f"weights{suffix}", a_state("vgg19")
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".safetensors":
        save_file(state, path)
    else:
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    loaded = load_features(f"torchvision:{path}").state_dict()
    assert loaded.keys() == {key for key in state if key.startswith("features.") and "21" not in key}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert load_features(f"torchvision:{tmp_path}").state_dict().keys() == loaded.keys()


def test_weights_are_out_of_reach_and_images_receive_gradients():
    network = load_features("random:2")
    network.requires_grad_(True).train()
    assert list(network.parameters()) == []
    batch = images().requires_grad_()
    sum(layer.sum() for layer in network(batch)).backward()
    assert batch.grad.abs().sum() > 0
    assert not any(value.requires_grad for value in network.state_dict().values())


def test_the_memory_format_is_kept_under_autocast():
    network = load_features("random:8").to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loaded = network(images(64).contiguous(memory_format=torch.channels_last))
    assert all(layer.is_contiguous(memory_format=torch.channels_last) for layer in loaded)
    assert all(layer.dtype == torch.bfloat16 for layer in loaded)
    for rounded, exact in zip(loaded, network(images(64)), strict=True):
        assert float((rounded.float() - exact).norm() / exact.norm()) < 0.05


def test_random_features_are_the_same_each_time_do_not_fade_and_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    first, second = load_features("random:8"), load_features("random:8")
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert all(0.1 < float(layer.std()) < 10 for layer in first(images(64)))


@pytest.mark.parametrize("source", ["", "nothing.pth", "random:0", "random:wide", "$CMEDL_NOWHERE/vgg16", "vgg11"])
def test_what_is_no_source_is_refused_and_random_features_are_not_taken_instead(source):
    with pytest.raises(InputError, match=re.escape(f"'{source}'")):
        load_features(source)


def test_a_folder_with_several_candidates_or_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=tmp_path.name):
        load_features(str(tmp_path))
    for name in ("a.pth", "b.npz"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=tmp_path.name):
        load_features(str(tmp_path))


@pytest.mark.parametrize("suffix", module.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut"])
def test_files_that_are_no_weights_are_refused_with_a_sentence(suffix, content, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        load_features(str(path))


class Harmful:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_nothing_of_a_file_is_run(suffix, tmp_path):
    mark, path = tmp_path / "was_run", tmp_path / f"weights{suffix}"
    harmful = Harmful(f"echo > {mark}")
    if suffix == ".pth":
        with path.open("wb") as file:
            pickle.dump({"features.0.weight": harmful}, file, protocol=2)
    else:
        np.savez(path, **{"features.0.weight": np.array([harmful], dtype=object)})
    with pytest.raises(InputError, match=path.name):
        load_features(str(path))
    assert not mark.exists()


def changed(state: dict[str, Tensor], key: str, value: Tensor | None) -> dict[str, Tensor]:
    rest = {name: tensor for name, tensor in state.items() if name != key}
    return rest if value is None else {**rest, key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features.14.bias", None),
        ("features.19.weight", None),
        ("features.0.weight", torch.zeros(WIDTH, 1, 3, 3)),
        ("features.5.weight", torch.zeros(2 * WIDTH, WIDTH, 5, 5)),
        ("features.7.bias", torch.zeros(WIDTH)),
        ("features.10.bias", torch.full((4 * WIDTH,), torch.nan)),
    ],
)
def test_weights_of_another_network_or_damaged_ones_are_refused(key, value):
    with pytest.raises(InputError, match=key.rpartition(".")[0]):
        VggFeatures(changed(a_state("vgg19"), key, value))


def test_vgg_with_batch_norm_is_refused():
    state = {f"features.{number}.{part}": torch.zeros(3) for number in (0, 1, 3) for part in ("weight", "bias")}
    with pytest.raises(InputError, match="features"):
        VggFeatures(state)


def served(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, prefix: str | None = None) -> Path:
    """A file of weights that takes the place of the published one, under its own hash or ``prefix``."""
    folder.mkdir(exist_ok=True)
    torch.save(a_state(kind), folder / "plain.pth")
    digest = hashlib.sha256((folder / "plain.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "plain.pth").rename(folder / f"{kind}-{prefix or digest}.pth")
    monkeypatch.setitem(module.PUBLISHED, kind, path.as_uri())
    return path


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_a_published_file_is_downloaded_once(kind, tmp_path, monkeypatch):
    path = served(kind, tmp_path / "server", monkeypatch)
    cache = tmp_path / "new" / "cache"
    assert load_features(kind, cache).kind == kind
    assert [file.name for file in cache.iterdir()] == [path.name]
    path.unlink()
    assert load_features(kind, cache).kind == kind


def test_a_damaged_download_is_fetched_anew(tmp_path, monkeypatch):
    path = served("vgg16", tmp_path / "server", monkeypatch)
    (tmp_path / path.name).write_bytes(path.read_bytes()[:-100])
    assert load_features("vgg16", tmp_path).kind == "vgg16"
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_what_has_another_checksum_is_not_kept(tmp_path, monkeypatch):
    served("vgg16", tmp_path / "server", monkeypatch, prefix="00000000")
    with pytest.raises(InputError, match="00000000"):
        load_features("vgg16", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_given_file_is_checked_against_the_hash_in_its_name(tmp_path, monkeypatch):
    path = served("vgg19", tmp_path / "files", monkeypatch)
    assert load_features(str(path)).kind == "vgg19"
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=path.name):
        load_features(str(path))


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), TimeoutError("timed out"), ConnectionResetError("reset")]
)
def test_without_a_network_the_ways_are_told_and_nothing_is_left(error, tmp_path, monkeypatch):
    def unreachable(url, timeout):
        raise error

    monkeypatch.setattr(module.urllib.request, "urlopen", unreachable)
    with pytest.raises(InputError) as refused:
        load_features("vgg19", tmp_path)
    for way in ("vgg19-dcbb9e9d.pth", str(tmp_path), ".safetensors", "random"):
        assert way in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    class Broken:
        headers = {"Content-Length": "2000000"}  # noqa: RUF012 - a stand-in

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __init__(self):
            self.calls = 0

        def read(self, count):
            self.calls += 1
            if self.calls > 1:
                raise ConnectionResetError("reset")
            return b"0" * 1000

    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: Broken())
    with pytest.raises(InputError, match=r"vgg19-dcbb9e9d\.pth"):
        load_features("vgg19", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_by_default_downloads_lie_where_torchvision_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = served("vgg16", tmp_path / "server", monkeypatch)
    load_features("vgg16")
    assert (tmp_path / "hub" / "checkpoints" / path.name).is_file()
