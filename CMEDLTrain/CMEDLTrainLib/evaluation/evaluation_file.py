"""What an evaluation found: read and written as JSON, told on a terminal, brought to tables.

Cases go by their names; the names of patients are nowhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.schema import SchemaError, entries, read, read_object
from CMEDLSegmentLib.base.text import plain, table
from CMEDLSegmentLib.report.tables import DEFINITIONS, Table

from .comparison import INTERVAL_METHOD, check_structures, compare_patients, spread, summary
from .roc import RATES, Roc
from .scoring import (
    MEASURES,
    SURFACE,
    CaseFigures,
    PatientFigures,
    TumorFigures,
    definition,
    format_value,
    lesion_noun,
    measure_title,
)

ANEW = "evaluate the student anew"
"""What to do about an evaluation that cannot be read."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of a student on a cohort.

    Attributes:
        student: its name.
        weights_sha256: which weights.
        threshold: probability from which a voxel was marked.
        tolerance_mm: of the surface DSC.
        device, runtime: where and with what it ran.
        batch: slices at a time.
        milliseconds_per_slice: of the network alone on one slice of the student's field; the median over cases.
        labels: the structures' names.
        cases, patients: their figures.
        roc: the curve of any structure under ``""``, and where there are several each one's under its name.
    """

    student: str
    weights_sha256: str
    threshold: float
    tolerance_mm: float
    device: str
    runtime: str
    batch: int
    milliseconds_per_slice: float | None
    labels: tuple[str, ...]
    cases: tuple[CaseFigures, ...]
    patients: tuple[PatientFigures, ...]
    roc: dict[str, Roc]

    def values(self, name: str) -> np.ndarray:
        """One measure of all patients that have it."""
        found = (patient.values[name] for patient in self.patients)
        return np.array([value for value in found if value is not None], float)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Mean, standard deviation, median, N and interval over patients, of each measure."""
        return summary(self.patients)

    def pooled(self) -> dict[str, dict[str, Any]]:
        """The same of DSC, surface DSC and HD95 over all tumors that the expert marked, whosever they are."""
        wanted = [tumor.values for case in self.cases for tumor in case.tumors if tumor.outcome != "extra"]
        return {name: spread(values[name] for values in wanted) for name in SURFACE}

    def missed(self) -> dict[str, int]:
        """How many patients (with a structure, and of them with one missed), tumors missed, and extra tumors."""
        outcomes = [tumor.outcome for case in self.cases for tumor in case.tumors]
        return {
            "patients": sum(bool(patient.missed) for patient in self.patients),
            "of_patients": sum(patient.marked for patient in self.patients),
            "tumors": outcomes.count("missed"),
            "of_tumors": outcomes.count("missed") + outcomes.count("matched"),
            "extra_tumors": sum(case.extra_tumors for case in self.cases),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything in JSON's types, as ``evaluation.json`` holds it; None is what does not exist."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        told["cases"] = [
            {
                "case": case.case,
                **_scored(case),
                "structure_slices": case.structure_slices,
                "empty_slices": case.empty_slices,
                "extra_tumors": case.extra_tumors,
            }
            for case in self.cases
        ]
        told["patients"] = [{"cases": patient.cases, **_scored(patient)} for patient in self.patients]
        told["tumors"] = [
            {"case": case.case, **_flat(vars(tumor), "values")} for case in self.cases for tumor in case.tumors
        ]
        told["summary"], told["pooled"], told["missed"] = self.summary(), self.pooled(), self.missed()
        told["roc"] = {**_told_roc(self.roc), "rates": RATES}
        if len(self.labels) > 1:
            told["label_summary"] = {label: summary(self.patients, label) for label in self.labels}
        told["definitions"] = {name: definition(name, self.tolerance_mm) for name in MEASURES}
        told["surfaces"], told["intervals"] = DEFINITIONS, INTERVAL_METHOD
        return plain(told)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Evaluation:
        """The evaluation that :meth:`to_json` told.

        Raises:
            InputError: it is none, or one of an older version.
        """
        try:
            tumors: dict[str, list[dict[str, Any]]] = {}
            for one in told["tumors"]:
                tumor = {**_fields(TumorFigures, one, "values"), "values": {name: one[name] for name in SURFACE}}
                tumors.setdefault(one["case"], []).append(tumor)
            tree = {name: told[name] for name in _PLAIN}
            tree["cases"] = [
                {**_read_scored(CaseFigures, one, "tumors"), "tumors": tumors.get(one["case"], [])}
                for one in told["cases"]
            ]
            tree["patients"] = [_read_scored(PatientFigures, one) for one in told["patients"]]
            return read(cls, {**tree, "roc": _read_roc(told["roc"])})
        except (KeyError, TypeError, AttributeError, SchemaError) as error:
            raise InputError(f"The evaluation lacks or misspells {error}; evaluate the student anew.") from error

    def report(self) -> str:
        """A table of the cases, a line for each summary, and what was missed."""
        rows = [[case.case, *(format_value(case.values[name], name) for name in MEASURES)] for case in self.cases]
        lines = [table(["case", *map(measure_title, MEASURES)], rows), ""]
        for name, figures in self.summary().items():
            lines.append(f"{definition(name, self.tolerance_mm)}: {summed(figures, name)}")
        missed = self.missed()
        lines.append(
            f"Missed altogether: {missed['patients']} of {missed['of_patients']} patients, {missed['tumors']} of "
            f"{missed['of_tumors']} {lesion_noun(self.labels)} (they count with a DSC of 0 and without HD95); "
            f"{missed['extra_tumors']} extra ones marked."
        )
        if self.roc[""].auc is not None:
            lines.append(f"Area under the ROC curve, voxels of all cases: {self.roc[''].auc:.4f}")
        if self.milliseconds_per_slice is not None:
            lines.append(
                f"{self.milliseconds_per_slice:.1f} ms a slice (network alone, {self.device}, {self.runtime}, "
                f"{self.batch} at a time)"
            )
        return "\n".join(lines)

    def tables(self) -> dict[str, Table]:
        """``cases.csv`` and ``tumors.csv``, in full precision; of several structures the latter has their pieces."""
        cases = tuple(
            {"case": case.case, "label": label, "missed": int(label in case.missed), **_known(values)}
            for case in self.cases
            for label, values in case.labels.items()
        )
        tumors = tuple(
            {
                "case": case.case,
                **_known(_flat(vars(tumor), "values")),
                "first_slice": tumor.slices[0],
                "last_slice": tumor.slices[1],
            }
            for case in self.cases
            for tumor in case.tumors
        )
        stated = {"tolerance_mm": self.tolerance_mm, "definitions": DEFINITIONS}
        columns = ("case", "label", "missed", *MEASURES, *stated)
        parts = ("case", "label", "outcome", "expert_cc", "student_cc", "first_slice", "last_slice", *SURFACE, *stated)
        return {
            "cases.csv": Table(columns, tuple({**row, **stated} for row in cases)),
            "tumors.csv": Table(parts, tuple({**row, **stated} for row in tumors)),
        }


