"""Segmenting with a translated image beside the student's, without hints: the fusion strategies of Tables II and III.

A translation is trained by its own losses alone, without the contextual one, and beside it a segmentor on what it
makes: the translated image (pMRI-Cycle, pMRI-DRIT), the image and its translation as two channels (CT+pMRI), or both
weighted by a network that sees both (equation 14). Nothing of the segmentation reaches the translation. At test time
the translation is needed too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from CMEDLSegmentLib.models.model_card import IMAGE, NetworkSpec
from CMEDLSegmentLib.networks import create_network, create_segmentor

from ..losses.segmentation import segmentation_loss
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
    segmentor_arguments,
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
    segmentor_kind = configuration.network.kind
    arguments = {**segmentor_arguments(configuration), "in_channels": len(inputs)}
    networks: dict[str, nn.Module] = {SEGMENTOR: create_segmentor(segmentor_kind, **arguments)}
    specs = list(translation.student_specs)
    if weigh:
        widths = {"width": configuration.translation.width}
        networks[FUSION] = create_network("weighted-fusion", **widths)
        specs.append(NetworkSpec(FUSION, "weighted-fusion", widths, inputs))
        inputs = (FUSION,)
    specs.append(NetworkSpec(SEGMENTOR, segmentor_kind, arguments, inputs))
    segmentation: Callable[[Tensor, Tensor], Tensor] = partial(segmentation_loss, **vars(configuration.loss))
    reads_translations_alone = inputs == (TRANSLATED,)

    def descend(batches: dict[str, Batch], step: Step) -> Losses:
        own, other = batches["student"], batches["teacher"]
        seen = step.tensors["pseudo_teacher"].detach()
        if not reads_translations_alone:
            seen = torch.cat((own.images, seen.to(own.images.dtype)), dim=1)
        if weigh:
            seen = networks[FUSION](seen)
        terms = {"segmentation": segmentation(networks[SEGMENTOR](seen)[0], own.masks)}
        if reads_translations_alone:
            with keep_statistics(networks[SEGMENTOR]):
                terms["teacher_real"] = segmentation(networks[SEGMENTOR](other.images)[0], other.masks)
        return terms

    return Method(
        networks={**networks, **translation.networks},
        phases=(
            *translation_phases(translation, configuration.optimization.translation_learning_rate),
            Phase("segmentation", (OptimizedPart(tuple(networks), configuration.optimization.learning_rate),), descend),
        ),
        student=tuple(specs),
        validation_loss=segmentation,
        translation=translation,
    )
