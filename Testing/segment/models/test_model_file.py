"""A model's file: what is saved comes back, and every way in which a file can be wrong is refused by itself."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import NetworkSpec, read_card
from CMEDLSegmentLib.models.model_file import load_model, save_model
from segment.models.making import LIVER, TUMOR, UNET, a_card, a_model_file, forge, header_of, modules_of, weights_hash

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


def refused(path: Path, reason: str) -> None:
    """The file is refused with one sentence that names it and the reason."""
    with pytest.raises(ModelError) as caught:
        registry.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be used as a model: ")
    assert reason in message
    assert "\n" not in message
    assert message.endswith(".")


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


def test_half_takes_half_the_space_and_computes_in_single_precision(tmp_path: Path) -> None:
    card = a_card(networks=(NetworkSpec("segmentor", "unet", {"width": 8}),))
    modules = modules_of(card)
    save_model(tmp_path / "single.safetensors", card, modules)
    save_model(tmp_path / "half.safetensors", card, modules, "float16")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("single", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    model = load_model(tmp_path / "half.safetensors")
    assert {value.dtype for value in model.state.values()} == {torch.float32, torch.int64}
    assert torch.equal(
        model.state["segmentor." + _norm_key(modules)], modules["segmentor"].state_dict()[_norm_key(modules)]
    )
    with torch.inference_mode():
        single, half = modules["segmentor"](image())[0], model.build()(image())
    assert 0 < (single - half).abs().max() < 0.01 * single.std()


def test_int8_takes_a_quarter_of_the_space_and_rounds_each_row_to_half_a_step(tmp_path: Path) -> None:
    card = a_card(networks=(NetworkSpec("segmentor", "unet", {"width": 16}),))
    modules = modules_of(card)
    for stored in ("float32", "int8"):
        save_model(tmp_path / f"{stored}.safetensors", card, modules, stored)
    sizes = {stored: (tmp_path / f"{stored}.safetensors").stat().st_size for stored in ("float32", "int8")}
    assert sizes["int8"] < 0.27 * sizes["float32"]
    single, rounded = (load_model(tmp_path / f"{stored}.safetensors") for stored in sizes)
    assert rounded.state.keys() == single.state.keys()
    for key, value in single.state.items():
        if value.ndim == 4 and min(value.shape[:2]) >= 8:
            steps = value.abs().amax((1, 2, 3), keepdim=True) / 127
            assert ((rounded.state[key] - value).abs() <= 0.501 * steps).all()
    with torch.inference_mode():
        exact, found = single.build()(image()), rounded.build()(image())
    assert 0 < (exact - found).abs().max() < 0.1 * exact.std()


@pytest.mark.parametrize("change", ["gone", "longer", "half"])
def test_rounded_weights_without_their_scale_are_refused(tmp_path: Path, change: str) -> None:
    card = a_card(networks=(NetworkSpec("segmentor", "unet", {"width": 8}),))
    save_model(tmp_path / "a.safetensors", card, modules_of(card), "int8")

    def spoil(arrays: dict[str, np.ndarray]) -> None:
        key = next(key for key in arrays if key.startswith("scale."))
        scale = arrays.pop(key)
        if change != "gone":
            arrays[key] = np.append(scale, scale[:1]) if change == "longer" else scale.astype(np.float16)

    forge(tmp_path / "a.safetensors", tensors=spoil)
    with pytest.raises(ModelError):
        load_model(tmp_path / "a.safetensors")


def _norm_key(modules: dict[str, torch.nn.Module]) -> str:
    return next(key for key in modules["segmentor"].state_dict() if key.endswith("running_var"))


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


def test_a_segmentor_can_read_a_generated_image(tmp_path: Path) -> None:
    card = a_card(networks=(GENERATOR, NetworkSpec("segmentor", "unet", {"width": 4}, ("pmri",))))
    modules = modules_of(card)
    save_model(tmp_path / "a.safetensors", card, modules)
    with torch.inference_mode():
        expected = modules["segmentor"](modules["pmri"](image()))[0]
        assert torch.equal(load_model(tmp_path / "a.safetensors").build()(image()), expected)


def test_a_segmentor_can_read_a_weighted_fusion_of_the_image_and_a_generated_one(tmp_path: Path) -> None:
    card = a_card(networks=(GENERATOR, FUSION, NetworkSpec("segmentor", "unet", TWO_CHANNELS, ("fusion",))))
    modules = modules_of(card)
    save_model(tmp_path / "a.safetensors", card, modules)
    with torch.inference_mode():
        pair = torch.cat([image(), modules["pmri"](image())], dim=1)
        expected = modules["segmentor"](modules["fusion"](pair))[0]
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


def test_int8_ranges_without_a_word_in_the_card_are_refused(file: Path) -> None:
    forge(file, tensors=lambda arrays: arrays.update({"int8.x": np.zeros(2, np.float32)}))
    refused(file, "do not agree on whether it has int8 ranges")


def test_a_card_with_int8_and_no_ranges_is_refused(file: Path) -> None:
    forge(file, card=lambda card: card.update(int8={"dsc": 1.0}))
    refused(file, "do not agree on whether it has int8 ranges")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "there is no such file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "it is a folder")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    refused(tmp_path / "a.safetensors", "it is empty or cut off")


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.5, 0.9999])
def test_a_cut_file_is_refused(file: Path, good: bytes, share: float) -> None:
    file.write_bytes(good[: int(share * len(good))])
    refused(file, "cut off")


def test_a_file_with_more_at_its_end_is_refused(file: Path, good: bytes) -> None:
    file.write_bytes(good + b"\0" * 16)
    refused(file, "cut off or damaged")


@pytest.mark.parametrize("content", [b"PK\3\4" + b"\0" * 400, pickle.dumps({"a": [1] * 99}), b"\0" * 400])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", "it is not a .safetensors file")


def test_a_damaged_header_is_refused(file: Path, good: bytes) -> None:
    file.write_bytes(good[:9] + b"\xff" + good[10:])
    refused(file, "its header is damaged")


def test_a_safetensors_file_without_a_card_is_refused(tmp_path: Path) -> None:
    data = safetensors.numpy.save({"a": np.zeros(3, np.float32)}, {"format": "pt"})
    (tmp_path / "a.safetensors").write_bytes(data)
    refused(tmp_path / "a.safetensors", "it has no model card")


def test_one_altered_byte_among_the_weights_is_refused(file: Path, good: bytes) -> None:
    at = len(good) - 1000
    file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    refused(file, "its weights were altered or damaged")


def test_an_altered_card_is_refused(file: Path, good: bytes) -> None:
    assert good.count(rb"\"threshold\": 0.4") == 1
    file.write_bytes(good.replace(rb"\"threshold\": 0.4", rb"\"threshold\": 0.1"))
    refused(file, "its card was changed after it was written")


def test_a_card_of_a_later_format_is_refused(file: Path) -> None:
    forge(file, card=lambda card: card.update(format="cmedl-model/3", news=1))
    refused(file, "its format is 'cmedl-model/3' and this program reads 'cmedl-model/2'")


def test_an_unknown_architecture_is_refused(file: Path) -> None:
    forge(file, card=lambda card: card["networks"][0].update(kind="transformer"))
    refused(file, "'transformer' is unknown")


@pytest.mark.parametrize("arguments", [{"width": 4, "height": 2}, {"width": -4}, {"width": "four"}, {"width": None}])
def test_an_unknown_or_senseless_argument_is_refused(file: Path, arguments: dict[str, object]) -> None:
    forge(file, card=lambda card: card["networks"][0].update(arguments=arguments))
    refused(file, next(reversed(arguments)))


def test_widths_beyond_all_memory_are_refused_without_taking_it(file: Path) -> None:
    forge(file, card=lambda card: card["networks"][0].update(arguments={"width": 1024}))
    refused(file, "has the shape")


def test_a_missing_tensor_is_refused(file: Path) -> None:
    forge(file, tensors=lambda arrays: arrays.pop(HEAD))
    refused(file, f"its tensor '{HEAD}' is missing")


def test_several_missing_tensors_are_counted(file: Path) -> None:
    forge(file, tensors=lambda arrays: [arrays.pop(HEAD), arrays.pop("segmentor.head.bias")])
    refused(file, "its tensor 'segmentor.head.bias' is missing, and 1 more")


@pytest.mark.parametrize("key", ["segmentor.extra", "other.weight", "head.weight", "int8"])
def test_an_extra_tensor_is_refused(file: Path, key: str) -> None:
    forge(file, tensors=lambda arrays: arrays.update({key: np.zeros(1, np.float32)}))
    refused(file, f"its tensor '{key}' belongs to none of its networks")


def test_a_wrong_shape_is_refused(file: Path) -> None:
    forge(file, tensors=lambda arrays: arrays.update({HEAD: arrays[HEAD].reshape(-1)}))
    refused(file, f"its tensor '{HEAD}' has the shape (4,), the card asks for (1, 4, 1, 1)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(file: Path, value: float) -> None:
    forge(file, tensors=lambda arrays: arrays[HEAD].__setitem__((0, 1), value))
    refused(file, f"its tensor '{HEAD}' holds NaN or infinite values")


def test_integers_in_place_of_weights_are_refused(file: Path) -> None:
    forge(file, tensors=lambda arrays: arrays.update({HEAD: arrays[HEAD].astype(np.int64)}))
    refused(file, f"its tensor '{HEAD}' has the type int64")


def test_a_type_that_models_do_not_use_is_refused(file: Path) -> None:
    forge(file, tensors=lambda arrays: arrays.update({HEAD: arrays[HEAD].astype(np.float64)}))
    refused(file, f"its tensor '{HEAD}' has the type F64")


def test_networks_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    card = a_card(networks=(GENERATOR, NetworkSpec("segmentor", "unet", TWO_CHANNELS, ("pmri",))))
    with pytest.raises(ModelError, match="cannot be used as a model"):
        save_model(tmp_path / "a.safetensors", card, modules_of(card))
    assert list(tmp_path.iterdir()) == []


def test_logits_of_another_number_than_the_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"segmentor needs 3 classes for 2 label\(s\), not 1"):
        a_card(labels=(TUMOR, LIVER))


def test_weights_that_diverged_are_not_saved(tmp_path: Path) -> None:
    card = a_card()
    modules = modules_of(card)
    with torch.no_grad():
        modules["segmentor"].get_parameter("head.bias").fill_(torch.nan)
    with pytest.raises(ModelError, match="holds NaN"):
        save_model(tmp_path / "a.safetensors", card, modules)
    assert list(tmp_path.iterdir()) == []


def test_modules_that_the_card_does_not_name_are_not_saved(tmp_path: Path) -> None:
    modules = {**modules_of(a_card()), "pmri": torch.nn.Identity()}
    with pytest.raises(ModelError, match=re.escape("names the networks ['segmentor'], but ['pmri', 'segmentor']")):
        save_model(tmp_path / "a.safetensors", a_card(), modules)


def test_another_ending_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must end in \.safetensors"):
        save_model(tmp_path / "a.pt", a_card(), modules_of(a_card()))


def test_saving_where_no_folder_can_be_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    with pytest.raises(InputError, match="could not be written"):
        a_model_file(tmp_path / "file" / "a.safetensors")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_saving_to_a_read_only_folder_is_an_input_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="could not be written"):
            a_model_file(tmp_path / "a.safetensors")
    finally:
        tmp_path.chmod(0o755)


def test_non_ascii_and_long_paths_work(tmp_path: Path) -> None:
    folder = tmp_path / "Pläne und Größen 肺" / ("x" * 200) / ("y" * 100)
    folder.mkdir(parents=True)
    path = folder / "Schüler ✓.safetensors"
    a_model_file(path)
    assert load_model(path).card == read_card(path)


def test_a_failed_save_leaves_the_earlier_file(file: Path, good: bytes) -> None:
    card = a_card(networks=(UNET,))
    modules = modules_of(card)
    with torch.no_grad():
        modules["segmentor"].get_parameter("head.bias").fill_(torch.inf)
    with pytest.raises(ModelError):
        save_model(file, card, modules)
    assert file.read_bytes() == good


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
