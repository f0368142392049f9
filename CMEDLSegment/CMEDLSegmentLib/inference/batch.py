"""A cohort from table to table: every case segmented, one bad case never in the way of the rest.

The folder is the truth. Each finished case leaves ``CASE.seg.nrrd`` and ``CASE.json``; the JSON holds the
result, the SHA-256 of the segmentation and a fingerprint of everything that it was made from. Running again
keeps a case whose fingerprint and segmentation are unchanged and does the others. A segmentation that the
batch did not write, or that somebody edited since, is never replaced: that case fails and says so.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..base.errors import Cancelled, CMEDLError, InputError
from ..base.fault_log import internal_error
from ..base.files import atomic_path, sha256_of
from ..base.progress import SILENT, Progress
from ..base.schema import read, read_object, write
from ..base.text import csv_table, plain, table
from ..io.cohort_table import Case, read_cohort
from ..models.registry import entry
from .clicks import Load, click_model
from .options import THRESHOLD, Click, SegmentationOptions
from .pipeline import SEGMENTATION, SegmentationJob, check_writable, run, segmenters

if TYPE_CHECKING:
    from ..models.registry import Entry

RESULTS = "results.csv"
DONE, KEPT, FAILED, NOT_RUN = "done", "kept", "failed", "not run"
RUNNING = "running"
"""What a record says while its case is worked on; found later, the work was cut off."""


@dataclass
class Outcome:
    """How one case, a line of the cohort, ended.

    Attributes:
        outcome: ``done``, ``kept`` (unchanged since an earlier run), ``failed`` or ``not run``.
        seconds: of work; for a kept case those of the run that did it.
        result: what ``run --json`` would print; empty unless done or kept.
        error: the sentence, where failed.
        exit_code: 0, or that of the failure.
    """

    case: Case
    outcome: str = NOT_RUN
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    exit_code: int = 0

    def figure(self, name: str) -> float | None:
        """A figure of the agreement, the mean over the labels; None without an expert or if undefined."""
        values = [figures.get(name) for figures in self.result.get("agreement", {}).values()]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def row(self) -> dict[str, str]:
        """The case's line of ``results.csv``."""
        figures = ("dsc", "surface_dice", "hd95_mm", "tolerance_mm")
        return {
            "patient": self.case.patient,
            "case": self.case.case,
            "outcome": self.outcome,
            "seconds": "" if self.outcome == NOT_RUN else f"{self.seconds:.2f}",
            "tumor_volume_cc": _text(self.result.get("tumor_volume_cc"), ".3f"),
            "lung_slices": _text(self.result.get("lung_slices"), "d"),
            "components": _text(len(self.result["components"]) if self.result else None, "d"),
            **{name: _text(self.figure(name), ".4g") for name in figures},
            "warnings": " | ".join(self.result.get("warnings", [])),
            "error": self.error,
        }


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended: its cases in the cohort's order, and where the table lies."""

    outcomes: tuple[Outcome, ...]
    results: Path

    @property
    def exit_code(self) -> int:
        """0 if every case is done; else 1 if one met a fault of ours, else 2."""
        return min({outcome.exit_code for outcome in self.outcomes} - {0}, default=0)

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "results": str(self.results),
            **{ending.replace(" ", "_"): count for ending, count in self._counts().items()},
            "cases": [
                {
                    "case": outcome.case.case,
                    "outcome": outcome.outcome,
                    "error": outcome.error,
                    "seconds": round(outcome.seconds, 3),
                    "tumor_volume_cc": outcome.result.get("tumor_volume_cc"),
                    "dsc": outcome.figure("dsc"),
                }
                for outcome in self.outcomes
            ],
        }

    def report(self) -> str:
        """The table that a person reads, the failures' reasons under it."""
        rows = [
            (
                outcome.case.case,
                outcome.outcome,
                "-" if outcome.outcome == NOT_RUN else f"{outcome.seconds:.1f}",
                _text(outcome.result.get("tumor_volume_cc"), ".1f") or "-",
                _text(outcome.figure("dsc"), ".3f") or "-",
            )
            for outcome in self.outcomes
        ]
        lines = [table(("case", "outcome", "seconds", "volume (cc)", "DSC"), rows), ""]
        lines += [f"{o.case.case}: {o.error}" for o in self.outcomes if o.outcome == FAILED]
        counts = [f"{count} {ending}" for ending, count in self._counts().items() if count]
        lines.append(f"{', '.join(counts)}; figures in {self.results}")
        return "\n".join(lines)

    def _counts(self) -> dict[str, int]:
        endings = [outcome.outcome for outcome in self.outcomes]
        return {ending: endings.count(ending) for ending in (DONE, KEPT, FAILED, NOT_RUN)}


