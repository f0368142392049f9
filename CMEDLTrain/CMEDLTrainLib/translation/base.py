"""What a translation between the modalities of student and teacher is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from CMEDLSegmentLib.models.model_card import NetworkSpec

Contextual = Callable[["Tensor", "Tensor"], "Tensor"]
"""Generated and target images (n, 1, h, w) -> their contextual loss, a scalar (equations 3 and 4)."""


class Translation(Protocol):
    """Translates between the unpaired images of student and teacher, and says what its networks descend.

    Images are (n, 1, h, w) in [-1, 1]. What ``generator_losses`` makes for others lies in ``shared``, with the graph:

    - ``pseudo_teacher``: the student's images in the teacher's modality (pMRI), which the teacher segments,
    - ``pseudo_student``: the teacher's images in the student's modality (pCT),
    - ``back_student``, ``back_teacher``: these translated back, where a loss needs them.

    Random numbers of ``generator_losses`` come from the default generator of the images' device.

    Attributes:
        networks: everything a checkpoint keeps, by name; image pools, which have no parameters, among it.
        generators: the names updated together with the segmentors.
        discriminators: the names updated in the discriminators' phase.
        student_specs: what a card says of those that translate the student's images at test time.
    """

    networks: dict[str, nn.Module]
    generators: tuple[str, ...]
    discriminators: tuple[str, ...]
    student_specs: tuple[NetworkSpec, ...]

    def translate(self, student: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """The pseudo-teacher images as at test time, by ``networks``: the own ones or an average of them."""
        ...

    def back(self, student: Tensor, pseudo: Tensor, networks: Mapping[str, nn.Module]) -> Tensor:
        """Student images as their translations ``pseudo`` give them back; to look at, without randomness."""
        ...

    def generator_losses(self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms that the generators descend, by name."""
        ...

    def discriminator_losses(
        self, student: Tensor, teacher: Tensor, shared: dict[str, Tensor], step_random: torch.Generator
    ) -> dict[str, Tensor]:
        """Terms that the discriminators descend, by name; on what ``generator_losses`` left, detached."""
        ...
