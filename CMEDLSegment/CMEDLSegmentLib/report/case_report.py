"""The report of a case: tables, JSON and one HTML page, written together or not at all.

Nothing in them names the patient: a case is called what :class:`RatedCase` says, which is nothing unless its maker
was asked for names.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agreement.raters import Agreement
from ..base.progress import SILENT, Progress
from ..base.text import counted
from ..inference.pipeline import check_free, write_together
from ..io.delineation import RatedCase
from ..io.volume import grid_text
from . import sections
from .html import html_page
from .slice_images import PICTURES, worst_slices
from .style import line_styles
from .tables import as_json, case_tables, reviews_table

REPORT, FIGURES, REVIEWS = "report.html", "agreement.json", "reviews.csv"
CASE_FILES = (FIGURES, "pairs.csv", "raters.csv", "slices.csv", "tumors.csv", REPORT)
"""What every report of a case consists of; :data:`REVIEWS` comes with a blinded review."""


def write_report(
    case: RatedCase,
    agreement: Agreement,
    folder: Path | str,
    reviews: Sequence[Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
    pictures: int = PICTURES,
) -> dict[str, Path]:
    """Write the files of a case's report into a folder, which is made if missing.

    Args:
        case: who marked what.
        agreement: of the case.
        folder: for :data:`CASE_FILES`, and :data:`REVIEWS` where there are reviews.
        reviews: scores of a blinded review: ``rater``, ``score``, ``reason``, ``comment``, ``reviewer``, ``date``.
        overwrite: replace files that exist.
        progress: see ``progress.py``.
        pictures: how many of the worst slices are shown.

    Returns:
        The paths by file name.

    Raises:
        InputError: a file exists and ``overwrite`` is false, or the folder cannot be written to.
        Cancelled: nothing was written.
    """
    folder, reviews = Path(folder), list(reviews or ())
    texts = {name: table.csv() for name, table in case_tables(agreement).items()}
    if reviews:
        texts[REVIEWS] = reviews_table(reviews).csv()
    texts[FIGURES] = as_json(agreement, {"reviews": [dict(review) for review in reviews]} if reviews else {})
    check_outputs(folder, [*CASE_FILES, *texts], overwrite)
    progress("Drawing the worst slices", 0.0)
    progress.stop_if_cancelled()
    drawn = worst_slices(case, agreement, pictures)
    progress("Writing the report", 0.8)
    progress.stop_if_cancelled()
    texts[REPORT] = html_report(case, agreement, drawn, reviews)
    return write_texts(folder, texts, progress.part(0.8, 1.0))


def check_outputs(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Find out whether files can be created in a folder before long work.

    Raises:
        InputError: one exists and ``overwrite`` is false, or the folder takes no files.
    """
    for name in dict.fromkeys(names):
        check_free(folder / name, overwrite)


def write_texts(folder: Path, texts: Mapping[str, str], progress: Progress) -> dict[str, Path]:
    """Write texts as UTF-8 files of a folder, all or none; the paths by name.

    Raises:
        InputError: the folder cannot be written to.
        Cancelled: nothing was written.
    """
    paths = {name: folder / name for name in texts}
    write_together({path: functools.partial(_write, texts[name]) for name, path in paths.items()}, progress)
    return paths


def _write(content: str, path: Path) -> None:
    # A name from a command line that is no text (a lone surrogate) must not cost the figures.
    path.write_bytes(content.encode("utf-8", "replace"))


def html_report(
    case: RatedCase,
    agreement: Agreement,
    drawn: Sequence[tuple[int, bytes]],
    reviews: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page of a case; ``drawn`` are the worst slices of :func:`worst_slices`."""
    styles = line_styles(agreement.names)
    raters = counted(len(agreement.rater_names), "rater")
    who = f"{raters}{' and the model' if agreement.has_model else ''}"
    subtitle = f"{who} on an image of {grid_text(case.geometry)}; tolerance {agreement.tolerance_mm:g} mm"
    title = f"Agreement with experts: {agreement.case}" if agreement.case else "Agreement with experts"
    return html_page(
        title,
        subtitle,
        (
            sections.answer_section(agreement, styles),
            sections.figure_tiles(agreement),
            sections.notes_section(agreement.notes),
            sections.people_section(case, styles),
            sections.raters_section(agreement, styles),
            sections.matrices_section(agreement),
            sections.slices_section(case, agreement, styles, drawn),
            sections.consensus_section(agreement),
            sections.lesions_section(agreement),
            sections.review_section(reviews),
            sections.further_matrices_section(agreement),
            sections.definitions_section(agreement.tolerance_mm),
        ),
    )
