"""The scans under a folder, and names for their cases."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from .cohort_table import LONGEST_CASE, names_a_file
from .images import IMAGE_ENDINGS
from .labels import SEGMENTATION

VOLUMES = (*IMAGE_ENDINGS, ".nhdr")
_LOOKED_AT = 20
"""Files of a folder of which one has to be DICOM."""


def find_scans(folder: Path) -> list[Path]:
    """Volume files and folders with DICOM files at or below ``folder``, by name; segmentations are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    from pydicom.misc import is_dicom

    scans: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        scans += [path for path in files if _ending(path) and not path.name.lower().endswith(SEGMENTATION)]
        others = [path for path in files if not _ending(path)]
        if any(map(is_dicom, others[:_LOOKED_AT])):
            scans.append(Path(place))
    return scans


def case_name(text: str, taken: Collection[str] = ()) -> str:
    """A name that is fit for a file and not among ``taken``.

    >>> case_name("Thorax 1.0 / B70f", {"Thorax 1.0 - B70f"})
    'Thorax 1.0 - B70f 2'
    """
    name = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "-", text)[: LONGEST_CASE - 4].strip(" .")
    name = name if name and names_a_file(name) else f"case {name}".strip()
    lower = {known.casefold() for known in taken}
    number, free = 1, name
    while free.casefold() in lower:
        number += 1
        free = f"{name} {number}"
    return free


def name_of(scan: Path, folder: Path) -> str:
    """What a scan under ``folder`` is called: its path from there without its ending."""
    relative = scan.relative_to(folder).as_posix()
    name = folder.name if relative == "." else relative
    return name[: len(name) - len(_ending(scan))]


def _ending(path: Path) -> str:
    return next((ending for ending in sorted(VOLUMES, key=len, reverse=True) if path.name.lower().endswith(ending)), "")


def _raise(error: OSError) -> None:
    raise error