def run_batch(manifest: Path, folder: Path, options: SegmentationOptions, progress: Progress = SILENT) -> BatchResult:
    """Segment every case of a cohort into ``folder``, keeping what an earlier run finished.

    Args:
        manifest: the cohort's CSV; its mask, role and split may be empty, and it may have a column ``click``.
        folder: where results go; made if missing.
        options: how to segment.
        progress: told the stage and the fraction of the whole batch.

    Raises:
        InputError: the table, the model, the device or the folder is bad; a bad case raises nothing.
        Cancelled: it was cancelled; ``results.csv`` tells what was done, and running again goes on.
    """
    cases = read_cohort(manifest, check_files=False)
    check_writable(folder.absolute())
    model = entry(options.model)
    digests = functools.cache(sha256_of)
    digests(model.path)
    outcomes = [Outcome(case) for case in cases]
    results = folder / RESULTS
    load = segmenters(options)
    loaded = False  # until the first case needs it
    try:
        for index, outcome in enumerate(outcomes):
            progress.stop_if_cancelled()
            share = progress.part(index / len(cases), (index + 1) / len(cases))
            try:
                own = _own_options(outcome.case, options)
                record = _Record(folder, outcome.case, own, model, digests)
            except InputError as error:
                outcome.outcome, outcome.error, outcome.exit_code = FAILED, str(error), error.exit_code
                continue
            if kept := record.finished():
                outcome.outcome, outcome.result, outcome.seconds = KEPT, kept, kept["seconds"]
                continue
            if not loaded:
                progress("Loading the model", index / len(cases))
                load(options.model)
                loaded = True
            _do(outcome, record, own, load, share.under(f"Case {index + 1} of {len(cases)}"))
            with contextlib.suppress(InputError):  # a spreadsheet may hold the table open: the end tries again
                _write_results(results, outcomes)
    except (Cancelled, KeyboardInterrupt) as stop:
        _write_results(results, outcomes)
        done = sum(outcome.outcome != NOT_RUN for outcome in outcomes)
        raise Cancelled(
            f"Stopped with {done} of {len(cases)} cases behind; give the same command again to go on."
        ) from stop
    _write_results(results, outcomes)
    return BatchResult(tuple(outcomes), results)


def _own_options(case: Case, options: SegmentationOptions) -> SegmentationOptions:
    """The options of a case: those of all, and its own clicks after theirs.

    Raises:
        InputError: a click cannot be read; the message names it and the line.
    """
    try:
        own = [Click.parse(text.strip()) for text in case.click.split(";") if text.strip()]
    except InputError as error:
        raise InputError(f"Line {case.line}: {error}") from error
    return replace(options, clicks=(*options.clicks, *own))


def _do(outcome: Outcome, record: _Record, options: SegmentationOptions, load: Load, progress: Progress) -> None:
    """Work on one case; whatever goes wrong with it stays with it, a wish to stop alone goes on."""
    case = outcome.case
    job = SegmentationJob(case.image, record.output, options, modality=case.modality, expert=case.mask)
    start = time.perf_counter()
    try:
        for column, path in (("image", case.image), ("mask", case.mask)):
            if path is not None and not path.exists():
                raise InputError(f"Line {case.line}: the {column} {path} is missing; correct the path.")
        record.begin()
        result = plain(run(job, progress, load).to_json())
        record.finish(result)
        outcome.outcome, outcome.result = DONE, result
    except (Cancelled, KeyboardInterrupt):
        record.forget()
        raise
    except Exception as error:  # one bad case never stops the rest, also where the fault is ours
        outcome.outcome, outcome.exit_code = FAILED, getattr(error, "exit_code", 1)
        outcome.error = str(error) if isinstance(error, CMEDLError) else internal_error("cmedl-segment", error)
        record.forget()
    outcome.seconds = time.perf_counter() - start


