"""The translation networks and losses once more, plainly, from the paper's equations and the networks' descriptions.

Functions of a state dict and tensors, on the framework's functional layers alone: one call for each image that an
equation names, logarithms and squares written out. Nothing here uses the code that it is a reference for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def _conv(state: State, name: str, x: Tensor, stride: int = 1, pad: int = 0, reflect: bool = False) -> Tensor:
    if pad:
        x = F.pad(x, (pad,) * 4, mode="reflect" if reflect else "constant")
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride)


def _up(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 2, padding=1, output_padding=1)


def _residual(state: State, name: str, x: Tensor) -> Tensor:
    inside = F.relu(F.instance_norm(_conv(state, f"{name}.first", x, pad=1, reflect=True)))
    return x + F.instance_norm(_conv(state, f"{name}.second", inside, pad=1, reflect=True))


def _blocks(state: State, prefix: str) -> range:
    return range(len({key.split(".")[1] for key in state if key.startswith(f"{prefix}.")}))


def generator(state: State, x: Tensor) -> Tensor:
    """CycleGAN's: sizes must be multiples of 4."""
    x = F.relu(F.instance_norm(_conv(state, "first", x, pad=3, reflect=True)))
    for i in (0, 1):
        x = F.relu(F.instance_norm(_conv(state, f"down.{i}", x, 2, pad=1)))
    for i in _blocks(state, "blocks"):
        x = _residual(state, f"blocks.{i}", x)
    for i in (0, 1):
        x = F.relu(F.instance_norm(_up(state, f"up.{i}", x)))
    return torch.tanh(_conv(state, "last", x, pad=3, reflect=True))


def patch_judge(state: State, x: Tensor) -> Tensor:
    """C64-C128-C256-C512 of CycleGAN's appendix (its 70 x 70 discriminator), then one channel."""
    x = F.leaky_relu(_conv(state, "convolutions.0", x, 2, pad=1), 0.2)
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        x = F.leaky_relu(F.instance_norm(_conv(state, f"convolutions.{i}", x, stride, pad=1)), 0.2)
    return _conv(state, "convolutions.4", x, pad=1)


def content_judge(state: State, x: Tensor) -> Tensor:
    for i in (0, 1):
        x = F.leaky_relu(F.instance_norm(_conv(state, f"convolutions.{i}", x, 2, pad=3)), 0.2)
    x = F.leaky_relu(_conv(state, "convolutions.2", x, 2, pad=3), 0.2)
    return _conv(state, "last", x)


def content(state: State, x: Tensor) -> Tensor:
    x = F.leaky_relu(_conv(state, "first", x, pad=3, reflect=True), 0.01)
    for i in (0, 1):
        x = F.relu(F.instance_norm(_conv(state, f"down.{i}", x, 2, pad=1)))
    for i in _blocks(state, "blocks"):
        x = _residual(state, f"blocks.{i}", x)
    return x


def draw(state: State, c: Tensor, s: Tensor) -> Tensor:
    """DRIT's generator: the codes as constant channels, whole-image norms (one group) with a scale and a shift."""

    def beside(x: Tensor) -> Tensor:
        return torch.cat([x, s.reshape(*s.shape, 1, 1) * torch.ones_like(x[:, :1])], dim=1)

    x = beside(c)
    for i in _blocks(state, "blocks"):
        x = _residual(state, f"blocks.{i}", x)
    for i in (0, 1):
        x = F.relu(
            F.group_norm(_up(state, f"up.{i}", beside(x)), 1, state[f"norms.{i}.weight"], state[f"norms.{i}.bias"])
        )
    return torch.tanh(_conv(state, "last", beside(x)))


