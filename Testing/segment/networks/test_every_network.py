"""What holds for every network a card may name: how it is made, any size, memory formats, types, folding."""

import pytest
import torch

from CMEDLSegmentLib import networks
from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.networks import create_network, create_segmentor, fold_batch_norm
from segment.networks.narrow_networks import KINDS, SEGMENTORS, images, images_for, narrow, norms, outputs, trained

CLASSES = ("Unet", "DenseFCN", "Mrrn", "Generator", "StyleTranslator", "WeightedFusion")


@pytest.mark.parametrize(("kind", "expected"), list(zip(KINDS, CLASSES, strict=True)))
def test_each_kind_is_made_by_its_name(kind, expected):
    assert type(narrow(kind)) is getattr(networks, expected)


@pytest.mark.parametrize("kind", ["vnet", "", "Unet", None, ["unet"], 3])
def test_an_unknown_kind_is_refused_naming_the_known_ones(kind):
    with pytest.raises(ModelError, match="unet, densefcn, mrrn, generator"):
        create_network(kind)
    with pytest.raises(ModelError, match=r"unet, densefcn, mrrn\.$"):
        create_segmentor(kind)


def test_a_network_that_is_no_segmentor_is_not_made_as_one():
    with pytest.raises(ModelError, match="'generator'"):
        create_segmentor("generator")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(("unet", "width", value) for value in (0, 16.0, True, "16", 10**9)),
        ("unet", "classes", 0),
        ("unet", "in_channels", -1),
        ("unet", "hints", "top"),
        ("unet", "hints", ["high"]),
        ("unet", "depth", 3),
        ("unet", "kind", "mrrn"),
        ("densefcn", "growth", None),
        ("densefcn", "dropout", 1),
        ("densefcn", "dropout", float("nan")),
        ("mrrn", "wiring", "loose"),
        ("generator", "blocks", 0),
        ("generator", "hints", "high"),
        ("weighted-fusion", "width", 1),
        ("weighted-fusion", "image_channels", 0),
        *(
            ("style-translator", name, 0)
            for name in ("width", "blocks", "content_blocks", "codes", "in_channels", "out_channels")
        ),
    ],
)
def test_a_bad_argument_is_refused_by_its_name(kind, name, value):
    with pytest.raises(ModelError, match=f"'{name}'"):
        create_network(kind, **{name: value})


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 32, 32), (1, 1, 0, 32), (1, 1, 4, 32, 32)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_another_shape_is_refused(kind, shape):
    with pytest.raises(ModelError, match="shape"):
        narrow(kind)(torch.zeros(shape))


@pytest.mark.parametrize("size", [(97, 131), (17, 19), (1, 1), (2, 50), (64, 32), (3, 9)])
@pytest.mark.parametrize("kind", KINDS[3:])
def test_a_network_before_a_segmentor_takes_any_size_and_gives_intensities(kind, size):
    x = images_for(kind, 2, *size)
    out = narrow(kind).eval()(x)
    assert out.shape == (2, x.shape[1], *size)
    assert out.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS[3:])
def test_gradients_reach_every_parameter_and_the_input(kind):
    network = narrow(kind)
    x = images_for(kind, 2, 32, 32).requires_grad_()
    network(x).square().sum().backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_gives_the_same_and_a_segmentor_keeps_it(kind):
    network = narrow(kind).eval()
    x = images_for(kind, 2, 64, 48)
    expected = outputs(network, x)
    network = network.to(memory_format=torch.channels_last)
    for number, (last, plain) in enumerate(
        zip(outputs(network, x.contiguous(memory_format=torch.channels_last)), expected, strict=True)
    ):
        torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
        assert number == 0 or last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
def test_under_bfloat16_autocast_the_result_stays_close(kind):
    network = narrow(kind).eval()
    x = images_for(kind, 2, 64, 48)
    with torch.inference_mode():
        exact = outputs(network, x)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = outputs(network, x)[0]
    largest = exact.abs().max()
    assert (rough.float() - exact).abs().max() < (0.05 * largest + 0.02 if kind in SEGMENTORS else 0.1 * largest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 48), (37, 29)])
def test_folding_batch_norms_gives_the_same_and_leaves_the_original_as_it_was(kind, size):
    network = trained(kind).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert network.training
    assert not any(part.training for part in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    x = images_for(kind, 2, *size)
    with torch.no_grad():
        for out, expected in zip(outputs(folded, x), outputs(network.eval(), x), strict=True):
            assert (out - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())
    # Those of densefcn come before a ReLU and after what others read too.
    assert len(norms(folded)) == (len(norms(network)) if kind == "densefcn" else 0)


def test_folding_reaches_into_a_chain_of_networks_and_can_be_repeated():
    chain = torch.nn.Sequential(trained("weighted-fusion"), torch.nn.Conv2d(2, 1, 1), trained("unet"))
    folded = fold_batch_norm(fold_batch_norm(chain))
    assert not norms(folded)
    x = images(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(x)[0], chain.eval()(x)[0], rtol=1e-4, atol=1e-5)


def test_folding_keeps_channels_last_and_half_precision():
    folded = fold_batch_norm(trained("unet").to(memory_format=torch.channels_last).half())
    weight = folded.encoder[1].first.conv.weight
    assert weight.dtype == torch.float16
    assert weight.is_contiguous(memory_format=torch.channels_last)
