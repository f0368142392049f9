"""Fusion strategies of Tables II and III: segmenting with a translated image beside or in place of the student's own.

A translation learns by its own losses alone, without the contextual one; no segmentation reaches it. Beside it learns a
segmentor: of the translated image (pMRI-Cycle, pMRI-DRIT), of the image and its translation as two channels (CT+pMRI),
or of both weighted by a network that sees both (equation 14). At test time the translation is needed too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from CMEDLSegmentLib.models.model_card import IMAGE, NetworkSpec
from CMEDLSegmentLib.networks import create_network, create_segmentor

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
    reading_of,
    segmentation_loss_of,
    segmentor_spec,
    translation_phases,
)

FUSION, TRANSLATED = "fusion", "to_teacher"


def pmri_cycle(configuration: Configuration) -> Method:
    """A segmentor of the teacher's modality on CycleGAN's translations; it learns from real images of it too."""
    return _fused(configuration, "cyclegan", (TRANSLATED,))


def pmri_drit(configuration: Configuration) -> Method:
    """The same with DRIT."""
    return _fused(configuration, "drit", (TRANSLATED,))


def both(configuration: Configuration) -> Method:
    """CT+pMRI: image and translation as the segmentor's two channels."""
    return _fused(configuration, "cyclegan", (IMAGE, TRANSLATED))


def weighted(configuration: Configuration) -> Method:
    """Equation 14: a ResNet18 with two fully connected layers weighs the two channels."""
    return _fused(configuration, "cyclegan", (IMAGE, TRANSLATED), weigh=True)


def _fused(configuration: Configuration, kind: str, inputs: tuple[str, ...], weigh: bool = False) -> Method:
    """A segmentor that reads ``inputs``, weighed by a network of its own if asked."""
    translation = create_translation(replace(configuration.translation, kind=kind, contextual=0.0))
    spec = segmentor_spec(configuration, inputs)
    networks: dict[str, nn.Module] = {SEGMENTOR: create_segmentor(spec.kind, **spec.arguments)}
    specs = (*translation.student_specs, spec)
    if weigh:
        widths = {"width": configuration.translation.width}
        networks[FUSION] = create_network("weighted-fusion", **widths)
        fusion = NetworkSpec(FUSION, "weighted-fusion", widths, inputs)
        specs = (*translation.student_specs, fusion, reading_of(spec, (FUSION,), configuration))
    segmentation = segmentation_loss_of(configuration)
    reads_translations_alone = inputs == (TRANSLATED,)

    def descend(batches: dict[str, Batch], step: Step) -> Losses:
        own, other = batches["student"], batches["teacher"]
        images = step.tensors["pseudo_teacher"].detach()
        if not reads_translations_alone:
            images = torch.cat((own.images, images.to(own.images.dtype)), dim=1)
        if weigh:
            images = networks[FUSION](images)
        terms = {"segmentation": segmentation(networks[SEGMENTOR](own.read(images))[0], own.masks)}
        if reads_translations_alone:
            with keep_statistics(networks[SEGMENTOR]):
                terms["teacher_real"] = segmentation(networks[SEGMENTOR](other.read())[0], other.masks)
        return terms

    return Method(
        networks={**networks, **translation.networks},
        phases=(
            *translation_phases(translation, configuration.optimization.translation_learning_rate),
            Phase("segmentation", (OptimizedPart(tuple(networks), configuration.optimization.learning_rate),), descend),
        ),
        student=specs,
        validation_loss=segmentation,
        translation=translation,
    )
