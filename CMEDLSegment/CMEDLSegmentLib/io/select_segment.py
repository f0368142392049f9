"""Which segment of a file is meant: by its name, by its number, or because there is no other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import InputError

_TUMOR = re.compile(r"(gtv|tumou?r)(?![a-z])|gtv[pn]", re.IGNORECASE)
"""How names of a tumor begin: GTV, GTV-1, GTVp, Tumor (AAPM TG-263); not "Tumorbed"."""
_MOST_SHOWN = 20


@dataclass(frozen=True)
class Segment:
    """One structure of a file: its number there (label value, segment number, ROI number) and its name, or ""."""

    number: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.number}: '{self.name}'" if self.name else str(self.number)


def select_segment(path: Path, segments: Sequence[Segment], asked: str | None) -> tuple[Segment, tuple[str, ...]]:
    """The one segment that is meant, and what a reader should know of the choice.

    The asked name is looked for as it stands, then in any case of letters, then as a number. Without one, the only
    segment is taken, or the only one whose name begins as a tumor's does.

    Args:
        path: for messages.
        segments: what the file holds, at least one.
        asked: a name or number, or None.

    Raises:
        InputError: there is no such segment, or more than one; the message lists what there is.
    """
    if asked is None:
        if len(segments) == 1:
            return segments[0], ()
        tumors = [segment for segment in segments if _TUMOR.match(segment.name.strip())]
        if len(tumors) == 1:
            return tumors[0], (f"Of {len(segments)} segments the tumor was taken, '{tumors[0].name}'.",)
        raise InputError(
            f"{path} holds {len(segments)} segments ({list_segments(segments)}); choose one, by --segment or as "
            "FILE#NAME."
        )
    for key in (_as_it_stands, _folded, _number):
        matches = [segment for segment in segments if key(segment) == key(Segment(-1, asked))]
        if len(matches) == 1:
            return matches[0], ()
        if matches:
            raise InputError(
                f"{path} holds {len(matches)} segments called '{asked}' ({list_segments(matches)}); choose one by its "
                "number."
            )
    raise InputError(f"{path} has no segment '{asked}'; it holds {list_segments(segments)}.")


def list_segments(segments: Sequence[Segment]) -> str:
    """The segments as they are shown in messages; the first of very many."""
    shown = ", ".join(map(str, segments[:_MOST_SHOWN]))
    more = len(segments) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _as_it_stands(segment: Segment) -> str:
    return unicodedata.normalize("NFC", segment.name)


def _folded(segment: Segment) -> str:
    return unicodedata.normalize("NFKC", segment.name).casefold().strip()


def _number(segment: Segment) -> str:
    return segment.name.strip() if segment.number < 0 else str(segment.number)
