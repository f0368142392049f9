"""The settings of the translation between the modalities of student and teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from CMEDLSegmentLib.base.schema import setting


def weight(default: float, text: str = "") -> Any:
    """A number that is not negative, as the weights of losses are; ``text`` is its help."""
    return setting(default, low=0, high=1e9, help=text)


@dataclass(frozen=True)
class TranslationSettings:
    """Networks and loss weights of the translation (section III-C; equations 7 and 13)."""

    kind: str = setting("cyclegan", help="cyclegan or drit.")
    width: int = setting(
        64, low=1, high=1024, help="Channels of the first convolution of generators and discriminators."
    )
    blocks: int = setting(
        0, low=0, high=100, help="Residual blocks of a generator; 0: the paper's, 9 in CycleGAN and 6 in DRIT."
    )
    gan: str = setting(
        "", help="lsgan or log; empty: what each was published with, least squares in CycleGAN, logarithms in DRIT."
    )
    adversarial: float = weight(1.0, "Of L_adv (equations 5 and 11).")
    cycle: float = weight(10.0, "CycleGAN: of L_cyc (equation 6).")
    identity: float = weight(
        0.0,
        "CycleGAN: of the L1 change that a generator makes to an image of its own target; absent from equation 7.",
    )
    contextual: float = weight(1.0, "CycleGAN: of L_cx (equation 4).")
    both_ways: bool = setting(
        False,
        help="CycleGAN: the contextual loss of pseudo-student images too; equation 4 has pseudo-teacher ones alone.",
    )
    contextual_order: str = setting(
        "targets",
        help="CycleGAN: targets: for each target feature the most similar generated one, as its authors have it; "
        "generated: the reverse, which is equation 3 as written.",
    )
    pool: int = setting(
        50,
        low=0,
        high=1e6,
        help="CycleGAN: translated images kept for the discriminators, of each modality; 0: none are.",
    )
    codes: int = setting(8, low=1, high=1024, help="DRIT: length of the style vector.")
    content: float = weight(1.0, "DRIT, lambda_c: of L_adv^c (equation 8).")
    vae: float = weight(1.0, "DRIT, lambda_vae: of L_VAE (equation 10).")
    kl: float = weight(
        1.0,
        "DRIT: of the KL divergence within L_VAE, which equation 10 shows as it is; DRIT was published with 0.01.",
    )
    content_code: float = weight(10.0, "DRIT, lambda_cc: of L_cc (equation 9).")
    latent: float = weight(10.0, "DRIT, lambda_lr: of L_lr (equation 12).")
