"""A run is a folder, and the folder is the truth.

``configuration.json``  the settings, written before torch is imported
``events.jsonl``        one JSON object a line: what happened, in order
``last.safetensors``    state to resume from, of a finished run the networks alone
``best.safetensors``    the student at the best validation
``student.safetensors`` the student, when the run has finished
``evaluation.json``     its figures on the test patients, once it was scored
``previews``            pictures of validation slices, with what the networks make of them
``trainer.json``        who is training now: process, host, start, device; removed at a clean end
``stop``                asks the trainer to end after the current step

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import BESIDE, atomic_path
from CMEDLSegmentLib.process import lock

from ..settings.configuration import Configuration, from_json
from .history import History, events_of, latest


class BeingTrained(InputError):
    """Somebody else trains the run."""


@dataclass(frozen=True)
class Run:
    """The paths of a run's folder and what can be read from them."""

    folder: Path

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss so far."""
        return self.folder / "best.safetensors"

    @property
    def student(self) -> Path:
        """The finished student."""
        return self.folder / "student.safetensors"

    @property
    def evaluation(self) -> Path:
        """The student's figures on the test patients."""
        return self.folder / "evaluation.json"

    @property
    def events(self) -> Path:
        """The log of what happened, a JSON object a line."""
        return self.folder / "events.jsonl"

    @property
    def trainer(self) -> Path:
        """Who trains now."""
        return self.folder / "trainer.json"

    @cached_property
    def configuration(self) -> Configuration:
        """The settings the run was created with, read once: another ``Run`` of the folder reads them anew.

        Raises:
            InputError: the folder is not a run, or its settings cannot be read.
        """
        path = self.folder / "configuration.json"
        if not path.is_file():
            raise InputError(f"{self.folder} is not a run: it has no configuration.json; name a folder made by run.")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise InputError(f"{path} cannot be read ({error}); restore it or start anew.") from error
        return from_json(text)

    def move_cohort(self, cohort: Path) -> None:
        """Note that the cohort's table lies elsewhere now; what was prepared from it is known by its contents.

        Raises:
            InputError: the run is being trained, or cannot be written.
        """
        self.change(replace(self.configuration, cohort=str(Path(cohort).resolve())))

    def change(self, configuration: Configuration) -> None:
        """Put other settings in the place of the run's own: where files lie, how steps run, nothing that it learns by.

        Raises:
            InputError: the run is being trained, or cannot be written.
        """
        with self.held():
            self._write(configuration)

    def _write(self, configuration: Configuration) -> None:
        with atomic_path(self.folder / "configuration.json") as path:
            path.write_text(configuration.to_json(), "utf-8")
        vars(self).pop("configuration", None)  # what was read before

    def finished_student(self) -> Path:
        """The finished student's file.

        Raises:
            InputError: there is none yet.
        """
        if not self.student.is_file():
            raise InputError(f"The run {self.folder} has no student yet; let it finish first.")
        return self.student

    def report(self, event: str, **figures: Any) -> None:
        """Append one line to the events; readers never see half a line because it is one write.

        Raises:
            InputError: it cannot be written.
        """
        line = json.dumps({"time": round(time.time(), 3), "event": event, **figures}, ensure_ascii=False) + "\n"
        try:
            with self.events.open("ab+") as stream:
                if stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":  # a crash cut the line before: this one must not become part of it
                        line = "\n" + line
                stream.write(line.encode())
        except OSError as error:
            raise InputError(
                f"{self.events} could not be written ({error.strerror or error}); free some space there and resume the "
                "run: its last checkpoint is intact."
            ) from error

    def read_events(self) -> list[dict[str, Any]]:
        """All events so far; a line cut by a crash is left out."""
        if not self.events.is_file():
            return []
        return list(events_of(self.events.read_bytes().split(b"\n")))

    def ask_to_stop(self) -> None:
        """Ask the trainer to end after its current step, with a checkpoint."""
        (self.folder / "stop").touch()

    def stop_asked(self) -> bool:
        """Whether somebody asked the trainer to stop."""
        return self.stop_asked_at() is not None

    def stop_asked_at(self) -> float | None:
        """When somebody asked the trainer to stop, in seconds since 1970; None where nobody did."""
        try:
            return (self.folder / "stop").stat().st_mtime
        except OSError:
            return None

    def running(self) -> bool:
        """Whether a trainer holds this run now, here or on another machine."""
        return self.holder() is not None

    def holder(self) -> dict[str, Any] | None:
        """The trainer that holds this run now, see ``lock.py``, and its ``device``; None where there is none."""
        return lock.owner(self.trainer)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run while training, so that no second trainer starts on it.

        Raises:
            BeingTrained: it is held already.
        """
        with lock.hold(self.trainer, device=self.configuration.device) as mine:
            if not mine:
                raise BeingTrained(
                    f"The run {self.folder} is being trained already; stop it first, or wait for its end."
                )
            (self.folder / "stop").unlink(missing_ok=True)
            yield

    def status(self) -> dict[str, Any]:
        """What ``cmedl-train status`` prints: state, step, steps, epoch, seconds left, losses and validation.

        The state is ``running``, ``finished``, ``stopped`` (it was asked to, or never started) or ``crashed``: its
        trainer is gone without having said why it ended.
        """
        return self.status_of(latest(self.events))

    def status_of(self, history: History) -> dict[str, Any]:
        """:meth:`status` by events that were read already."""
        state = history.state
        if self.running():
            state = "running"
        elif state in ("running", "failed") or self.trainer.exists():
            state = "crashed"
        status = {"state": state, **history.figures}
        if state != "running":
            status["seconds_left"] = None
        return status


def first_process() -> bool:
    """Whether this process writes the run: of several that torchrun started to train it together, the first alone."""
    return os.environ.get("RANK", "0") == "0"


def create(folder: Path, configuration: Configuration) -> Run:
    """Make a run's folder, with its configuration.

    A run that was refused, or killed, before its first step has nothing to lose: its folder is taken again.

    Raises:
        InputError: the folder holds something already, or cannot be written.
    """
    run = Run(Path(folder).resolve())
    if _never_stepped(run):
        run.events.unlink(missing_ok=True)
    elif holds_something(run.folder):
        raise InputError(f"{run.folder} exists and is not empty; resume it, or name a new folder for this run.")
    run._write(configuration)
    return run


def holds_something(folder: Path) -> bool:
    """Whether ``folder`` is a file, or a folder that is not empty but for what a killed process left half written."""
    return folder.exists() and (not folder.is_dir() or bool(_names(folder)))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(BESIDE)}


def _never_stepped(run: Run) -> bool:
    """Whether the folder holds a run that nobody trains and that did no step, and nothing else."""
    if not (run.folder / "configuration.json").is_file():
        return False
    own = {"configuration.json", run.events.name, run.trainer.name, "stop"}
    started = any(event.get("event") == "start" for event in run.read_events())
    return _names(run.folder) <= own and not started and not run.running()


def slices_folder(run: Path) -> Path:
    """Where the prepared slices of a run in the folder ``run`` are: beside it, or what ``$CMEDL_SLICES`` names."""
    return Path(os.environ.get("CMEDL_SLICES") or run.parent / "slices")


def open_run(folder: Path) -> Run:
    """The run in ``folder``.

    Raises:
        InputError: it is none.
    """
    run = Run(Path(folder).resolve())
    run.configuration  # noqa: B018 - refuses what is no run
    return run
