"""The networks that run before a segmentor: the translation generator and the weighted fusion."""

import pytest
import torch
import torch.nn.functional as F

from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.networks import InstanceNorm, create_network
from CMEDLSegmentLib.networks.generator import normalize


def images(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def generator(seed=0):
    torch.manual_seed(seed)
    return create_network("generator", width=4, blocks=2)


def fusion(seed=0):
    torch.manual_seed(seed)
    return create_network("weighted-fusion", width=4)


def test_the_generator_has_the_published_number_of_parameters():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in create_network("generator").parameters())
    assert round(count / 1e6, 2) == 11.37


def test_the_fusion_network_is_as_large_as_a_resnet18():
    """11,689,512 in the ResNet paper; without 1000 classes and with two channels: 11.2 M, plus two layers."""
    with torch.device("meta"):
        network = create_network("weighted-fusion")
        convolutions = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
        linear = [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
    assert sum(part.weight.numel() for part in convolutions) == 11_166_912 - 64 * 49
    assert len(convolutions) == 17 + 3
    assert [part.out_features for part in linear] == [256, 1]


def test_the_generators_weights_start_from_a_normal_distribution_of_0_02():
    torch.manual_seed(0)
    network = create_network("generator", width=16, blocks=1)
    for part in network.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert abs(part.weight.std().item() - 0.02) < 0.002
            assert part.bias.count_nonzero() == 0


NORMS = [InstanceNorm(), lambda x: normalize(x, 1e-5)]
"""What a CPU and what other devices compute."""


@pytest.mark.parametrize("norm", NORMS)
def test_the_instance_norm_is_the_frameworks_and_keeps_channels_last(norm):
    x = images(2, 3, 9, 7) * 5 + 40
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(x), F.instance_norm(x), rtol=1e-4, atol=1e-4)
    out = norm(last)
    torch.testing.assert_close(out, F.instance_norm(x), rtol=1e-4, atol=1e-4)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_the_instance_norm_of_a_single_pixel_is_zero():
    assert InstanceNorm()(images(2, 3, 1, 1)).count_nonzero() == 0


@pytest.mark.parametrize("norm", NORMS)
def test_the_instance_norm_is_exact_for_half_types_far_from_zero(norm):
    x = (images(1, 2, 32, 32) + 30).bfloat16()
    exact = x.double()
    exact = (exact - exact.mean((2, 3), keepdim=True)) / exact.std((2, 3), correction=0, keepdim=True)
    out = norm(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), exact, rtol=0.01, atol=0.02)


def test_the_generator_computes_what_its_description_says():
    """Against a second forward pass, written from the description alone, with the same weights."""
    network = generator()
    state = network.state_dict()

    def reflected(x, name, pad):
        x = F.pad(x, (pad, pad, pad, pad), mode="reflect")
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = images(2, 1, 24, 16)
    h = F.instance_norm(reflected(x, "first", 3)).relu()
    for i in range(2):
        h = F.conv2d(h, state[f"down.{i}.weight"], state[f"down.{i}.bias"], stride=2, padding=1)
        h = F.instance_norm(h).relu()
    for i in range(2):
        inner = F.instance_norm(reflected(h, f"blocks.{i}.first", 1)).relu()
        h = h + F.instance_norm(reflected(inner, f"blocks.{i}.second", 1))
    for i in range(2):
        weight, bias = state[f"up.{i}.weight"], state[f"up.{i}.bias"]
        h = F.conv_transpose2d(h, weight, bias, stride=2, padding=1, output_padding=1)
        h = F.instance_norm(h).relu()
    torch.testing.assert_close(network(x), reflected(h, "last", 3).tanh(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(97, 131), (17, 19), (1, 1), (2, 50), (64, 32)])
def test_the_generator_takes_any_size_and_gives_intensities(size):
    out = generator()(images(1, 1, *size))
    assert out.shape == (1, 1, *size)
    assert out.abs().max() <= 1


def test_the_generator_keeps_channels_last_and_its_result():
    network = generator()
    x = images(2, 1, 32, 32)
    expected = network(x)
    last = network.to(memory_format=torch.channels_last)
    out = last(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_the_fusion_weighs_the_image_and_its_pseudo_mri_as_in_equation_14():
    network = fusion().eval()
    pair = images(3, 2, 40, 37)
    alpha = network.weigh(pair)
    out = network(pair)
    assert alpha.shape == (3, 1, 1, 1)
    assert ((alpha > 0) & (alpha < 1)).all()
    for i in range(3):
        torch.testing.assert_close(out[i, 0], (1 - alpha[i].item()) * pair[i, 0])
        torch.testing.assert_close(out[i, 1], alpha[i].item() * pair[i, 1])


def test_the_weight_depends_on_both_images_and_trains_the_whole_network():
    network = fusion()
    pair = images(2, 2, 64, 64).requires_grad_()
    (alpha_gradient,) = torch.autograd.grad(network.weigh(pair).square().sum(), pair)
    assert (alpha_gradient.abs().amax(dim=(0, 2, 3)) > 0).all()
    network(pair).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("size", [(97, 131), (17, 19), (1, 1)])
def test_the_fusion_takes_any_size(size):
    assert fusion().eval()(images(1, 2, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("network", [generator, fusion])
def test_gradients_reach_every_parameter_and_the_input(network):
    network = network()
    x = images(2, network.stem.conv.in_channels if hasattr(network, "stem") else 1, 32, 32).requires_grad_()
    network(x).square().sum().backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("network", [generator, fusion])
def test_another_number_of_channels_is_refused(network):
    with pytest.raises(ModelError, match="shape"):
        network()(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("network", [generator, fusion])
def test_under_bfloat16_autocast_the_result_stays_close(network):
    network = network().eval()
    x = images(1, network.stem.conv.in_channels if hasattr(network, "stem") else 1, 32, 32)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(x)
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()
