"""DRIT, the variational translation of VAE-CMEDL (section III-A2, equations 8 to 13; Lee et al. 2018).

How the equations are read:

- One content encoder E_c serves both modalities, whose codes it makes alike; so E_c and E_m of equations 8 to 12 are
  one network. Equation 8 then asks of each code that D_c takes it for either modality, which is DRIT's loss; D_c itself
  learns to tell them apart. Its (1 - log D) is log(1 - D).
- Equation 9 compares the content codes of an image and of its translation.
- Equation 10 would compare a translated image with its source; it is DRIT's: an image drawn from its own content and
  style (self reconstruction), and translated forth and back (cross cycle). The KL divergence sums over the codes.
- Equation 11 has halves for the translations in an encoded and in a sampled style, and one discriminator for both.
- Equation 12 is taken where the sampled style was drawn, by the style encoder of that modality, as its mean.
- DRIT's noise on the content code and its penalty of the code's size are in no equation and left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.text import counted
from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.networks import StyleGenerator, create_network, initialize

from ..computing.precision import l1_loss, to_float32
from ..losses.adversarial import discriminator_loss, generator_loss
from ..settings.translation_settings import TranslationSettings
from .base import Contextual
from .discriminators import SLOPE, ContentDiscriminator, PatchDiscriminator, gan_kind


class StyleBlock(nn.Module):
    """Leaky ReLU, conv 3x3, leaky ReLU, conv 3x3, mean over 2x2; beside it mean over 2x2, conv 1x1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.second = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))
        return _halved(features) + self.shortcut(_halved(x))


