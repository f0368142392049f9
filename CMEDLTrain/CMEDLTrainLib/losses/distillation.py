"""Output distillation: the student imitates the teacher's probabilities instead of its features (section IV-H)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..computing.precision import to_float32


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 0.5) -> Tensor:
    """Soft cross-entropy of the student's outputs against the teacher's, both at a temperature, mean over pixels.

    T^2 E[-sum_k p_k log q_k], with p and q the softmax (one class: the sigmoid) of the teacher's and the student's
    logits divided by T. The factor T^2 is that of Hinton et al. 2015, whose loss the paper names: with it the
    gradients do not grow as T falls. The paper's T is 0.5, taken as stated although it sharpens. The teacher's
    probabilities are a target: no gradient reaches the teacher or the generator before it.

    Args:
        student_logits: (n, classes, h, w); one class is a sigmoid.
        teacher_logits: of the same images, shaped alike.
        temperature: T, above zero.

    Raises:
        ValueError: the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise ValueError(f"outputs of student and teacher do not match: {shapes}")
    student = to_float32(student_logits) / temperature
    with torch.no_grad():
        teacher = to_float32(teacher_logits) / temperature
        target = teacher.sigmoid() if teacher.shape[1] == 1 else teacher.softmax(dim=1)
    if student.shape[1] == 1:
        loss = F.binary_cross_entropy_with_logits(student, target)
    else:
        loss = F.cross_entropy(student, target)
    return temperature**2 * loss
