"""The programs as processes beside the window: trainers that outlive it, and commands that it waits for."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError
from CMEDLSegmentLib.cli.console import PROGRESS
from CMEDLSegmentLib.process.process_group import end_group, own_group
from CMEDLSegmentLib.process.protocol import Progressed, decode

PACKAGES = Path(__file__).resolve().parents[2]
LOG = "trainer.log"
"""What a trainer prints, in its run's folder."""
REMEMBERED_LINES = 40


class Program:
    """``cmedl-train``, or ``cmedl-segment``, in an interpreter of its own.

    Args:
        python: what starts the interpreter.
        environment: its environment variables.
        package: whose command line it is.
    """

    def __init__(self, python: Sequence[str], environment: Mapping[str, str], package: str = "CMEDLTrainLib") -> None:
        import CMEDLSegmentLib

        # In a checkout the two packages lie in two folders, in an installed extension in one.
        own = [str(PACKAGES), str(Path(CMEDLSegmentLib.__file__).resolve().parents[1])]
        found = environment.get("PYTHONPATH", "")
        self._command = [*python, "-u", "-m", package]
        self._settings: dict[str, Any] = {
            "cwd": PACKAGES,
            "env": {**environment, "PYTHONPATH": os.pathsep.join([*dict.fromkeys(own), *filter(None, [found])])},
            "stdin": subprocess.DEVNULL,
            **own_group(),
        }

    def detach(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command that goes on when this process ends; what it prints is added to ``log``.

        Args:
            arguments: of ``cmedl-train``.
            log: a file in a folder that exists.

        Returns:
            The process, which leads a group of its own.

        Raises:
            OSError: it could not be started, or the log not be written.
        """
        with log.open("ab") as stream:
            process = subprocess.Popen([*self._command, *arguments], stdout=stream, stderr=stream, **self._settings)
        # Reaps it when it ends before this process does; nobody else waits for it.
        threading.Thread(target=process.wait, name="cmedl-trainer", daemon=True).start()
        return process

    def start(self, arguments: Sequence[str], words: int = 1) -> Command:
        """Start a command whose answer is waited for, such as ``estimate``; ``--json`` is added.

        Args:
            arguments: of the program.
            words: how many of them name the command.

        Raises:
            OSError: it could not be started.
        """
        settings = {**self._settings, "env": {**self._settings["env"], PROGRESS: "messages"}}
        command = [*self._command, *arguments[:words], "--json", *arguments[words:]]
        return Command(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings))


class Command:
    """A command of a program that runs as a child; forgotten, it ends.

    Attributes:
        stage: what it does, in words, and the fraction (0 to 1) that is done.
        lines: what else it printed last on its standard error, for the log.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._printed = b""
        self._cancelled = False
        self.stage = ("", 0.0)
        self.lines: collections.deque[str] = collections.deque(maxlen=REMEMBERED_LINES)
        self._threads = [threading.Thread(target=read, args=(weakref.ref(self), process)) for read in (_hear, _listen)]
        for thread in self._threads:
            thread.daemon = True
            thread.start()
        # When nobody holds the command any more, or the interpreter ends.
        self._end = weakref.finalize(self, _end, process)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def done(self) -> bool:
        """Whether it has ended and all that it printed is here."""
        return self._process.poll() is not None and not any(thread.is_alive() for thread in self._threads)

    def result(self) -> dict[str, Any]:
        """The object that it printed last, once it is :attr:`done`.

        Raises:
            Cancelled: it was.
            CMEDLError: it failed; the message is its own sentence.
        """
        if self._cancelled:
            raise Cancelled("Cancelled; nothing of the unfinished work is left.")
        try:
            found = json.loads(self._printed.splitlines()[-1])
        except (IndexError, ValueError):
            found = {}
        if "error" in found:
            raise CMEDLError(str(found["error"]))
        if not found:
            said = self.lines[-1] if self.lines else "it said nothing"
            raise CMEDLError(f"The program ended without a result (exit code {self._process.returncode}): {said}")
        return found

    def cancel(self) -> None:
        """End it and all that it started, at once."""
        self._cancelled = True
        self._end()


# In the threads of a command, which do not keep it from being forgotten.


def _hear(command: weakref.ref[Command], process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        printed = stream.read()
    if (owner := command()) is not None:
        owner._printed = printed


def _listen(command: weakref.ref[Command], process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        for line in stream:
            if (owner := command()) is None:
                continue
            try:
                message = decode(line)
            except ValueError:
                message = None
            if isinstance(message, Progressed):
                owner.stage = (message.text, message.fraction)
            elif text := line.decode("utf-8", "replace").strip():
                owner.lines.append(text)
            del owner


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end_group(process.pid)
        process.wait()
