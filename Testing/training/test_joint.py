"""Joint training: every method trains and resumes; the joint gradients are those of the paper's equations."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from CMEDLTrainLib import methods, runs
from CMEDLTrainLib.configuration import METHODS, PRESETS, Configuration, Network, with_settings
from CMEDLTrainLib.engine import Trainer
from CMEDLTrainLib.methods import Batch, Method, Step
from training.stores import disc_store

JOINT = [name for name in METHODS if name != "ct-only"]


@pytest.fixture
def store(tmp_path):
    return disc_store(tmp_path / "store", patients=4, slices=2, teachers=2)


def settings(method: str, *changes: str) -> Configuration:
    base = replace(PRESETS["tiny"], method=method, network=Network(arguments={"width": 2}), device="cpu")
    return with_settings(base, ("optimisation.epochs=3", "optimisation.batch=2", "translation.width=2", *changes))


def trained(folder, store, configuration, cancelled=lambda: False):
    run = runs.open_run(folder) if folder.exists() else runs.create(folder, configuration)
    with run.held():
        trainer = Trainer(run, store)
        trainer.train(cancelled=cancelled)
    return run, trainer


@pytest.mark.parametrize("method", JOINT)
def test_a_joint_run_cut_at_any_step_ends_with_the_weights_of_one_that_was_not(tmp_path, store, method):
    configuration = settings(method)
    whole, trainer = trained(tmp_path / "whole", store, configuration)
    steps = iter(range(100))
    cut, _ = trained(tmp_path / "cut", store, configuration, cancelled=lambda: next(steps) + 1 >= 3)
    assert cut.status()["step"] == 3
    trained(tmp_path / "cut", store, configuration)
    expected, found = load_file(whole.last), load_file(cut.last)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    # Nothing that is to be learned stays as it was.
    torch.manual_seed(configuration.seed)
    fresh = methods.create(configuration)
    for phase in trainer.method.phases:
        for name in phase.modules:
            before, after = fresh.networks[name].state_dict(), trainer.networks[name].state_dict()
            assert any(not torch.equal(before[key], after[key]) for key in before), name


@pytest.mark.parametrize("method", JOINT)
def test_no_phase_leaves_a_gradient_where_it_does_not_learn(method):
    made, batches, step = prepared(settings(method))
    for phase in made.phases:
        for name, network in made.networks.items():
            network.requires_grad_(name in phase.modules)
            network.zero_grad(set_to_none=True)
        sum(phase.losses(batches, step).values()).backward()
        with_gradient = {
            name
            for name, network in made.networks.items()
            if any(weight.grad is not None for weight in network.parameters())
        }
        assert with_gradient == set(phase.modules)


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


def plain_contextual(features: nn.Module, generated: Tensor, target: Tensor) -> Tensor:
    """Equations 3 and 4 for one image after the other, as the contextual loss's authors write them."""
    losses = []
    for layer, layer_target in zip(features(generated), features(target), strict=True):
        values = []
        for g, m in zip(layer, layer_target, strict=True):
            g, m = (x.flatten(1).T for x in (g, m))
            centre = m.mean(dim=0)
            g, m = F.normalize(g - centre, dim=1), F.normalize(m - centre, dim=1)
            distance = (1 - g @ m.T) / 2
            relative = distance / (distance.min(dim=1, keepdim=True).values + 1e-5)
            similarity = torch.exp((1 - relative) / 0.5)
            similarity = similarity / similarity.sum(dim=1, keepdim=True)
            values.append(-similarity.max(dim=0).values.mean().log())
        losses.append(torch.stack(values).mean())
    return sum(losses)


def gradients(networks: dict[str, nn.Module], loss: Tensor) -> dict[str, list[Tensor]]:
    """Of every weight of every network, zeros where it has none."""
    weights = [weight for network in networks.values() for weight in network.parameters()]
    found = iter(torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True))
    return {
        name: [g if (g := next(found)) is not None else torch.zeros_like(w) for w in network.parameters()]
        for name, network in networks.items()
    }


