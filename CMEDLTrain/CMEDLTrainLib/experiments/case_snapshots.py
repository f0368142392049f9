"""What stays of each test patient when a run is scored, to be looked at later without its student.

``RUN/looks``: of each case that the expert marked one axial slice, the one with most of the structure. ``CASE.png`` has
the student's contour in red on the image and the expert's in yellow, ``CASE-pseudo.png`` the image translated into the
teacher's modality, where the method does so, with the teacher's contour in blue, and ``CASE-real.png`` the patient's
real image of that modality where it is known. Slice and view depend on the expert alone, so those of all runs show the
same. ``RUN/looks.json`` says which slices they are, and of a structure that was missed what the student marked instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.boxes import bounding_box, enclosing_box
from CMEDLSegmentLib.base.colors import MODEL_RED, Color
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.segmenter import Segmentation
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.report.contour_drawing import contour_panel, save_png, zoom

from ..evaluation.case_view import CaseView
from ..evaluation.evaluation_file import write_json
from ..evaluation.teacher_inference import TeacherInference
from ..evaluation.translation_quality import on_grid
from ..figures.contour_panels import SEEN_WINDOW, contours
from ..runs.run_folder import Run
from ..training.previews import TEACHER_BLUE
from .plan import LOOKS_FILE

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
    path = run.folder / LOOKS_FILE
    try:
        return json.loads(path.read_text("utf-8"))["cases"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it, and run the experiment.") from error


class CaseSnapshots:
    """Takes each case as it is scored.

    Args:
        run: whose folder takes the pictures.
        card: of its student.
        teaching: its translation and teacher.
        real: by the name of a case its patient's real image of the teacher's modality, where there is one.
        normalization: of that modality, as in the run's training; None where the method does not translate.
    """

    def __init__(
        self,
        run: Run,
        card: Card,
        teaching: TeacherInference,
        real: Mapping[str, Case] = MappingProxyType({}),
        normalization: Normalization | None = None,
    ) -> None:
        self._run, self._card, self._teaching = run, card, teaching
        self._real, self._normalization = real, normalization
        self._cases: dict[str, dict[str, Any]] = {}

    def __call__(self, case: Case, volume: Volume, expert: np.ndarray, result: Segmentation) -> None:
        """A case that the student has segmented; see :data:`.evaluation.volumes.OnCase`."""
        seen = CaseView(case.case, volume, expert, result, self._card)
        if not seen.expert.any():
            return
        z = int(np.argmax(np.count_nonzero(seen.expert, axis=(1, 2))))
        nothing = np.zeros_like(seen.found[z])
        told: dict[str, Any] = {"slice": z, "slices": len(seen.expert), "picture": f"looks/{case.case}.png"}
        self._draw(told["picture"], seen, z, seen.intensities(seen.view.array[z]), seen.found[z], MODEL_RED)
        if self._teaching.translate is not None:
            (image,), labels = self._teaching.look(seen, [z], [label.value for label in self._card.labels])
            told |= {"pseudo": f"looks/{case.case}-pseudo.png", "pseudo_name": self._teaching.pseudo}
            self._draw(told["pseudo"], seen, z, image, nothing if labels is None else labels[0], TEACHER_BLUE)
        real = self._real.get(case.case)
        if real is not None and self._normalization is not None:
            moved, _ = on_grid(read_volume(real.image), self._normalization, volume.geometry)
            told |= {"real": f"looks/{case.case}-real.png", "real_name": f"real {real.modality}"}
            self._draw(told["real"], seen, z, seen.view.to_axial(moved)[z], nothing, TEACHER_BLUE)
        told["missed"] = missed_structures(seen, result, [(label.name, label.value) for label in self._card.labels])
        self._cases[case.case] = told

    def write(self) -> None:
        """Tell what there is, when all cases came."""
        write_json(self._run.folder / LOOKS_FILE, {"cases": self._cases})

    def _draw(self, name: str, seen: CaseView, z: int, image: np.ndarray, labels: np.ndarray, color: Color) -> None:
        """A picture of slice ``z``: an image (y, x) in -1..1 with the expert's contours and, above, those of labels."""
        view = zoom(seen.expert[z] > 0, seen.spacing, MARGIN_MM, SMALLEST_MM)
        drawn = contours(seen, z, labels, color, "")
        picture = contour_panel(image, seen.spacing, drawn, (SIDE, SIDE), view, SEEN_WINDOW, bar_mm=BAR_MM)
        save_png(picture, self._run.folder / name)


def missed_structures(seen: CaseView, result: Segmentation, labels: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Of each structure that the student shares no voxel with, what it marked instead.

    Volumes in cc; ``slices``: the structure's first and last axial slice, counted from 0 at the inferior end, and how
    many the scan has; ``nearest_mm``: from the structure to the nearest voxel that the student marked, None where it
    marked none; ``highest_probability``: that it gave to a voxel of the structure.
    """
    found = []
    cc = math.prod(seen.view.spacing) / 1000.0
    for name, value in labels:
        wanted, marked = seen.expert == value, seen.found == value
        if not wanted.any() or (wanted & marked).any():
            continue
        holds = np.flatnonzero(wanted.any(axis=(1, 2)))
        likely = [float(plane[wanted[z]].max()) for z, plane in result.probability.planes(value) if wanted[z].any()]
        found.append(
            {
                "label": name,
                "structure_cc": float(np.count_nonzero(wanted) * cc),
                "slices": [int(holds[0]), int(holds[-1]), len(wanted)],
                "marked_cc": float(np.count_nonzero(marked) * cc),
                "nearest_mm": _nearest(wanted, marked, seen.view.spacing),
                "highest_probability": max(likely, default=0.0),
            }
        )
    return found


def _nearest(wanted: np.ndarray, marked: np.ndarray, spacing: Sequence[float]) -> float | None:
    """The shortest distance in mm between voxel centers of two masks; None where nothing is marked."""
    from scipy.ndimage import distance_transform_edt

    if not marked.any():
        return None
    box = enclosing_box(map(bounding_box, (wanted, marked)))
    assert box is not None
    return float(distance_transform_edt(~wanted[box], sampling=spacing)[marked[box]].min())
