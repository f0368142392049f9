"""A model's file: what is saved comes back, and every way in which a file can be wrong is refused by itself."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import NetworkSpec, read_card
from CMEDLSegmentLib.models.model_file import ModelFile, load_model, save_model
from segment.models.making import LIVER, TUMOR, a_card, a_model_file, forge, header_of, modules_of, weights_hash

HEAD = "segmentor.head.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good model."""
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    a_model_file(path)
    return path.read_bytes()


@pytest.fixture
def file(good: bytes, tmp_path: Path) -> Path:
    """A file of its own for each test, good at first."""
    path = tmp_path / "student.safetensors"
    path.write_bytes(good)
    return path


def refused(path: Path, named: str = "") -> None:
    """The file is refused with one sentence that names it and what is wrong in it."""
    with pytest.raises(ModelError) as caught:
        registry.load(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def image(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_saved_model_gives_the_same_logits_when_loaded(tmp_path: Path) -> None:
    card, path = a_card(), tmp_path / "a.safetensors"
    modules = modules_of(card)
    written = save_model(path, card, modules)
    model = load_model(path)
    network = model.build()
    assert model.card == written
    assert model.path == path
    assert model.card.classes == 1
    assert model.int8 == {}
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    with torch.inference_mode():
        logits = network(image())
        assert logits.std() > 1e-3
        assert torch.equal(logits, modules["segmentor"](image())[0])


def test_what_is_done_to_built_networks_leaves_the_model_as_it_was(file: Path) -> None:
    model = load_model(file)
    with torch.no_grad():
        for weight in model.build().parameters():
            weight.zero_()
    assert model.state[HEAD].any()
    assert model.build().networks[0].get_parameter("head.weight").any()


def test_the_card_tells_the_hash_of_the_weights(file: Path) -> None:
    data = file.read_bytes()
    assert read_card(file).weights_sha256 == weights_hash(data)
    assert list(header_of(data)["__metadata__"]) == ["cmedl-card"]


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        a_model_file(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def saved_as(folder: Path, stored: str, width: int) -> tuple[int, ModelFile]:
    """The bytes that a model takes when its weights are stored so, and what is read of them."""
    card, path = (
        a_card(networks=(NetworkSpec("segmentor", "unet", {"width": width}),)),
        folder / f"{stored}.safetensors",
    )
    save_model(path, card, modules_of(card), stored)
    return path.stat().st_size, load_model(path)


def test_half_takes_half_the_space_and_computes_in_single_precision(tmp_path: Path) -> None:
    (size, single), (small, half) = (saved_as(tmp_path, stored, 8) for stored in ("float32", "float16"))
    assert small < 0.6 * size
    assert {value.dtype for value in half.state.values()} == {torch.float32, torch.int64}
    key = next(key for key in single.state if key.endswith("running_var"))
    assert torch.equal(half.state[key], single.state[key])
    with torch.inference_mode():
        exact, rough = single.build()(image()), half.build()(image())
    assert 0 < (exact - rough).abs().max() < 0.01 * exact.std()


def test_int8_takes_a_quarter_of_the_space_and_rounds_each_row_to_half_a_step(tmp_path: Path) -> None:
    (size, single), (small, rounded) = (saved_as(tmp_path, stored, 16) for stored in ("float32", "int8"))
    assert small < 0.27 * size
    assert rounded.state.keys() == single.state.keys()
    for key, value in single.state.items():
        if value.ndim == 4 and min(value.shape[:2]) >= 8:
            steps = value.abs().amax((1, 2, 3), keepdim=True) / 127
            assert ((rounded.state[key] - value).abs() <= 0.501 * steps).all()
    with torch.inference_mode():
        exact, rough = single.build()(image()), rounded.build()(image())
    assert 0 < (exact - rough).abs().max() < 0.1 * exact.std()


@pytest.mark.parametrize("change", ["gone", "longer", "half"])
def test_rounded_weights_without_their_scale_are_refused(tmp_path: Path, change: str) -> None:
    saved_as(tmp_path, "int8", 8)

    def spoil(arrays: dict[str, np.ndarray]) -> None:
        key = next(key for key in arrays if key.startswith("scale."))
        scale = arrays.pop(key)
        if change != "gone":
            arrays[key] = np.append(scale, scale[:1]) if change == "longer" else scale.astype(np.float16)

    forge(tmp_path / "int8.safetensors", tensors=spoil)
    refused(tmp_path / "int8.safetensors")


def test_half_keeps_values_beyond_its_range(tmp_path: Path) -> None:
    card = a_card()
    modules = modules_of(card)
    with torch.no_grad():
        modules["segmentor"].get_parameter("head.weight").fill_(1e5)
    save_model(tmp_path / "a.safetensors", card, modules, "float16")
    assert (load_model(tmp_path / "a.safetensors").state[HEAD] == 1e5).all()


def test_several_labels_have_a_softmax_class_each_and_the_background(tmp_path: Path) -> None:
    spec = NetworkSpec("segmentor", "unet", {"width": 4, "classes": 3})
    a_model_file(tmp_path / "a.safetensors", networks=(spec,), labels=(TUMOR, LIVER), slices="all")
    model = load_model(tmp_path / "a.safetensors")
    assert model.card.classes == 3
    assert model.build()(image()).shape == (2, 3, 64, 64)


GENERATOR = NetworkSpec("pmri", "generator", {"width": 4, "blocks": 1})
FUSION = NetworkSpec("fusion", "weighted-fusion", {"width": 4}, ("image", "pmri"))
TWO_CHANNELS = {"width": 4, "in_channels": 2}


@pytest.mark.parametrize("fused", [False, True])
def test_a_segmentor_can_read_a_generated_image_or_its_fusion_with_the_image(tmp_path: Path, fused: bool) -> None:
    after = (FUSION, NetworkSpec("segmentor", "unet", TWO_CHANNELS, ("fusion",)))
    card = a_card(
        networks=(GENERATOR, *(after if fused else (NetworkSpec("segmentor", "unet", {"width": 4}, ("pmri",)),)))
    )
    modules = modules_of(card)
    save_model(tmp_path / "a.safetensors", card, modules)
    with torch.inference_mode():
        read = modules["pmri"](image())
        if fused:
            read = modules["fusion"](torch.cat([image(), read], dim=1))
        expected = modules["segmentor"](read)[0]
        assert torch.equal(load_model(tmp_path / "a.safetensors").build()(image()), expected)


def test_int8_ranges_travel_with_a_card_that_tells_how_they_were_checked(tmp_path: Path) -> None:
    card = a_card(int8={"dsc": 0.997, "n": 12})
    ranges = {"segmentor.head": torch.tensor([-1.5, 2.25])}
    save_model(tmp_path / "a.safetensors", card, modules_of(card), "float16", int8=ranges)
    model = load_model(tmp_path / "a.safetensors")
    assert model.int8.keys() == ranges.keys()
    assert torch.equal(model.int8["segmentor.head"], ranges["segmentor.head"])
    assert not any(key.startswith("int8") for key in model.state)
    model.build()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors")
    refused(tmp_path)


@pytest.mark.parametrize("share", [0, 0.0001, 0.05, 0.5, 0.9999])
def test_a_cut_file_is_refused(file: Path, good: bytes, share: float) -> None:
    file.write_bytes(good[: int(share * len(good))])
    refused(file)


OTHERS = {
    "zip": b"PK\3\4" + b"\0" * 400,
    "pickle": pickle.dumps({"a": [1] * 99}),
    "zeros": b"\0" * 400,
    "without a card": safetensors.numpy.save({"a": np.zeros(3, np.float32)}, {"format": "pt"}),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors")


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "more at its end": (lambda good: good + b"\0" * 16, ""),
    "header": (lambda good: good[:9] + b"\xff" + good[10:], "header"),
    "one bit of the weights": (lambda good: good[:-1000] + bytes([good[-1000] ^ 1]) + good[-999:], "weights"),
    "card": (lambda good: good.replace(rb"\"threshold\": 0.4", rb"\"threshold\": 0.1"), "card"),
}


@pytest.mark.parametrize(("damage", "named"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused(file: Path, good: bytes, damage: Callable[[bytes], bytes], named: str) -> None:
    damaged = damage(good)
    assert damaged != good
    file.write_bytes(damaged)
    refused(file, named)


def with_arguments(**arguments: object) -> Callable[[dict[str, Any]], object]:
    return lambda card: card["networks"][0].update(arguments=arguments)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda card: card.update(format="cmedl-model/3", news=1), "'cmedl-model/3'"),
        (lambda card: card.update(int8={"dsc": 1.0}), "int8"),
        (lambda card: card["networks"][0].update(kind="transformer"), "'transformer'"),
        (with_arguments(width=4, height=2), "height"),
        (with_arguments(width=-4), "width"),
        (with_arguments(width="four"), "width"),
        (with_arguments(width=None), "width"),
        # Beyond all memory, which is not taken.
        (with_arguments(width=1024), "shape"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(file: Path, change: Callable, named: str) -> None:
    forge(file, card=change)
    refused(file, named)


def changed(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({key: change(arrays[key])})


def added(key: str, count: int = 1) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({key: np.zeros(count, np.float32)})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda arrays: arrays.pop(HEAD), f"'{HEAD}'"),
        (
            lambda arrays: [arrays.pop(HEAD), arrays.pop("segmentor.head.bias")],
            "'segmentor.head.bias' is missing, and 1",
        ),
        (added("segmentor.extra"), "'segmentor.extra'"),
        (added("other.weight"), "'other.weight'"),
        (added("head.weight"), "'head.weight'"),
        (added("int8"), "'int8'"),
        (added("int8.x", 2), "int8"),
        (changed(HEAD, np.ravel), f"'{HEAD}' has the shape (4,), the card asks for (1, 4, 1, 1)"),
        *((changed(HEAD, lambda array, bad=bad: array * bad), f"'{HEAD}'") for bad in (np.nan, np.inf, -np.inf)),
        (changed(HEAD, lambda array: array.astype(np.int64)), f"'{HEAD}' has the type int64"),
        (changed(HEAD, lambda array: array.astype(np.float64)), f"'{HEAD}' has the type F64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(file: Path, change: Callable, named: str) -> None:
    forge(file, tensors=change)
    refused(file, named)


def test_networks_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    card = a_card(networks=(GENERATOR, NetworkSpec("segmentor", "unet", TWO_CHANNELS, ("pmri",))))
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        save_model(tmp_path / "a.safetensors", card, modules_of(card))
    assert list(tmp_path.iterdir()) == []


def test_weights_that_diverged_are_not_saved_and_leave_the_earlier_file(file: Path, good: bytes) -> None:
    for value in (torch.nan, torch.inf):
        modules = modules_of(a_card())
        with torch.no_grad():
            modules["segmentor"].get_parameter("head.bias").fill_(value)
        with pytest.raises(ModelError, match="NaN"):
            save_model(file, a_card(), modules)
        assert file.read_bytes() == good
    assert list(file.parent.iterdir()) == [file]


def test_modules_that_the_card_does_not_name_are_not_saved(tmp_path: Path) -> None:
    modules = {**modules_of(a_card()), "pmri": torch.nn.Identity()}
    with pytest.raises(ModelError, match="'pmri'"):
        save_model(tmp_path / "a.safetensors", a_card(), modules)


def test_another_ending_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a\.pt"):
        save_model(tmp_path / "a.pt", a_card(), modules_of(a_card()))


def test_saving_where_no_folder_can_be_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    with pytest.raises(InputError, match=r"a\.safetensors"):
        a_model_file(tmp_path / "file" / "a.safetensors")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_saving_to_a_read_only_folder_is_an_input_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match=r"a\.safetensors"):
            a_model_file(tmp_path / "a.safetensors")
    finally:
        tmp_path.chmod(0o755)


def test_non_ascii_and_long_paths_work(tmp_path: Path) -> None:
    folder = tmp_path / "Pläne und Größen 肺" / ("x" * 200) / ("y" * 100)
    folder.mkdir(parents=True)
    path = folder / "Schüler ✓.safetensors"
    a_model_file(path)
    assert load_model(path).card == read_card(path)


def test_a_card_is_read_without_torch(file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from CMEDLSegmentLib.models import card_text, registry; "
        "card = registry.entry(Path(sys.argv[1])).card; print(card.name, len(card_text.card_text(card)) > 500, "
        "'torch' in sys.modules)"
    )
    package = Path(sys.modules["CMEDLSegmentLib"].__file__).parent.parent
    command = [sys.executable, "-c", program, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["narrow", "True", "False"]


def test_nothing_is_unpickled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    load_model(file).build()


def test_the_card_in_the_file_is_plain_json(file: Path) -> None:
    stored = json.loads(header_of(file.read_bytes())["__metadata__"]["cmedl-card"])
    assert stored["labels"][0]["terminology"]["type"] == ["SCT", "86049000", "Neoplasm, Primary"]
    assert stored["networks"] == [{"name": "segmentor", "kind": "unet", "arguments": {"width": 4}, "inputs": ["image"]}]
    assert stored["normalization"] == {"kind": "window", "low": -1000.0, "high": 500.0}
