"""The one place where a network's kind, a word in a model card, becomes a module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import nn

from ..base.errors import ModelError
from .blocks import Segmentor
from .densefcn import DenseFCN
from .drit import StyleTranslator
from .fusion import WeightedFusion
from .generator import Generator
from .mrrn import Mrrn
from .unet import Unet

SEGMENTORS: Mapping[str, type[Segmentor]] = {"unet": Unet, "densefcn": DenseFCN, "mrrn": Mrrn}
NETWORKS: Mapping[str, type[nn.Module]] = {
    **SEGMENTORS,
    "generator": Generator,
    "weighted-fusion": WeightedFusion,
    "style-translator": StyleTranslator,
}


def create_segmentor(
    kind: str, in_channels: int = 1, classes: int = 1, hints: str = "high", **widths: object
) -> Segmentor:
    """Make a segmentor with fresh weights.

    Args:
        kind: "unet", "densefcn" or "mrrn".
        in_channels, classes, hints: as :class:`.blocks.Segmentor` takes them.
        widths: what the architecture's class takes besides: ``width``; ``growth`` and ``dropout`` of
            "densefcn"; ``wiring`` of "mrrn".

    Raises:
        ModelError: the kind is unknown, or an argument is unknown or out of range.
    """
    if not isinstance(kind, str) or kind not in SEGMENTORS:
        raise ModelError(f"Segmentor '{kind}' is unknown; known are {', '.join(SEGMENTORS)}.")
    network = create_network(kind, in_channels=in_channels, classes=classes, hints=hints, **widths)
    assert isinstance(network, Segmentor)
    return network


def create_network(kind: str, /, **arguments: object) -> nn.Module:
    """Make any network a model card may name, with fresh weights.

    Args:
        kind: a segmentor's, "generator" or "style-translator" (one modality in, the other out: CycleGAN's and
            DRIT's), or "weighted-fusion" (an image and its pseudo MRI in, both weighted out).
        arguments: of that network's class.

    Raises:
        ModelError: the kind is unknown, or an argument is unknown or out of range.
    """
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise ModelError(f"Network '{kind}' is unknown; known are {', '.join(NETWORKS)}.")
    accepted = inspect.signature(NETWORKS[kind]).parameters
    for name in arguments:
        if name not in accepted:
            raise ModelError(f"Network '{kind}' has no argument '{name}'; it takes {', '.join(accepted)}.")
    return NETWORKS[kind](**arguments)
