"""Adversarial losses: what generator and discriminator descend, from the discriminator's scores.

Scores are the discriminator's output before any sigmoid, of any shape: a PatchGAN gives one for each patch. Equation
5 is the log GAN, while the paper takes CycleGAN's settings, which are the least-squares GAN's (Mao et al. 2017); the
latter is the default reading, the former the option.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..computing.precision import to_float32

KINDS = ("lsgan", "log")
"""Least squares, or logarithms of the sigmoid of the scores; a translation refuses others."""


def generator_loss(fake: Tensor, kind: str = "lsgan") -> Tensor:
    """What a generator descends so that its images are taken for real ones.

    ``lsgan``: E[(D(G(x)) - 1)^2]. ``log``: E[-log D(G(x))], which has the fixed point of equation 5's
    E[log(1 - D(G(x)))] and, unlike that, a gradient where the discriminator is sure (Goodfellow et al. 2014).

    Args:
        fake: scores of generated images, with the graph to the generator.
    """
    fake = to_float32(fake)
    return (fake - 1).square().mean() if kind == "lsgan" else F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "lsgan") -> Tensor:
    """What a discriminator descends to tell real images from generated ones.

    ``lsgan``: E[(D(y) - 1)^2] + E[D(G(x))^2]. ``log``: the negative of equation 5,
    -E[log D(y)] - E[log(1 - D(G(x)))]. CycleGAN's factor of a half is the caller's.

    Args:
        real: scores of real images.
        fake: scores of generated images that were detached from their generator.
    """
    real, fake = to_float32(real), to_float32(fake)
    if kind == "lsgan":
        return (real - 1).square().mean() + fake.square().mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()
