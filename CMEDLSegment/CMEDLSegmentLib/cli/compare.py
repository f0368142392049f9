"""What ``cmedl-segment compare`` does: one case, or a cohort from a table, from files to reports.

Without ``names`` the outputs call a cohort's cases by their number in the table and no file by its name: both could be
a patient's.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agreement.cohort_agreement import CohortAgreement, pool_agreements
from ..agreement.rater_table import read_manifest
from ..agreement.raters import Agreement, RaterRow, analyze
from ..base.errors import Cancelled, CMEDLError, InputError
from ..base.fault_log import internal_error
from ..base.progress import SILENT, Progress
from ..base.text import format_value, table
from ..io.contour_files import read_rated_case
from ..metrics.measures import MEASURES, TOLERANCE_MM
from ..metrics.statistics import MAIN
from ..report.case_report import CASE_FILES, REPORT, check_outputs, write_report
from ..report.cohort_report import COHORT_FILES, write_cohort_report
from ..report.style import fit_labels, printable

READ, ANALYZED = 0.35, 0.75
"""Fractions of a case at which its stages end."""


@dataclass(frozen=True)
class CaseComparison:
    """A case that was compared: its agreement, the report's files, and the seconds it took."""

    agreement: Agreement
    files: dict[str, Path]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints; everything else is in ``agreement.json``."""
        agreement = self.agreement
        return {
            "report": self.files[REPORT],
            "files": self.files,
            "seconds": round(self.seconds, 3),
            "tolerance_mm": agreement.tolerance_mm,
            "raters": [_row_json(row) for row in agreement.raters],
            "within": agreement.range.within if agreement.range else None,
            "answer": agreement.range.sentence if agreement.range else None,
            "full_cc": agreement.full_cc,
            "any_cc": agreement.any_cc,
            "worst_slices": agreement.worst,
            "notes": agreement.notes,
        }

    def report(self) -> str:
        """Table IV of the case, the answer, and where to look."""
        agreement = self.agreement
        lines = [_rows(agreement.raters, agreement.tolerance_mm), ""]
        lines += [f"Note: {printable(note)}" for note in agreement.notes]
        lines += [agreement.range.sentence] if agreement.range else []
        return "\n".join([*lines, f"Report: {self.files[REPORT]} ({self.seconds:.1f} s)"])


@dataclass(frozen=True)
class CohortComparison:
    """A cohort that was compared.

    Attributes:
        cohort: its good cases together; None if there was none.
        files: of the cohort's report.
        reports: the page of each good case, by number.
        errors: the sentence of each bad case, by number.
        exit_code: 0, or that of the worst failure.
        seconds: of everything.
    """

    cohort: CohortAgreement | None
    files: dict[str, Path]
    reports: dict[int, Path]
    errors: dict[int, str]
    exit_code: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        result: dict[str, Any] = {
            "report": self.files.get(REPORT),
            "files": self.files,
            "cases": self.reports,
            "failed": self.errors,
            "seconds": round(self.seconds, 3),
        }
        if self.cohort:
            result["raters"] = [_row_json(row) for row in self.cohort.rows]
            result["refusal"] = self.cohort.refusal
            result["tests"] = {name: test.p for name, test in self.cohort.tests.items()}
        return result

    def report(self) -> str:
        """The pooled table, what went wrong, and where to look."""
        lines = []
        if self.cohort:
            pairs = RaterRow("all pairs of raters", self.cohort.spread, float("nan"))
            lines += [_rows((*self.cohort.rows, pairs), self.cohort.tolerance_mm), ""]
            lines += [self.cohort.refusal] if self.cohort.refusal else []
            lines += [self.cohort.tests[name].sentence for name in MAIN if name in self.cohort.tests]
        lines += [f"Case {number}: {sentence}" for number, sentence in self.errors.items()]
        lines.append(f"{len(self.reports)} compared, {len(self.errors)} failed ({self.seconds:.1f} s)")
        lines += [f"Report: {self.files[REPORT]}"] if self.files else []
        return "\n".join(lines)


def compare_case(
    image: Path,
    raters: Sequence[tuple[str, str]],
    model: str | None,
    folder: Path,
    *,
    segment: str | None = None,
    series: str | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    name: str = "",
    names: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> CaseComparison:
    """Compare who delineated one image, and write the report.

    Args:
        image: a volume file, or a folder with a DICOM series.
        raters: name and file of each, in the order of the tables.
        model: the model's file, or None.
        folder: where the report goes.
        segment: which segment of every file that does not name its own.
        series: which series of a DICOM folder that holds several.
        tolerance_mm: of the surface DSC.
        name: what the outputs call the case; "" for nothing.
        names: whether outputs may say how the image is called.
        overwrite: whether files that exist are replaced.
        progress: see ``progress.py``.

    Raises:
        InputError: anything about the input or the folder that the user can mend; what can be known before anything is
            read is told before.
        Cancelled: it was cancelled; nothing was written.
    """
    start = time.perf_counter()
    progress("Checking", 0.0)
    if not raters:
        raise InputError("There is nobody to compare with; name at least one rater by --rater NAME=FILE.")
    files = dict(raters)
    for rater in files:
        if [other for other, _ in raters].count(rater) > 1:
            raise InputError(f"Two raters are called '{rater}'; give each one a name of its own.")
    if not image.exists():
        raise InputError(f"{image} does not exist; give an image file, or a folder with a DICOM series.")
    check_outputs(folder, CASE_FILES, overwrite)
    case = read_rated_case(image, model, files, segment, name, progress.part(0.0, READ), series)
    if not names:
        notes = tuple(note.replace(image.name, "The image") for note in case.notes)
        case = dataclasses.replace(case, notes=notes)
    agreement = analyze(case, tolerance_mm, progress.part(READ, ANALYZED))
    report = write_report(case, agreement, folder, None, overwrite, progress.part(ANALYZED, 1.0))
    progress("Done", 1.0)
    return CaseComparison(agreement, report, time.perf_counter() - start)


def compare_cohort(
    manifest: Path,
    folder: Path,
    same_people: bool = False,
    tolerance_mm: float = TOLERANCE_MM,
    names: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> CohortComparison:
    """Compare every case of a table, each into a folder of its own, and all together; a bad one stops no other.

    Args:
        manifest: the table; see ``rater_table.py``.
        folder: for the cohort's files and ``case-001`` and so on, numbered as in the table.
        same_people: whether a rater's name is one person throughout.
        tolerance_mm: of the surface DSC.
        names: whether outputs may name the cases as the table does, rather than by number.
        overwrite: replace files that exist.
        progress: see ``progress.py``.

    Raises:
        InputError: the table or the folder is bad.
        Cancelled: the reports of the cases before it stay.
    """
    start = time.perf_counter()
    cases = read_manifest(manifest)
    folders = {number: folder / f"case-{number:03d}" for number in range(1, len(cases) + 1)}
    check_outputs(folder, COHORT_FILES, overwrite)
    for each in folders.values():
        check_outputs(each, CASE_FILES, overwrite)
    done: dict[int, CaseComparison] = {}
    errors: dict[int, str] = {}
    codes = {0}
    for number, case in enumerate(cases, start=1):
        share = progress.part((number - 1) / len(cases), number / len(cases)).under(f"Case {number} of {len(cases)}")
        try:
            done[number] = compare_case(
                case.image,
                tuple(case.raters.items()),
                case.model,
                folders[number],
                tolerance_mm=tolerance_mm,
                name=case.name if names else f"case {number}",
                names=names,
                overwrite=overwrite,
                progress=share,
            )
        except Cancelled as stop:
            raise Cancelled(
                f"Stopped with {len(done)} of {len(cases)} cases compared, whose reports stay; give the same command "
                "with --overwrite to begin anew."
            ) from stop
        except CMEDLError as error:
            errors[number] = f"Line {case.line}: {error}"
            codes.add(error.exit_code)
        except Exception as error:  # one bad case never stops the rest, also where the fault is ours
            errors[number] = internal_error("cmedl-segment", error)
            codes.add(1)
    agreements = [comparison.agreement for comparison in done.values()]
    cohort, files = None, {}
    if agreements:
        cohort = pool_agreements(agreements, same_people)
        links = [f"{folders[number].name}/{REPORT}" for number in done]
        files = write_cohort_report(cohort, agreements, links, folder, len(errors), overwrite)
    progress("Done", 1.0)
    reports = {number: comparison.files[REPORT] for number, comparison in done.items()}
    code = min(codes - {0}, default=0)
    return CohortComparison(cohort, files, reports, errors, code, time.perf_counter() - start)


def _row_json(row: RaterRow) -> dict[str, Any]:
    """One row of Table IV: the mean of each main measure, and how many values it is of and leaves out."""
    spreads = {name: row.values[name] for name in MAIN}
    return {
        "name": row.name,
        "volume_cc": row.volume_cc,
        **{name: spread.mean for name, spread in spreads.items()},
        "n": spreads["dsc"].n,
        "excluded": {name: spread.excluded for name, spread in spreads.items() if spread.excluded},
    }


def _rows(rows: Sequence[RaterRow], tolerance_mm: float) -> str:
    """Rows of Table IV for a terminal."""
    header = ["mean to the raters", *(MEASURES[name].title for name in MAIN), "volume (cc)"]
    header[2] += f" at {tolerance_mm:g} mm"
    cells = [
        (label, *(MEASURES[name].format(row.values[name].mean) for name in MAIN), format_value(row.volume_cc, "cc"))
        for label, row in zip(fit_labels([row.name for row in rows], 1.0, 24.0), rows, strict=True)
    ]
    return table(header, cells)
