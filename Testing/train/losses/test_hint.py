"""The hint loss against numpy."""

import numpy as np
import pytest
import torch

from CMEDLTrainLib.losses.hint import hint_loss


def hints(seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, s, s, generator=random, dtype=torch.float64).to(dtype) for c, s in ((5, 3), (3, 6))]


def test_it_is_the_mean_square_of_each_layer_summed_over_the_layers():
    student, teacher = hints(0), hints(1)
    expected = sum(np.mean((s.numpy() - t.numpy()) ** 2) for s, t in zip(student, teacher, strict=True))
    assert float(hint_loss(student, teacher)) == pytest.approx(expected, rel=1e-12)


def test_gradients_reach_student_and_teacher_alike():
    student, teacher = ([layer.requires_grad_() for layer in hints(seed)] for seed in (2, 3))
    hint_loss(student, teacher).backward()
    for ours, theirs in zip(student, teacher, strict=True):
        expected = 2 * (ours - theirs).detach() / ours.numel()
        torch.testing.assert_close(ours.grad, expected)
        torch.testing.assert_close(theirs.grad, -expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_squares_are_taken_in_float32_also_of_features_in_bfloat16(autocast):
    student, teacher = hints(4, torch.bfloat16), hints(5, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = hint_loss(student, teacher)
    exact = hint_loss([layer.double() for layer in student], [layer.double() for layer in teacher])
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher"), [([], []), (hints(0), hints(1)[:1]), ([torch.zeros(2, 1, 4, 4)], [torch.zeros(1, 1, 4, 4)])]
)
def test_layers_that_do_not_match_are_refused_instead_of_broadcast(student, teacher):
    with pytest.raises(ValueError):  # noqa: PT011 - no layers have no name to look for
        hint_loss(student, teacher)
