"""``RUN/evaluation.json`` for a window: whose figures they are, paired with another student's, the worst cases first.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import read_object

from ..runs.run_folder import Run
from .evaluation_file import ANEW, format_summary
from .scoring import SURFACE, definition, format_value, lesion_noun, measure_title

DIGITS = 2
"""Of shares in a table that is narrow; the sentences beside have more."""
PICTURES = (".png", ".svg", ".csv")
"""Endings of what an evaluation leaves for people to open."""


@dataclass(frozen=True)
class Paired:
    """One measure of both students, as text.

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
        paired: a row for each measure, and for what was missed.
        cases: the worst first.
    """

    weights_sha256: str
    against: str
    against_sha256: str
    own_cohort: bool
    paired: tuple[Paired, ...]
    cases: tuple[ScoredCase, ...]


def read_summary(run: Run) -> EvaluationSummary | None:
    """The evaluation of a run on its test cases; None where there is none.

    Raises:
        InputError: it cannot be read.
    """
    if not run.evaluation.is_file():
        return None
    tree = read_object(run.evaluation, ANEW)
    try:
        against = tree.get("against") or {}
        cases = [
            ScoredCase(
                str(case["case"]),
                {name: None if case[name] is None else float(case[name]) for name in SURFACE},
                tuple(str(label) for label, values in case["labels"].items() if values["missed"]),
            )
            for case in tree["cases"]
        ]
        return EvaluationSummary(
            weights_sha256=str(tree["weights_sha256"]),
            against=str(against.get("student", "")),
            against_sha256=str(against.get("weights_sha256", "")),
            own_cohort=bool(tree["own_cohort"]),
            paired=tuple(_paired(tree, against)),
            cases=tuple(sorted(cases, key=lambda case: case.badness)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{run.evaluation} lacks or misspells {error}; evaluate the run anew.") from error


def pictures_of(run: Run) -> list[Path]:
    """The pictures and tables that the evaluation left, relative to ``RUN/evaluation``; pictures first."""
    folder = run.folder / "evaluation"
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.suffix in PICTURES]
    return sorted(paths, key=lambda path: (path.suffix == ".csv", len(path.parts), path))


def _paired(tree: Mapping[str, Any], against: Mapping[str, Any]) -> Iterator[Paired]:
    """The rows of the students; ``against`` is empty where there is no other one."""
    tolerance = float(tree["tolerance_mm"])
    for name in SURFACE:
        own = tree["summary"][name]
        title = measure_title(name) + (f" {tolerance:g} mm" if name == "surface_dice" else "")
        lines = [f"{definition(name, tolerance)}.", f"{tree['student']}: {format_summary(own, name)}"]
        if not against:
            yield Paired(title, _mean(own, name), n=str(own["n"]), description="\n".join(lines))
            continue
        compared, other = against["comparisons"][name], against["summary"][name]
        lines += [f"{against['student']}: {format_summary(other, name)}", compared["sentence"], against["test_method"]]
        difference, p = compared["delta_mean"], compared["p"]
        yield Paired(
            title,
            _mean(own, name),
            _mean(other, name),
            ("+" if difference is not None and difference > 0 else "") + format_value(difference, name, DIGITS),
            "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
            str(compared["n"]),
            "\n".join(lines),
        )
    for part, title in (("patients", "Missed patients"), ("tumors", f"Missed {lesion_noun(tree['labels'])}")):
        both = [missed for missed in (tree["missed"], against.get("missed")) if missed]
        yield Paired(title, *(f"{int(missed[part])} of {int(missed[f'of_{part}'])}" for missed in both))


def _mean(figures: Mapping[str, Any], name: str) -> str:
    if not figures["n"]:
        return "-"
    return " \u00b1 ".join(format_value(figures[part], name, DIGITS) for part in ("mean", "std"))
