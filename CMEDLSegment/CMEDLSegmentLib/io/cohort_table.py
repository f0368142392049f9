"""A cohort: the table that names the scans of a study, for ``batch`` and for training alike.

One CSV in UTF-8 with commas, one line per scan, paths relative to the table's own folder::

    patient,case,role,modality,image,mask,split
    p01,p01-ct,student,CT,p01/ct.nii.gz,p01/gtv.nii.gz,train
    p02,p02-mr,teacher,MR,p02/dicom,p02/gtv.seg.nrrd,train

``patient``, ``case``, ``modality`` and ``image`` are always given; ``mask``, ``role`` and ``split`` may be
empty unless the reader asks for them. ``case`` names one scan and its result files, so it is unique and fit
for a file name. A column ``click`` may say where tumors lie that a person pointed at, as ``Click.parse`` reads it;
several are separated by ``;``. Messages give line numbers and never a patient or a case.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import InputError
from ..base.files import DEVICE_NAMES, atomic_path
from ..base.text import csv_table

COLUMNS = ("patient", "case", "role", "modality", "image", "mask", "split")
CLICK = "click"
"""A column that a table may have besides."""
ALWAYS = ("patient", "case", "modality", "image")
ROLES = ("student", "teacher")
MODALITIES = ("CT", "MR")
SPLITS = ("train", "validation", "test")

LONGEST_CASE = 120
"""Characters: result files add an ending, and file systems stop at 255 bytes."""
FORBIDDEN = set('/\\:*?"<>|')
"""Characters that a file name may not hold on one of the three platforms."""


@dataclass(frozen=True)
class Case:
    """One scan of a cohort.

    Attributes:
        patient: whose scan it is; all scans of one patient belong to one split.
        case: the scan's own name, unique in the cohort and fit for a file name.
        modality: ``"CT"`` or ``"MR"``.
        image: a volume file, or a folder with one DICOM series.
        mask: the expert's labels on the image's grid, or None.
        role: ``"student"``, ``"teacher"`` or ``""`` where nobody trains.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``""``.
        line: where the table says so, for messages; 0 for a case made in memory.
        click: where a person clicked tumors, as the table says it; empty for most.
    """

    patient: str
    case: str
    modality: str
    image: Path
    mask: Path | None = None
    role: str = ""
    split: str = ""
    line: int = 0
    click: str = ""


def read_cohort(path: Path | str, required: Collection[str] = (), check_files: bool = True) -> tuple[Case, ...]:
    """Read and check a cohort table.

    Args:
        path: the CSV file.
        required: optional columns (``mask``, ``role``, ``split``) that this reader needs filled in every line.
        check_files: whether a missing image or mask is an error here; ``batch`` says no, because one bad case must not
            stop the rest.

    Raises:
        InputError: not a readable table, a column is missing, a value is empty or unknown, a case is named
            twice, a patient is in two splits, or a file is missing.
    """
    path = Path(path)
    cases, problems = survey_cohort(path, required)
    if problems:
        raise InputError(problems[0].sentence)
    if check_files:
        check_files_exist(path, cases)
    return cases


@dataclass(frozen=True)
class Problem:
    """What is wrong with one line of a table: a sentence, the line, and its case where that can be told."""

    sentence: str
    line: int
    case: str = ""


def survey_cohort(path: Path | str, required: Collection[str] = ()) -> tuple[tuple[Case, ...], list[Problem]]:
    """A cohort table with everything that is wrong with it, where :func:`read_cohort` stops at the first.

    Returns:
        The cases whose lines can be read, and the problems: lines that cannot, cases named twice, patients in two
        splits. Files are not looked at.

    Raises:
        InputError: not a readable table, a column is missing, or no line at all.
    """
    path = Path(path)
    rows = read_rows(path, COLUMNS)
    if not rows:
        raise InputError(f"{path} has a header but no case; add one line for each scan.")
    cases: list[Case] = []
    problems: list[Problem] = []
    for line, row in rows:
        try:
            cases.append(_case(path, line, row, required))
        except InputError as error:
            problems.append(Problem(str(error), line, row["case"]))
    problems += _contradictions(path, cases)
    return tuple(cases), problems


def write_cohort(path: Path | str, cases: Iterable[Case]) -> None:
    """Write a cohort table, its paths relative to ``path``'s folder, so that the folder can be moved.

    Raises:
        InputError: the table cannot be written.
    """
    path = Path(path)
    folder = path.absolute().parent
    cases = list(cases)
    columns = (*COLUMNS, CLICK) if any(case.click for case in cases) else COLUMNS
    text = csv_table(columns, (row_of(case, folder) for case in cases))
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")


def row_of(case: Case, folder: Path) -> dict[str, str]:
    """A case as its line, column -> value, in a table in ``folder``."""
    files = {"image": relative(case.image, folder), "mask": "" if case.mask is None else relative(case.mask, folder)}
    return {**{name: getattr(case, name) for name in (*COLUMNS, CLICK)}, **files}


def relative(target: Path, folder: Path) -> str:
    """``target`` as seen from ``folder``, with forward slashes; absolute where no relative path leads there."""
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:  # Windows: another drive, which no relative path reaches
        return target.absolute().as_posix()


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table as (line number, column -> stripped value); blank lines left out.

    Args:
        path: a CSV file in UTF-8 with commas.
        columns: those that its first line must have; further ones are read too.

    Raises:
        InputError: not a readable table, or a column is missing or there twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"The table {path} cannot be read ({reason}); give the path of a CSV file.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'The table {path} is not a text in UTF-8; save it as "CSV UTF-8 (comma separated)".'
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(path, header, columns)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(values)} values stand under {len(header)} "
                    "columns; give every column a value or leave it empty between commas, and put a value "
                    "that holds a comma in double quotes."
                )
            rows.append((reader.line_num, {n: v.strip() for n, v in zip(header, values, strict=True)}))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: not a line of a CSV table ({error}); save it anew as CSV."
        ) from error
    return rows


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    """Every column once; further columns are the user's own and are let be."""
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if separator in header[0]:
                raise InputError(
                    f"The table {path} is separated by {name}; save it with commas (in a spreadsheet: "
                    '"CSV UTF-8 (comma separated)").'
                )
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"The table {path} lacks the column {', '.join(missing)}; its first line must be {','.join(columns)}."
        )
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise InputError(f"The table {path} has the column {', '.join(twice)} twice; keep one of them.")


