"""The hint loss: the student's features are to be those that the teacher has of the translated image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..computing.precision import to_float32


def hint_loss(student_hints: Sequence[Tensor], teacher_hints: Sequence[Tensor]) -> Tensor:
    """Equation 2: squared distance of the two networks' features, for features of the same images.

    The paper writes a sum of squares; the reading is the mean over each layer, summed over the layers, so that the
    weight of the loss does not depend on the size of the image. Nothing is detached: student, teacher and generator
    all descend it.

    Args:
        student_hints: features of the student, one tensor (n, c, h, w) for each layer.
        teacher_hints: features of the teacher, shaped alike.

    Raises:
        ValueError: the networks give other layers, or layers of other shapes.
    """
    shapes = [tuple(hint.shape) for hint in student_hints], [tuple(hint.shape) for hint in teacher_hints]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise ValueError(f"hints of student and teacher do not match: {shapes[0]} and {shapes[1]}")
    pairs = zip(student_hints, teacher_hints, strict=True)
    return torch.stack([F.mse_loss(to_float32(student), to_float32(teacher)) for student, teacher in pairs]).sum()
