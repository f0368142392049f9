"""The table of a cohort to compare: who delineated which case in which file.

One CSV in UTF-8 with commas, one line for each delineation, paths relative to the table's own folder::

    case,image,rater,file,segment
    p01,p01/ct.nii.gz,candidate,p01/model.seg.nrrd,
    p01,p01/ct.nii.gz,Dr. A,p01/rtstruct.dcm,GTV
    p01,p01/ct.nii.gz,Dr. B,p01/b.nii.gz,

The rater ``candidate`` is the model. The column ``segment`` may be empty or left out. Messages give line numbers
and never a case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..base.errors import InputError
from ..io.cohort_table import read_rows
from ..io.delineation import MODEL

COLUMNS = ("case", "image", "rater", "file")
SEGMENT = "segment"


@dataclass(frozen=True)
class ComparedCase:
    """One case of the table.

    Attributes:
        name: what the table calls it.
        image: a volume file, or a folder with one DICOM series.
        raters: file of each by name; behind a ``#`` the segment, where the table says one.
        model: the model's file in the same way, or None.
        line: its first line, for messages.
    """

    name: str
    image: Path
    raters: dict[str, str]
    model: str | None
    line: int


def read_manifest(path: Path | str) -> tuple[ComparedCase, ...]:
    """Read and check the table of a cohort; cases in the order of their first lines.

    Raises:
        InputError: not a readable table, a column is missing, a value is empty, a case has two images, nobody but the
            model, or one rater twice.
    """
    path = Path(path)
    folder = path.absolute().parent
    cases: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in read_rows(path, COLUMNS):
        for column in COLUMNS:
            if not row[column]:
                raise InputError(f'{path}, line {line}: the column "{column}" is empty; fill it in.')
        cases.setdefault(row["case"], []).append((line, row))
    if not cases:
        raise InputError(f"{path} has a header but no case; add one line for each delineation.")
    return tuple(_case(path, folder, name, rows) for name, rows in cases.items())


def _case(path: Path, folder: Path, name: str, rows: list[tuple[int, dict[str, str]]]) -> ComparedCase:
    first, image = rows[0][0], rows[0][1]["image"]
    files: dict[str, str] = {}
    for line, row in rows:
        if row["image"] != image:
            raise InputError(
                f"{path}, lines {first} and {line} give one case two images; give all its lines the same one."
            )
        if row["rater"] in files:
            raise InputError(f"{path}, line {line}: this case has this rater already; give each rater one line.")
        segment = row.get(SEGMENT, "")
        files[row["rater"]] = f"{folder / row['file']}#{segment}" if segment else str(folder / row["file"])
    model = files.pop(MODEL, None)
    if not files:
        raise InputError(f"{path}, line {first}: this case has no rater to compare with; add a line for each.")
    return ComparedCase(name, folder / image, files, model, first)
