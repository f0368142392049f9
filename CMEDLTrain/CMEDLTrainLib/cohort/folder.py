"""A cohort's folder, opened: its cases, who may change them, and changes that lose nothing.

``cohort.csv``   the table, the only truth; each change is made to what it says at that moment
``caseNNN``      a case that was copied in (``CMEDLSegmentLib.io.case_folders``)
``cohort.json``  the version of this layout; a folder without it was made by hand, or by an older program
``cohort.lock``  the Slicer that may change the cohort now
``facts.json``   what the checks found (``survey``)
``runs``, ``bin``  runs with the slices they are trained from, and what was removed
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.case_folders import TABLE, Rows, TrainingCase, edit_table
from CMEDLSegmentLib.io.cohort_table import COLUMNS, SPLITS, Case, Problem, read_rows, survey_cohort
from CMEDLSegmentLib.process import lock

from .collecting import Collected, CollectionOptions, collect
from .splitting import split_by_patient

FORMAT = 1
MARK, LOCK = "cohort.json", "cohort.lock"
LINE = "line.json"
"""In the bin, beside a removed case: its line of the table."""
RUNS, BIN = "runs", "bin"
"""The folders of a cohort that its runs are in, and what was removed."""


class CohortFolder:
    """A cohort's folder.

    Args:
        folder: one with a table, or an empty one or none yet, which becomes a cohort with its first case.

    Attributes:
        cases: those whose lines can be read.
        problems: what is wrong with the table in itself: lines that cannot be read, a patient in two splits, ...
        blocking_reason: why the cohort cannot be changed now, as a sentence; empty where it can, see :meth:`take`.

    Raises:
        InputError: it is no cohort, of a newer version, or its table cannot be read.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self.cases: tuple[Case, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self.blocking_reason = ""
        self._signature_read: tuple[int, ...] | None = None
        self._check_others()
        self.reload()

    @property
    def table(self) -> Path:
        """The cohort's table."""
        return self.folder / TABLE

    @property
    def is_new(self) -> bool:
        """Whether there is nothing yet."""
        return not self.table.exists()

    def changed(self) -> bool:
        """Whether somebody has changed the table since it was read, or it cannot be reached any more."""
        try:
            return self._signature() != self._signature_read
        except InputError:
            return True

    def reload(self) -> None:
        """Read the table.

        Raises:
            InputError: it is none, as after a bad change by hand; the cases known before stay.
        """
        self._signature_read = self._signature()
        if self._signature_read is None or not read_rows(self.table, COLUMNS):
            self.cases, self.problems = (), ()
            return
        cases, problems = survey_cohort(self.table)
        self.cases, self.problems = cases, tuple(problems)

    def take(self) -> None:
        """Become the one who changes the cohort, unless another Slicer is; see :attr:`blocking_reason`."""
        self.blocking_reason = ""
        if self.is_new:
            return
        file = self.folder / LOCK
        try:
            lock.acquire(file)
        except InputError:
            self.blocking_reason = (
                f"The folder {self.folder} cannot be written to, so the cohort can only be looked at; copy it to "
                "another disk to change it."
            )
            return
        holder = lock.owner(file)
        if holder is not None and not lock.is_this_process(holder):
            self.blocking_reason = (
                f"Another Slicer (process {holder.get('pid')} on {holder.get('host')}) has this cohort open, so it can "
                "only be looked at here; close it there to change it here."
            )

    def beat(self) -> None:
        """Tell Slicers on other machines that this one still holds the cohort."""
        # A disk that is gone is told by the next look at the table.
        lock.refresh(self.folder / LOCK)

    def release(self) -> None:
        """Let others change the cohort."""
        lock.release(self.folder / LOCK)

    def add(self, case: TrainingCase) -> Path:
        """Copy a case into the folder; returns the case's folder.

        Raises:
            InputError: the cohort cannot be changed or written.
        """
        self._require()
        written = case.write()
        self.take()
        self._mark()
        return written

    def collect(self, source: Path, rules: CollectionOptions, progress: Progress = SILENT) -> Collected:
        """Copy the scans that are found below ``source``; see :func:`collecting.collect`.

        Raises:
            InputError: the cohort cannot be changed or written, or nothing is found.
        """
        self._require()
        collected = collect(source, self.folder, rules, progress)
        self.take()
        self._mark()
        return collected

    def remove(self, names: Collection[str]) -> None:
        """Take cases out of the table; files that were copied in go to the bin, others stay where they are.

        Raises:
            InputError: the cohort cannot be changed or written.
        """
        self._require()
        taken: Rows = []

        def without(rows: Rows) -> Rows:
            taken.extend(row for row in rows if row["case"] in names)
            return [row for row in rows if row["case"] not in names]

        edit_table(self.table, without)
        for row in taken:
            self._to_bin(row)
        self._mark()
        self.reload()

    def set_splits(self, splits: Mapping[str, str]) -> None:
        """Give patients their split, ``train``, ``validation``, ``test`` or an empty one: all cases of one follow.

        Raises:
            InputError: the cohort cannot be changed or written, or there is no such split.
        """
        self._require()
        unknown = set(splits.values()) - {*SPLITS, ""}
        if unknown:
            raise InputError(f"There is no split '{unknown.pop()}'; choose {', '.join(SPLITS)}.")
        edit_table(
            self.table, lambda rows: [{**row, "split": splits.get(row["patient"], row["split"])} for row in rows]
        )
        self._mark()
        self.reload()

    def split(
        self, shares: tuple[float, float, float], seed: int, volumes: Mapping[str, float], anew: bool = False
    ) -> None:
        """Divide the patients at random into training, validation and test; see :func:`split_by_patient`.

        Args:
            shares: of training, validation and test.
            seed: another one gives another division.
            volumes: of each patient's structure, cc, spread evenly over the parts.
            anew: divide also those who have a split.
        """
        self._require()
        self.reload()
        divided = split_by_patient(self.cases, shares, seed, volumes, anew)
        self.set_splits({case.patient: case.split for case in divided})

    def _require(self) -> None:
        if self.blocking_reason:
            raise InputError(self.blocking_reason)

    def _signature(self) -> tuple[int, ...] | None:
        """What another version of the table does not share; None where there is none."""
        try:
            status = self.table.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self.table} cannot be read ({error.strerror or error}); check the disk.") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _check_others(self) -> None:
        """Raise for what is no cohort and must not become one."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; choose the folder of a cohort.")
        try:
            mark = json.loads((self.folder / MARK).read_text("utf-8"))
            version = mark["format"] if isinstance(mark, dict) else None
        except FileNotFoundError:
            version = FORMAT
        except (ValueError, KeyError):
            version = None
        if not isinstance(version, int):
            raise InputError(f"{self.folder / MARK} is damaged; remove that file, the cohort does not need it.")
        if version > FORMAT:
            raise InputError(f"The cohort {self.folder} was made by a newer version of CMEDL; open it with that one.")
        # Of a cohort with thousands of cases the folder is not listed.
        names = {path.name for path in self.folder.iterdir()} if self.is_new and self.folder.is_dir() else set()
        if any(not name.startswith(".") for name in names - {MARK, LOCK, BIN, RUNS}):
            raise InputError(
                f"{self.folder} is no cohort: it holds other things and no {TABLE}; choose an empty or a new folder to "
                "begin one."
            )

    def _mark(self) -> None:
        """Write the version of the layout, once."""
        if not (self.folder / MARK).exists():
            with atomic_path(self.folder / MARK) as beside:
                beside.write_text(json.dumps({"format": FORMAT}) + "\n", "utf-8")

    def _to_bin(self, row: Mapping[str, str]) -> None:
        """Move a case's folder, if it is one that was copied in, into the bin, with the line that it had."""
        place = self.folder / row["case"]
        image = self.folder / row["image"]
        binned = place_in_bin(self.folder, row["case"])
        if image.parent == place and place.is_dir():
            binned.parent.mkdir(exist_ok=True)
            shutil.move(place, binned)
        with atomic_path(binned / LINE) as beside:
            beside.write_text(json.dumps(dict(row), indent=2, ensure_ascii=False) + "\n", "utf-8")


def place_in_bin(cohort: Path, name: str) -> Path:
    """Where something called ``name`` goes in the cohort's bin: a folder that is not there yet."""
    number, place = 1, cohort / BIN / name
    while place.exists():
        number += 1
        place = cohort / BIN / f"{name}-{number}"
    return place
