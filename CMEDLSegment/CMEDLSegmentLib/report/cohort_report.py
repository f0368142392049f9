"""The report of a cohort: Table IV over its cases, the model tested against the raters, and every case in a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..agreement.cohort_agreement import CohortAgreement
from ..agreement.raters import Agreement
from ..base.progress import SILENT
from ..base.text import counted, format_p
from ..io.delineation import MODEL
from ..metrics.measures import MEASURES
from ..metrics.statistics import MAIN, PairedTest
from .case_report import FIGURES, REPORT, check_outputs, write_texts
from .charts import box_plot, case_chart
from .html import escape_name, escape_text, figure, html_page, paragraph, section, table
from .sections import (
    definitions_section,
    format_ends,
    measure_charts,
    notes_section,
    rater_row,
    spread_cell,
    spread_cells,
    titles,
)
from .style import line_styles
from .tables import as_json, case_tables, cases_table, join_tables, people_table

COHORT_FILES = (FIGURES, "cases.csv", "pairs.csv", "raters.csv", "slices.csv", "tumors.csv", REPORT)

_RATERS = "raters"


def write_cohort_report(
    cohort: CohortAgreement,
    agreements: Sequence[Agreement],
    links: Sequence[str],
    folder: Path,
    failed: int = 0,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write :data:`COHORT_FILES`; those of a case hold all cases' rows, with the case in a last column.

    Args:
        cohort: the agreements together.
        agreements: of the cases, in the same order.
        links: where each case's own report lies, as seen from ``folder``.
        folder: made if missing.
        failed: cases that could not be compared, which the report says.
        overwrite: replace files that exist.

    Raises:
        InputError: a file exists and ``overwrite`` is false, or the folder cannot be written to.
        Cancelled: nothing was written.
    """
    check_outputs(folder, COHORT_FILES, overwrite)
    tables = [(agreement.case, case_tables(agreement)) for agreement in agreements]
    joined = ("pairs.csv", "slices.csv", "tumors.csv")
    texts = {name: join_tables([(case, of_case[name]) for case, of_case in tables]).csv() for name in joined}
    texts |= {"raters.csv": people_table(cohort).csv(), "cases.csv": cases_table(cohort).csv()}
    texts[FIGURES] = as_json(cohort, {"failed_cases": failed})
    texts[REPORT] = cohort_page(cohort, agreements, links, failed)
    return write_texts(folder, texts, SILENT)


def cohort_page(cohort: CohortAgreement, agreements: Sequence[Agreement], links: Sequence[str], failed: int = 0) -> str:
    """The page of a cohort as HTML; see :func:`write_cohort_report`."""
    counts = sorted({case.n_raters for case in cohort.cases})
    raters = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    model = " and the model" if cohort.model else ""
    subtitle = f"{counted(len(cohort.cases), 'case')} of {raters} raters{model}; tolerance {cohort.tolerance_mm:g} mm"
    left_out = f"{failed} of {failed + len(cohort.cases)} cases could not be compared and are left out."
    return html_page(
        "Agreement with experts: cohort",
        subtitle,
        (
            _answer(cohort),
            notes_section([left_out] if failed else []),
            _tests(cohort),
            _people(cohort, agreements),
            _person_tests(cohort),
            _cases(cohort, agreements, links),
            notes_section([f"{each.case}: {note}" for each in agreements for note in each.notes]),
            definitions_section(cohort.tolerance_mm),
        ),
    )


def _answer(cohort: CohortAgreement) -> str:
    counts = [
        f"{within} of {known} by {MEASURES[measure].title}"
        for measure, (within, known) in cohort.within.items()
        if measure in MAIN and known
    ]
    if not counts:
        return ""
    sentence = f"Cases in which the model is within the raters' range: {', '.join(counts)}."
    return f'<p class="answer">{escape_text(sentence)}</p>\n'


