"""How to segment: one object from the command line, a cohort's table or the panel down to the segmenter."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.schema import conform, named
from ..models import DEFAULT


@dataclass(frozen=True)
class SegmentationOptions:
    """What is the same for every scan of a cohort; plain values, so that it travels between processes as JSON.

    Attributes:
        model: a model's name or file.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        threshold: probability from which a voxel is marked; None is the model's own.
        all_slices: look at every slice, also where the model asks for lung slices only.
        minimum_cc: components below this volume (cc) are dropped.

    Raises:
        InputError: a value has a wrong type or is no number; the message names the option.
    """

    model: str = DEFAULT
    device: str = "auto"
    threshold: float | None = None
    all_slices: bool = False
    minimum_cc: float = 0.0

    def __post_init__(self) -> None:
        with named("The option"):
            conform(self)


DEFAULTS = SegmentationOptions()
