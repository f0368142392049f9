"""Output distillation against numpy and against closed forms."""

import numpy as np
import pytest
import torch

from CMEDLTrainLib.losses.distillation import distillation_loss


def logits(classes: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, classes, 4, 3, generator=random, dtype=torch.float64) * 2


def softened(values: torch.Tensor, temperature: float) -> np.ndarray:
    """Probabilities (n, classes, h, w); those of one logit are of it and of its absence."""
    array = values.numpy() / temperature
    if array.shape[1] == 1:
        array = np.concatenate([np.zeros_like(array), array], axis=1)
    weights = np.exp(array)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_is_the_cross_entropy_of_softened_outputs(classes, temperature):
    student, teacher = logits(classes, 0), logits(classes, 1)
    p, q = softened(teacher, temperature), softened(student, temperature)
    expected = temperature**2 * np.mean(-(p * np.log(q)).sum(axis=1))
    assert float(distillation_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_student_descends_towards_the_softened_teacher_and_the_teacher_stays(classes, temperature):
    student, teacher = logits(classes, 2).requires_grad_(), logits(classes, 3).requires_grad_()
    distillation_loss(student, teacher, temperature).backward()
    p, q = (softened(values.detach(), temperature)[:, -classes:] for values in (teacher, student))
    expected = temperature * (q - p) / (2 * 4 * 3)
    np.testing.assert_allclose(student.grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert teacher.grad is None


@pytest.mark.parametrize("classes", [1, 4])
def test_there_is_nothing_to_learn_from_a_teacher_of_the_same_opinion(classes):
    student = logits(classes, 4).requires_grad_()
    distillation_loss(student, student.detach()).backward()
    assert float(student.grad.abs().max()) < 1e-12


def test_two_classes_are_one_logit_written_as_two():
    student, teacher = logits(1, 5), logits(1, 6)
    pairs = [torch.cat([torch.zeros_like(values), values], dim=1) for values in (student, teacher)]
    torch.testing.assert_close(distillation_loss(*pairs), distillation_loss(student, teacher))


def test_sure_outputs_stay_finite_at_a_low_temperature():
    student, teacher = torch.full((1, 1, 2, 2), -300.0), torch.full((1, 1, 2, 2), 300.0)
    assert float(distillation_loss(student, teacher)) == pytest.approx(0.25 * 600)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("classes", [1, 4])
def test_outputs_in_bfloat16_are_compared_in_float32(classes, autocast):
    student, teacher = logits(classes, 7).bfloat16(), logits(classes, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = distillation_loss(student, teacher)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(distillation_loss(student.double(), teacher.double())), rel=1e-5)


def test_outputs_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\)"):
        distillation_loss(logits(1, 0), logits(4, 0))
