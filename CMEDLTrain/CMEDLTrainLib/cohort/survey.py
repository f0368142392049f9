"""What the cases of a cohort are like: looked at once, remembered beside the table until their files change."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from CMEDLSegmentLib import __version__
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.base.schema import read, read_object
from CMEDLSegmentLib.io.case_folders import FACTS, SEGMENT
from CMEDLSegmentLib.io.cohort_table import ROLES, Case, Problem, relative

from .checks import ERROR, ExaminedCase, Finding, compare, examine
from .contents import files_of, stamp_of

NAME = "facts.json"
SAVED_EVERY = 25
"""Cases after which what was found is saved, so that a long survey that is cut is not lost."""
_MEASURED = ("spacing", "structure_slices", "volume_cc", "values", "image_digest", "mask_digest")


class Survey:
    """What is ``known`` of a cohort's cases, by case: a thread may fill it while another one reads.

    ``labels`` are the names of the masks' values.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self.folder, self.labels = folder, tuple(labels)
        self._remembered = self._read()
        self.known: dict[str, ExaminedCase] = {}

    def recall(self, cases: Iterable[Case]) -> None:
        """Take what is remembered of ``cases``, without a look at their files."""
        for case in cases:
            entry = self._remembered.get(case.case)
            if entry is not None and case.case not in self.known:
                with suppress(InputError, KeyError, TypeError, ValueError):
                    self.known[case.case] = _from_json(case, entry)

    def look(self, cases: Sequence[Case], progress: Progress = SILENT) -> None:
        """Look at the cases that are new or whose files have changed; forget those that are none of ``cases``.

        Where ``progress`` raises :class:`Cancelled`, what was found until then is kept.
        """
        self.recall(cases)
        looked = 0
        try:
            for number, case in enumerate(cases):
                progress(f"Checking case {number + 1} of {len(cases)}", number / max(1, len(cases)))
                files = _files(case)
                before = self.known.get(case.case)
                # The table can say otherwise of the same files.
                if before and before.files == files and self._line(before.case) == self._line(case):
                    continue
                examined = examine(case, self.labels)
                examined.files, examined.segment = files, _segment(case)
                self.known[case.case] = examined
                looked += 1
                if looked % SAVED_EVERY == 0:
                    self._save()
        finally:
            forgotten = self.known.keys() - {case.case for case in cases}
            for name in forgotten:
                del self.known[name]
            if looked or forgotten:
                self._save()

    def complete(self, cases: Iterable[Case]) -> bool:
        """Whether something is known of all cases."""
        return all(case.case in self.known for case in cases)

    def findings(
        self, cases: Sequence[Case], problems: Iterable[Problem] = (), roles: Collection[str] = ROLES
    ) -> list[Finding]:
        """All that is wrong, as far as it is known; what is wrong between cases once all of them were looked at.

        ``problems`` are those with the cohort's table, ``roles`` what the method learns from.
        """
        findings = [Finding(ERROR, problem.case, problem.sentence, problem.line) for problem in problems]
        # The table may have got another split or role for a case since its files were looked at.
        examined = [replace(self.known[case.case], case=case) for case in cases if case.case in self.known]
        findings += [finding for each in examined for finding in each.findings]
        if self.complete(cases):
            findings += compare(examined, self.labels, roles)
        return findings

    def volumes(self, cases: Iterable[Case]) -> dict[str, float]:
        """What is marked of each patient, cc, summed over the cases."""
        volumes: dict[str, float] = {}
        for case in cases:
            own = self.known[case.case].volume_cc if case.case in self.known else 0.0
            volumes[case.patient] = volumes.get(case.patient, 0.0) + own
        return volumes

    def _line(self, case: Case) -> list[str]:
        """What of a case's line its findings hold for; paths from the cohort's folder, which can be moved."""
        paths = ("" if path is None else relative(path, self.folder) for path in (case.image, case.mask))
        return [case.modality, *paths]

    def _header(self) -> dict[str, Any]:
        """What findings hold for: another program or other labels look anew."""
        return {"program": __version__, "labels": list(self.labels)}

    def _read(self) -> dict[str, Any]:
        with suppress(InputError, KeyError, TypeError, ValueError):
            stored = read_object(self.folder / NAME)
            if {key: stored[key] for key in self._header()} == self._header():
                return dict(stored["cases"])
        return {}

    def _save(self) -> None:
        """Remember what is known; a disk that cannot be written to costs a look at the next opening, no more."""
        stored = {name: _to_json(known) for name, known in list(self.known.items())}
        with suppress(InputError), atomic_path(self.folder / NAME) as beside:
            beside.write_text(json.dumps({**self._header(), "cases": stored}), "utf-8")


def _to_json(known: ExaminedCase) -> dict[str, Any]:
    findings = [[finding.severity, finding.sentence] for finding in known.findings]
    measured = {name: getattr(known, name) for name in _MEASURED}
    return {"files": known.files, "segment": known.segment, "findings": findings, "examined": measured}


def _from_json(case: Case, entry: dict[str, Any]) -> ExaminedCase:
    findings = [
        {"severity": severity, "case": case.case, "sentence": sentence, "line": case.line}
        for severity, sentence in entry["findings"]
    ]
    about = {"case": case, "findings": findings, "files": entry["files"], "segment": entry["segment"]}
    return read(ExaminedCase, {**entry["examined"], **about})


def _files(case: Case) -> list[str]:
    """Sizes and times of a case's files; of a DICOM folder, of all that is in it."""
    stamps = []
    for file in (file for path in (case.image, case.mask) if path is not None for file in files_of(path)):
        with suppress(OSError):
            stamps.append(stamp_of(file))
    return stamps


def _segment(case: Case) -> str:
    """What a case's maker called its structure."""
    if case.mask is None:
        return ""
    with suppress(InputError, KeyError):
        return str(read_object(case.mask.parent / FACTS)[SEGMENT])
    return ""
