"""The Segmenter from a volume in memory to label, probability and components."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from CMEDLSegmentLib.base.errors import Cancelled, DeviceError, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference import runtimes
from CMEDLSegmentLib.inference.options import DEFAULTS, SegmentationOptions
from CMEDLSegmentLib.inference.runtimes import Plan, lighter
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.normalization import Normalization
from segment.inference.small_models import a_card, a_model, blobs, linear

HALF = -0.1
"""The normalized level on which the crafted model decides; -325 HU in the window -1000..500."""


def segmented(volume: Volume, options: SegmentationOptions = DEFAULTS, level: float = HALF, **changes: object):
    """What a model makes of a volume that marks what lies above a level."""
    return Segmenter(a_model(a_card(**changes)), "cpu", start=linear(20.0, level)).segment(volume, options)


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def stored_otherwise(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """The same anatomy in other axes; SimpleITK does the geometry."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    image = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    geometry = Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return Volume(array=sitk.GetArrayFromImage(image), geometry=geometry, modality="CT")


def test_a_model_that_thresholds_gives_the_thresholded_image() -> None:
    """The label is in place, on the native grid, at a pixel spacing that is none of the image's."""
    volume = blobs()
    segmentation = segmented(volume)
    truth = volume.array > -325
    assert segmentation.label.dtype == np.uint8
    assert segmentation.label.shape == volume.array.shape
    assert dsc(segmentation.label == 1, truth) > 0.94
    assert len(segmentation.components) == 3
    centers = np.array([volume.geometry.to_physical(np.array([c])) for c in [(15, 20, 6), (33, 40, 15), (40, 12, 20)]])
    for center in centers[:, 0]:
        nearest = min(np.linalg.norm(np.array(c.center_mm) - center) for c in segmentation.components)
        assert nearest < 0.5
    assert sum(c.volume_cc for c in segmentation.components) == pytest.approx(
        np.count_nonzero(segmentation.label) * 1.1 * 0.9 * 2.5 / 1000
    )
    assert segmentation.device == "cpu"
    assert segmentation.lung_slices == 0
    assert segmentation.seconds > 0
    assert set(segmentation.timings) == {"anatomy", "resampling", "network", "back"}


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (False, False, True)),
        ((0, 1, 2), (True, True, False)),
        ((0, 2, 1), (False, True, False)),
        ((1, 2, 0), (True, False, True)),
        ((2, 0, 1), (False, True, True)),
        ((2, 1, 0), (True, True, True)),
    ],
)
def test_the_same_anatomy_in_other_axes_gives_the_same_segmentation(
    order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    """A real network, not a symmetric one, so that a swapped axis or a lost flip would show."""
    model = a_model(a_card())
    volume = blobs()
    volume.array = volume.array + np.random.default_rng(0).normal(0, 80, volume.array.shape).astype(np.int16)
    segmenter = Segmenter(model, "cpu", "torch")
    first = segmenter.segment(volume, SegmentationOptions(threshold=0.5))
    # The level that random weights split the image at.
    level = float(np.quantile(first.probability.values.astype(np.float32), 0.9))
    first = segmenter.segment(volume, SegmentationOptions(threshold=level))
    assert 100 < np.count_nonzero(first.label) < 0.5 * first.label.size

    other = stored_otherwise(volume, order, flips)
    second = segmenter.segment(other, SegmentationOptions(threshold=level))
    expected = stored_otherwise(Volume(array=first.label, geometry=volume.geometry, modality="CT"), order, flips).array
    assert (second.label == expected).all()
    assert len(first.components) == len(second.components)
    for a, b in zip(first.components, second.components, strict=True):
        assert (a.volume_cc, a.mean, a.peak) == pytest.approx((b.volume_cc, b.mean, b.peak))
        np.testing.assert_allclose(a.center_mm, b.center_mm, atol=1e-6)


def test_an_oblique_volume_is_segmented_along_its_nearest_axes_and_the_user_is_told() -> None:
    volume = blobs()
    angle = np.radians(25)
    direction = (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1)
    g = volume.geometry
    volume.geometry = Geometry(g.size, g.spacing, g.origin, direction)
    segmentation = segmented(volume)
    assert dsc(segmentation.label == 1, volume.array > -325) > 0.94
    assert any("25 degrees" in warning for warning in segmentation.warnings)


def test_several_labels_come_out_of_softmax() -> None:
    """Three intensities of one image: background, first label, second label."""
    card = a_card(labels=2)

    def three(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([-40 * (images + 0.5), torch.zeros_like(images), 40 * (images - 0.5)], dim=1)

    volume = blobs()
    volume.array = np.where(volume.array > 0, np.int16(450), volume.array)
    volume.array[3, 5:20, 25:40] = -250
    segmentation = Segmenter(a_model(card), "cpu", start=lambda model, plan: three).segment(volume)
    assert dsc(segmentation.label == 2, volume.array == 450) > 0.9
    inner = segmentation.label[3, 8:17, 28:37]
    assert (inner == 1).all()
    assert {c.label for c in segmentation.components} == {1, 2}
    both = segmentation.probability.native()
    assert both.max() <= 1.0
    assert both[3, 10, 30] > 0.99


def test_another_threshold_needs_no_second_run() -> None:
    volume = blobs()
    segmenter = Segmenter(a_model(a_card()), "cpu", start=linear(5.0, HALF))
    segmentation = segmenter.segment(volume)
    for threshold in (0.2, 0.8):
        again = segmenter.segment(volume, SegmentationOptions(threshold=threshold))
        assert (segmentation.probability.segment(threshold)[0] == again.label).all()
        assert not (again.label == segmentation.label).all()


def test_small_components_can_be_dropped() -> None:
    segmentation = segmented(blobs(), SegmentationOptions(minimum_cc=0.5))
    assert len(segmentation.components) == 2
    assert segmentation.label[20].max() == 0


def test_progress_rises_to_1_and_names_the_stage() -> None:
    stages: list[tuple[str, float]] = []
    Segmenter(a_model(a_card()), "cpu", start=linear(20.0, HALF), batch=5).segment(
        blobs(), progress=Progress(lambda stage, fraction: stages.append((stage, fraction)))
    )
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(stages) >= 6
    assert all(stage for stage, _ in stages)


def test_cancel_takes_effect_within_a_batch() -> None:
    batches = 0

    def count(images: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        batches += 1
        return images

    with pytest.raises(Cancelled):
        Segmenter(a_model(a_card()), "cpu", start=lambda model, plan: count, batch=4).segment(
            blobs(), progress=Progress(cancelled=lambda: batches >= 2)
        )
    assert batches == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_that_gives_no_number_is_an_error_not_an_empty_label(bad: float) -> None:
    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.where(images > 0, torch.full_like(images, bad), images)

    with pytest.raises(DeviceError, match="narrow"):
        Segmenter(a_model(a_card()), "cpu", start=lambda model, plan: run).segment(blobs())


def test_an_mr_for_a_ct_model_is_refused_and_the_other_way_round() -> None:
    volume = blobs()
    volume.modality = "MR"
    with pytest.raises(InputError, match=r"MR.*CT"):
        Segmenter(a_model(a_card()), "cpu").segment(volume)
    mr = a_card(modality="MR", normalization=Normalization("percentile", 1.0, 99.0))
    with pytest.raises(InputError, match=r"CT.*MR"):
        Segmenter(a_model(mr), "cpu").segment(blobs())


def test_an_mr_model_asks_for_no_lungs_and_no_hounsfield_units() -> None:
    volume = blobs()
    volume.array = (volume.array + 1000).astype(np.float32) / 7 + np.random.default_rng(0).uniform(
        0, 3, volume.array.shape
    ).astype(np.float32)
    volume.modality = "MR"
    segmentation = segmented(volume, level=0.0, modality="MR", normalization=Normalization("percentile", 1.0, 99.9))
    assert dsc(segmentation.label == 1, volume.array > 90) > 0.9
    assert len(segmentation.probability.slices) == len(volume.array)


def test_an_image_larger_than_the_field_is_segmented_in_the_field_only() -> None:
    volume = blobs()
    volume.array[:] = 300
    segmentation = segmented(volume, field=16)
    rows, columns = np.nonzero(segmentation.label[5])
    assert np.ptp(rows) + 1 == pytest.approx(16 * 1.5 / 0.9, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(16 * 1.5 / 1.1, abs=1)
    assert rows.mean() == pytest.approx(29.5, abs=0.5)


# The ladder


def test_the_ladder_halves_the_batch_then_takes_half_precision_then_the_cpu() -> None:
    model = a_model(a_card())
    plan, rungs = Plan("cuda", "torch", "fp32", 4), []
    while plan.device != "cpu":
        plan, sentence = lighter(plan, model)
        rungs.append((plan.device, plan.precision, plan.batch))
        assert "cuda" in sentence
    assert rungs[:-1] == [("cuda", "fp32", 2), ("cuda", "fp32", 1), ("cuda", "fp16", 1)]
    assert lighter(Plan("cpu", "torch", "fp32", 1), model) is None


def out_of_memory_above(limit: int, kind: type[Exception] = torch.OutOfMemoryError):
    """Starts runtimes that have memory for ``limit`` slices of fp32, twice that in half precision."""
    started: list[Plan] = []

    def start(model, plan):
        started.append(plan)
        room = limit * (1 if plan.precision == "fp32" else 2)

        def run(images: torch.Tensor) -> torch.Tensor:
            if plan.device != "cpu" and len(images) > room:
                raise kind("device out of memory, tried to allocate a lot")
            return (images - HALF) * 20

        return run

    return start, started


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError, MemoryError])
@pytest.mark.parametrize(
    ("limit", "warnings", "end"),
    [
        (8, [], "meta fp32 8"),
        (3, ["halved to 4", "halved to 2"], "meta fp32 2"),
        (0, ["halved to 4", "halved to 2", "halved to 1", "half precision", "CPU"], "cpu"),
    ],
)
def test_out_of_memory_steps_down_says_so_and_gives_the_same_result(
    monkeypatch: pytest.MonkeyPatch, limit: int, warnings: list[str], end: str, kind: type[Exception]
) -> None:
    model, volume = a_model(a_card()), blobs()
    expected = Segmenter(model, "cpu", start=linear(20.0, HALF)).segment(volume)
    start, started = out_of_memory_above(limit, kind)
    segmenter = Segmenter(model, "cpu", start=start)
    # A device that is no CPU, on any machine: only the plan says so, the arithmetic stays here.
    segmenter.plan = Plan("meta", "torch", "fp32", 8)
    import CMEDLSegmentLib.inference.segmenter as module

    sampler = module.FieldSampler
    monkeypatch.setattr(module, "FieldSampler", lambda field, intensities, device: sampler(field, intensities, "cpu"))
    segmentation = segmenter.segment(volume)
    assert (segmentation.label == expected.label).all()
    assert len(segmentation.warnings) == len(warnings)
    for warning, wanted in zip(segmentation.warnings, warnings, strict=True):
        assert wanted in warning
    last = started[-1]
    assert f"{last.device} {last.precision} {last.batch}".startswith(end)
    assert segmentation.device == last.device
    # The next volume starts at the top again: memory may be free by then.
    assert segmenter.plan == Plan("meta", "torch", "fp32", 8)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(torch.OutOfMemoryError("no memory"), DeviceError), (RuntimeError("a fault of ours"), RuntimeError)],
)
def test_below_the_last_rung_is_an_error_and_one_of_another_kind_is_not_taken_for_memory(
    error: Exception, raised: type[Exception]
) -> None:
    def run(images: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(raised) as caught:
        Segmenter(a_model(a_card()), "cpu", "torch", start=lambda model, plan: run).segment(blobs())
    assert (caught.value is error) == (raised is RuntimeError)


# What is asked for


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_asked_for_and_absent_is_one_sentence(device: str) -> None:
    with pytest.raises(DeviceError, match=f"'{device}'"):
        Segmenter(a_model(a_card()), device)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"runtime": "tensorrt"}, "'tensorrt'"),
        ({"precision": "fp8"}, "'fp8'"),
        ({"batch": 0}, "batch of 0"),
        *(({"device": device}, f"'{device}'") for device in ("gpu", "cuda:", "cuda:x", "", "CPU")),
        ({"precision": "int8", "runtime": "torch"}, "int8"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Segmenter(a_model(a_card()), **{"device": "cpu", **arguments})


def test_the_cpu_takes_openvino_where_it_is_installed_and_int8_only_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unchecked, failed = a_model(a_card()), a_model(a_card(int8={"passed": False}))
    checked = a_model(a_card(int8={"passed": True}))
    for installed, model in itertools.product((True, False), (unchecked, failed, checked)):
        monkeypatch.setattr(runtimes.selection, "openvino_installed", lambda answer=installed: answer)
        plan = runtimes.make_plan(model, "cpu")
        assert plan.runtime == ("openvino" if installed else "torch")
        assert plan.precision == ("int8" if installed and model is checked else "fp32")
    with pytest.raises(DeviceError, match=r"cmedl\[fast\]"):
        runtimes.make_plan(unchecked, "cpu", "openvino")
    monkeypatch.setattr(runtimes.selection, "openvino_installed", lambda: True)
    with pytest.raises(DeviceError, match="int8"):
        runtimes.make_plan(unchecked, "cpu", precision="int8")


def test_a_larger_field_takes_smaller_batches() -> None:
    small, large = (runtimes.make_plan(a_model(a_card(field=n)), "cpu", "torch") for n in (64, 1024))
    assert small.batch == 16
    assert large.batch == 1
