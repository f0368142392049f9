"""Narrow networks of every kind a card may name, and images for them."""

import torch

from CMEDLSegmentLib.networks import create_network

ARGUMENTS = {
    "unet": {"width": 4},
    "densefcn": {"width": 6, "growth": 3},
    "mrrn": {"width": 2},
    "generator": {"width": 4, "blocks": 2},
    "style-translator": {"width": 4, "blocks": 2, "content_blocks": 1, "codes": 3},
    "weighted-fusion": {"width": 4},
}
KINDS = tuple(ARGUMENTS)
SEGMENTORS = KINDS[:3]


def narrow(kind, seed=0, **arguments):
    torch.manual_seed(seed)
    return create_network(kind, **{**ARGUMENTS[kind], **arguments})


def trained(kind, **arguments):
    """A network whose batch norms look as after training: random statistics, scales (of both signs) and shifts."""
    network = narrow(kind, **arguments)
    for norm in norms(network):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.3, 3)
        torch.nn.init.normal_(norm.weight, 1.0, 0.5)
        torch.nn.init.normal_(norm.bias, 0.0, 0.5)
    return network


def norms(module):
    return [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]


def images(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def images_for(kind, count, *size):
    """A batch with as many channels as the network reads."""
    return images(count, 2 if kind == "weighted-fusion" else 1, *size)


def outputs(network, x):
    """All that a network returns: a segmentor's logits and then its hints."""
    result = network(x)
    return [result] if isinstance(result, torch.Tensor) else [result[0], *result[1]]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())
