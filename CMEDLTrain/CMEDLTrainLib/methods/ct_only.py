"""``ct-only``: the student alone, supervised by the experts' contours (the paper's "CT only" rows)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.networks import create_segmentor

from ..losses.segmentation import segmentation_loss
from ..settings.configuration import Configuration
from .method import SEGMENTOR, Batch, Losses, Method, OptimizedPart, Phase, Step, segmentor_arguments


def student_only(configuration: Configuration) -> Method:
    """One network, one phase, the segmentation loss of equation 1's last term."""
    kind, arguments = configuration.network.kind, segmentor_arguments(configuration)
    student = create_segmentor(kind, **arguments)
    loss: Callable[..., Tensor] = partial(segmentation_loss, **vars(configuration.loss))

    def losses(batches: dict[str, Batch], step: Step) -> Losses:
        batch = batches["student"]
        logits, _ = student(batch.images)
        return {"segmentation": loss(logits, batch.masks)}

    return Method(
        networks={SEGMENTOR: student},
        phases=(
            Phase("segmentation", (OptimizedPart((SEGMENTOR,), configuration.optimization.learning_rate),), losses),
        ),
        student=(NetworkSpec(SEGMENTOR, kind, arguments),),
        validation_loss=loss,
    )