def _case(path: Path, line: int, row: dict[str, str], required: Collection[str]) -> Case:
    """One line as a :class:`Case`, its values checked and its paths resolved against the table's folder."""
    for name in (*ALWAYS, *required):
        if not row[name]:
            raise InputError(f'{path}, line {line}: the column "{name}" is empty; fill it in.')
    role, modality, split = row["role"].lower(), row["modality"].upper(), row["split"].lower()
    for column, value, choices in (("role", role, ROLES), ("modality", modality, MODALITIES), ("split", split, SPLITS)):
        if value and value not in choices:
            raise InputError(
                f'{path}, line {line}: the column "{column}" says "{value}"; it must be {" or ".join(choices)}.'
            )
    name = row["case"]
    if not names_a_file(name):
        raise InputError(
            f'{path}, line {line}: the column "case" cannot name a file; use at most {LONGEST_CASE} letters, '
            "digits, spaces, points, hyphens and underscores, with no point at either end."
        )
    folder = path.absolute().parent
    mask = folder / row["mask"] if row["mask"] else None
    image, click = folder / row["image"], row.get(CLICK, "")
    return Case(row["patient"], name, modality, image, mask, role, split, line, click)


def names_a_file(name: str) -> bool:
    """Whether a case of this name can have files of its name on all platforms."""
    return not (
        len(name) > LONGEST_CASE
        or name.startswith(".")
        or name.endswith(".")
        or name.split(".")[0].lower() in DEVICE_NAMES
        or any(letter in FORBIDDEN or not letter.isprintable() for letter in name)
    )


def _contradictions(path: Path, cases: Sequence[Case]) -> Iterator[Problem]:
    """Cases that are there twice, and patients in two splits."""
    # Also in another case of letters: some file systems do not tell them apart.
    lines: dict[str, int] = {}
    for case in cases:
        first = lines.setdefault(case.case.casefold(), case.line)
        if first != case.line:
            sentence = f'{path}, lines {first} and {case.line} have the same "case"; give each scan its own name.'
            yield Problem(sentence, case.line, case.case)
    # A patient in two splits would let training see the test.
    for other, case in split_twice(cases):
        yield Problem(
            f"{path}, lines {other.line} and {case.line} put one patient in two splits ({other.split}, {case.split}); "
            "give all scans of a patient the same split.",
            case.line,
            case.case,
        )


def split_twice(cases: Iterable[Case]) -> Iterator[tuple[Case, Case]]:
    """The cases whose patient is in another split by an earlier case, which comes first; an empty split is none."""
    known: dict[str, Case] = {}
    for case in cases:
        if case.split and known.setdefault(case.patient, case).split != case.split:
            yield known[case.patient], case


def check_files_exist(path: Path, cases: Iterable[Case]) -> None:
    """Every image and mask of these cases of the table ``path`` is there.

    Raises:
        InputError: some are not; the message counts them and names the first.
    """
    missing = [
        (case.line, column, file)
        for case in cases
        for column, file in (("image", case.image), ("mask", case.mask))
        if file is not None and not file.exists()
    ]
    if missing:
        line, column, file = missing[0]
        count = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        raise InputError(
            f'{path}: {count} missing, the first in line {line}, column "{column}" ({file}); correct the '
            "path, which is relative to the table's folder, or take the line out."
        )
