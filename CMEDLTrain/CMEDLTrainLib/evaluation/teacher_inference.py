"""What a run has beside its student: the translation into the teacher's modality, and the teacher that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from CMEDLSegmentLib.inference.probability import label_probabilities, threshold_labels
from CMEDLSegmentLib.models.model_file import ModelNetwork
from CMEDLSegmentLib.networks import Segmentor

from ..runs.run_folder import Run
from ..training.train_run import networks_of, training_cases
from .case_view import CaseView
from .translation_quality import Translate

CPU = torch.device("cpu")
TEACHER_THRESHOLD = 0.5
PSEUDO = {"MR": "pMRI", "CT": "pCT"}
"""What an image translated into a modality is called."""


@dataclass(frozen=True)
class TeacherInference:
    """A run's translation and teacher, each None where its method has none.

    Attributes:
        translate: from the student's modality.
        teacher: segments images of the teacher's modality, translated ones too.
        pseudo: what a translated image is called.
        device: of the networks.
    """

    translate: Translate | None = None
    teacher: Segmentor | None = None
    pseudo: str = ""
    device: torch.device = CPU

    @classmethod
    def of(cls, run: Run, student: ModelNetwork, device: torch.device) -> TeacherInference:
        """Those of a finished run at its last checkpoint; a student that translates by itself does so here too.

        Raises:
            InputError: the run has no checkpoint, or it or its cohort cannot be read.
        """
        if "teacher" not in run.configuration.entry.roles:
            return cls()
        method, networks = networks_of(run)
        networks |= {spec.name: network for spec, network in zip(student.specs, student.networks, strict=True)}
        for network in networks.values():
            network.to(device)
        modality = next(case.modality for case in training_cases(run.configuration) if case.role == "teacher")
        translation = method.translation
        return cls(
            None if translation is None else lambda images: translation.translate(images, networks),
            cast(Segmentor, networks[method.teacher]) if method.teacher else None,
            PSEUDO[modality],
            device,
        )

    @torch.inference_mode()
    def segment(self, view: CaseView, slices: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """A case's slices, no more than :data:`.case_view.BATCH`, translated, and what the teacher marks on them.

        Returns:
            Images (n, y, x) on the native slices, outside the field -1, as dark as air; values (n, y, x) of the
            student's labels, or None without a teacher.
        """
        assert self.translate is not None
        pseudo = self.translate(next(view.images(np.array(slices), self.device)))
        images = view.to_native(pseudo[:, 0].float().cpu().numpy() + 1) - 1
        if self.teacher is None:
            return images, None
        values = [label.value for label in view.labels]
        on_field = label_probabilities(self.teacher(pseudo)[0].float()).cpu().numpy()
        labels = [threshold_labels(view.to_native(planes), values, TEACHER_THRESHOLD) for planes in on_field]
        return images, np.stack(labels)
