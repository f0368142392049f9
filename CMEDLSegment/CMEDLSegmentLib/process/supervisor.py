"""Programs of ours in processes of their own: how they are started, heard, ended, and how they end.

A :class:`Program` knows the interpreter and the environment. It starts a :class:`Process`, whose messages its owner
hears; a :class:`Command`, whose one answer is waited for; or one that is let go and outlives this process.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import os
import subprocess
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from ..base.errors import Cancelled, CMEDLError
from .process_group import end_group, own_group
from .protocol import LONGEST_LINE, MESSAGES, Broken, Done, Hello, Message, Progressed, decode, encode

REMEMBERED_LINES, LONGEST_TEXT = 40, 1 << 16
"""Lines that a process printed last, and bytes of each, that are kept for the detail of a failure."""
STRAY_LINES = 1000
"""Lines that are no message which are borne of a process that did not say hello: greetings of a launcher or a site."""
END_SECONDS = 5.0
"""How long the end of a killed process is waited for."""


class Program:
    """A module of ours in an interpreter of its own.

    Args:
        python: the command that starts the interpreter, such as ``["PythonSlicer"]``.
        environment: its environment variables.
        module: what is run, such as ``CMEDLTrainLib``.
    """

    def __init__(self, python: Sequence[str], environment: Mapping[str, str], module: str) -> None:
        # In a checkout the two packages lie in two folders, in an installed extension in one.
        folders = [_folder(module.partition(".")[0]), _folder(__name__.partition(".")[0])]
        given = environment.get("PYTHONPATH", "")
        self._command = [*python, "-u", "-m", module]
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join([*dict.fromkeys(folders), *filter(None, [given])]),
        }
        self._settings: dict[str, Any] = {"cwd": folders[0], **own_group()}

    def detach(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start the program, as the leader of a group of its own, so that it goes on when this process ends.

        Args:
            arguments: of the program.
            log: what it prints is added to this file, in a folder that exists.

        Raises:
            OSError: it could not be started, or the log not be written.
        """
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self._environment,
                **self._settings,
            )
        # Reaps it when it ends before this process does; nobody else waits for it.
        threading.Thread(target=process.wait, name="cmedl-detached", daemon=True).start()
        return process

    def start(self, arguments: Sequence[str]) -> Command:
        """Start a command whose answer is waited for, such as ``estimate``; ``--json`` is added.

        Raises:
            OSError: it could not be started.
        """
        options = list(arguments)
        options.insert(options.index("--") if "--" in options else len(options), "--json")
        return Command(self, options)

    def open(self, arguments: Sequence[str], owner: Owner) -> Process:
        """Start the program as a child that speaks in messages, and tell its ``owner`` of it.

        Raises:
            OSError: it could not be started.
        """
        child = subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self._environment, MESSAGES: "1"},
            **self._settings,
        )
        return Process(child, owner)