@dataclass(frozen=True)
class _Stored:
    """What ``CASE.json`` holds: the state, what the segmentation was made from, its digest, what ``run`` told of it."""

    state: str
    fingerprint: dict[str, Any]
    output_sha256: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class _Record:
    """``CASE.json`` beside ``CASE.seg.nrrd``: what the segmentation was made from, and its digest."""

    def __init__(
        self, folder: Path, case: Case, options: SegmentationOptions, model: Entry, digest_of: Callable[[Path], str]
    ) -> None:
        self.output = folder / f"{case.case}{SEGMENTATION}"
        self._path = folder / f"{case.case}.json"
        # The models count by their files. The device decides how fast a case is done, not what comes out.
        left_out = (
            ("model", "device", "click_model") if options.clicks else ("model", "device", "click_model", "clicks")
        )
        self._fingerprint = {
            "program": __version__,
            "student": digest_of(model.path),
            "image": _stamp(case.image),
            "mask": None if case.mask is None else _stamp(case.mask),
            "modality": case.modality,
            **{name: value for name, value in write(options).items() if name not in left_out},
        }
        if options.clicks and model.card:
            answering = click_model(options, model.card)
            self._fingerprint["click_model"] = THRESHOLD if answering is None else digest_of(answering.path)
        self._stored: _Stored | None = None  # also where the file is damaged
        with contextlib.suppress(InputError):
            self._stored = read(_Stored, read_object(self._path))

    def finished(self) -> dict[str, Any] | None:
        """What ``run`` told, where the case was done from the same inputs and options and its segmentation is whole."""
        stored = self._stored
        same = stored is not None and (stored.state, stored.fingerprint) == (DONE, self._fingerprint)
        return stored.result if stored and same and self.output.exists() and self._is_ours() else None

    def begin(self) -> None:
        """Clear the way: an older result of ours goes, a file of somebody else's is an error.

        Raises:
            InputError: the segmentation's file exists and is not what a batch left there.
        """
        if self.output.exists() and not self._is_ours():
            raise InputError(
                f"{self.output} was not written by this batch or was edited since; move it to another "
                "folder, and give the same command again."
            )
        self._write(_Stored(RUNNING, self._fingerprint))
        self.output.unlink(missing_ok=True)

    def finish(self, result: dict[str, Any]) -> None:
        self._write(_Stored(DONE, self._fingerprint, sha256_of(self.output), result))

    def forget(self) -> None:
        """The case ended without a result."""
        if self._is_running() or not self.output.exists():
            self._path.unlink(missing_ok=True)

    def _is_running(self) -> bool:
        return self._stored is not None and self._stored.state == RUNNING

    def _is_ours(self) -> bool:
        """Whether the segmentation, if there is one, is the one that the record speaks of."""
        if self._is_running():
            return True  # cut off between the segmentation and its record
        known = "" if self._stored is None else self._stored.output_sha256
        return not self.output.exists() or sha256_of(self.output) == known

    def _write(self, stored: _Stored) -> None:
        with atomic_path(self._path) as beside:
            beside.write_text(json.dumps(write(stored, sparse=True), indent=1), encoding="utf-8")
        self._stored = stored


def _stamp(path: Path) -> list[int] | str:
    """What tells a changed input: size and time of a file, or a digest of those of a folder's files."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            stat = file.stat()
            line = f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    if not path.exists():
        return "missing"
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write_results(path: Path, outcomes: Sequence[Outcome]) -> None:
    """``results.csv``, anew after every case, so that it is true whenever it is read."""
    rows = [outcome.row() for outcome in outcomes]
    with atomic_path(path) as beside:
        beside.write_text(csv_table(list(rows[0]), rows), encoding="utf-8")
