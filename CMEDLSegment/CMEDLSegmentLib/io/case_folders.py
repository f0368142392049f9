"""A cohort as a folder: ``cohort.csv`` (see ``cohort_table.py``) and a folder for each case copied into it.

A case's folder holds ``image``, ``mask`` and ``case.json``. Nothing in it names the patient unless who adds the case
does: cases are numbered. What is there is never overwritten; lines and columns of the table that others wrote stay.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import InputError
from ..base.files import atomic_path
from ..base.text import csv_table
from .cohort_table import COLUMNS, Case, read_rows, row_of

if TYPE_CHECKING:
    import numpy as np

    from .volume import Geometry

TABLE = "cohort.csv"
FACTS = "case.json"
REVIEWER = "reviewer"
SEGMENT = "segment"
"""Keys of a case's facts; the reviewer is a column of the table too."""

Rows = list[dict[str, str]]
_editing = threading.Lock()
"""Cases are written in threads: each reads the table that the one before has left."""


@dataclass(frozen=True)
class TrainingCase:
    """All that a case's files and its line in the table hold, in memory: :meth:`write` may run in another thread."""

    image: np.ndarray
    """Voxels (z, y, x)."""
    mask: np.ndarray
    """uint8 (z, y, x), the label's number where a structure is."""
    geometry: Geometry
    facts: dict[str, str]
    """What ``case.json`` says."""
    patient: str
    modality: str
    role: str
    split: str
    folder: Path
    """The cohort's."""

    def write(self) -> Path:
        """Write the files, then the line in ``cohort.csv``; all of them or nothing.

        Returns:
            The case's folder.

        Raises:
            InputError: the folder cannot be written to, or holds a ``cohort.csv`` that is no cohort.
        """
        from .images import lossless_ending, write_image

        table = self.folder / TABLE
        known = [row for _, row in read_rows(table, COLUMNS)] if table.exists() else []
        case_folder = self._make_folder({row["case"].casefold() for row in known})
        try:
            ending = lossless_ending(self.geometry)
            image, mask = case_folder / f"image{ending}", case_folder / f"mask{ending}"
            write_image(image, self.image, self.geometry)
            write_image(mask, self.mask, self.geometry)
            with atomic_path(case_folder / FACTS) as beside:
                beside.write_text(json.dumps(self.facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            # A patient whose scans are in the cohort already stays in the same split.
            split = next((row["split"] for row in known if row["patient"] == self.patient), self.split)
            case = Case(self.patient, case_folder.name, self.modality, image, mask, self.role, split)
            row = {**row_of(case, self.folder), REVIEWER: self.facts.get(REVIEWER, "")}
            edit_table(table, lambda rows: [*rows, row])
        except BaseException:
            shutil.rmtree(case_folder, ignore_errors=True)
            raise
        return case_folder

    def _make_folder(self, taken: set[str]) -> Path:
        """A new folder with the next free number."""
        for number in range(1, 100_000):
            path = self.folder / f"case{number:03d}"
            if path.name in taken:
                continue
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                reason = error.strerror or str(error)
                raise InputError(f"The folder {self.folder} takes no case ({reason}); choose another one.") from error
            return path
        raise InputError(f"The folder {self.folder} is full of cases; choose another one.")


def edit_table(table: Path, change: Callable[[Rows], Rows]) -> None:
    """Change the lines of a cohort's table as they are on the disk now, with all columns that it has.

    ``change`` gets the lines, column -> value, and returns those to write. A table that is not there is begun, with a
    column for the reviewer besides the usual ones.

    Raises:
        InputError: it is no readable cohort, or cannot be written.
    """
    with _editing:
        rows: Rows = []
        header = [*COLUMNS, REVIEWER]
        if table.exists():
            rows = [row for _, row in read_rows(table, COLUMNS)]
            first = next(csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline="")))
            header = [name.strip().lower() for name in first]
        text = csv_table(header, change(rows))
        with atomic_path(table) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
