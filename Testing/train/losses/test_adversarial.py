"""The adversarial losses against numpy, and what they teach a generator and a discriminator."""

import numpy as np
import pytest
import torch

from CMEDLTrainLib.losses.adversarial import KINDS, discriminator_loss, generator_loss


def scores(seed: int) -> torch.Tensor:
    return torch.randn(2, 1, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def sigmoid(values: torch.Tensor) -> np.ndarray:
    return 1 / (1 + np.exp(-values.numpy()))


def test_least_squares_losses_are_squared_distances_to_one_and_zero():
    real, fake = scores(0), scores(1)
    assert float(generator_loss(fake)) == pytest.approx(np.mean((fake.numpy() - 1) ** 2))
    expected = np.mean((real.numpy() - 1) ** 2) + np.mean(fake.numpy() ** 2)
    assert float(discriminator_loss(real, fake)) == pytest.approx(expected)


def test_log_losses_are_those_of_equation_5():
    real, fake = scores(2), scores(3)
    assert float(generator_loss(fake, "log")) == pytest.approx(-np.mean(np.log(sigmoid(fake))))
    expected = -np.mean(np.log(sigmoid(real))) - np.mean(np.log(1 - sigmoid(fake)))
    assert float(discriminator_loss(real, fake, "log")) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_discriminator_pull_the_score_of_a_generated_image_apart(kind):
    fake = torch.full((1, 1, 3, 3), 0.4, requires_grad=True)
    generator_loss(fake, kind).backward()
    assert (fake.grad < 0).all()
    fake.grad = None
    discriminator_loss(torch.ones(1, 1, 3, 3), fake, kind).backward()
    assert (fake.grad > 0).all()


def test_a_generator_learns_also_where_the_discriminator_is_sure():
    fake = torch.full((1, 1, 1, 1), -200.0, requires_grad=True)
    loss = generator_loss(fake, "log")
    loss.backward()
    assert float(loss.detach()) == pytest.approx(200)
    assert float(fake.grad) == pytest.approx(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_bfloat16_are_averaged_in_float32(kind):
    real, fake = scores(4).bfloat16(), scores(5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.stack([generator_loss(fake, kind), discriminator_loss(real, fake, kind)])
    exact = [generator_loss(fake.double(), kind), discriminator_loss(real.double(), fake.double(), kind)]
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), torch.stack(exact), rtol=1e-6, atol=0)
