"""DRIT's translator: content and style in one image."""

import torch
import torch.nn.functional as F

from CMEDLSegmentLib.networks import ContentEncoder, StyleGenerator
from CMEDLSegmentLib.networks.drit import LayerNorm
from segment.networks.narrow_networks import images, narrow


def translator():
    network = narrow("style-translator")
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4)
    return network


def test_padding_repeats_the_border():
    network, image = translator(), images(1, 1, 13, 15)
    padded = F.pad(image, (0, 1, 0, 3), mode="replicate")
    torch.testing.assert_close(network(image), network(padded)[..., :13, :15])


def test_the_style_changes_the_picture_everywhere_and_each_image_has_its_own():
    network, image = translator(), images(1, 1, 16, 16).expand(2, -1, -1, -1)
    style = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])
    out = network(image, style)
    torch.testing.assert_close(out[:1], network(image[:1]))
    assert ((out[0] - out[1]).abs() > 1e-4).float().mean() > 0.95


def test_gradients_reach_the_style():
    style = torch.zeros(1, 3, requires_grad=True)
    translator()(images(1, 1, 16, 16), style).square().sum().backward()
    assert (style.grad.abs() > 1e-4).all()


def test_images_of_a_batch_do_not_see_each_other():
    network, batch = translator(), images(3, 1, 16, 16)
    style = images(3, 3, seed=2)
    apart = torch.cat([network(batch[i : i + 1], style[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(batch, style), apart, rtol=1e-4, atol=1e-5)


def test_the_layer_norm_is_the_frameworks_group_norm_of_one_group():
    norm = LayerNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, -1.0, 0.0]))
    x = images(2, 3, 5, 7) * 4 + 9
    torch.testing.assert_close(norm(x), F.group_norm(x, 1, norm.weight, norm.bias), rtol=1e-4, atol=1e-4)
    last = norm(x.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16


def test_content_has_a_quarter_of_the_images_size():
    assert ContentEncoder(1, 4, 1)(images(2, 1, 16, 24)).shape == (2, 16, 4, 6)
    assert StyleGenerator(1, 4, 1, 2)(torch.rand(2, 16, 4, 6), torch.rand(2, 2)).shape == (2, 1, 16, 24)
