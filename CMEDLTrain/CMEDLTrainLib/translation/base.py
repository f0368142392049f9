"""What a translation between the modalities of student and teacher is made of. Imports no torch: settings need none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from CMEDLSegmentLib.models.model_card import NetworkSpec

Contextual = Callable[["Tensor", "Tensor"], "Tensor"]
"""Generated and target images (n, 1, h, w) -> their contextual loss, a scalar (equations 3 and 4)."""


@dataclass(frozen=True)
class TranslationSettings:
    """Networks and loss weights of the translation (section III-C; equations 7 and 13)."""

    kind: str = "cyclegan"
    """``cyclegan`` or ``drit``."""
    width: int = 64
    """Channels of the first convolution of generators and discriminators."""
    blocks: int = 0
    """Residual blocks of a generator; 0: the paper's, 9 in CycleGAN and 6 in DRIT."""
    gan: str = ""
    """``lsgan`` or ``log``; empty: what each was published with, least squares in CycleGAN, logarithms in DRIT."""
    adversarial: float = 1.0
    """Of L_adv (equations 5 and 11)."""
    cycle: float = 10.0
    """CycleGAN: of L_cyc (equation 6)."""
    identity: float = 0.0
    """CycleGAN: of the L1 change that a generator makes to an image of its own target; absent from equation 7."""
    contextual: float = 1.0
    """CycleGAN: of L_cx (equation 4)."""
    both_ways: bool = False
    """CycleGAN: the contextual loss of pseudo-student images too; equation 4 has pseudo-teacher ones alone."""
    contextual_order: str = "targets"
    """CycleGAN: ``targets``: for each target feature the most similar generated one, as its authors have it;
    ``generated``: the reverse, which is equation 3 as written."""
    pool: int = 50
    """CycleGAN: translated images kept for the discriminators, of each modality; 0: none are."""
    codes: int = 8
    """DRIT: length of the style vector."""
    content: float = 1.0
    """DRIT, lambda_c: of L_adv^c (equation 8)."""
    vae: float = 1.0
    """DRIT, lambda_vae: of L_VAE (equation 10)."""
    kl: float = 1.0
    """DRIT: of the KL divergence within L_VAE, which equation 10 shows as it is; DRIT was published with 0.01."""
    content_code: float = 10.0
    """DRIT, lambda_cc: of L_cc (equation 9)."""
    latent: float = 10.0
    """DRIT, lambda_lr: of L_lr (equation 12)."""


class Translation(Protocol):
    """Translates between the unpaired images of student and teacher, and says what its networks descend.

    Images are (n, 1, h, w) in [-1, 1]. What ``generator_losses`` makes for others lies in ``shared``, with the graph:

    - ``pseudo_teacher``: the student's images in the teacher's modality (pMRI), which the teacher segments,
    - ``pseudo_student``: the teacher's images in the student's modality (pCT),
    - ``back_student``, ``back_teacher``: these translated back, where a loss needs them.

    Random numbers of ``generator_losses`` come from the default generator of the images' device.

    Attributes:
        networks: everything a checkpoint keeps, by name; image pools among it.
        generators: the names updated together with the segmentors.
        judges: the names updated in the discriminators' phase.
        pools: the names of the image pools, which have no parameters; each process fills its own.
        student_needs: the names that translate at test time, ``to_teacher``, which takes student images.
        student_specs: what a student's card says of these.
    """

    networks: dict[str, nn.Module]
    generators: tuple[str, ...]
    judges: tuple[str, ...]
    pools: tuple[str, ...]
    student_needs: tuple[str, ...]
    student_specs: tuple[NetworkSpec, ...]

    def translate(self, student: Tensor, networks: Mapping[str, nn.Module] | None = None) -> Tensor:
        """The pseudo-teacher images as at test time, by ``networks`` (an average of the own ones) if given."""
        ...

    def back(self, student: Tensor, pseudo: Tensor, networks: Mapping[str, nn.Module] | None = None) -> Tensor:
        """Student images as their translations ``pseudo`` give them back; to look at, without randomness."""
        ...

    def generator_losses(self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms that the generators descend, by name."""
        ...

    def judge_losses(
        self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor], step_random: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms that the discriminators descend, by name; on what ``generator_losses`` left, detached."""
        ...
