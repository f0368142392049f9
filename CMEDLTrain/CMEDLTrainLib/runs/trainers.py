"""The trainers that this program started, until they hold their run; how they are stopped, and what they said last."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.process import lock
from CMEDLSegmentLib.process.supervisor import Program

from .run_folder import Run

LOG = "trainer.log"
"""What a trainer prints, in its run's folder."""
LOG_BYTES = 1 << 16
"""Of the end of a log that is read."""


class Trainers:
    """The trainers that were started here."""

    def __init__(self) -> None:
        self._started: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, program: Program, run: Run, options: Sequence[str] = ()) -> None:
        """Train a run that nobody trains, from where it is, in a process that outlives this one.

        Args:
            program: ``cmedl-train``.
            run: the run.
            options: of ``resume``.

        Raises:
            InputError: it is being trained, or the trainer cannot be started.
        """
        if run.running() or self.starting(run):
            raise InputError(f"The run {run.folder.name} is being trained already.")
        try:
            process = program.detach(["resume", *options, "--", str(run.folder)], run.folder / LOG)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"The trainer could not be started ({reason}).") from error
        self._started[run.folder] = process

    def alive(self, run: Run) -> bool:
        """Whether a trainer of the run that was started here has not ended; no file is looked at."""
        process = self._started.get(run.folder)
        return process is not None and process.poll() is None

    def starting(self, run: Run) -> bool:
        """Whether a trainer was started that does not hold the run yet."""
        return self.alive(run) and not run.running()


def stop(run: Run) -> None:
    """Ask the trainer to end after its current step, with a checkpoint, or at once where it still prepares slices.

    Raises:
        InputError: the run's folder cannot be written.
    """
    try:
        run.ask_to_stop()
    except OSError as error:
        raise InputError(f"{run.folder} cannot be written ({error.strerror or error}).") from error
    lock.terminate(run.trainer)


def end(run: Run) -> None:
    """End the trainer of this machine at once with all that it started; its last checkpoint stays.

    Raises:
        InputError: it is not on this machine, or another user's.
    """
    if not lock.kill(run.trainer) and run.running():
        raise InputError(f"The run {run.folder.name} is trained by another machine; end it there.")


def log_end(run: Run) -> list[str]:
    """The last lines that trainers of the run printed; empty where none was started in the background."""
    try:
        with (run.folder / LOG).open("rb") as stream:
            size = stream.seek(0, 2)
            start = max(0, size - LOG_BYTES)
            stream.seek(start)
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.replace("\r", "\n").split("\n")]
    return [line for line in (lines[1:] if start else lines) if line]
