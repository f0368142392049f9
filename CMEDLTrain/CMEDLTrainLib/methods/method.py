"""What a method is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Generator, Tensor, nn

from CMEDLSegmentLib.models.model_card import IMAGE, PROMPT, PROMPT_CHANNELS, NetworkSpec
from CMEDLSegmentLib.models.model_file import ModelNetwork

from ..losses.segmentation import segmentation_loss
from ..settings.configuration import Configuration
from ..translation import Translation

SEGMENTOR = "segmentor"
"""The network that segments at test time: a card's last one is called so."""
TRANSLATION_BETAS = (0.5, 0.999)
"""Of Adam for generators and discriminators (section III-C; CycleGAN's)."""

Losses = dict[str, Tensor]
"""Weighted loss terms by name; their sum is what a phase descends."""


@dataclass(frozen=True)
class Batch:
    """Patches of one role: images (n, 1, h, w) in [-1, 1], masks (n, h, w) integers.

    Where the student reads clicks ``prompts`` (n, channels, h, w) say of each patch what is to be segmented.
    """

    images: Tensor
    masks: Tensor
    prompts: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images, masks, prompts."""
        return self.images, self.masks, self.prompts

    def read(self, images: Tensor | None = None) -> Tensor:
        """What a segmentor is given: the images, or others in their place such as translated ones, and the prompts."""
        images = self.images if images is None else images
        return images if self.prompts is None else torch.cat((images, self.prompts.to(images.dtype)), dim=1)


@dataclass
class Step:
    """What the phases of one step share.

    Attributes:
        random: seeded with the run's seed and the step's number, so that a resumed run draws the same.
        tensors: what an earlier phase made and a later one needs, such as translated images for the discriminators.
    """

    random: Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizedPart:
    """Networks that a phase updates with one learning rate.

    Attributes:
        modules: their names.
        learning_rate, betas: of Adam.
    """

    modules: tuple[str, ...]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Phase:
    """One forward and backward pass of a step: only the networks of its parts receive gradients.

    Attributes:
        parts: what it updates.
        losses: the batches by role and what the step's phases share -> loss terms.
    """

    name: str
    parts: tuple[OptimizedPart, ...]
    losses: Callable[[dict[str, Batch], Step], Losses]

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of all networks that it updates."""
        return tuple(name for part in self.parts for name in part.modules)


@dataclass(frozen=True)
class Method:
    """Networks, the phases that train them, and what remains as the student.

    Attributes:
        networks: all networks by name, and modules without weights whose state a resumed run needs.
        phases: in the order of a step.
        student: the networks that the student needs at test time, as its card names them, the segmentor last.
        validation_loss: logits and masks -> the segmentation loss that early stopping watches.
        translation: between the roles' images; None for a method without one.
        teacher: the name of the network that segments images of the teacher's modality, translated ones too; empty for
            a method without one.
    """

    networks: dict[str, nn.Module]
    phases: tuple[Phase, ...]
    student: tuple[NetworkSpec, ...]
    validation_loss: Callable[[Tensor, Tensor], Tensor]
    translation: Translation | None = None
    teacher: str = ""

    def segment(self, networks: Mapping[str, nn.Module], images: Tensor) -> Tensor:
        """The logits of images (n, 1, h, w), from the student's networks by name, wired as its card says.

        Prompts stand behind the images, as :meth:`Batch.read` puts them.
        """
        return ModelNetwork(self.student, [networks[spec.name] for spec in self.student])(images)


@contextmanager
def keep_statistics(network: nn.Module) -> Iterator[None]:
    """Within, batch norm normalizes by the batch as ever, but leaves its running statistics as they are.

    By those a network normalizes once it is trained. A mixture of two kinds of images fits neither of them: a teacher
    whose statistics were half those of real images found nothing in translated ones. So they are taken from the kind
    that the network is to segment later, and a network sees the other kind within this.
    """
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d) and part.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def segmentor_spec(configuration: Configuration, inputs: tuple[str, ...] = (IMAGE,)) -> NetworkSpec:
    """The configured segmentor of ``inputs``, one channel each, and of the prompt where the student reads clicks.

    It has one class for one label, else the background too.
    """
    labels = len(configuration.labels)
    arguments = {"in_channels": 1, "classes": 1 if labels == 1 else 1 + labels, **configuration.network.arguments}
    prompted = bool(configuration.network.prompt)
    if inputs != (IMAGE,) or prompted:
        arguments["in_channels"] = len(inputs) + len(PROMPT_CHANNELS) * prompted
    return reading_of(NetworkSpec(SEGMENTOR, configuration.network.kind, arguments, inputs), inputs, configuration)


def reading_of(spec: NetworkSpec, inputs: tuple[str, ...], configuration: Configuration) -> NetworkSpec:
    """A segmentor's entry that reads ``inputs``, and the prompt behind them where the student reads clicks."""
    return replace(spec, inputs=(*inputs, PROMPT) if configuration.network.prompt else inputs)


def segmentation_loss_of(configuration: Configuration) -> Callable[[Tensor, Tensor], Tensor]:
    """The configured segmentation loss of logits and masks."""
    return partial(segmentation_loss, **vars(configuration.loss))


def translation_part(names: tuple[str, ...], learning_rate: float) -> OptimizedPart:
    """Networks of a translation as part of a phase."""
    return OptimizedPart(names, learning_rate, TRANSLATION_BETAS)


def discriminators_phase(translation: Translation, learning_rate: float) -> Phase:
    """The discriminators learn from what the generators left in the step."""

    def judge(batches: dict[str, Batch], step: Step) -> Losses:
        own, other = batches["student"].images, batches["teacher"].images
        return translation.discriminator_losses(own, other, step.tensors, step.random)

    return Phase("discriminators", (translation_part(translation.discriminators, learning_rate),), judge)


def translation_phases(translation: Translation, learning_rate: float) -> tuple[Phase, Phase]:
    """A translation that learns by itself: its generators, then its discriminators."""

    def descend(batches: dict[str, Batch], step: Step) -> Losses:
        return translation.generator_losses(batches["student"].images, batches["teacher"].images, step.tensors)

    generators = Phase("translation", (translation_part(translation.generators, learning_rate),), descend)
    return generators, discriminators_phase(translation, learning_rate)