_PLAIN = tuple(name for name in entries(Evaluation) if name not in ("cases", "patients", "roc"))
"""Entries of an evaluation that its JSON has as they are."""


def compare(a: Evaluation, b: Evaluation) -> dict[str, dict[str, Any]]:
    """Two students on the patients that both were scored on; see :func:`compare_patients`.

    Raises:
        InputError: they have no patient in common, other tolerances, or another number of structures.
    """
    check_structures(len(a.labels), len(b.labels))
    if a.tolerance_mm != b.tolerance_mm:
        raise InputError(
            f"The students were scored with surface tolerances of {a.tolerance_mm:g} and {b.tolerance_mm:g} mm; "
            "evaluate them with one."
        )
    return compare_patients(a.patients, b.patients, b.student)


def read_evaluation(path: Path) -> Evaluation:
    """Read what :meth:`Evaluation.to_json` told from a file.

    Raises:
        InputError: it cannot be read, or is no evaluation of this version.
    """
    return Evaluation.from_json(read_object(path, ANEW))


def write_json(path: Path, told: Mapping[str, Any]) -> None:
    """Write figures to ``path``, whole or not at all."""
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(plain(dict(told)), indent=2, allow_nan=False) + "\n", "utf-8")


def _scored(of: CaseFigures | PatientFigures) -> dict[str, Any]:
    labels = {name: {**values, "missed": name in of.missed} for name, values in of.labels.items()}
    return {**of.values, "missed": bool(of.missed), "labels": labels, "sensitivities": of.sensitivities}


def _fields(kind: type, told: Mapping[str, Any], *besides: str) -> dict[str, Any]:
    """Of what was told the fields of a dataclass, all but those ``besides``."""
    return {name: told[name] for name in entries(kind) if name not in besides}


def _read_scored(kind: type, told: Mapping[str, Any], *besides: str) -> dict[str, Any]:
    """The fields of a case or patient."""
    return {
        **_fields(kind, told, "labels", "missed", *besides),
        "labels": {label: {name: found[name] for name in MEASURES} for label, found in told["labels"].items()},
        "missed": [label for label, found in told["labels"].items() if found["missed"]],
    }


def _told_roc(roc: Mapping[str, Roc]) -> dict[str, Any]:
    """The curve of any structure, and of several structures each one's under ``labels``."""
    curves = {label: vars(curve) for label, curve in roc.items()}
    whole = curves.pop("")
    return {**whole, "labels": curves} if curves else whole


def _read_roc(told: Mapping[str, Any]) -> dict[str, Any]:
    curves = {"": told, **told.get("labels", {})}
    return {label: _fields(Roc, one) for label, one in curves.items()}


def _flat(parts: Mapping[str, Any], inner: str) -> dict[str, Any]:
    """A mapping with the mapping ``inner`` of it in its place."""
    return {**{name: value for name, value in parts.items() if name != inner}, **parts[inner]}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what does not exist: an empty cell of a table."""
    return {name: value for name, value in values.items() if value is not None}


def summed(figures: Mapping[str, Any], name: str) -> str:
    """One measure over patients in words."""
    if not figures["n"]:
        return "no patient has a value"
    mean, std, median = (format_value(figures[part], name) for part in ("mean", "std", "median"))
    words = f"{mean} +- {std}, median {median}"
    if figures["ci95"]:
        words += ", 95 % interval of the mean " + " to ".join(format_value(end, name) for end in figures["ci95"])
    return f"{words} (N = {figures['n']})"
