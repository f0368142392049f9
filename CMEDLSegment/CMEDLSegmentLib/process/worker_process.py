"""The worker as the front end sees it: a process with all its children, its pipes, and threads that read them."""

from __future__ import annotations

import collections
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .process_group import end_group, own_group
from .protocol import LONGEST_LINE, Message, decode, encode

PACKAGE_FOLDER = Path(__file__).resolve().parents[2]
REMEMBERED_LINES = 40
"""Lines that the worker printed last, kept for the detail of a failure."""
STRAY_LINES = 200
"""Lines that are no message which are borne before the worker says hello: a launcher's or a site's greetings."""


class WorkerProcess:
    """A worker process in a group of its own.

    Args:
        command: what starts a Python interpreter.
        arguments: of the worker.
        environment: its environment variables.
        heard: told each message, in a thread of this object.
        printed: told each line that is no message, in threads of this object.
        ended: told once, when the process has ended and all its children with it. Its argument is the exit code
            (negative: the signal), or None where the worker was stopped because what it wrote is no message.

    Raises:
        OSError: the command could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        heard: Callable[[WorkerProcess, Message], None],
        printed: Callable[[WorkerProcess, str], None],
        ended: Callable[[WorkerProcess, int | None], None],
    ) -> None:
        self._heard, self._printed, self._ended = heard, printed, ended
        self._killed = False
        # Reentrant: a garbage collection in the middle of a kill may close the client, which kills too.
        self._kill_lock = threading.RLock()
        self.last_lines: collections.deque[str] = collections.deque(maxlen=REMEMBERED_LINES)
        self.greeted = False
        environment = dict(environment)
        # "-m" looks in the working folder first, and there lies this package; safe-path mode would forbid that.
        environment.pop("PYTHONSAFEPATH", None)
        self._process = subprocess.Popen(
            [*command, "-u", "-m", "CMEDLSegmentLib.process.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=PACKAGE_FOLDER,
            env=environment,
            bufsize=0,
            **own_group(),
        )
        self.pid = self._process.pid
        self._threads = [
            threading.Thread(target=target, name=f"cmedl-{target.__name__.strip('_')}", daemon=True)
            for target in (self._read_messages, self._read_prints, self._await_exit)
        ]

    def listen(self) -> None:
        """Begin to read what the worker writes."""
        # The one that waits for the others comes last.
        for thread in reversed(self._threads):
            thread.start()

    def send(self, message: Message) -> bool:
        """Pass a message on; False when the worker is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode(message))
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
            end_group(self._process.pid)

    def join(self, seconds: float) -> None:
        """Wait until the process is gone and the threads have ended, for at most ``seconds``."""
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(seconds)

    def _read_messages(self) -> None:
        """Read until the worker closes its end; then see to it that nothing of it is left."""
        sane, stray = True, 0
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            reader = _Lines(stream)
            for line in reader:
                try:
                    message = decode(line)
                except ValueError:
                    stray += 1
                    self._remember(line)
                    if self.greeted or stray > STRAY_LINES or len(line) >= LONGEST_LINE:
                        sane = False
                        break
                else:
                    self.greeted = True
                    self._heard(self, message)
        self.kill()
        code = self._process.wait()
        for thread in self._threads[1:]:
            thread.join()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._ended(self, code if sane else None)

    def _read_prints(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in _Lines(stream):
                self._remember(line)

    def _await_exit(self) -> None:
        """End the children of a process that has ended: they may hold its pipes open, which would hide its end."""
        if hasattr(os, "waitid"):
            # Without reaping it, so that its number stays that of its group.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        self.kill()

    def _remember(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self.last_lines.append(text)
            self._printed(self, text)


class _Lines:
    """Lines of an unbuffered stream, each at most ``LONGEST_LINE`` bytes; the last one may lack its end."""

    def __init__(self, stream) -> None:
        self._stream = stream
        self._rest = b""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> bytes:
        while True:
            line, end, rest = self._rest.partition(b"\n")
            if end or len(line) >= LONGEST_LINE:
                self._rest = rest
                return line + end
            # Not more than there is, and at once when there is something.
            more = self._stream.read(LONGEST_LINE)
            if not more:
                self._rest = b""
                if line:
                    return line
                raise StopIteration
            self._rest += more
