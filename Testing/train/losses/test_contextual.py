"""The contextual loss against its formula in numpy, against autograd of the plain computation, and in memory."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from CMEDLTrainLib.losses.contextual import contextual_loss, contextual_loss_of_images
from train.methods.joint_reference import plain_contextual_of_layer

REPOSITORY = Path(__file__).resolve().parents[3]
ORDERS = ("targets", "generated")


def by_hand(generated: np.ndarray, target: np.ndarray, bandwidth: float, eps: float, order: str) -> float:
    """Equations 3 and 4 for one image, features (count, channels), pair by pair."""
    center = target.mean(axis=0)
    distance = np.empty((len(generated), len(target)))
    for i, j in product(range(len(generated)), range(len(target))):
        g, m = generated[i] - center, target[j] - center
        distance[i, j] = (1 - g @ m / np.sqrt((g @ g) * (m @ m))) / 2
    similarity = np.empty_like(distance)
    for i in range(len(generated)):
        weights = [np.exp((1 - d / (distance[i].min() + eps)) / bandwidth) for d in distance[i]]
        similarity[i] = np.array(weights) / sum(weights)
    return -np.log(similarity.max(axis=0 if order == "targets" else 1).mean())


def plain(generated: Tensor, target: Tensor, order: str) -> Tensor:
    """The formula as one writes it, all pairs at once, for autograd."""
    return plain_contextual_of_layer(generated, target, ORDERS.index(order))


def features(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Features as a network with ReLUs has them: none negative, a part common to all places."""
    random = torch.Generator().manual_seed(seed)
    common = torch.randn(1, shape[1], 1, 1, generator=random, dtype=torch.float64)
    return (torch.randn(*shape, generator=random, dtype=torch.float64) + 0.5 * common).relu().mul(10).to(dtype)


