"""Joint training: every method trains and resumes; the joint gradients are those of the paper's equations."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from CMEDLSegmentLib.base.errors import InputError
from CMEDLTrainLib import methods
from CMEDLTrainLib.losses.features import CONVOLUTIONS
from CMEDLTrainLib.settings.configuration import METHODS, Network
from train.cohort.stores import disc_store
from train.methods.joint_reference import (
    assert_same_gradients,
    descended,
    gradients,
    plain_contextual,
    plain_dice,
    prepared,
    settings,
)
from train.training.tiny_runs import assert_same_tensors, trained

JOINT = [name for name in METHODS if name != "ct-only"]
WIRINGS = ("cmedl", "vae-cmedl", "pmri-cmedl", "weak+pseudo", "pmri-cycle", "weighted", "mutual")
"""The methods that differ in more than weights and channels."""


@pytest.fixture
def store(tmp_path):
    return disc_store(tmp_path / "store", patients=4, slices=2, teachers=2)


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in WIRINGS else pytest.mark.slow) for name in JOINT]
)
def test_a_joint_run_cut_at_any_step_ends_with_the_weights_of_one_that_was_not(tmp_path, store, method):
    configuration = settings(method)
    whole, trainer = trained(tmp_path / "whole", store, configuration)
    steps = iter(range(100))
    cut, _ = trained(tmp_path / "cut", store, configuration, cancelled=lambda: next(steps) + 1 >= 3)
    assert cut.status()["step"] == 3
    trained(tmp_path / "cut", store, configuration)
    assert_same_tensors(cut.last, whole.last)
    # Nothing that is to be learned stays as it was.
    torch.manual_seed(configuration.seed)
    fresh = methods.create(configuration)
    for phase in trainer.method.phases:
        for name in phase.modules:
            before, after = fresh.networks[name].state_dict(), trainer.networks[name].state_dict()
            assert any(not torch.equal(before[key], after[key]) for key in before), name


@pytest.mark.parametrize("change", ["distillation.separate=false", "distillation.separate=true"])
@pytest.mark.parametrize("method", JOINT)
def test_no_phase_leaves_a_gradient_where_it_does_not_learn(method, change):
    made, batches, step = prepared(settings(method, change))
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


READINGS = {
    "default": ((), {"order": 0, "segmentors": (5, 3)}),
    "the order of equation 3": (("translation.contextual_order=generated",), {"order": 1, "segmentors": (5, 3)}),
    "updates of their own": (("distillation.separate=true",), {"order": 0, "segmentors": (1, 1)}),
}
"""Settings; which maximum the contextual loss takes, and the weights of L_seg and L_hint for the segmentors."""


@pytest.mark.parametrize("reading", READINGS)
def test_the_joint_update_is_equation_7_network_by_network(reading):
    changes, expect = READINGS[reading]
    plain = ("loss.dice=1.0", "loss.cross_entropy=0.0", "distillation.hint=3.0", "translation.pool=0")
    made, batches, step = prepared(settings("cmedl", *plain, *changes))
    reference = {name: copy.deepcopy(network) for name, network in made.networks.items()}
    computed = descended(made, batches, step)

    # The equations, each network called anew wherever it stands in them.
    c, m = batches["student"].images, batches["teacher"].images
    y_c, y_m = batches["student"].masks, batches["teacher"].masks
    to_m, to_c = reference["to_teacher"], reference["to_student"]
    d_m, d_c = reference["judge_teacher"], reference["judge_student"]
    s_ct, s_mr = reference["segmentor"], reference["teacher"]
    adversarial = (d_m(to_m(c)) - 1).square().mean() + (d_c(to_c(m)) - 1).square().mean()
    cycle = (to_c(to_m(c)) - c).abs().mean() + (to_m(to_c(m)) - m).abs().mean()
    contextual = plain_contextual(reference["features"], to_m(c), m, expect["order"])
    hint = sum((a - b).square().mean() for a, b in zip(s_ct(c)[1], s_mr(to_m(c))[1], strict=True))
    segmentation = plain_dice(s_mr(m)[0], y_m) + plain_dice(s_mr(to_m(c))[0], y_c) + plain_dice(s_ct(c)[0], y_c)
    generators = {name: reference[name] for name in ("to_teacher", "to_student")}
    expected = gradients(generators, adversarial + 10 * cycle + contextual + 3 * hint + 5 * segmentation)
    of_segmentation, of_hint = expect["segmentors"]
    segmentors = {name: reference[name] for name in ("segmentor", "teacher")}
    expected |= gradients(segmentors, of_hint * hint + of_segmentation * segmentation)
    judged = 0.5 * (
        (d_m(m) - 1).square().mean()
        + d_m(to_m(c).detach()).square().mean()
        + (d_c(c) - 1).square().mean()
        + d_c(to_c(m).detach()).square().mean()
    )
    expected |= gradients({name: reference[name] for name in ("judge_teacher", "judge_student")}, judged)
    assert_same_gradients(computed, expected)


def test_updates_of_their_own_train_to_the_end(tmp_path, store):
    run, trainer = trained(tmp_path / "run", store, settings("cmedl", "distillation.separate=true"))
    assert [phase.name for phase in trainer.method.phases] == ["translation", "discriminators", "segmentation"]
    assert run.status()["state"] == "finished"


def test_the_features_of_vgg16_serve_a_joint_step(tmp_path):
    random, channels, weights = torch.Generator().manual_seed(1), 3, {}
    for number, filters in zip(CONVOLUTIONS["vgg16"], (4, 4, 8, 8, 16, 16, 16, 32), strict=True):
        weights[f"features.{number}.weight"] = torch.randn(filters, channels, 3, 3, generator=random) * 0.3
        weights[f"features.{number}.bias"] = torch.zeros(filters)
        channels = filters
    save_file(weights, tmp_path / "vgg16.safetensors")
    made, batches, step = prepared(settings("cmedl", f"features={tmp_path / 'vgg16.safetensors'}"))
    assert made.networks["features"].kind == "vgg16"
    computed = made.phases[0].losses(batches, step)["contextual_teacher"]
    generated = made.networks["to_teacher"](batches["student"].images)
    expected = plain_contextual(made.networks["features"], generated, batches["teacher"].images)
    torch.testing.assert_close(computed, expected, rtol=1e-6, atol=0)


def test_mutual_distillation_is_what_its_docstring_writes():
    made, batches, step = prepared(
        settings("mutual", "loss.cross_entropy=0.0", "distillation.output=0.7", "distillation.temperature=2.0")
    )
    reference = {name: copy.deepcopy(network) for name, network in made.networks.items()}
    computed = descended(made, batches, step)
    c, m = batches["student"].images, batches["teacher"].images
    y_c, y_m = batches["student"].masks, batches["teacher"].masks
    s, t = reference["segmentor"], reference["counterpart"]
    pseudo = reference["to_student"](m).detach()

    def divergence(target: Tensor, imitation: Tensor) -> Tensor:
        """T^2 KL(target || imitation) of Bernoulli pixels, T = 2; the target fixed."""
        p, q = (torch.distributions.Bernoulli(logits=logits / 2) for logits in (target.detach(), imitation))
        return 4 * torch.distributions.kl_divergence(p, q).mean()

    of_s = plain_dice(s(c)[0], y_c) + 0.7 * divergence(t(pseudo)[0], s(pseudo)[0])
    of_t = plain_dice(t(pseudo)[0], y_m) + 0.7 * divergence(s(c)[0], t(c)[0])
    expected = gradients({"segmentor": s}, of_s) | gradients({"counterpart": t}, of_t)
    assert_same_gradients({name: computed[name] for name in expected}, expected)
    assert [spec.name for spec in made.student] == ["segmentor"]


@pytest.mark.parametrize("hints", ["low", "mid", "high"])
@pytest.mark.parametrize(
    ("kind", "arguments"), [("unet", {"width": 2}), ("densefcn", {"width": 4, "growth": 2}), ("mrrn", {"width": 2})]
)
def test_hints_of_every_depth_reach_student_teacher_and_generator(kind, arguments, hints):
    configuration = replace(settings("cmedl", f"distillation.hints={hints}"), network=Network(kind, arguments))
    made, batches, step = prepared(configuration)
    terms = made.phases[0].losses(batches, step)
    for network in made.networks.values():
        network.zero_grad(set_to_none=True)
    terms["hint"].backward()
    for name in ("segmentor", "teacher", "to_teacher"):
        reached = [w.grad for w in made.networks[name].parameters() if w.grad is not None]
        assert any(bool(gradient.any()) for gradient in reached), name


def test_an_order_of_the_contextual_loss_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="both"):
        methods.create(settings("cmedl", "translation.contextual_order=both"))


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
    inputs = made.networks["to_teacher"](images)
    if method in ("ct+pmri", "weighted"):
        inputs = torch.cat((images, inputs), dim=1)
    if method == "weighted":
        alpha = made.networks["fusion"].weigh(inputs)
        inputs = torch.cat(((1 - alpha) * inputs[:, :1], alpha * inputs[:, 1:]), dim=1)
    expected = made.networks["segmentor"](inputs)[0]
    torch.testing.assert_close(made.segment(made.networks, images), expected, rtol=1e-5, atol=1e-6)


def test_the_teacher_and_its_translation_are_the_student_of_pmri_cmedl():
    made, _, _ = prepared(settings("pmri-cmedl"))
    assert [spec.name for spec in made.student] == ["to_teacher", "segmentor"]
    images = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    for network in made.networks.values():
        network.eval()
    chained = made.networks["segmentor"](made.networks["to_teacher"](images))[0]
    torch.testing.assert_close(made.segment(made.networks, images), chained)


@pytest.mark.parametrize("method", [name for name in JOINT if name not in ("ct+pmri", "weighted")])
def test_the_statistics_that_a_network_keeps_are_those_of_what_it_segments_later(method):
    """One step's: a tenth of the way from where they began to those of the student's own images, or of its translation.

    By those of both kinds, a teacher of three epochs had computed nothing in any translated image.
    """
    made, batches, step = prepared(settings(method))
    expected = copy.deepcopy(made.networks)
    descended(made, batches, step)
    own, translated = batches["student"].images, step.tensors["pseudo_teacher"].detach()
    segmented = {"segmentor": translated if method.startswith("pmri") else own, "teacher": translated}
    for name in segmented.keys() & expected.keys():
        expected[name](segmented[name])
        wanted, computed = (dict(networks[name].named_buffers()) for networks in (expected, made.networks))
        assert any("running_mean" in buffer for buffer in wanted)
        for buffer, value in wanted.items():
            torch.testing.assert_close(computed[buffer], value, rtol=1e-6, atol=1e-9, msg=f"{name}.{buffer}")


def test_what_is_no_training_needs_no_features():
    made = methods.create(settings("cmedl", "features=absent.pth"), features=False)
    assert {"segmentor", "teacher", "to_teacher"} <= made.networks.keys()
    assert "features" not in made.networks
