"""The methods of the paper as data: which networks, which losses, which phases. The engine knows none by name."""

from __future__ import annotations

from collections.abc import Callable

from CMEDLSegmentLib.errors import InputError

from ..configuration import Configuration
from . import fusion, joint
from .method import Batch, Method, Part, Phase, Step
from .student_only import student_only

METHODS: dict[str, Callable[[Configuration], Method]] = {
    "ct-only": student_only,
    "cmedl": joint.cmedl,
    "vae-cmedl": joint.vae_cmedl,
    "pmri-cmedl": joint.pmri_cmedl,
    "weak": joint.cmedl,
    "weak+pseudo": joint.weak_with_pseudo,
    "pmri-cycle": fusion.pmri_cycle,
    "pmri-drit": fusion.pmri_drit,
    "ct+pmri": fusion.both,
    "weighted": fusion.weighted,
    "output-distillation": joint.output_distillation,
    "cmedl-without-contextual": joint.without_contextual,
    "cmedl-without-cycle": joint.without_cycle,
    "cmedl-without-real-labels": joint.without_real_labels,
    "cmedl-without-pseudo-labels": joint.without_pseudo_labels,
}
"""Method by the name that ``--method`` takes."""


def create(configuration: Configuration) -> Method:
    """Build the networks and phases of the configured method.

    Raises:
        InputError: no such method.
    """
    if configuration.method not in METHODS:
        raise InputError(f"There is no method '{configuration.method}'; there are: {', '.join(METHODS)}.")
    return METHODS[configuration.method](configuration)


__all__ = ["METHODS", "Batch", "Method", "Part", "Phase", "Step", "create"]
