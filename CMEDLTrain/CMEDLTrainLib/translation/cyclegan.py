"""CycleGAN with the contextual loss: the paper's default translation (section III-A2, equations 3 to 7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.networks import create_network

from ..computing.precision import l1_loss
from ..losses.adversarial import discriminator_loss, generator_loss
from ..settings.translation_settings import TranslationSettings
from .base import Contextual
from .discriminators import PatchDiscriminator, gan_kind
from .image_pool import ImagePool


class CycleGan:
    """Two generators and two PatchGANs; a :class:`.base.Translation`.

    Args:
        settings: the weights; those of DRIT alone are not read.
        contextual: the contextual loss; needed where ``settings.contextual`` is not 0.

    Raises:
        InputError: the contextual loss is missing, or ``settings.gan`` is unknown.
        ModelError: a width or a number of blocks is out of range.
    """

    generators = ("to_teacher", "to_student")
    discriminators = ("judge_teacher", "judge_student")

    def __init__(self, settings: TranslationSettings, contextual: Contextual | None = None) -> None:
        if settings.contextual and contextual is None:
            raise InputError(
                "The contextual loss compares features of a pretrained network, and none was given; give its weights, "
                "or set the weight of the contextual loss to 0."
            )
        self.settings = settings
        self._contextual = contextual
        self._gan = gan_kind(settings.gan, published="lsgan")
        arguments = {"width": settings.width, "blocks": settings.blocks or 9}
        self.student_specs = (NetworkSpec("to_teacher", "generator", arguments),)
        self.networks: dict[str, nn.Module] = {
            name: create_network("generator", **arguments) for name in self.generators
        }
        self.networks |= {name: PatchDiscriminator(width=settings.width) for name in self.discriminators}
        if settings.pool:
            self.networks |= {name: ImagePool(settings.pool) for name in ("pool_teacher", "pool_student")}

    def translate(self, student: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """See :meth:`.base.Translation.translate`."""
        return networks["to_teacher"](student)

    def back(self, student: Tensor, pseudo: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """See :meth:`.base.Translation.back`; equation 6's inner part."""
        return networks["to_student"](pseudo)

    def generator_losses(self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 7 without the hint and segmentation terms, which are the method's.

        No image is translated twice, and what one generator translates goes through it together where the order
        allows, which is exact because its norms see each image alone.
        """
        weights, networks = self.settings, self.networks
        pseudo_teacher = networks["to_teacher"](student)
        made = {"pseudo_teacher": pseudo_teacher}
        made |= _together(
            networks["to_student"],
            pseudo_student=teacher,
            back_student=pseudo_teacher if weights.cycle else None,
            same_student=student if weights.identity else None,
        )
        made |= _together(
            networks["to_teacher"],
            back_teacher=made["pseudo_student"] if weights.cycle else None,
            same_teacher=teacher if weights.identity else None,
        )
        shared |= made
        losses = {}
        for role, real in (("teacher", teacher), ("student", student)):
            score = networks[f"judge_{role}"](made[f"pseudo_{role}"])
            losses[f"adversarial_{role}"] = weights.adversarial * generator_loss(score, self._gan)  # eq. 5
            if weights.cycle:
                losses[f"cycle_{role}"] = weights.cycle * l1_loss(made[f"back_{role}"], real)  # eq. 6
            if weights.identity:
                losses[f"identity_{role}"] = weights.identity * l1_loss(made[f"same_{role}"], real)
            if weights.contextual and self._contextual and (role == "teacher" or weights.both_ways):
                losses[f"contextual_{role}"] = weights.contextual * self._contextual(
                    made[f"pseudo_{role}"], real
                )  # eq. 4
        return losses

    def discriminator_losses(
        self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor], step_random: torch.Generator
    ) -> dict[str, Tensor]:
        """Equation 5 for the discriminators, times CycleGAN's half, on translated images through the pools."""
        losses = {}
        for role, real in (("teacher", teacher), ("student", student)):
            fake = shared[f"pseudo_{role}"].detach()
            if self.settings.pool:
                fake = self.networks[f"pool_{role}"](fake, step_random)
            scores = self.networks[f"judge_{role}"](torch.cat((real, fake)))
            of_real, of_fake = scores.split((len(real), len(fake)))
            losses[f"judge_{role}"] = 0.5 * discriminator_loss(of_real, of_fake, self._gan)
        return losses


def _together(network: nn.Module, **images: Tensor | None) -> dict[str, Tensor]:
    """The translations of those batches that are given, by name, in one call."""
    given = {name: batch for name, batch in images.items() if batch is not None}
    if not given:
        return {}
    translated = network(torch.cat(tuple(given.values())))
    return dict(zip(given, translated.split([len(batch) for batch in given.values()]), strict=True))
