"""The joint update written plainly from the paper's equations, for any test that compares gradients with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from CMEDLTrainLib import methods
from CMEDLTrainLib.methods import Batch, Method, Step
from CMEDLTrainLib.settings.configuration import Configuration
from train.training import tiny_runs


def settings(method: str, *changes: str) -> Configuration:
    return tiny_runs.settings(method, "optimization.epochs=3", "optimization.batch=2", *changes)


def prepared(configuration: Configuration, size: int = 32) -> tuple[Method, dict[str, Batch], Step]:
    """The method in fp64, training mode, with two images of each role."""
    torch.manual_seed(3)
    made = methods.create(configuration)
    for network in made.networks.values():
        network.double().train()
    random = torch.Generator().manual_seed(5)
    batches = {
        role: Batch(
            torch.rand(2, 1, size, size, generator=random, dtype=torch.float64) * 2 - 1,
            (torch.rand(2, size, size, generator=random) < 0.2).to(torch.uint8),
        )
        for role in ("student", "teacher")
    }
    return made, batches, Step(random)


def plain_dice(logits: Tensor, mask: Tensor) -> Tensor:
    p, g = logits.sigmoid()[:, 0], (mask > 0).double()
    return 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)


def plain_contextual(features: nn.Module, generated: Tensor, target: Tensor, over: int = 0) -> Tensor:
    """The contextual loss of images, summed over the layers of ``features``; see :func:`plain_contextual_of_layer`."""
    pairs = zip(features(generated), features(target), strict=True)
    return sum(plain_contextual_of_layer(*pair, over) for pair in pairs)


def plain_contextual_of_layer(layer: Tensor, layer_target: Tensor, over: int = 0) -> Tensor:
    """Equations 3 and 4 for one image after the other; the maximum over the generated features, or (1) the targets."""
    values = []
    for g, m in zip(layer, layer_target, strict=True):
        g, m = (x.flatten(1).T for x in (g, m))
        center = m.mean(dim=0)
        g, m = F.normalize(g - center, dim=1), F.normalize(m - center, dim=1)
        distance = (1 - g @ m.T) / 2
        relative = distance / (distance.min(dim=1, keepdim=True).values + 1e-5)
        similarity = torch.exp((1 - relative) / 0.5)
        similarity = similarity / similarity.sum(dim=1, keepdim=True)
        values.append(-similarity.max(dim=over).values.mean().log())
    return torch.stack(values).mean()


def gradients(networks: dict[str, nn.Module], loss: Tensor) -> dict[str, list[Tensor]]:
    """Of every weight of every network, zeros where it has none."""
    weights = [weight for network in networks.values() for weight in network.parameters()]
    computed = iter(torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True))
    return {
        name: [g if (g := next(computed)) is not None else torch.zeros_like(w) for w in network.parameters()]
        for name, network in networks.items()
    }


def descended(made: Method, batches: dict[str, Batch], step: Step) -> dict[str, list[Tensor]]:
    """Gradients of every network that a phase updates, each phase run as the engine runs it, without an update."""
    computed = {}
    for phase in made.phases:
        for name, network in made.networks.items():
            network.requires_grad_(name in phase.modules)
            network.zero_grad(set_to_none=True)
        sum(phase.losses(batches, step).values()).backward()
        computed |= {name: [w.grad.clone() for w in made.networks[name].parameters()] for name in phase.modules}
    return computed


def assert_same_gradients(computed: dict[str, list[Tensor]], expected: dict[str, list[Tensor]]) -> None:
    """Each network's gradients agree to 1e-6 of their norm, and are not zero."""
    assert computed.keys() == expected.keys()
    for name, wanted in expected.items():
        ours, theirs = (torch.cat([g.flatten() for g in each]) for each in (computed[name], wanted))
        assert theirs.norm() > 0, name
        assert (ours - theirs).norm() < 1e-6 * theirs.norm(), name
