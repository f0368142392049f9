"""Figures of one case: the student's labels against the expert's, whole, tumor by tumor, and slice by slice.

DSC, surface DSC and HD95 are those of :mod:`CMEDLSegmentLib.agreement`, the expert being the reference. A structure
that the student missed has a DSC and a surface DSC of 0; where it marked nothing there is no HD95, so that means of
HD95 are over fewer patients and the number missed stands beside them. What neither marks has no value. The surface
measures take the slices of a volume as neighbors; of volumes of which only some slices were kept (a file does not
tell), the measures by slices alone hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, axial_view
from CMEDLSegmentLib.metrics.lesions import LesionMatch, match_lesions
from CMEDLSegmentLib.metrics.measures import TOLERANCE_MM, Measure, measure
from CMEDLSegmentLib.metrics.surface_distance import dice

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.labels import Label

    from .roc import RocCounts

Values = dict[str, float | None]
"""A value of each of :data:`MEASURES`, or of some; None where there is none."""

SURFACE = ("dsc", "surface_dice", "hd95_mm")
"""Measures of volumes and of tumors, as in the paper's tables."""

MOST_EXTRA = 20
"""Extra tumors that are listed: a student that has learned nothing marks thousands of specks, which are counted."""


def patient_measure(name: str, title: str, unit: str, better: str, definition: str) -> Measure:
    """A measure of a student against a reference, which are never exchanged, over patients."""
    return Measure(name, title, unit, better, False, f"{definition}, mean over patients")


_MEASURES = (
    patient_measure("dsc", "DSC", "", "high", "DSC, all slices of a patient pooled"),
    patient_measure("surface_dice", "surface DSC", "", "high", "surface DSC of a patient's volume at the tolerance"),
    patient_measure("hd95_mm", "HD95", "mm", "low", "HD95 of a patient's volume (mm)"),
    patient_measure(
        "dsc_structure_slices", "DSC, its slices", "", "high", "DSC, a patient's slices with the structure pooled"
    ),
    patient_measure(
        "false_cc_per_empty_slice",
        *("false cc a slice", "cc", "low", "false volume per slice without the structure (cc)"),
    ),
    patient_measure("auc", "AUC", "", "high", "area under the ROC curve of a patient's voxels"),
)
MEASURES = {measure.name: measure for measure in _MEASURES}
"""What is measured of every label, case and patient."""


def definition(name: str, tolerance_mm: float) -> str:
    """One of :data:`MEASURES` in words; a surface DSC means nothing without its tolerance."""
    return MEASURES[name].definition.replace("the tolerance", f"a tolerance of {tolerance_mm:g} mm")


def measure_title(name: str) -> str:
    """The short name of one of :data:`MEASURES`, with millimeters where it has them."""
    return MEASURES[name].title + (" (mm)" if MEASURES[name].unit == "mm" else "")


def format_value(value: float | None, name: str, digits: int = 3) -> str:
    """A value of one of :data:`MEASURES` for people: mm to a tenth, shares and cc to so many digits."""
    return "-" if value is None else f"{value:.{1 if MEASURES[name].unit == 'mm' else digits}f}"


def lesion_noun(labels: Sequence[str]) -> str:
    """What the connected pieces of these structures are called."""
    return "tumors" if tuple(labels) == (TUMOR.name,) else "structures"


@dataclass(frozen=True)
class TumorFigures:
    """One connected piece of a label: matched (expert's and student's), missed (expert's) or extra (student's).

    Attributes:
        label: the structure's name.
        outcome: ``matched``, ``missed`` or ``extra``.
        expert_cc, student_cc: volumes; None on the side that has none.
        slices: first and last axial slice, counted from 0 at the inferior end: the expert's, of an extra one the
            student's.
        values: of :data:`SURFACE`; of a missed one 0, 0 and None, of an extra one None.
    """

    label: str
    outcome: str
    expert_cc: float | None
    student_cc: float | None
    slices: tuple[int, int]
    values: Values


class _Scored:
    """Whose structures have values."""

    labels: dict[str, Values]

    @property
    def values(self) -> Values:
        """The mean over the structures."""
        return mean_values(self.labels.values())

    def values_of(self, label: str | None) -> Values:
        """Of one structure; None: the mean over all."""
        return self.values if label is None else self.labels[label]


