"""Each runtime against the model's own network in plain PyTorch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.inference.runtimes import Plan, int8_check, make_plan, start_runtime
from CMEDLSegmentLib.inference.runtimes.int8_check import check_int8
from CMEDLSegmentLib.inference.runtimes.quantization import calibrate_int8, quantized
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.models.model_file import ModelFile
from CMEDLSegmentLib.networks import fold_batch_norm
from segment.inference.small_models import a_card, a_model, blobs

NETWORKS = {
    "unet": (NetworkSpec("segmentor", "unet", {"width": 8}),),
    "densefcn": (NetworkSpec("segmentor", "densefcn", {}),),
    "unet after a generator": (
        NetworkSpec("translator", "generator", {"width": 8, "blocks": 1}),
        NetworkSpec("segmentor", "unet", {"width": 8, "in_channels": 2}, ("image", "translator")),
    ),
    "unet after drit": (
        NetworkSpec("translator", "style-translator", {"width": 8, "blocks": 1, "content_blocks": 1}),
        NetworkSpec("segmentor", "unet", {"width": 8, "in_channels": 2}, ("image", "translator")),
    ),
}


def a_model_of(name: str) -> ModelFile:
    return a_model(a_card(networks=NETWORKS[name]))


def some_slices(count: int = 3, seed: int = 0) -> torch.Tensor:
    """Blurred noise between -1 and 1, so that networks see structure."""
    noise = torch.randn(count, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 5, 1, 2).mul(4).tanh()


@torch.inference_mode()
def relative_error(model: ModelFile, plan: Plan) -> float:
    """Largest difference of the logits to the plain network's, in units of their spread."""
    images = some_slices()
    expected = model.build()(images)
    logits = start_runtime(model, plan)(images)
    assert logits.dtype == torch.float32
    assert logits.shape == expected.shape
    return float((logits - expected).abs().max() / expected.std())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.4)])
def test_torch_gives_the_networks_own_logits(name: str, precision: str, tolerance: float) -> None:
    assert relative_error(a_model_of(name), Plan("cpu", "torch", precision, 3)) < tolerance


@pytest.fixture(scope="module")
def openvino_unet() -> Callable[[torch.Tensor], torch.Tensor]:
    """OpenVINO's fp32 runtime of the narrow Unet, for four slices at a time; made once, because making it is slow."""
    pytest.importorskip("CMEDLSegmentLib.inference.runtimes.openvino_runtime")
    return start_runtime(a_model_of("unet"), Plan("cpu", "openvino", "fp32", 4))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_openvino_in_fp32_gives_the_networks_own_logits(openvino_unet: Callable, count: int) -> None:
    """True fp32: where a CPU has bf16 units, OpenVINO's own choice would miss this by a factor of 100."""
    images = some_slices(count)
    with torch.inference_mode():
        expected = a_model_of("unet").build()(images)
    assert (openvino_unet(images) - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densefcn", "unet after a generator", "unet after drit"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.4)])
def test_openvino_runs_every_network(name: str, precision: str, tolerance: float) -> None:
    pytest.importorskip("CMEDLSegmentLib.inference.runtimes.openvino_runtime")
    assert relative_error(a_model_of(name), Plan("cpu", "openvino", precision, 3)) < tolerance


def test_runtimes_give_the_same_segmentation(openvino_unet: Callable) -> None:
    """DSC at least 0.995 between PyTorch and OpenVINO, from a volume to the native label."""
    model, volume = a_model_of("unet"), blobs()
    volume.array = volume.array + np.random.default_rng(0).normal(0, 80, volume.array.shape).astype(np.int16)
    first = Segmenter(model, "cpu", "torch").segment(volume)
    level = float(np.quantile(first.probability.values.astype(np.float32), 0.9))
    a = first.probability.segment(level)[0]
    segmenter = Segmenter(model, "cpu", "openvino", batch=4, start=lambda model, plan: openvino_unet)
    b = segmenter.segment(volume, SegmentationOptions(threshold=level)).label
    assert np.count_nonzero(a) > 100
    assert 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) >= 0.995


# int8


def test_calibration_gives_the_range_that_each_convolution_reads() -> None:
    model = a_model_of("unet")
    batches = [some_slices(2, seed) for seed in range(3)]
    ranges = calibrate_int8(model.build(), batches)
    network = model.build()
    inputs_read: list[torch.Tensor] = []
    inner = network.networks[0].decoder[3].first.conv
    inner.register_forward_pre_hook(lambda module, inputs: inputs_read.append(inputs[0]))
    for batch in batches:
        network(batch)
    low, high = ranges["segmentor.decoder.3.first.conv"].tolist()
    assert low == pytest.approx(min(0.0, *(float(x.min()) for x in inputs_read)), abs=1e-5)
    assert high == pytest.approx(max(float(x.max()) for x in inputs_read), rel=1e-5)
    assert "segmentor.encoder.0.first.conv" not in ranges, "the first convolution stays fp32"
    assert "segmentor.head" not in ranges, "the head stays fp32"
    assert len(ranges) == 17


