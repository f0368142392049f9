"""Joint training of translation, teacher and student on unpaired images: CMEDL and what is taken out of it.

A step has two phases. In the first, generators, teacher and student descend one sum of all their terms (equation 7 with
CycleGAN, equation 13 with DRIT), so that one pass of each network serves all. In the second, the discriminators learn
from what the generators made. The paper's gradients carry weights for the generators and none for the segmentors
(section III-A3); ``distillation.separate`` takes that reading: generators, discriminators, and the segmentors last, on
the translations that the step began with.

The cohort's table says which modality teaches: CT taught by MR has an informative teacher, MR taught by CT a weak one,
and of two contrasts of MR one is an equal teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from torch import Tensor

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.networks import create_segmentor

from ..losses.contextual import ORDERS, contextual_loss_of_images
from ..losses.distillation import distillation_loss
from ..losses.features import VggFeatures, load_features
from ..losses.hint import hint_loss
from ..settings.configuration import Configuration, Distillation
from ..translation import Contextual, Translation
from ..translation import create as create_translation
from .method import (
    SEGMENTOR,
    Batch,
    Losses,
    Method,
    OptimizedPart,
    Phase,
    Step,
    discriminators_phase,
    keep_statistics,
    reading_of,
    segmentation_loss_of,
    segmentor_spec,
    translation_part,
)

FEATURES = "features"
"""The frozen network of the contextual loss."""


def cmedl(configuration: Configuration) -> Method:
    """The paper's default: CycleGAN (or another translation), the contextual loss, hints, the student at test time.

    With DRIT, the paper's VAE-CMEDL, there is no contextual loss: equation 13 has none.
    """
    return _joint(configuration)


def pmri_cmedl(configuration: Configuration) -> Method:
    """Trained like :func:`cmedl`, but the teacher segments translated images at test time (Table III)."""
    return _joint(configuration, use_teacher=True)


def weak_with_pseudo(configuration: Configuration) -> Method:
    """Table VI, last row: the student also learns from teacher images translated into its modality."""
    weight = configuration.distillation.student_pseudo or 1.0
    return _joint(replace(configuration, distillation=replace(configuration.distillation, student_pseudo=weight)))


def output_distillation(configuration: Configuration) -> Method:
    """The teacher's output is imitated in place of its features (section IV-H)."""
    distillation = replace(configuration.distillation, hint=0.0, output=configuration.distillation.output or 1.0)
    return _joint(replace(configuration, distillation=distillation))


def _joint(configuration: Configuration, use_teacher: bool = False) -> Method:
    """Teacher and student with the configured translation between their domains; see the module."""
    student_name, teacher_name = ("student", SEGMENTOR) if use_teacher else (SEGMENTOR, "teacher")
    spec = segmentor_spec(configuration)
    hints_at = configuration.distillation.hints
    student, teacher = (create_segmentor(spec.kind, **spec.arguments, hints=hints_at) for _ in range(2))
    contextual, features = _contextual(configuration)
    translation = create_translation(configuration.translation, contextual)
    segmentation = segmentation_loss_of(configuration)

    def segmentors(batches: dict[str, Batch], made: dict[str, Tensor], weights: Distillation) -> Losses:
        """L_seg and L_hint (equations 1 and 2); ``made`` holds the translated images."""
        own, other = batches["student"], batches["teacher"]
        logits, hints = student(own.read())
        terms = {"student": weights.segmentation * segmentation(logits, own.masks)}
        if weights.needs_pseudo:
            pseudo_logits, pseudo_hints = teacher(own.read(made["pseudo_teacher"]))
            if weights.teacher_pseudo:
                loss = segmentation(pseudo_logits, own.masks)
                terms["teacher_pseudo"] = weights.segmentation * weights.teacher_pseudo * loss
            if weights.hint:
                terms["hint"] = weights.hint * hint_loss(hints, pseudo_hints)
            if weights.output:
                terms["output"] = weights.output * distillation_loss(logits, pseudo_logits, weights.temperature)
        if weights.student_pseudo:
            with keep_statistics(student):
                loss = segmentation(student(other.read(made["pseudo_student"]))[0], other.masks)
            terms["student_pseudo"] = weights.segmentation * weights.student_pseudo * loss
        if weights.teacher_real:
            # What a teacher segments later, in pMRI-CMEDL and in pictures, are translated images.
            with keep_statistics(teacher) if weights.needs_pseudo else nullcontext():
                loss = segmentation(teacher(other.read())[0], other.masks)
            terms["teacher_real"] = weights.segmentation * weights.teacher_real * loss
        return terms

    learned = OptimizedPart((student_name, teacher_name), configuration.optimization.learning_rate)
    networks = {student_name: student, teacher_name: teacher, **translation.networks}
    translated = reading_of(spec, tuple(needed.name for needed in translation.student_specs), configuration)
    return Method(
        networks=networks if features is None else {**networks, FEATURES: features},
        phases=_phases(translation, segmentors, learned, configuration),
        student=(*translation.student_specs, translated) if use_teacher else (spec,),
        validation_loss=segmentation,
        translation=translation,
        teacher=teacher_name,
    )


def _contextual(configuration: Configuration) -> tuple[Contextual | None, VggFeatures | None]:
    """The contextual loss and the network that it compares features of, where it has a weight.

    Raises:
        InputError: there is no such order, or the features cannot be had.
    """
    settings = configuration.translation
    if not settings.contextual or settings.kind == "drit":  # equation 13 has none
        return None, None
    if settings.contextual_order not in ORDERS:
        raise InputError(
            f"The contextual loss has no order '{settings.contextual_order}'; there are: {', '.join(ORDERS)}."
        )
    features = load_features(configuration.features)
    return partial(contextual_loss_of_images, features, order=settings.contextual_order), features


def _phases(
    translation: Translation,
    segmentors: Callable[[dict[str, Batch], dict[str, Tensor], Distillation], Losses],
    learned: OptimizedPart,
    configuration: Configuration,
) -> tuple[Phase, ...]:
    """One sum for generators and segmentors, then the discriminators; or a phase for each of the three."""
    weights, rate = configuration.distillation, configuration.optimization.translation_learning_rate
    translators = translation_part(translation.generators, rate)
    discriminators = discriminators_phase(translation, rate)

    def translate(batches: dict[str, Batch], step: Step, weights: Distillation) -> Losses:
        terms = translation.generator_losses(batches["student"].images, batches["teacher"].images, step.tensors)
        return terms | segmentors(batches, step.tensors, weights)

    if not weights.separate:
        return Phase("networks", (learned, translators), partial(translate, weights=weights)), discriminators
    # What the teacher says of real images reaches no generator.
    through = partial(translate, weights=replace(weights, teacher_real=0.0))
    plain = replace(weights, segmentation=1.0, hint=float(weights.hint > 0), output=float(weights.output > 0))

    def segment(batches: dict[str, Batch], step: Step) -> Losses:
        return segmentors(batches, {name: made.detach() for name, made in step.tensors.items()}, plain)

    return Phase("translation", (translators,), through), discriminators, Phase("segmentation", (learned,), segment)
