"""Mutual distillation after Li et al. (AAAI 2020), the paper's reference [13]: two segmentors that teach each other.

CycleGAN translates the teacher's images into the student's modality (pCT), so that two segmentors of that one modality
can learn from both cohorts: each from the experts of one, and from the other segmentor on the images of the other. With
x_s, y_s the student's images and masks, x_ts, y_t the teacher's translated images and their masks, S_s the student and
S_t its counterpart:

    S_s descends  L_seg(S_s(x_s), y_s)   + w T^2 E[-sum_k p_k log q_k],  p = S_t(x_ts) / T, q = S_s(x_ts) / T
    S_t descends  L_seg(S_t(x_ts), y_t)  + w T^2 E[-sum_k p_k log q_k],  p = S_s(x_s) / T,  q = S_t(x_s) / T

with the softmax (one class: the sigmoid) of the scaled logits; the imitated outputs p receive no gradient.

What the paper leaves open, and the reading here:

- Table II gives it a CT segmentor, no contextual and no hint loss. The translation learns from its own losses alone; no
  segmentation reaches it, as with the other strategies of Table II.
- T and w are ``distillation.temperature`` and ``distillation.output`` (where that is 0: 1).
- Li et al. average both segmentors at test time. Here the student is S_s alone, so that single networks are compared,
  as for every other method.
"""

from __future__ import annotations

from dataclasses import replace

from CMEDLSegmentLib.networks import create_segmentor

from ..losses.distillation import distillation_loss
from ..settings.configuration import Configuration
from ..translation import create as create_translation
from .method import (
    SEGMENTOR,
    Batch,
    Losses,
    Method,
    OptimizedPart,
    Phase,
    Step,
    keep_statistics,
    segmentation_loss_of,
    segmentor_spec,
    translation_phases,
)

COUNTERPART = "counterpart"
"""The segmentor that the experts of the teacher's cohort teach. Its images are of the student's modality."""


def mutual(configuration: Configuration) -> Method:
    """Two segmentors of the student's modality that imitate each other; see the module."""
    translation = create_translation(replace(configuration.translation, kind="cyclegan", contextual=0.0))
    spec, segmentation = segmentor_spec(configuration), segmentation_loss_of(configuration)
    student, counterpart = (create_segmentor(spec.kind, **spec.arguments) for _ in range(2))
    weight, temperature = configuration.distillation.output or 1.0, configuration.distillation.temperature

    def descend(batches: dict[str, Batch], step: Step) -> Losses:
        own, other = batches["student"], batches["teacher"]
        translated = step.tensors["pseudo_student"].detach()
        own_by_student, own_by_counterpart = student(own.read())[0], counterpart(own.read())[0]
        with keep_statistics(student):
            other_by_student = student(other.read(translated))[0]
        other_by_counterpart = counterpart(other.read(translated))[0]
        return {
            "student": segmentation(own_by_student, own.masks),
            "counterpart": segmentation(other_by_counterpart, other.masks),
            "mutual_student": weight * distillation_loss(other_by_student, other_by_counterpart, temperature),
            "mutual_counterpart": weight * distillation_loss(own_by_counterpart, own_by_student, temperature),
        }

    learned = OptimizedPart((SEGMENTOR, COUNTERPART), configuration.optimization.learning_rate)
    return Method(
        networks={SEGMENTOR: student, COUNTERPART: counterpart, **translation.networks},
        phases=(
            *translation_phases(translation, configuration.optimization.translation_learning_rate),
            Phase("segmentation", (learned,), descend),
        ),
        student=(spec,),
        validation_loss=segmentation,
        translation=translation,
    )