def test_rounding_is_to_8_bits_and_small() -> None:
    model = a_model_of("unet")
    network = quantized(model.build(), calibrate_int8(model.build(), [some_slices()]))
    rounded = network.networks[0].encoder[1].first.conv
    inputs_read: list[torch.Tensor] = []
    rounded[1].register_forward_pre_hook(lambda module, inputs: inputs_read.append(inputs[0]))
    with torch.inference_mode():
        logits, expected = network(some_slices()), model.build()(some_slices())
    assert 20 < len(inputs_read[0].unique()) <= 256
    original = fold_batch_norm(model.build()).networks[0].encoder[1].first.conv.weight
    for kernel, before in zip(rounded[1].weight, original, strict=True):
        step = before.abs().max() / 127
        torch.testing.assert_close(kernel, (before / step).round() * step, atol=1e-6, rtol=0)
    error = (logits - expected).abs().mean() / expected.std()
    assert 0 < error < 0.1


@torch.inference_mode()
@pytest.mark.parametrize(
    "name",
    ["unet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("densefcn", "unet after a generator"))],
)
def test_openvinos_int8_rounds_as_the_simulation_does(name: str) -> None:
    """Neither better (then it would not compute in int8) nor much worse than the rounding in PyTorch."""
    pytest.importorskip("CMEDLSegmentLib.inference.runtimes.openvino_runtime")
    model = a_model_of(name)
    model.int8 = calibrate_int8(model.build(), [some_slices()])
    images = some_slices(2, seed=9)
    logits = start_runtime(model, Plan("cpu", "openvino", "int8", 2))(images)
    simulated, plain = quantized(model.build(), model.int8)(images), model.build()(images)
    error, expected = (logits - plain).abs().mean(), (simulated - plain).abs().mean()
    assert 0.5 * expected < error < 1.5 * expected


def test_this_cpus_integer_products_are_looked_at_before_int8_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old CPUs saturate sums of 8-bit products: int8 is left alone there, however well the model was checked."""
    pytest.importorskip("openvino")
    from CMEDLSegmentLib.inference.runtimes import openvino_runtime

    model = a_model(a_card(int8={"passed": True}))
    compiled = openvino_runtime._compile

    def saturating(model, precision):
        exact = compiled(model, precision)
        return lambda image: [exact(image)[0] * (32767 / (2 * 255 * 127))]

    openvino_runtime.int8_is_exact.cache_clear()
    monkeypatch.setattr(openvino_runtime, "_compile", saturating)
    assert make_plan(model, "cpu").precision == "fp32"
    openvino_runtime.int8_is_exact.cache_clear()


@torch.inference_mode()
def test_rounding_keeps_a_convolutions_own_padding() -> None:
    """The generator pads by reflection; with another padding its border would be far off."""
    model = a_model_of("unet after a generator")
    images = some_slices(1)
    plain, rounded = model.build(), quantized(model.build(), calibrate_int8(model.build(), [images]))
    expected, image = plain.networks[0](images), rounded.networks[0](images)
    border = torch.ones_like(images, dtype=torch.bool)
    border[..., 8:-8, 8:-8] = False
    error = (image - expected).abs()
    assert error[border].mean() < 2 * error[~border].mean()


def test_the_check_passes_good_ranges_and_fails_bad_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_check, "openvino_installed", lambda: False)
    model = a_model(a_card(networks=NETWORKS["unet"]))
    batches = [some_slices(3, seed) for seed in range(3)]
    with torch.inference_mode():
        level = float(model.build()(batches[0]).sigmoid().median())
    model = a_model(dataclasses.replace(model.card, threshold=level))
    model.int8 = calibrate_int8(model.build(), batches)
    good = check_int8(model, batches[:2])
    assert good["cases"] == 2
    assert good["slices"] == 6
    assert good["dsc_min"] <= good["dsc_mean"] <= 1.0
    assert json.loads(json.dumps(good)) == good  # it goes into the card
    model.int8 = {name: limits / 50 for name, limits in model.int8.items()}
    bad = check_int8(model, batches[:2])
    assert not bad["passed"]
    assert bad["dsc_mean"] < good["dsc_mean"]


def test_the_check_compares_with_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rounding the two agree exactly, and empty cases are counted apart."""
    monkeypatch.setattr(int8_check, "openvino_installed", lambda: False)
    model = a_model(a_card(networks=NETWORKS["unet"], threshold=0.999))
    checked = check_int8(model, [some_slices(1)])
    assert (checked["cases"], checked["empty"], checked["passed"]) == (0, 1, False)
    cases = [torch.full((2, 1, 64, 64), -1.0), some_slices(1)]
    with torch.inference_mode():
        # Just above what is highest in one of the two.
        level = min(float(model.build()(case).sigmoid().max()) for case in cases) + 1e-4
    model = a_model(dataclasses.replace(model.card, threshold=level))
    checked = check_int8(model, cases)
    assert (checked["cases"], checked["empty"], checked["slices"]) == (1, 1, 3)
    assert checked["dsc_pooled"] == pytest.approx(1.0, abs=0.002)
    assert checked["dsc_mean"] == pytest.approx(1.0, abs=0.002)
    assert checked["passed"]


@pytest.mark.parametrize(
    "ranges",
    [
        {"segmentor.encoder.9.conv": torch.tensor([0.0, 1.0])},
        {"segmentor.encoder.1.first.conv": torch.tensor([2.0, 1.0])},
    ],
)
def test_ranges_that_do_not_fit_the_network_are_refused(ranges: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelError, match="int8"):
        quantized(a_model_of("unet").build(), ranges)
