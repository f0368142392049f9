"""``cmedl-train`` as processes beside the window: trainers that outlive it, and commands that it waits for."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.errors import CMEDLError
from CMEDLSegmentLib.jobs.groups import end_group, own_group

PACKAGES = Path(__file__).resolve().parents[1]
LOG = "trainer.log"
"""What a trainer prints, in its run's folder."""
REMEMBERED_LINES = 40


class Program:
    """``cmedl-train`` in an interpreter of its own.

    Args:
        python: what starts the interpreter.
        environment: its environment variables.
    """

    def __init__(self, python: Sequence[str], environment: Mapping[str, str]) -> None:
        import CMEDLSegmentLib

        # In a checkout the two packages lie in two folders, in an installed extension in one.
        own = [str(PACKAGES), str(Path(CMEDLSegmentLib.__file__).resolve().parents[1])]
        found = environment.get("PYTHONPATH", "")
        self._command = [*python, "-u", "-m", "CMEDLTrainLib"]
        self._settings: dict[str, Any] = {
            "cwd": PACKAGES,
            "env": {**environment, "PYTHONPATH": os.pathsep.join([*dict.fromkeys(own), *filter(None, [found])])},
            "stdin": subprocess.DEVNULL,
            **own_group(),
        }

    def detach(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Start a command that goes on when this process ends; what it prints is added to ``log``.

        Args:
            arguments: of ``cmedl-train``.
            log: a file in a folder that exists.
            environment: variables besides the program's own.

        Returns:
            The number of the process, which leads a group of its own.

        Raises:
            OSError: it could not be started, or the log not be written.
        """
        settings = {**self._settings, "env": {**self._settings["env"], **(environment or {})}}
        with log.open("ab") as stream:
            process = subprocess.Popen([*self._command, *arguments], stdout=stream, stderr=stream, **settings)
        # Reaps it when it ends before this process does; nobody else waits for it.
        threading.Thread(target=process.wait, name="cmedl-trainer", daemon=True).start()
        return process.pid

    def start(self, arguments: Sequence[str]) -> Command:
        """Start a command whose answer is waited for, such as ``estimate --json``.

        Raises:
            OSError: it could not be started.
        """
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Command(
            subprocess.Popen([*self._command, *arguments], text=True, encoding="utf-8", **pipes, **self._settings)
        )


class Command:
    """A command of ``cmedl-train`` that runs as a child.

    Attributes:
        lines: what it printed last on its standard error: stages of the work, and at the end its complaint.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._answer = ""
        self.lines: collections.deque[str] = collections.deque(maxlen=REMEMBERED_LINES)
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read_answer, self._read_lines)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended and all that it printed is here."""
        return self._process.poll() is not None and not any(thread.is_alive() for thread in self._threads)

    def result(self) -> dict[str, Any]:
        """The object that it printed last, once it is :attr:`done`.

        Raises:
            CMEDLError: it failed; the message is its own sentence.
        """
        if self._process.returncode:
            raise CMEDLError(self.lines[-1] if self.lines else f"The process ended with {self._process.returncode}.")
        return json.loads(self._answer.strip().splitlines()[-1])

    def cancel(self) -> None:
        """End it and all that it started, at once."""
        if self._process.poll() is None:
            end_group(self._process.pid)

    def _read_answer(self) -> None:
        with self._process.stdout as stream:
            self._answer = stream.read()

    def _read_lines(self) -> None:
        with self._process.stderr as stream:
            for line in stream:
                if line.strip():
                    self.lines.append(line.strip())
