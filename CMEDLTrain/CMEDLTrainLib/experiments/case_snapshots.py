"""What stays of each test patient when a run is scored, to be looked at later without its student.

``RUN/looks``: of each case that the expert marked one axial slice, the one with most of the structure. ``CASE.png`` has
the student's contour in red on the image and the expert's in yellow, ``CASE-pseudo.png`` the image translated into the
teacher's modality, where the method does so, with the teacher's contour in blue, and ``CASE-real.png`` the patient's
real image of that modality where it is known. Slice and view depend on the expert alone, so those of all runs show the
same. ``RUN/looks.json`` says which slices they are, and of a structure that was missed what the student marked instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from CMEDLSegmentLib.base.boxes import bounding_box, enclosing_box
from CMEDLSegmentLib.base.colors import MODEL_RED, Color
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.report.contour_drawing import contour_panel, save_png, zoom

from ..evaluation.case_view import CaseView
from ..evaluation.evaluation_file import write_json
from ..evaluation.teacher_inference import TeacherInference
from ..evaluation.translation_quality import on_grid
from ..figures.contour_panels import NORMALIZED_WINDOW, contours
from ..runs.run_folder import Run
from ..training.previews import TEACHER_BLUE
from .plan import LOOKS_FILE, ExperimentRun
from .run_states import read_entry

SIDE = 240
"""Pixels along a picture."""
MARGIN_MM, SMALLEST_MM = 40.0, 160.0
"""What is shown around the expert's contour, and at least: enough to see what was marked instead."""
BAR_MM = 20.0


def read_snapshots(run: Run) -> dict[str, Any]:
    """What :meth:`CaseSnapshots.write` has told of each case, by its name.

    Raises:
        InputError: it cannot be read.
    """
    return read_entry(run.folder / LOOKS_FILE, "cases")


def missed_lesions(cell: ExperimentRun, run: Run, regions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each structure that a cell's student shares no voxel with, see :func:`missed_structures`.

    ``regions``: the part of the body by case.
    """
    own = {"row": cell.row, "fold": cell.fold, "seed": cell.seed}
    return [
        {"case": case, "region": regions.get(case), **own, **lesion}
        for case, snapshot in read_snapshots(run).items()
        for lesion in snapshot["missed"]
    ]


class CaseSnapshots:
    """Takes each case as it is scored.

    Args:
        run: whose folder takes the pictures.
        teacher: its translation and teacher.
        real: by the name of a case its patient's real image of the teacher's modality, where there is one.
        normalization: of that modality, as in the run's training; None where the method does not translate.
    """

    def __init__(
        self,
        run: Run,
        teacher: TeacherInference,
        real: Mapping[str, Case] = MappingProxyType({}),
        normalization: Normalization | None = None,
    ) -> None:
        self._run, self._teacher, self._real, self._normalization = run, teacher, real, normalization
        self._cases: dict[str, dict[str, Any]] = {}

    def add(self, view: CaseView) -> None:
        """Keep a case that the student has segmented."""
        if not view.expert.any():
            return
        z = int(np.argmax(np.count_nonzero(view.expert, axis=(1, 2))))
        case, nothing = view.case, np.zeros_like(view.predicted[z])
        kept: dict[str, Any] = {"slice": z, "slices": len(view.expert), "picture": f"looks/{case}.png"}
        self._draw(kept["picture"], view, z, view.image(z), view.predicted[z], MODEL_RED)
        if self._teacher.translate is not None:
            (image,), labels = self._teacher.segment(view, [z])
            kept |= {"pseudo": f"looks/{case}-pseudo.png", "pseudo_name": self._teacher.pseudo}
            self._draw(kept["pseudo"], view, z, image, nothing if labels is None else labels[0], TEACHER_BLUE)
        real = self._real.get(case)
        if real is not None and self._normalization is not None:
            moved, _ = on_grid(read_volume(real.image), self._normalization, view.geometry)
            kept |= {"real": f"looks/{case}-real.png", "real_name": f"real {real.modality}"}
            self._draw(kept["real"], view, z, view.axial.to_axial(moved)[z], nothing, TEACHER_BLUE)
        self._cases[case] = {**kept, "missed": missed_structures(view)}

    def write(self) -> None:
        """Tell what there is, when all cases came."""
        write_json(self._run.folder / LOOKS_FILE, {"cases": self._cases})

    def _draw(self, name: str, view: CaseView, z: int, image: np.ndarray, labels: np.ndarray, color: Color) -> None:
        """A picture of slice ``z``: an image (y, x) in -1..1 with the expert's contours and, above, those of labels."""
        square = zoom(view.expert[z] > 0, view.spacing, MARGIN_MM, SMALLEST_MM)
        drawn, size = contours(view, z, labels, color), (SIDE, SIDE)
        picture = contour_panel(image, view.spacing, drawn, size, square, NORMALIZED_WINDOW, bar_mm=BAR_MM)
        save_png(picture, self._run.folder / name)


def missed_structures(view: CaseView) -> list[dict[str, Any]]:
    """Of each structure that the student shares no voxel with, what it marked instead.

    Volumes in cc; ``slices``: the structure's first and last axial slice, counted from 0 at the inferior end, and how
    many the scan has; ``nearest_mm``: from the structure to the nearest voxel that the student marked, None where it
    marked none; ``highest_probability``: that it gave to a voxel of the structure.
    """
    missed = []
    spacing = view.axial.spacing
    cc = math.prod(spacing) / 1000.0
    for label in view.labels:
        expert, marked = view.expert == label.value, view.predicted == label.value
        if not expert.any() or (expert & marked).any():
            continue
        slices = np.flatnonzero(expert.any(axis=(1, 2)))
        planes = view.probability.planes(label.value)
        highest = max((float(plane[expert[z]].max()) for z, plane in planes if expert[z].any()), default=0.0)
        nearest = None
        if marked.any():  # between centers of voxels
            box = enclosing_box(map(bounding_box, (expert, marked)))
            assert box is not None
            nearest = float(distance_transform_edt(~expert[box], sampling=spacing)[marked[box]].min())
        missed.append(
            {
                "label": label.name,
                "structure_cc": float(np.count_nonzero(expert) * cc),
                "slices": [int(slices[0]), int(slices[-1]), len(expert)],
                "marked_cc": float(np.count_nonzero(marked) * cc),
                "nearest_mm": nearest,
                "highest_probability": highest,
            }
        )
    return missed
