"""Folding batch norm leaves the result and the original as they were."""

import pytest
import torch
from torch import nn

from CMEDLSegmentLib.networks import create_network, fold_batch_norm

NETWORKS = {
    "unet": {"width": 4},
    "densefcn": {"width": 6, "growth": 3},
    "mrrn": {"width": 2},
    "generator": {"width": 2, "blocks": 1},
    "weighted-fusion": {"width": 4},
}


def norms(module):
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def trained(kind):
    """A network whose batch norms look as after training: random statistics, scales (of both signs) and shifts."""
    torch.manual_seed(0)
    network = create_network(kind, **NETWORKS[kind])
    for norm in norms(network):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 3)
        nn.init.normal_(norm.weight, 1.0, 0.5)
        nn.init.normal_(norm.bias, 0.0, 0.5)
    return network


def outputs(network, x):
    result = network(x)
    return [result] if isinstance(result, torch.Tensor) else [result[0], *result[1]]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("size", [(64, 48), (37, 29)])
def test_the_folded_network_gives_the_same_logits_and_hints(kind, size):
    network = trained(kind)
    x = torch.rand(2, 2 if kind == "weighted-fusion" else 1, *size) * 2 - 1
    folded = fold_batch_norm(network)
    with torch.no_grad():
        for out, expected in zip(outputs(folded, x), outputs(network.eval(), x), strict=True):
            assert (out - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("kind", ["unet", "mrrn", "weighted-fusion"])
def test_no_batch_norm_is_left(kind):
    network = trained(kind)
    assert norms(network)
    assert not norms(fold_batch_norm(network))


def test_the_batch_norms_of_densefcn_which_come_first_are_left():
    network = trained("densefcn")
    assert len(norms(fold_batch_norm(network))) == len(norms(network))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_original_is_left_as_it_was(kind):
    network = trained(kind).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert network.training
    assert not any(part.training for part in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_folding_reaches_into_a_chain_of_networks_and_can_be_repeated():
    chain = nn.Sequential(trained("weighted-fusion"), nn.Conv2d(2, 1, 1), trained("unet"))
    folded = fold_batch_norm(fold_batch_norm(chain))
    assert not norms(folded)
    x = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(x)[0], chain.eval()(x)[0], rtol=1e-4, atol=1e-5)


def test_channels_last_and_half_precision_weights_are_kept():
    network = trained("unet").to(memory_format=torch.channels_last).half()
    folded = fold_batch_norm(network)
    weight = folded.encoder[1].first.conv.weight
    assert weight.dtype == torch.float16
    assert weight.is_contiguous(memory_format=torch.channels_last)
