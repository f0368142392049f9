"""Each segmentor against a second forward pass, written from the description alone, with the same weights."""

import pytest
import torch
import torch.nn.functional as F

from CMEDLSegmentLib.networks import create_segmentor
from segment.networks.narrow_networks import images, trained

MRRN_LEVELS = {
    "down.0": "64,64,2,32 96,64,2,32 96,64,2,32",
    "down.1": "96,128,4,32 192,128,2,64 160,128,4,32",
    "down.2": "160,256,8,32 384,256,2,128 320,256,4,64 288,256,8,32",
    "down.3": "288,512,16,32 768,512,2,256 640,512,4,128 576,512,8,64 544,512,16,32",
    "up.0": "544,256,8,32 384,256,2,128 320,256,4,64 288,256,8,32",
    "up.1": "288,128,4,32 192,128,2,64 160,128,4,32",
    "up.2": "96,64,2,32 96,64,2,32 96,64,2,32",
}
"""The published units: channels in, channels out, pooling of the stream, channels back into the stream."""


class Weights:
    """The operations of a forward pass, by the names of a state dict."""

    def __init__(self, network):
        self.state = network.state_dict()

    def conv(self, x, name, padding=0):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=padding)

    def norm(self, x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{part}"] for part in parts))

    def unit(self, x, name):
        return self.norm(self.conv(x, f"{name}.conv", 1), f"{name}.norm").relu()

    def double(self, x, name):
        return self.unit(self.unit(x, f"{name}.first"), f"{name}.second")

    def layer(self, x, name, padding):
        return self.conv(self.norm(x, f"{name}.norm").relu(), f"{name}.conv", padding)


def enlarge(x, factor):
    size = (x.shape[-2] * factor, x.shape[-1] * factor)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def make(kind, **arguments):
    """An evaluating network with batch norms that are no identity, and images for it."""
    return trained(kind, **arguments).eval(), images(2, 1, 48, 64)


def compare(network, x, logits, hints):
    with torch.no_grad():
        got, got_hints = network(x)
    torch.testing.assert_close(got, logits, rtol=1e-4, atol=1e-5)
    for hint, expected in zip(got_hints, hints, strict=True):
        torch.testing.assert_close(hint, expected, rtol=1e-4, atol=1e-5)


def test_unet():
    network, x = make("unet")
    weights = Weights(network)
    features = weights.double(x, "encoder.0")
    skips = []
    for level in range(1, 5):
        skips.append(features)
        features = weights.double(F.max_pool2d(features, 2), f"encoder.{level}")
    hints = []
    for level, skip in enumerate(reversed(skips)):
        features = weights.double(torch.cat((skip, enlarge(features, 2)), 1), f"decoder.{level}")
        hints.append(features)
    compare(network, x, weights.conv(features, "head"), hints[-2:])


def test_densefcn():
    """At 48 rows the fifth pooling drops one of three, and the transposed convolution's fourth is cut."""
    network, x = make("densefcn")
    weights = Weights(network)

    def block(x, name):
        for layer in range(4):
            before, x = x, torch.cat((x, weights.layer(x, f"{name}.layers.{layer}", 1)), 1)
        return before, x

    features = weights.conv(x, "first", 1)
    skips = []
    for level in range(5):
        _, features = block(features, f"down.{level}")
        skips.append(features)
        features = F.max_pool2d(weights.layer(features, f"transition_down.{level}", 0), 2)
    before, features = block(features, "bottleneck")
    for level, skip in enumerate(reversed(skips)):
        state = weights.state
        weight, bias = state[f"transition_up.{level}.weight"], state[f"transition_up.{level}.bias"]
        up = F.conv_transpose2d(features[:, -12:], weight, bias, stride=2)
        penultimate = before
        up = up[..., : skip.shape[-2], : skip.shape[-1]]
        before, features = block(torch.cat((up, skip), 1), f"up.{level}")
    compare(network, x, weights.conv(features, "head"), (penultimate, features))


@pytest.mark.parametrize("wiring", ["published", "connected"])
def test_mrrn(wiring):
    network, x = make("mrrn", classes=2, wiring=wiring)
    weights = Weights(network)

    def residual(x, name):
        for i in range(3):
            x = x + weights.unit(x, f"{name}.{i}.unit")
        return x

    def level(features, streams, name):
        for i, unit in enumerate(MRRN_LEVELS[name].split()):
            pool = int(unit.split(",")[2])
            source = next(s for s, stream in streams.items() if stream.shape[-1] == pool * features.shape[-1])
            read = torch.cat((F.max_pool2d(streams[source], pool), features), 1)
            features = weights.double(read, f"{name}.{i}.convs")
            back = weights.conv(features, f"{name}.{i}.adjust")
            streams[source] = streams[source] + enlarge(back, pool)
        return features

    start = residual(weights.unit(x, "stem"), "stem_units")
    streams = {1: weights.conv(start, "stream").relu()}
    streams[2] = level(F.max_pool2d(start, 2), streams, "down.0")
    streams[4] = level(F.max_pool2d(streams[2], 2), streams, "down.1")
    streams[8] = level(F.max_pool2d(streams[4], 2), streams, "down.2")
    features = level(F.max_pool2d(streams[8], 2), streams, "down.3")
    features = level(enlarge(features, 2), streams, "up.0")
    features = level(enlarge(features, 2), streams, "up.1")
    coarse = enlarge(features, 2)
    features = level(coarse if wiring == "connected" else streams[2], streams, "up.2")
    fine = enlarge(features, 2)
    joined = weights.unit(torch.cat((streams[1], fine), 1), "join")
    logits = weights.conv(residual(joined, "head_units"), "head")
    compare(network, x, logits, (coarse, fine))


def test_the_units_of_the_mrrn_are_the_published_ones():
    with torch.device("meta"):
        network = create_segmentor("mrrn", classes=2, wiring="published")
    for name, units in MRRN_LEVELS.items():
        built = [
            f"{u.convs.first.conv.in_channels},{u.convs.second.conv.out_channels},{u.pool},{u.adjust.out_channels}"
            for u in network.get_submodule(name)
        ]
        assert " ".join(built) == units