def test_the_joint_update_is_equation_7_network_by_network():
    configuration = with_settings(
        settings("cmedl"), ("loss.dice=1.0", "loss.cross_entropy=0.0", "distillation.hint=3.0", "translation.pool=0")
    )
    made, batches, step = prepared(configuration)
    reference = {name: copy.deepcopy(network) for name, network in made.networks.items()}
    descend, judge = made.phases
    sum(descend.losses(batches, step).values()).backward()
    found = {name: [w.grad.clone() for w in made.networks[name].parameters()] for name in descend.modules}
    for network in made.networks.values():
        network.zero_grad(set_to_none=True)
    sum(judge.losses(batches, step).values()).backward()
    found |= {name: [w.grad.clone() for w in made.networks[name].parameters()] for name in judge.modules}

    # The equations, each network called anew wherever it stands in them.
    c, m = batches["student"].images, batches["teacher"].images
    y_c, y_m = batches["student"].masks, batches["teacher"].masks
    to_m, to_c = reference["to_teacher"], reference["to_student"]
    d_m, d_c = reference["judge_teacher"], reference["judge_student"]
    s_ct, s_mr = reference["segmentor"], reference["teacher"]
    adversarial = (d_m(to_m(c)) - 1).square().mean() + (d_c(to_c(m)) - 1).square().mean()
    cycle = (to_c(to_m(c)) - c).abs().mean() + (to_m(to_c(m)) - m).abs().mean()
    contextual = plain_contextual(reference["features"], to_m(c), m)
    hint = sum((a - b).square().mean() for a, b in zip(s_ct(c)[1], s_mr(to_m(c))[1], strict=True))
    segmentation = plain_dice(s_mr(m)[0], y_m) + plain_dice(s_mr(to_m(c))[0], y_c) + plain_dice(s_ct(c)[0], y_c)
    total = adversarial + 10 * cycle + contextual + 3 * hint + 5 * segmentation
    expected = gradients({name: reference[name] for name in descend.modules}, total)
    judged = 0.5 * (
        (d_m(m) - 1).square().mean()
        + d_m(to_m(c).detach()).square().mean()
        + (d_c(c) - 1).square().mean()
        + d_c(to_c(m).detach()).square().mean()
    )
    expected |= gradients({name: reference[name] for name in judge.modules}, judged)
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        ours, theirs = (torch.cat([g.flatten() for g in each]) for each in (found[name], wanted))
        assert theirs.norm() > 0, name
        assert (ours - theirs).norm() < 1e-6 * theirs.norm(), name


def test_a_weight_of_zero_takes_its_term_away():
    terms = {}
    for method in JOINT:
        made, batches, step = prepared(settings(method))
        terms[method] = set(made.phases[0].losses(batches, step))
    everything = terms["cmedl"]
    assert everything - terms["cmedl-without-contextual"] == {"contextual_teacher"}
    assert everything - terms["cmedl-without-cycle"] == {"cycle_teacher", "cycle_student"}
    assert everything - terms["cmedl-without-real-labels"] == {"teacher_real"}
    assert everything - terms["cmedl-without-pseudo-labels"] == {"teacher_pseudo"}
    assert terms["output-distillation"] ^ everything == {"hint", "output"}
    assert terms["weak+pseudo"] - terms["weak"] == {"student_pseudo"}
    assert terms["weak"] == everything


@pytest.mark.parametrize("method", ["pmri-cycle", "pmri-drit", "ct+pmri", "weighted"])
def test_fusion_segments_the_translation_and_teaches_it_nothing(method):
    made, batches, step = prepared(settings(method))
    terms = made.phases[0].losses(batches, step)
    assert not any("contextual" in name for name in terms)
    for network in made.networks.values():
        network.zero_grad(set_to_none=True)
    sum(made.phases[2].losses(batches, step).values()).backward()
    reached = {name for name, net in made.networks.items() if any(w.grad is not None for w in net.parameters())}
    assert reached == ({"segmentor", "fusion"} if method == "weighted" else {"segmentor"})
    for network in made.networks.values():
        network.eval()
    images = batches["student"].images
    seen = made.networks["to_teacher"](images)
    if method in ("ct+pmri", "weighted"):
        seen = torch.cat((images, seen), dim=1)
    if method == "weighted":
        alpha = made.networks["fusion"].weigh(seen)
        seen = torch.cat(((1 - alpha) * seen[:, :1], alpha * seen[:, 1:]), dim=1)
    expected = made.networks["segmentor"](seen)[0]
    torch.testing.assert_close(made.segment(made.networks, images), expected, rtol=1e-5, atol=1e-6)


def test_the_teacher_and_its_translation_are_the_student_of_pmri_cmedl():
    made, _, _ = prepared(settings("pmri-cmedl"))
    assert [spec.name for spec in made.student] == ["to_teacher", "segmentor"]
    images = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    for network in made.networks.values():
        network.eval()
    chained = made.networks["segmentor"](made.networks["to_teacher"](images))[0]
    torch.testing.assert_close(made.segment(made.networks, images), chained)


def test_what_is_no_training_needs_no_features():
    made = methods.create(settings("cmedl", "features=absent.pth"), features=False)
    assert {"segmentor", "teacher", "to_teacher"} <= made.networks.keys()
    assert "features" not in made.networks
