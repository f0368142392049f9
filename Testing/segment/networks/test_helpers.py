"""The networks that run before a segmentor: the translation generator and the weighted fusion."""

import pytest
import torch
import torch.nn.functional as F

from CMEDLSegmentLib.networks import InstanceNorm, create_network
from CMEDLSegmentLib.networks.generator import normalize
from segment.networks.narrow_networks import images, narrow, parameters


def test_the_generator_has_the_published_number_of_parameters():
    with torch.device("meta"):
        count = parameters(create_network("generator"))
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
    network = narrow("generator")
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


def test_the_fusion_weighs_the_image_and_its_pseudo_mri_as_in_equation_14():
    network = narrow("weighted-fusion").eval()
    pair = images(3, 2, 40, 37)
    alpha = network.weigh(pair)
    out = network(pair)
    assert alpha.shape == (3, 1, 1, 1)
    assert ((alpha > 0) & (alpha < 1)).all()
    for i in range(3):
        torch.testing.assert_close(out[i, 0], (1 - alpha[i].item()) * pair[i, 0])
        torch.testing.assert_close(out[i, 1], alpha[i].item() * pair[i, 1])


def test_the_weight_depends_on_both_images():
    network = narrow("weighted-fusion")
    pair = images(2, 2, 64, 64).requires_grad_()
    (alpha_gradient,) = torch.autograd.grad(network.weigh(pair).square().sum(), pair)
    assert (alpha_gradient.abs().amax(dim=(0, 2, 3)) > 0).all()
