"""What an evaluation found: read and written as JSON, told on a terminal, brought to tables.

Cases go by their names; the names of patients are nowhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.schema import SchemaError, entries, read, read_object
from CMEDLSegmentLib.base.text import plain, table
from CMEDLSegmentLib.report.tables import DEFINITIONS, Table

from .click_figures import ClickFigures, summarize
from .click_figures import report as report_clicks
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
    clicks: tuple[ClickFigures, ...] = ()

    def summary(self) -> dict[str, dict[str, Any]]:
        """Mean, standard deviation, median, N and interval over patients, of each measure."""
        return summary(self.patients)

    def pooled(self) -> dict[str, dict[str, Any]]:
        """The same of DSC, surface DSC and HD95 over all tumors that the expert marked, whosever they are."""
        marked = [tumor.values for case in self.cases for tumor in case.tumors if tumor.outcome != "extra"]
        return {name: spread(values[name] for values in marked) for name in SURFACE}

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
        counts = ("structure_slices", "empty_slices", "extra_tumors")
        tree = {**vars(self)}
        if clicks := tree.pop("clicks"):
            tree["clicks"] = [vars(click) for click in clicks]
            tree["clicks_summary"] = summarize(clicks, [patient.cases for patient in self.patients])
        curves = {label: vars(curve) for label, curve in tree.pop("roc").items()}
        tree["cases"] = [
            {"case": case.case, **_values(case), **{name: getattr(case, name) for name in counts}}
            for case in self.cases
        ]
        tree["patients"] = [{"cases": patient.cases, **_values(patient)} for patient in self.patients]
        tree["tumors"] = self._tumors()
        tree["summary"], tree["pooled"], tree["missed"] = self.summary(), self.pooled(), self.missed()
        # The curve of any structure, and of several structures each one's under ``labels``.
        tree["roc"] = {**curves.pop(""), **({"labels": curves} if curves else {}), "rates": RATES}
        if len(self.labels) > 1:
            tree["label_summary"] = {label: summary(self.patients, label) for label in self.labels}
        tree["definitions"] = {name: definition(name, self.tolerance_mm) for name in MEASURES}
        tree["surfaces"], tree["intervals"] = DEFINITIONS, INTERVAL_METHOD
        return plain(tree)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Evaluation:
        """The evaluation that :meth:`to_json` wrote.

        Raises:
            InputError: it is none, or one of an older version.
        """
        try:
            tumors: dict[str, list[dict[str, Any]]] = {}
            for tumor in tree["tumors"]:
                values = {name: tumor[name] for name in SURFACE}
                tumors.setdefault(tumor["case"], []).append(_fields(TumorFigures, tumor, values=values))
            cases = [
                _fields(CaseFigures, case, tumors=tumors.get(case["case"], []), **_by_label(case))
                for case in tree["cases"]
            ]
            patients = [_fields(PatientFigures, patient, **_by_label(patient)) for patient in tree["patients"]]
            curves = {"": tree["roc"], **tree["roc"].get("labels", {})}
            roc = {label: _fields(Roc, curve) for label, curve in curves.items()}
            clicks = [_fields(ClickFigures, click) for click in tree.get("clicks", ())]
            return read(cls, _fields(cls, tree, cases=cases, patients=patients, roc=roc, clicks=clicks))
        except (KeyError, TypeError, AttributeError, SchemaError) as error:
            raise InputError(f"The evaluation lacks or misspells {error}; {ANEW}.") from error

    def report(self) -> str:
        """A table of the cases, a line for each summary, and what was missed."""
        rows = [[case.case, *(format_value(case.values[name], name) for name in MEASURES)] for case in self.cases]
        lines = [table(["case", *map(measure_title, MEASURES)], rows), ""]
        for name, figures in self.summary().items():
            lines.append(f"{definition(name, self.tolerance_mm)}: {format_summary(figures, name)}")
        if self.clicks:
            patients = [patient.cases for patient in self.patients]
            lines += ["Of all this a central click was the start.", report_clicks(self.clicks, patients)]
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
        stated = {"tolerance_mm": self.tolerance_mm, "definitions": DEFINITIONS}
        cases = tuple(
            {"case": case.case, "label": label, "missed": int(label in case.missed), **values, **stated}
            for case in self.cases
            for label, values in case.labels.items()
        )
        tumors = tuple(
            {**tumor, "first_slice": tumor["slices"][0], "last_slice": tumor["slices"][1], **stated}
            for tumor in self._tumors()
        )
        parts = ("case", "label", "outcome", "expert_cc", "student_cc", "first_slice", "last_slice", *SURFACE, *stated)
        return {
            "cases.csv": Table(("case", "label", "missed", *MEASURES, *stated), cases),
            "tumors.csv": Table(parts, tumors),
        }

    def _tumors(self) -> list[dict[str, Any]]:
        """The tumors of all cases, their values beside their other figures."""
        rows = [{"case": case.case, **vars(tumor), **tumor.values} for case in self.cases for tumor in case.tumors]
        return [{name: value for name, value in row.items() if name != "values"} for row in rows]


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
    """Read what :meth:`Evaluation.to_json` wrote from a file.

    Raises:
        InputError: it cannot be read, or is no evaluation of this version.
    """
    return Evaluation.from_json(read_object(path, ANEW))


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write figures to ``path``, whole or not at all."""
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(plain(tree), indent=2, allow_nan=False) + "\n", "utf-8")


def format_summary(figures: Mapping[str, Any], name: str) -> str:
    """The spread of one measure over patients, in a sentence."""
    if not figures["n"]:
        return "no patient has a value"
    mean, std, median = (format_value(figures[part], name) for part in ("mean", "std", "median"))
    sentence = f"{mean} +- {std}, median {median}"
    if figures["ci95"]:
        sentence += ", 95 % interval of the mean " + " to ".join(format_value(end, name) for end in figures["ci95"])
    return f"{sentence} (N = {figures['n']})"


def _values(figures: CaseFigures | PatientFigures) -> dict[str, Any]:
    labels = {name: {**values, "missed": name in figures.missed} for name, values in figures.labels.items()}
    return {**figures.values, "missed": bool(figures.missed), "labels": labels, "sensitivities": figures.sensitivities}


def _by_label(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields ``labels`` and ``missed`` of a case or patient."""
    return {
        "labels": {label: {name: values[name] for name in MEASURES} for label, values in tree["labels"].items()},
        "missed": [label for label, values in tree["labels"].items() if values["missed"]],
    }


def _fields(kind: type, tree: Mapping[str, Any], **made: Any) -> dict[str, Any]:
    """The fields of a dataclass, those that are not ``made`` as the tree has them."""
    return {name: made[name] if name in made else tree[name] for name in entries(kind)}