def _folder(package: str) -> str:
    """The folder that ``package`` is imported from."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).resolve().parents[1])


class Owner(Protocol):
    """Who has started a process. It is told in threads of the process, and only as long as somebody else has it."""

    def heard(self, process: Process, message: Message) -> None:
        """The process has sent a message."""

    def printed(self, process: Process, line: str) -> None:
        """The process has written a line that is no message."""

    def ended(self, process: Process, code: int | None) -> None:
        """The process has ended, and all its children with it.

        Args:
            process: the process.
            code: the exit code (negative: the signal); None where it was ended because what it wrote is no message.
        """


class Process:
    """A child that leads a group, its pipes, and threads that read them; see :meth:`Program.open`."""

    def __init__(self, child: subprocess.Popen[bytes], owner: Owner) -> None:
        self._child = child
        self._owner = weakref.ref(owner)
        self._killed = False
        # Reentrant: a garbage collection in the middle of a kill may close an owner, which kills too.
        self._kill_lock = threading.RLock()
        self.last_lines: collections.deque[str] = collections.deque(maxlen=REMEMBERED_LINES)
        self.greeted = False
        self.pid = child.pid
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._input, self._output, self._errors = child.stdin, child.stdout, child.stderr
        self._threads = [
            threading.Thread(target=target, name=f"cmedl-{target.__name__.strip('_')}", daemon=True)
            for target in (self._read_messages, self._read_prints, self._await_exit)
        ]

    def listen(self) -> None:
        """Begin to read what the process writes."""
        # The one that waits for the others comes last.
        for thread in reversed(self._threads):
            thread.start()

    def send(self, message: Message) -> bool:
        """Pass a message on; False when the process is gone."""
        try:
            self._input.write(encode(message))
            self._input.flush()
        except (OSError, ValueError):  # a broken pipe, or one that was closed since
            return False
        return True

    def kill(self) -> None:
        """End the process and all its children at once; :meth:`join` waits for it. Can be called again."""
        with self._kill_lock:
            if self._killed:
                return
            self._killed = True
            # The leader, which may be a launcher, is not reaped before this: the group's number is still ours.
            end_group(self.pid)

    def join(self, seconds: float = END_SECONDS) -> None:
        """Wait until the process is gone and the threads have ended, for at most ``seconds``."""
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(seconds)

    def _read_messages(self) -> None:
        """Read until the process closes its end; then see to it that nothing of it is left."""
        sane, stray = True, 0
        with self._output as stream:
            while line := stream.readline(LONGEST_LINE):
                try:
                    message = decode(line)
                except ValueError:
                    stray += 1
                    self._remember(line)
                    if self.greeted or stray > STRAY_LINES or len(line) >= LONGEST_LINE:
                        sane = False
                        # Before the pipe is closed: its last words are to be its own, not those of a broken pipe.
                        self.kill()
                        break
                else:
                    self.greeted |= isinstance(message, Hello)
                    if owner := self._owner():
                        owner.heard(self, message)
                    del owner
        self.kill()
        code = self._child.wait()
        for thread in self._threads[1:]:
            thread.join()
        with contextlib.suppress(OSError):
            self._input.close()
        if owner := self._owner():
            owner.ended(self, code if sane else None)

    def _read_prints(self) -> None:
        with self._errors as stream:
            while line := stream.readline(LONGEST_LINE):
                self._remember(line)

    def _await_exit(self) -> None:
        """End the children of a process that has ended: they may hold its pipes open, which would hide its end."""
        if hasattr(os, "waitid"):
            # Without reaping it, so that its number stays that of its group.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._child.wait()
        self.kill()

    def _remember(self, line: bytes) -> None:
        text = line[:LONGEST_TEXT].decode("utf-8", "replace").rstrip()
        if text:
            self.last_lines.append(text)
            if owner := self._owner():
                owner.printed(self, text)


class Work(Future[Any]):
    """Something under way: a future that also tells where it is.

    Attributes:
        stage: what it does, in words, the fraction (0 to 1) that is done, and what else whoever began it shows.
    """

    stage: tuple[Any, ...] = ("", 0.0)


class Command(Work):
    """A command of a program that runs as a child; forgotten, it ends. Its result is the object that it answers."""

    def __init__(self, program: Program, arguments: Sequence[str]) -> None:
        super().__init__()
        self._answer: Message | None = None
        self._cancelled = False
        self._process = program.open(arguments, self)
        # When nobody holds the command any more, or the interpreter ends.
        self._end = weakref.finalize(self, _end, self._process)
        self._process.listen()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def lines(self) -> list[str]:
        """What else it printed last, for the log."""
        return list(self._process.last_lines)

    def cancel(self) -> bool:
        """End it and all that it started, at once; its exception is then :class:`Cancelled`."""
        self._cancelled = True
        self._end()
        return True

    def heard(self, process: Process, message: Message) -> None:
        """Remember where it is, or what it answers."""
        if isinstance(message, Progressed):
            self.stage = (message.text, message.fraction)
        else:
            self._answer = message

    def printed(self, process: Process, line: str) -> None:
        """The process remembers it."""

    def ended(self, process: Process, code: int | None) -> None:
        """Become the answer."""
        answer = self._answer
        if self._cancelled:
            self.set_exception(Cancelled("Cancelled; nothing of the unfinished work is left."))
        elif isinstance(answer, Done):
            self.set_result(answer.result)
        elif isinstance(answer, Broken):
            self.set_exception(CMEDLError(answer.sentence))
        else:
            how = "it wrote too much that is no message" if code is None else f"exit code {code}"
            last = process.last_lines[-1] if process.last_lines else "it said nothing"
            self.set_exception(CMEDLError(f"The program ended without a result ({how}): {last}"))


def _end(process: Process) -> None:
    process.kill()
    process.join()