def _tests(cohort: CohortAgreement) -> str:
    """The model against the raters, one value each for every case."""
    if not cohort.tests:
        return ""
    rows = []
    for name, test in cohort.tests.items():
        measure = MEASURES[name]
        difference = measure.format(test.difference, signed=True), format_ends(name, test.interval, signed=True)
        cases = f"{test.n}<small>{test.excluded} left out</small>" if test.excluded else str(test.n)
        figures = [measure.format(test.model), measure.format(test.raters), *difference, escape_text(format_p(test.p))]
        rows.append(("", [escape_text(measure.title_at(cohort.tolerance_mm)), *figures, cases]))
    header = ("Mean over the cases", "Model", "Raters", "Difference", "95 % interval", "p", "Cases")
    return section("The model and the raters", table(header, rows), paragraph(cohort.test_method, "lesser"))


def _people(cohort: CohortAgreement, agreements: Sequence[Agreement]) -> str:
    """Table IV: each person over all cases, or why there is none."""
    rows = [rater_row(row.name, spread_cells(row.values)) for row in cohort.rows]
    rows.append(("sum", ["all pairs of raters", *spread_cells(cohort.spread)]))
    header = ("", *titles(MAIN, cohort.tolerance_mm))
    caption = "Mean over the other raters and the cases ± standard deviation; CV: coefficient of variation"
    people = [row.name for row in cohort.people] if cohort.people else [_RATERS, *([MODEL] if cohort.model else [])]

    def boxes(measure: str) -> str:
        return box_plot(people, [_values(agreements, who, measure) for who in people], measure, line_styles(people))

    return section(
        "Table of raters",
        paragraph(cohort.refusal) if cohort.refusal else "",
        table(header, rows, caption=caption),
        measure_charts(boxes, cohort.tolerance_mm),
        paragraph("Each mark is one pair in one case.", "lesser"),
    )


def _person_tests(cohort: CohortAgreement) -> str:
    """The model against each person, both by their mean to the same other raters; only where people are the same."""
    if not cohort.person_tests:
        return ""

    def cell(measure: str, test: PairedTest) -> str:
        difference = MEASURES[measure].format(test.difference, signed=True)
        return f"{difference}<small>p {escape_text(format_p(test.p))}, N = {test.n}</small>"

    rows = [
        rater_row(who, (cell(measure, tests[measure]) for measure in MAIN))
        for who, tests in cohort.person_tests.items()
    ]
    header = ("Model less", *titles(MAIN, cohort.tolerance_mm))
    explanation = (
        "Mean difference over the cases; both are measured by the same other raters. No correction for the number of "
        "tests."
    )
    return section("The model and each rater", table(header, rows), paragraph(explanation, "lesser"))


def _values(agreements: Sequence[Agreement], who: str, measure: str) -> np.ndarray:
    """All values of one person over the cases, or of all pairs of raters."""
    if who == _RATERS:
        return np.concatenate([agreement.rater_pairs(measure) for agreement in agreements])
    return np.concatenate([agreement.values(who, measure) for agreement in agreements if who in agreement.names])


def _cases(cohort: CohortAgreement, agreements: Sequence[Agreement], links: Sequence[str]) -> str:
    """Every case: the spread among its raters, and the model."""
    header = ["", "Raters", "DSC of their pairs", "HD95 (mm)", "Volume (cc)"]
    header += ["Model: DSC", "HD95 (mm)", "Within by"] if cohort.model else []
    rows = []
    for case, link in zip(cohort.cases, links, strict=True):
        cells = [
            f'<a href="{escape_text(link)}">{escape_name(case.case)}</a>',
            str(case.n_raters),
            spread_cell(case.raters["dsc"], ""),
            spread_cell(case.raters["hd95_mm"], "mm"),
            spread_cell(case.volume, "cc"),
        ]
        if cohort.model:
            model = case.model
            known = [measure for measure in MAIN if case.within.get(measure) is not None]
            inside = sum(bool(case.within[measure]) for measure in known)
            cells += [spread_cell(model["dsc"], ""), spread_cell(model["hd95_mm"], "mm")] if model else ["", ""]
            cells.append(f"{inside} of {len(known)}" if known else "")
        rows.append(("", cells))
    chart = case_chart(
        [case.case for case in cohort.cases],
        [agreement.rater_pairs("dsc") for agreement in agreements],
        [agreement.values(MODEL, "dsc") if agreement.has_model else np.zeros(0) for agreement in agreements],
        "dsc",
    )
    caption = "Line: least to greatest DSC of the raters' pairs; disc: their mean; diamond: the model's mean to them."
    return section("Case by case", figure(chart, caption), table(header, rows))
