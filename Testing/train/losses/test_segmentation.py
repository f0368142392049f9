"""The segmentation losses against figures worked out by hand and against numpy."""

import numpy as np
import pytest
import torch

from CMEDLTrainLib.losses.segmentation import cross_entropy_loss, segmentation_loss, soft_dice_loss

SURE = 50.0
"""A logit whose sigmoid is 1 to double precision."""


def test_dice_loss_of_a_half_overlap_is_the_value_worked_out_by_hand():
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, :, :2] = 1
    logits = torch.full((1, 1, 4, 4), -SURE, dtype=torch.float64)
    logits[..., 1:3] = SURE
    # Overlap 4 of 8 and 8 pixels: (2 * 4 + 1) / (16 + 1).
    assert float(soft_dice_loss(logits, mask)) == pytest.approx(1 - 9 / 17, abs=1e-6)


def test_dice_loss_counts_false_foreground_on_a_slice_without_structure():
    mask = torch.zeros(2, 8, 8, dtype=torch.uint8)
    quiet, loud = torch.full((2, 1, 8, 8), -SURE), torch.full((2, 1, 8, 8), -SURE)
    loud[1, 0, :4] = SURE
    assert float(soft_dice_loss(quiet, mask)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(loud, mask)) == pytest.approx(1 - 1 / 33, abs=1e-6)


@pytest.mark.parametrize("recall", [0.3, 0.5, 0.7])
def test_weighted_by_recall_the_loss_is_one_minus_the_tversky_index(recall):
    mask = torch.zeros(1, 10, 10, dtype=torch.uint8)
    mask[0, :4] = 1  # 40 pixels, of which 20 are found; 30 are marked falsely
    logits = torch.full((1, 1, 10, 10), -40.0)
    logits[0, 0, 2:7] = 40.0
    index = 20 / (20 + (1 - recall) * 30 + recall * 20)
    assert float(soft_dice_loss(logits, mask, smooth=0.0, recall=recall)) == pytest.approx(1 - index, abs=1e-6)


def test_dice_loss_of_several_labels_is_the_mean_of_each_label_alone():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 4, 6, 5))
    mask = random.integers(0, 4, (2, 6, 5))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = []
    for label in (1, 2, 3):
        p, t = softmax[:, label], mask == label
        each.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    pooled = soft_dice_loss(torch.from_numpy(logits), torch.from_numpy(mask))
    assert float(pooled) == pytest.approx(np.mean(each), rel=1e-5)


def test_cross_entropy_is_the_mean_negative_log_likelihood():
    logits = torch.tensor([[[[0.0, 2.0], [-1.0, 3.0]]]])
    mask = torch.tensor([[[0, 1], [0, 0]]])
    likelihood = [0.5, 1 / (1 + np.exp(-2)), 1 - 1 / (1 + np.exp(1)), 1 - 1 / (1 + np.exp(-3))]
    assert float(cross_entropy_loss(logits, mask)) == pytest.approx(-np.mean(np.log(likelihood)), rel=1e-5)


def test_the_weights_of_the_two_losses_are_their_shares_of_the_sum():
    logits, mask = torch.randn(2, 1, 8, 8), (torch.rand(2, 8, 8) > 0.5).long()
    both = segmentation_loss(logits, mask, dice=2.0, cross_entropy=0.5)
    assert float(both) == pytest.approx(
        2 * float(soft_dice_loss(logits, mask)) + 0.5 * float(cross_entropy_loss(logits, mask)), rel=1e-6
    )


@pytest.mark.parametrize("classes", [1, 3])
def test_gradients_of_both_losses_agree_with_finite_differences(classes):
    torch.manual_seed(0)
    logits = torch.randn(2, classes, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.randint(0, max(2, classes), (2, 3, 4))
    assert torch.autograd.gradcheck(lambda values: segmentation_loss(values, mask, 1.0, 0.5, 0.7), (logits,))
