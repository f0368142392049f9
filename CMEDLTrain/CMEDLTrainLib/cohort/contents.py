"""What the files of a cohort hold, as digests that are worked out once and remembered beside the slices.

A file is read again only when its size or its time of change did. One that is not there counts as it is remembered, so
that a run can go on from prepared slices on a machine to which the scans were never copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path, sha256_of
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.base.schema import read_object
from CMEDLSegmentLib.io.cohort_table import Case, relative

NAME = "contents.json"


def contents_of(cases: Sequence[Case], folder: Path, progress: Progress = SILENT) -> list[str]:
    """SHA-256 of the image and of the mask of each case, two for each, "" where there is no mask.

    ``contents.json`` is kept in ``folder``; paths in it are relative to this folder, so that both can be moved.

    Raises:
        InputError: files are neither there nor remembered.
        Cancelled: it was cancelled; what was read until then is remembered.
    """
    remembered = remembered_in(folder / NAME)
    known = dict(remembered)
    digests: list[str] = []
    missing: list[tuple[Case, Path]] = []
    try:
        for number, case in enumerate(cases):
            progress(f"Reading the files of case {number + 1} of {len(cases)}", number / len(cases))
            for path in (case.image, case.mask):
                progress.stop_if_cancelled()
                try:
                    digest = "" if path is None else _digest(path, relative(path, folder), known)
                except OSError as error:
                    raise InputError(
                        f"{path} cannot be read ({error.strerror}); check the file and its permissions."
                    ) from error
                if digest is not None:
                    digests.append(digest)
                elif path is not None:
                    missing.append((case, path))
    finally:
        if known != remembered:
            with atomic_path(folder / NAME) as beside:
                beside.write_text(json.dumps(known), "utf-8")
    if missing:
        case, path = missing[0]
        count = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        raise InputError(
            f"{count} missing, the first of the case {case.case} ({path}); correct the path in the cohort's table, or "
            "take the line out."
        )
    return digests


def table_of(cases: Sequence[Case]) -> list[list[str]]:
    """What a cohort's table says of its cases, but for where their files are."""
    return [[case.patient, case.case, case.role, case.modality, case.split] for case in cases]


def table_digest(cases: Sequence[Case]) -> str:
    """SHA-256 of :func:`table_of`: the same wherever the cohort was moved, and nobody's name."""
    return hashlib.sha256(json.dumps(table_of(cases)).encode()).hexdigest()


def remembered_in(path: Path) -> dict[str, list[str]]:
    """[stamp, digest] by path; nothing where the file is absent or damaged, which costs another look at the scans."""
    entries: dict[str, Any] = {}
    with suppress(InputError):
        entries = read_object(path)
    pair = [str, str]
    return {name: entry for name, entry in entries.items() if isinstance(entry, list) and [*map(type, entry)] == pair}


def _digest(path: Path, name: str, known: dict[str, list[str]]) -> str | None:
    """The digest of a file, or of all files of a folder; None where it is neither there nor remembered."""
    if not path.exists():
        return known[name][1] if name in known else None

    def of_all(property_of: Callable[[Path], str]) -> str:
        if not path.is_dir():
            return property_of(path)
        listing = [[file.relative_to(path).as_posix(), property_of(file)] for file in files_of(path)]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    stamp = of_all(stamp_of)
    if known.get(name, [""])[0] != stamp:
        known[name] = [stamp, of_all(sha256_of)]
    return known[name][1]


def files_of(path: Path) -> list[Path]:
    """The file itself, or all files of a folder and its sub-folders in a fixed order."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def stamp_of(path: Path) -> str:
    """A file's size and time of change: what changes when its contents do.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