class StyleEncoder(nn.Module):
    """E_s: an image to the mean and the log variance of its style codes (section III-B).

    A 4x4 convolution of stride 2, three residual blocks that halve, mean over all pixels, a fully connected layer for
    each of the two. Without norms, which would take the style away.

    Args:
        width: channels of the first convolution; the blocks have 2, 3 and 4 times as many.
        codes: length of the style vector.
    """

    def __init__(self, width: int = 64, codes: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(StyleBlock(factor * width, (factor + 1) * width) for factor in (1, 2, 3))
        self.mean = nn.Linear(4 * width, codes)
        self.log_variance = nn.Linear(4 * width, codes)
        initialize(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 1, h, w) to mean and log variance, each (n, codes), in float32 at least."""
        features = self.first(x)
        for block in self.blocks:
            features = block(features)
        pooled = F.leaky_relu(features, SLOPE).mean(dim=(2, 3))
        return to_float32(self.mean(pooled)), to_float32(self.log_variance(pooled))


class Drit:
    """Content and style apart, drawn anew in either modality; a :class:`.base.Translation`.

    Args:
        settings: the weights; those of CycleGAN alone are not read.
        contextual: not used; equation 13 has no contextual loss.

    Raises:
        InputError: ``settings.gan`` is unknown.
        ModelError: a width, a number of blocks or of codes is out of range.
    """

    generators = ("to_teacher", "to_student", "style_teacher", "style_student")
    discriminators = ("judge_teacher", "judge_student", "judge_content")

    def __init__(self, settings: TranslationSettings, contextual: Contextual | None = None) -> None:
        self.settings = settings
        self._gan = gan_kind(settings.gan, published="log")
        width, codes, blocks = settings.width, settings.codes, settings.blocks or 6
        arguments = {"width": width, "blocks": blocks, "codes": codes}
        self.student_specs = (NetworkSpec("to_teacher", "style-translator", arguments),)
        self.networks: dict[str, nn.Module] = {
            "to_teacher": create_network("style-translator", **arguments),
            "to_student": StyleGenerator(width=width, blocks=blocks, codes=codes),
            "style_teacher": StyleEncoder(width, codes),
            "style_student": StyleEncoder(width, codes),
            "judge_teacher": PatchDiscriminator(width=width),
            "judge_student": PatchDiscriminator(width=width),
            "judge_content": ContentDiscriminator(4 * width),
        }

    def translate(self, student: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """See :meth:`.base.Translation.translate`; drawn in the mean style."""
        return networks["to_teacher"](student)

    def back(self, student: Tensor, pseudo: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """See :meth:`.base.Translation.back`: the content of ``pseudo`` in the mean style of ``student``."""
        mean, _ = networks["style_student"](student)
        return networks["to_student"](
            networks["to_teacher"].content(pseudo), mean, (student.shape[-2], student.shape[-1])
        )

    def generator_losses(self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 13 without the hint and segmentation terms, which are the method's.

        Each image is drawn in the style of the other batch's image at its place. Every network takes all it has to do
        at one time as one batch, which is exact because no norm sees more than one image.

        Raises:
            InputError: one role has fewer images.
        """
        if len(student) != len(teacher):  # all that a role has, where that is less than a batch
            fewer, more = sorted((len(student), len(teacher)))
            role = "student" if len(student) < len(teacher) else "teacher"
            raise InputError(
                f"DRIT pairs each image of the student with one of the teacher, but the {role} has "
                f"{counted(fewer, 'training slice')} for a batch of {more}; set optimization.batch={fewer}, or add "
                f"cases of the {role}."
            )
        weights, n = self.settings, len(student)
        size = (student.shape[-2], student.shape[-1])
        noise = torch.randn(6, n, weights.codes, dtype=to_float32(student).dtype, device=student.device)
        real = {"student": student, "teacher": teacher}
        other = {"student": "teacher", "teacher": "student"}
        sampled = {"student": noise[0], "teacher": noise[1]}

        content = self._contents(real)
        codes = {role: self.networks[f"style_{role}"](images) for role, images in real.items()}
        style = {role: _drawn(codes[role], noise[2 + i]) for i, role in enumerate(real)}
        pseudo, itself, random = {}, {}, {}
        for role in real:
            contents = torch.cat((content[other[role]], content[role], content[other[role]]))
            styles = torch.cat((style[role], style[role], sampled[role]))
            pseudo[role], itself[role], random[role] = self._draw(role, contents, styles, size).split(n)

        # The content of a student image, taken from its translation into the teacher's modality; and the reverse.
        again = self._contents({other[role]: pseudo[role] for role in real})
        back, regressed = {}, {}
        for i, role in enumerate(real):
            mean, log_variance = self.networks[f"style_{role}"](torch.cat((pseudo[role], random[role])))
            regressed[role] = mean[n:]
            style_again = _drawn((mean[:n], log_variance[:n]), noise[4 + i])
            back[role] = self._draw(role, again[role], style_again, size)

        losses = {}
        for role in real:
            scores = self.networks[f"judge_{role}"](torch.cat((pseudo[role], random[role])))
            # The mean over both is half of each: equation 11.
            losses[f"adversarial_{role}"] = weights.adversarial * generator_loss(scores, self._gan)
            vae = {
                "kl": weights.kl * _kl_to_normal(*codes[role]),
                "self": l1_loss(itself[role], real[role]),
                "cycle": l1_loss(back[role], real[role]),
            }
            losses |= {f"{name}_{role}": weights.vae * value for name, value in vae.items()}  # eq. 10
            losses[f"latent_{role}"] = weights.latent * l1_loss(regressed[role], sampled[role])  # eq. 12
            losses[f"content_code_{role}"] = weights.content_code * l1_loss(again[role], content[role])
        score = self.networks["judge_content"](torch.cat(tuple(content.values())))
        # Taken for either modality: log D + log(1 - D) of each code; the mean over both batches is half their sum.
        losses["adversarial_content"] = 2 * weights.content * discriminator_loss(score, score, self._gan)  # eq. 8
        for name, images in {"pseudo": pseudo, "random": random, "back": back, "content": content}.items():
            shared |= {f"{name}_{role}": value for role, value in images.items()}
        return losses

    def discriminator_losses(
        self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor], step_random: torch.Generator
    ) -> dict[str, Tensor]:
        """Equation 11 for the discriminators of images; D_c tells the student's content codes from the teacher's."""
        losses = {}
        for role, real in (("teacher", teacher), ("student", student)):
            n = len(real)
            images = torch.cat((real, shared[f"pseudo_{role}"].detach(), shared[f"random_{role}"].detach()))
            of_real, of_made = self.networks[f"judge_{role}"](images).split((n, 2 * n))
            losses[f"judge_{role}"] = discriminator_loss(of_real, of_made, self._gan)
        contents = torch.cat((shared["content_student"].detach(), shared["content_teacher"].detach()))
        of_student, of_teacher = self.networks["judge_content"](contents).split(len(student))
        losses["judge_content"] = discriminator_loss(of_student, of_teacher, self._gan)
        return losses

    def _contents(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """Content codes of the roles' images, in one call."""
        codes = self.networks["to_teacher"].content(torch.cat(tuple(images.values())))
        return dict(zip(images, codes.chunk(len(images)), strict=True))

    def _draw(self, role: str, content: Tensor, style: Tensor, size: tuple[int, int]) -> Tensor:
        network = self.networks[f"to_{role}"]
        generator = network.generator if role == "teacher" else network
        return generator(content, style, size)


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _drawn(code: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
    """A style from its distribution, with gradients to both (the reparameterisation trick)."""
    mean, log_variance = code
    return mean + noise * torch.exp(0.5 * log_variance)


def _kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """D_KL(N(mean, variance) || N(0, I)) of equation 10: summed over the codes, mean over the images."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