def with_gradients(loss, *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [values.clone().requires_grad_() for values in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def differs_by(computed: Tensor, expected: Tensor) -> float:
    return float((computed.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("settings", [(0.5, 1e-5), (0.1, 1e-3)])
def test_value_is_that_of_the_formula_pair_by_pair(order, settings):
    generated, target = (features(3, 6, *size, seed=size[0], dtype=torch.float64) for size in ((4, 5), (3, 4)))
    computed = contextual_loss(generated, target, *settings, order=order, chunk=7)
    pairs = zip(generated.flatten(2).mT.numpy(), target.flatten(2).mT.numpy(), strict=True)
    assert float(computed) == pytest.approx(np.mean([by_hand(g, t, *settings, order) for g, t in pairs]), rel=1e-12)


def test_orders_differ_where_a_target_is_not_shown():
    # Targets at 0 and 180 degrees, their mean zero, one generated feature at 60: distances 0.25 and 0.75, so that
    # CX = softmax(-1 / 0.5, -3 / 0.5).
    target = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).T.reshape(1, 2, 1, 2)
    generated = torch.tensor([0.5, 3**0.5 / 2]).reshape(1, 2, 1, 1)
    near = 1 / (1 + np.exp(-4))
    assert float(contextual_loss(generated, target)) == pytest.approx(np.log(2), rel=1e-4)
    assert float(contextual_loss(generated, target, order="generated")) == pytest.approx(-np.log(near), rel=1e-2)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_agree_with_finite_differences(order):
    generated = features(2, 4, 3, 2, seed=2, dtype=torch.float64).requires_grad_()
    target = features(2, 4, 2, 3, seed=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda g, t: contextual_loss(g, t, order=order, chunk=4), (generated, target))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunk", [None, 1, 100, 400])
def test_value_and_gradients_are_those_of_the_plain_computation_under_autograd(order, chunk):
    generated, target = features(2, 24, 20, 20, seed=4), features(2, 24, 18, 22, seed=5)
    expected = with_gradients(lambda g, t: plain(g, t, order), generated, target)
    computed = with_gradients(lambda g, t: contextual_loss(g, t, order=order, chunk=chunk), generated, target)
    assert [differs_by(*pair) < 1e-5 for pair in zip(computed, expected, strict=True)] == [True] * 3


@pytest.mark.parametrize("order", ORDERS)
def test_each_side_alone_receives_the_gradient_that_it_has_with_the_other(order):
    generated, target = features(2, 8, 6, 6, seed=8), features(2, 8, 6, 6, seed=9)
    _, both, other = with_gradients(lambda g, t: contextual_loss(g, t, order=order), generated, target)
    alone = with_gradients(lambda g: contextual_loss(g, target, order=order), generated)[1]
    other_alone = with_gradients(lambda t: contextual_loss(generated, t, order=order), target)[1]
    torch.testing.assert_close(alone, both)
    torch.testing.assert_close(other_alone, other)
    assert not contextual_loss(generated, target).requires_grad


def test_an_image_resembles_itself_wholly_and_another_less():
    image, other = features(2, 16, 8, 8, seed=12), features(2, 16, 8, 8, seed=13)
    assert float(contextual_loss(image, image)) == pytest.approx(0, abs=1e-3)
    assert float(contextual_loss(image, other)) > 1


def test_cosines_that_rounding_brings_beyond_one_do_no_harm():
    image = features(2, 16, 8, 8, seed=12)
    assert float(contextual_loss(image, image, eps=1e-9)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_background_of_equal_features_gives_finite_gradients(order):
    generated, target = features(2, 8, 8, 8, seed=14), features(2, 8, 8, 8, seed=15)
    generated[:, :, :4], target[:, :, :4] = 1.0, 1.0
    value, *gradients = with_gradients(lambda g, t: contextual_loss(g, t, order=order, chunk=9), generated, target)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_target_without_content_tells_nothing():
    generated, target = features(1, 8, 6, 6, seed=16), 5 + 1e-7 * features(1, 8, 6, 6, seed=23)
    value, gradient = with_gradients(lambda g: contextual_loss(g, target), generated)
    assert float(value) == pytest.approx(np.log(36), rel=0.05)
    assert float(gradient.abs().max()) < 1e-3


def test_under_autocast_the_features_are_rounded_and_nothing_else():
    generated, target = (features(1, 32, 10, 10, seed=seed).bfloat16() for seed in (17, 18))
    rounded, exact = generated.clone().requires_grad_(), generated.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        computed = contextual_loss(rounded, target)
        computed.backward()
    expected = contextual_loss(exact, target.float())
    expected.backward()
    assert computed.dtype == torch.float32
    torch.testing.assert_close(computed, expected)
    torch.testing.assert_close(rounded.grad, exact.grad.bfloat16())


def test_features_in_channels_last_give_the_same():
    generated, target = features(2, 8, 6, 6, seed=19), features(2, 8, 6, 6, seed=20)
    expected = with_gradients(lambda g: contextual_loss(g, target), generated)
    last = generated.to(memory_format=torch.channels_last)
    computed = with_gradients(lambda g: contextual_loss(g, target.to(memory_format=torch.channels_last)), last)
    torch.testing.assert_close(computed, expected)
    assert computed[1].is_contiguous(memory_format=torch.channels_last)


def test_features_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 2, 2\)"):
        contextual_loss(torch.rand(1, 4, 2, 2), torch.rand(2, 4, 2, 2))


def test_loss_of_images_is_the_sum_over_layers_and_descends_in_the_generated_alone():
    filters = [features(4, 1, 3, 3, seed=21), features(6, 1, 5, 5, seed=22)]

    def layers(images: Tensor) -> list[Tensor]:
        return [torch.nn.functional.conv2d(images, kernel, stride=2) for kernel in filters]

    generated, target = (torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    generated.requires_grad_()
    target.requires_grad_()
    computed = contextual_loss_of_images(layers, generated, target)
    expected = sum(plain(*pair, "targets") for pair in zip(layers(generated), layers(target), strict=True))
    torch.testing.assert_close(computed, expected)
    computed.backward()
    assert target.grad is None
    torch.testing.assert_close(generated.grad, torch.autograd.grad(expected, generated)[0], rtol=1e-3, atol=1e-6)


MEASURED = """
from pathlib import Path
import torch
from CMEDLTrainLib.losses.contextual import contextual_loss

def memory(field):
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6

def step(side):
    random = torch.Generator().manual_seed(0)
    generated, target = (torch.randn(2, 256, side, side, generator=random).add_(0.5).relu_() for _ in range(2))
    generated.requires_grad_()
    before = memory("VmRSS")
    contextual_loss(generated, target).backward()
    return memory("VmHWM") - before - generated.numel() * 4 / 1e6

step(8)  # what the libraries take once
print(step(64))
"""
"""What a step takes at its peak beyond the features and the gradient, MB."""


def peak_is_told() -> bool:
    status = Path("/proc/self/status")
    return status.is_file() and "VmHWM" in status.read_text(encoding="utf-8")


@pytest.mark.skipif(not peak_is_told(), reason="this system does not tell the peak memory of a process in /proc")
def test_it_takes_little_memory_at_the_size_of_the_paper():
    """2 images of 4096 positions and 256 channels, forward and backward, in a process of its own."""
    # glibc hands blocks of this size back at once: what is alive counts.
    places = os.pathsep.join(str(REPOSITORY / name) for name in ("CMEDLSegment", "CMEDLTrain"))
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000", "PYTHONPATH": places}
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True, env=environment)
    # One matrix of all pairs is 134 MB.
    assert 10 < float(done.stdout.splitlines()[-1]) < 100