@dataclass(frozen=True)
class CaseFigures(_Scored):
    """One case.

    Attributes:
        case: its name.
        labels: for each structure its values.
        missed: structures that the expert marked and the student shares no voxel with.
        structure_slices: slices on which the expert marked anything.
        empty_slices: slices that the student looked at and the expert left empty.
        extra_tumors: how many pieces the student marked that match none of the expert's.
        tumors: the pieces of all structures; of the extra ones the largest, :data:`MOST_EXTRA` a structure.
        sensitivities: of the ROC curve at :data:`.roc.RATES`, the mean over the structures; empty without one.
    """

    case: str
    labels: dict[str, Values]
    missed: tuple[str, ...]
    structure_slices: int
    empty_slices: int
    extra_tumors: int = 0
    tumors: tuple[TumorFigures, ...] = ()
    sensitivities: tuple[float, ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        """Its name, as :class:`PatientFigures` has those of several."""
        return (self.case,)


@dataclass(frozen=True)
class PatientFigures(_Scored):
    """One patient: the mean over the patient's cases, which are one for most, or over several runs.

    Attributes:
        cases: their names; they stand for the patient, whose own name is never kept.
        labels: for each structure its values.
        missed: structures missed in at least one of the cases or by one of the runs.
        sensitivities: of the ROC curve at :data:`.roc.RATES`, the mean over them; empty without one.
    """

    cases: tuple[str, ...]
    labels: dict[str, Values]
    missed: tuple[str, ...]
    sensitivities: tuple[float, ...] = ()

    @classmethod
    def of(cls, several: Sequence[CaseFigures | PatientFigures]) -> PatientFigures:
        """The mean over a patient's cases, or over the patient as several runs have tested it."""
        names = dict.fromkeys(name for figures in several for name in figures.labels)
        return cls(
            cases=tuple(dict.fromkeys(case for figures in several for case in figures.cases)),
            labels={name: mean_values(each.labels[name] for each in several if name in each.labels) for name in names},
            missed=tuple(name for name in names if any(name in figures.missed for figures in several)),
            sensitivities=mean_curve(figures.sensitivities for figures in several),
        )

    @property
    def marked(self) -> bool:
        """Whether the expert marked anything."""
        return any(values["dsc_structure_slices"] is not None for values in self.labels.values())


def mean_values(several: Iterable[Values]) -> Values:
    """The mean of each measure over those that have it."""
    several = list(several)
    known = {name: [value for values in several if (value := values[name]) is not None] for name in MEASURES}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def mean_curve(several: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """The mean height at each place of the curves that there are; empty without one."""
    known = [curve for curve in several if curve]
    return tuple(np.mean(known, axis=0).tolist()) if known else ()


def score(
    case: str,
    predicted: np.ndarray,
    expert: np.ndarray,
    geometry: Geometry,
    slices: np.ndarray,
    labels: Sequence[Label],
    tolerance_mm: float = TOLERANCE_MM,
    roc: Mapping[str, RocCounts] | None = None,
) -> CaseFigures:
    """Figures of one case.

    Args:
        case: its name.
        predicted: the student's labels (z, y, x) on the grid ``geometry``.
        expert: the expert's; where the student knows one label, whatever is not 0 is the structure.
        geometry: that of both.
        slices: axial indices of the slices that the student looked at.
        labels: what the student marks.
        tolerance_mm: of the surface DSC.
        roc: the case's voxels counted by probability, for each label by its name; None where there are none.

    Raises:
        InputError: the masks do not fit the grid, or the tolerance is no distance.
    """
    view = axial_view(predicted, geometry)
    predicted, expert = view.array, axial_view(expert, geometry).array
    values, missed, tumors, extra = {}, [], [], 0
    for label in labels:
        student_mask, expert_mask = predicted == label.value, expert != 0 if len(labels) == 1 else expert == label.value
        auc = roc[label.name].curve().auc if roc else None
        values[label.name] = {**_values(student_mask, expert_mask, view.spacing, slices, tolerance_mm), "auc": auc}
        if expert_mask.any() and not (student_mask & expert_mask).any():
            missed.append(label.name)
        matched = match_lesions(expert_mask, student_mask, view.spacing, tolerance_mm)
        tumors += _tumors(label.name, matched)
        extra += len(matched.extra)
    structure_slices = np.flatnonzero(expert.any(axis=(1, 2)))
    empty = len(np.setdiff1d(slices, structure_slices))
    curve = mean_curve(counts.sensitivities() for counts in (roc or {}).values())
    return CaseFigures(case, values, tuple(missed), len(structure_slices), empty, extra, tuple(tumors), curve)


def _values(
    student: np.ndarray, expert: np.ndarray, spacing: Sequence[float], slices: np.ndarray, tolerance_mm: float
) -> Values:
    """A value of each of :data:`MEASURES` but the AUC; masks bool (z, y, x) in axial order, spacing (z, y, x) in mm."""
    whole = measure(expert, student, spacing, tolerance_mm).values
    holds = expert.any(axis=(1, 2))
    empty = np.setdiff1d(slices, np.flatnonzero(holds))
    false_cc = np.count_nonzero(student[empty]) * math.prod(spacing) / 1000.0 / len(empty) if len(empty) else None
    return {
        **{name: _finite(whole[name]) for name in SURFACE},
        "dsc_structure_slices": _finite(dice(student[holds], expert[holds])),
        "false_cc_per_empty_slice": false_cc,
    }


def _tumors(label: str, matched: LesionMatch) -> list[TumorFigures]:
    """The tumors of one label, the expert's largest first, then the largest extra ones."""
    tumors = []
    for pair in matched.pairs:
        values = {name: _finite(pair.measures.values[name]) for name in SURFACE}
        tumors.append(TumorFigures(label, "matched", pair.a.volume_cc, pair.b.volume_cc, pair.a.slices, values))
    for lesion in matched.missed:
        values = {"dsc": 0.0, "surface_dice": 0.0, "hd95_mm": None}
        tumors.append(TumorFigures(label, "missed", lesion.volume_cc, None, lesion.slices, values))
    for lesion in matched.extra[:MOST_EXTRA]:
        values = dict.fromkeys(SURFACE)
        tumors.append(TumorFigures(label, "extra", None, lesion.volume_cc, lesion.slices, values))
    return tumors


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
