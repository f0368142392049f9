"""Finding the scans of a cohort in folders, by a pattern of their paths such as ``{patient}/ct_*.nii.gz``.

``{patient}`` and ``{case}`` stand for a part of a name and are read from it, ``*`` for anything; none of them crosses a
folder.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from CMEDLSegmentLib.base.errors import InputError

_WILD = re.compile(r"(\{[^{}]*\}|\*+)")
_NAMES = ("{patient}", "{case}")


@dataclass(frozen=True)
class Scan:
    """An image and what its path says: ``patient`` and ``case``, "" where the pattern has no such part."""

    image: Path
    patient: str
    case: str


def find_scans(source: Path, pattern: str) -> list[Scan]:
    """The files and folders below ``source`` that match, in the order of their paths.

    Raises:
        InputError: no such folder, nothing matches, or the pattern names neither patient nor case.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give the folder that holds the scans.")
    expression = _expression(pattern)
    scans = []
    for path in sorted(source.glob(filled(pattern, {}))):
        place = path.relative_to(source)
        match = expression.fullmatch(place.as_posix())
        if match and not any(part.startswith(".") for part in place.parts):
            scans.append(Scan(path, *(match.groupdict().get(name[1:-1], "").strip() for name in _NAMES)))
    if not scans:
        raise InputError(f"Nothing below {source} matches {pattern}; give a pattern of the paths below that folder.")
    return scans


def find_mask(source: Path, pattern: str, scan: Scan) -> Path:
    """The one file or folder that matches for the patient and case of a scan.

    Raises:
        InputError: none, or several.
    """
    _expression(pattern)
    masks = sorted(source.glob(filled(pattern, {"{patient}": scan.patient, "{case}": scan.case})))
    if len(masks) != 1:
        several = f"{len(masks)} masks match" if masks else "no mask matches"
        raise InputError(f"For the image {scan.image} {several} the pattern {pattern}; exactly one has to.")
    return masks[0]


def filled(pattern: str, values: Mapping[str, str]) -> str:
    """The pattern for ``glob``: placeholders filled in, or anything where there is no value."""
    parts = _WILD.split(pattern)
    return "".join(
        (glob.escape(values[part]) if values.get(part) else "*") if wild else glob.escape(part)
        for wild, part in ((index % 2, part) for index, part in enumerate(parts))
    )


def _expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression whose groups are the placeholders; a second one repeats the first."""
    if not any(name in pattern for name in _NAMES):
        raise InputError(f"The pattern '{pattern}' has neither {{patient}} nor {{case}}; write them where names stand.")
    if PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts or "**" in pattern:
        raise InputError(f"The pattern '{pattern}' must be of a path below the source, folder by folder, without **.")
    made = ""
    for index, part in enumerate(_WILD.split(pattern)):
        if index % 2 == 0:
            made += re.escape(part)
        elif part.startswith("*"):
            made += "[^/]*"
        elif part not in _NAMES:
            raise InputError(f"The pattern '{pattern}' has a part {part}; there are {{patient}}, {{case}} and *.")
        elif f"(?P<{part[1:-1]}>" in made:
            made += f"(?P={part[1:-1]})"
        else:
            made += f"(?P<{part[1:-1]}>[^/]+?)"
    return re.compile(made)
