"""``RUN/evaluation.json`` for a window: whose figures they are, paired with another student's, the worst cases first.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import read_object

from ..runs.run_folder import Run
from .evaluation_file import ANEW, summed
from .scoring import SURFACE, definition, format_value, lesion_noun, measure_title

DIGITS = 2
"""Of shares in a table that is narrow; the words beside have more."""
PICTURES = (".png", ".svg", ".csv")
"""Endings of what an evaluation leaves for people to open."""


@dataclass(frozen=True)
class Paired:
    """One measure of both students, in words.

    Attributes:
        title: of the measure, with its unit or tolerance.
        own, other: mean and standard deviation over patients, or how many of how many.
        difference: mean of own minus other.
        p: of the Wilcoxon test.
        n: patients with a value for both.
        description: all of it in sentences, with the difference's 95 % interval.
    """

    title: str
    own: str
    other: str = ""
    difference: str = ""
    p: str = ""
    n: str = ""
    description: str = ""


@dataclass(frozen=True)
class ScoredCase:
    """One case of the evaluation.

    Attributes:
        case: its name.
        values: of :data:`.measures.SURFACE`.
        missed: structures that the student missed.
    """

    case: str
    values: dict[str, float | None]
    missed: tuple[str, ...]

    @property
    def badness(self) -> tuple[bool, float]:
        """What cases are sorted by, the worst first; where there was nothing to find, last."""
        dsc = self.values["dsc"]
        return (not self.missed, math.inf if dsc is None else dsc)


@dataclass(frozen=True)
class EvaluationSummary:
    """An evaluation as it was written.

    Attributes:
        weights_sha256: of the student that was scored.
        against: the other student's name; empty where there is none.
        against_sha256: its weights.
        own_cohort: whether the cases are of the cohort that the run learned from.
        tolerance_mm: of the surface DSC.
        paired: a row for each measure, and for what was missed.
        cases: the worst first.
    """

    weights_sha256: str
    against: str
    against_sha256: str
    own_cohort: bool
    tolerance_mm: float
    paired: tuple[Paired, ...]
    cases: tuple[ScoredCase, ...]


def read_summary(run: Run) -> EvaluationSummary | None:
    """The evaluation of a run on its test cases; None where there is none.

    Raises:
        InputError: it cannot be read.
    """
    if not run.evaluation.is_file():
        return None
    told = read_object(run.evaluation, ANEW)
    try:
        return _scored(told)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{run.evaluation} lacks or misspells {error}; evaluate the run anew.") from error


def pictures_of(run: Run) -> list[Path]:
    """The pictures and tables that the evaluation left, relative to ``RUN/evaluation``; pictures first."""
    folder = run.folder / "evaluation"
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix in PICTURES]
    return sorted(found, key=lambda path: (path.suffix == ".csv", len(path.parts), path))


def _scored(told: Mapping[str, Any]) -> EvaluationSummary:
    against = told.get("against") or {}
    cases = [
        ScoredCase(
            str(one["case"]),
            {name: None if one[name] is None else float(one[name]) for name in SURFACE},
            tuple(str(label) for label, found in one["labels"].items() if found["missed"]),
        )
        for one in told["cases"]
    ]
    return EvaluationSummary(
        weights_sha256=str(told["weights_sha256"]),
        against=str(against.get("student", "")),
        against_sha256=str(against.get("weights_sha256", "")),
        own_cohort=bool(told["own_cohort"]),
        tolerance_mm=float(told["tolerance_mm"]),
        paired=tuple(_paired(told, against)),
        cases=tuple(sorted(cases, key=lambda case: case.badness)),
    )


def _paired(told: Mapping[str, Any], against: Mapping[str, Any]) -> list[Paired]:
    tolerance = float(told["tolerance_mm"])
    rows = []
    for name in SURFACE:
        own = told["summary"][name]
        title = measure_title(name) + (f" {tolerance:g} mm" if name == "surface_dice" else "")
        description = f"{definition(name, tolerance)}.\n{told['student']}: {summed(own, name)}"
        if not against:
            rows.append(Paired(title, _mean(own, name), n=str(own["n"]), description=description))
            continue
        found = against["comparisons"][name]
        other = against["summary"][name]
        sentences = (f"{against['student']}: {summed(other, name)}", found["sentence"], against["test_method"])
        rows.append(
            Paired(
                title,
                _mean(own, name),
                _mean(other, name),
                _difference(found, name),
                "-" if found["p"] is None else "< 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}",
                str(found["n"]),
                "\n".join((description, *sentences)),
            )
        )
    for part, title in (("patients", "Missed patients"), ("tumors", f"Missed {lesion_noun(told['labels'])}")):
        both = [_missed(one, part) for one in (told["missed"], against.get("missed")) if one]
        rows.append(Paired(title, *both))
    return rows


def _mean(figures: Mapping[str, Any], name: str) -> str:
    if not figures["n"]:
        return "-"
    return " \u00b1 ".join(format_value(figures[part], name, DIGITS) for part in ("mean", "std"))


def _difference(found: Mapping[str, Any], name: str) -> str:
    if found["delta_mean"] is None:
        return "-"
    return ("+" if found["delta_mean"] > 0 else "") + format_value(found["delta_mean"], name, DIGITS)


def _missed(missed: Mapping[str, Any], part: str) -> str:
    return f"{int(missed[part])} of {int(missed[f'of_{part}'])}"
