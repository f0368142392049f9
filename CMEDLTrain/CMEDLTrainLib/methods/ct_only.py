"""``ct-only``: the student alone, supervised by the experts' contours (the paper's "CT only" rows)."""

from __future__ import annotations

from CMEDLSegmentLib.networks import create_segmentor

from ..settings.configuration import Configuration
from .method import SEGMENTOR, Batch, Losses, Method, OptimizedPart, Phase, Step, segmentation_loss_of, segmentor_spec


def student_only(configuration: Configuration) -> Method:
    """One network, one phase, the segmentation loss of equation 1's last term."""
    spec, loss = segmentor_spec(configuration), segmentation_loss_of(configuration)
    student = create_segmentor(spec.kind, **spec.arguments)

    def losses(batches: dict[str, Batch], step: Step) -> Losses:
        batch = batches["student"]
        logits, _ = student(batch.read())
        return {"segmentation": loss(logits, batch.masks)}

    learned = OptimizedPart((SEGMENTOR,), configuration.optimization.learning_rate)
    phase = Phase("segmentation", (learned,), losses)
    return Method({SEGMENTOR: student}, (phase,), student=(spec,), validation_loss=loss)
