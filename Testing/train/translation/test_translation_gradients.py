"""The joint update of the translation: its gradients are those of the equations, written out plainly, in float64."""

import pytest
import torch

from CMEDLTrainLib.settings.translation_settings import TranslationSettings
from CMEDLTrainLib.translation import create
from train.translation import translation_reference as reference

SIDE = 32
N = 2


def images(seed):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(N, 1, SIDE, SIDE, generator=random, dtype=torch.float64) * 2 - 1


def contextual(generated, target):
    """Stands in for equation 4: depends on both arguments and not symmetrically."""
    return (generated.square() - 0.3 * target).square().mean() + generated.mean() * target[0].mean()


def built(**settings):
    """A narrow translation in float64; weights larger than N(0, 0.02), so that no gradient is near zero."""
    torch.manual_seed(3)
    translation = create(TranslationSettings(width=4, **settings), contextual)
    for network in translation.networks.values():
        network.double()
        for weight in network.parameters():
            torch.nn.init.normal_(weight, 0.0, 0.2)
    return translation


def leaves(translation):
    """The same weights as leaves of another graph, by network."""
    return {
        name: {key: value.detach().clone().requires_grad_(True) for key, value in network.named_parameters()}
        for name, network in translation.networks.items()
        if name in (*translation.generators, *translation.discriminators)
    }


def updated(translation, student, teacher):
    """Both phases as the engine runs them, their gradients in the networks; returns both sums."""
    shared, totals = {}, []
    torch.manual_seed(11)
    for own in (translation.generators, translation.discriminators):
        for name, network in translation.networks.items():
            network.requires_grad_(name in own)
        if own == translation.generators:
            losses = translation.generator_losses(student, teacher, shared)
        else:
            losses = translation.discriminator_losses(student, teacher, shared, torch.Generator().manual_seed(7))
        totals.append(torch.stack(list(losses.values())).sum())
        totals[-1].backward()
    return totals


def assert_equal(translation, totals, state, l_generators, l_judges):
    """Sums, and gradients of every network: the generators' from their sum alone, the judges' from theirs."""
    expected = {}
    phases = zip((translation.generators, translation.discriminators), totals, (l_generators, l_judges), strict=True)
    for own, total, loss in phases:
        torch.testing.assert_close(total, loss, rtol=1e-9, atol=0)
        weights = {(name, key): weight for name in own for key, weight in state[name].items()}
        gradients = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
        expected |= dict(zip(weights, gradients, strict=True))
    assert expected.keys() == {(name, key) for name in state for key in state[name]}
    for name in state:
        largest = max(expected[name, key].abs().max().item() for key in state[name])
        assert largest > 1e-4, f"{name} receives next to no gradient, so equality would say nothing"
        for key, weight in translation.networks[name].named_parameters():
            # Biases that a norm takes away have gradients of rounding alone.
            torch.testing.assert_close(weight.grad, expected[name, key], rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize(
    ("settings", "weights", "gan"),
    [
        ({}, {"adv": 1, "cyc": 10, "identity": 0, "cx": 1, "back": 0}, "lsgan"),
        (
            {"gan": "log", "identity": 5, "both_ways": True, "adversarial": 2, "cycle": 3, "contextual": 0.5},
            {"adv": 2, "cyc": 3, "identity": 5, "cx": 0.5, "back": 1},
            "log",
        ),
        ({"cycle": 0, "pool": 0}, {"adv": 1, "cyc": 0, "identity": 0, "cx": 1, "back": 0}, "lsgan"),
        (
            {"cycle": 0, "identity": 4, "contextual": 0},
            {"adv": 1, "cyc": 0, "identity": 4, "cx": 0, "back": 0},
            "lsgan",
        ),
    ],
)
def test_cyclegans_gradients_are_those_of_equations_4_to_7(settings, weights, gan):
    translation = built(kind="cyclegan", blocks=2, **settings)
    state = leaves(translation)
    student, teacher = images(1), images(2)
    totals = updated(translation, student, teacher)
    l_generators, *l_judges = reference.cyclegan(state, student, teacher, weights, gan, contextual)
    assert_equal(translation, totals, state, l_generators, sum(l_judges))


@pytest.mark.parametrize(
    ("settings", "weights", "gan"),
    [
        ({}, {"adv": 1, "c": 1, "vae": 1, "kl": 1, "lr": 10, "cc": 10}, "log"),
        (
            {"gan": "lsgan", "kl": 0.01, "adversarial": 2, "content": 3, "vae": 4, "latent": 5, "content_code": 6},
            {"adv": 2, "c": 3, "vae": 4, "kl": 0.01, "lr": 5, "cc": 6},
            "lsgan",
        ),
    ],
)
def test_drits_gradients_are_those_of_equations_8_to_13(settings, weights, gan):
    translation = built(kind="drit", blocks=2, codes=3, **settings)
    state = leaves(translation)
    student, teacher = images(1), images(2)
    totals = updated(translation, student, teacher)
    torch.manual_seed(11)
    noise = torch.randn(6, N, 3, dtype=torch.float64)
    l_generators, *l_judges = reference.drit(state, student, teacher, weights, gan, noise)
    assert_equal(translation, totals, state, l_generators, sum(l_judges))