def style(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance; sizes must be multiples of 16."""
    x = _conv(state, "first", x, 2, pad=1)
    for i in range(3):
        inside = _conv(state, f"blocks.{i}.first", F.leaky_relu(x, 0.2), pad=1)
        inside = _conv(state, f"blocks.{i}.second", F.leaky_relu(inside, 0.2), pad=1)
        x = F.avg_pool2d(inside, 2) + _conv(state, f"blocks.{i}.shortcut", F.avg_pool2d(x, 2))
    x = F.leaky_relu(x, 0.2).mean((2, 3))
    mean = x @ state["mean.weight"].T + state["mean.bias"]
    return mean, x @ state["log_variance.weight"].T + state["log_variance.bias"]


def below(state: State, name: str) -> State:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def adversarial(score: Tensor, real: bool, gan: str) -> Tensor:
    """What is descended for scores to be those of real, or of generated images."""
    if gan == "lsgan":
        return ((score - (1 if real else 0)) ** 2).mean()
    probability = 1 / (1 + torch.exp(-score))
    return -torch.log(probability if real else 1 - probability).mean()


def cyclegan(nets: dict[str, State], x_c: Tensor, x_m: Tensor, weights: dict[str, float], gan: str, contextual):
    """Equations 4 to 7: what the generators descend, what each discriminator descends, in this order."""

    def to_m(x):
        return generator(nets["to_teacher"], x)

    def to_c(x):
        return generator(nets["to_student"], x)

    def d_m(x):
        return patch_judge(nets["judge_teacher"], x)

    def d_c(x):
        return patch_judge(nets["judge_student"], x)

    l_adv = adversarial(d_m(to_m(x_c)), True, gan) + adversarial(d_c(to_c(x_m)), True, gan)
    l_cyc = (to_c(to_m(x_c)) - x_c).abs().mean() + (to_m(to_c(x_m)) - x_m).abs().mean()
    l_identity = (to_m(x_m) - x_m).abs().mean() + (to_c(x_c) - x_c).abs().mean()
    l_cx = contextual(to_m(x_c), x_m) + weights["back"] * contextual(to_c(x_m), x_c)
    l_g = weights["adv"] * l_adv + weights["cyc"] * l_cyc + weights["identity"] * l_identity + weights["cx"] * l_cx
    with torch.no_grad():
        fake_m, fake_c = to_m(x_c), to_c(x_m)
    l_d_m = (adversarial(d_m(x_m), True, gan) + adversarial(d_m(fake_m), False, gan)) / 2
    l_d_c = (adversarial(d_c(x_c), True, gan) + adversarial(d_c(fake_c), False, gan)) / 2
    return l_g, l_d_m, l_d_c


def drit(nets: dict[str, State], x_c: Tensor, x_m: Tensor, weights: dict[str, float], gan: str, noise: Tensor):
    """Equations 8 to 13: what the generators descend, then D_m, D_c (images) and D (content).

    ``noise`` (6, n, codes): the sampled styles of student and teacher, the draws of their images' styles, and the
    draws of their translations' styles.
    """
    z_c, z_m, e_c, e_m, e_back_c, e_back_m = noise

    def encode(x):
        return content(below(nets["to_teacher"], "content"), x)

    def g_m(c, s):
        return draw(below(nets["to_teacher"], "generator"), c, s)

    def g_c(c, s):
        return draw(nets["to_student"], c, s)

    def drawn(mean, log_variance, e):
        return mean + e * torch.sqrt(torch.exp(log_variance))

    def kl(mean, log_variance):
        normal = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        return torch.distributions.kl_divergence(normal, prior).sum() / len(mean)

    def d_m(x):
        return patch_judge(nets["judge_teacher"], x)

    def d_c(x):
        return patch_judge(nets["judge_student"], x)

    def d(c):
        return content_judge(nets["judge_content"], c)

    (mean_c, spread_c), (mean_m, spread_m) = style(nets["style_student"], x_c), style(nets["style_teacher"], x_m)
    s_c, s_m = drawn(mean_c, spread_c, e_c), drawn(mean_m, spread_m, e_m)
    pseudo_m, pseudo_c = g_m(encode(x_c), s_m), g_c(encode(x_m), s_c)
    random_m, random_c = g_m(encode(x_c), z_m), g_c(encode(x_m), z_c)
    back_c = g_c(encode(pseudo_m), drawn(*style(nets["style_student"], pseudo_c), e_back_c))
    back_m = g_m(encode(pseudo_c), drawn(*style(nets["style_teacher"], pseudo_m), e_back_m))

    l_adv = 0.5 * adversarial(d_m(pseudo_m), True, gan) + 0.5 * adversarial(d_m(random_m), True, gan)
    l_adv = l_adv + 0.5 * adversarial(d_c(pseudo_c), True, gan) + 0.5 * adversarial(d_c(random_c), True, gan)
    l_content = sum(
        adversarial(d(encode(x)), True, gan) + adversarial(d(encode(x)), False, gan) for x in (x_c, x_m)
    )  # eq. 8: log D + log(1 - D) for the codes of both modalities
    l_vae = weights["kl"] * (kl(mean_c, spread_c) + kl(mean_m, spread_m))
    l_vae = l_vae + (g_c(encode(x_c), s_c) - x_c).abs().mean() + (g_m(encode(x_m), s_m) - x_m).abs().mean()
    l_vae = l_vae + (back_c - x_c).abs().mean() + (back_m - x_m).abs().mean()
    l_lr = (z_m - style(nets["style_teacher"], random_m)[0]).abs().mean()
    l_lr = l_lr + (z_c - style(nets["style_student"], random_c)[0]).abs().mean()
    l_cc = (encode(x_c) - encode(pseudo_m)).abs().mean() + (encode(x_m) - encode(pseudo_c)).abs().mean()
    l_g = weights["adv"] * l_adv + weights["c"] * l_content + weights["vae"] * l_vae
    l_g = l_g + weights["lr"] * l_lr + weights["cc"] * l_cc

    def judged(judge, real, encoded, sampled):
        fakes = 0.5 * adversarial(judge(encoded.detach()), False, gan)
        fakes = fakes + 0.5 * adversarial(judge(sampled.detach()), False, gan)
        return adversarial(judge(real), True, gan) + fakes

    l_d = adversarial(d(encode(x_c).detach()), True, gan) + adversarial(d(encode(x_m).detach()), False, gan)
    return l_g, judged(d_m, x_m, pseudo_m, random_m), judged(d_c, x_c, pseudo_c, random_c), l_d
