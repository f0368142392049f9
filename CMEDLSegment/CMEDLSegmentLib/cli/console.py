"""What the command lines share: arguments that fail in a sentence, progress, JSON, and a frame for every command.

The frame (``guarded``) ends with the exit codes 0 (done), 2 (bad input or argument), 3 (cancelled) or 1 (a fault of
ours); a failure is one sentence on stderr and, with ``--json``, one object on stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn, Protocol, TextIO

from ..base.errors import Cancelled, CMEDLError, InputError
from ..base.fault_log import internal_error
from ..base.progress import Progress
from ..base.text import duration, plain
from ..process.protocol import MESSAGES, Broken, Done, Message, Progressed, encode

REDRAW_SECONDS = 0.1
"""The bar is drawn at most ten times a second."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are an :class:`InputError` of one sentence, never an exit."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; what begins with a negative number and follows an option is its value, as ``-5,3,-210``."""
        joined: list[str] = []
        for argument in sys.argv[1:] if args is None else args:
            if joined and re.match(r"-\.?\d", argument) and re.fullmatch(r"--[a-z][a-z-]*", joined[-1]):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return super().parse_known_args(joined, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint as a sentence that also says where help is."""
        sentence = message[:1].upper() + message[1:].rstrip(".")
        raise InputError(f'{sentence}; "{self.prog} --help" shows what can be given.')


def command_parser(program: str, description: str, version: str, cancelled: str) -> tuple[Parser, Any]:
    """The command line of a program, and what :func:`add_command` adds its commands to.

    Args:
        program: its name.
        description: what it does, a sentence.
        version: its version.
        cancelled: what exit code 3 means, in a word or two.
    """
    top = Parser(
        prog=program,
        description=description,
        epilog=f"exit codes: 0 done, 2 bad input or argument, 3 {cancelled}, 1 a fault of the program.\n"
        "Research use, not a medical device.\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{program} {version}")
    return top, top.add_subparsers(metavar="COMMAND", required=True)


def add_command(commands: Any, name: str, action: Command, text: str, more: str = "") -> Parser:
    """Add a command that carries out ``action``: ``text`` is its line of help, ``more`` is in its own help alone."""
    sub: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".strip())
    sub.set_defaults(command=action)
    return sub


def add_json(sub: Parser) -> None:
    """Add ``--json``."""
    sub.add_argument("--json", action="store_true", help="print one JSON object on one line")


class Report(Protocol):
    """What a command has to tell, for a program and for a person."""

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""

    def report(self) -> str:
        """Text for a terminal."""


class Bar(Progress):
    """Progress on one stream: a redrawn bar on a terminal, a line per stage elsewhere, nothing when quiet.

    ``with`` clears it, however the work inside ends.

    Args:
        stream: where to draw, usually stderr.
        quiet: draw nothing.
        clock: seconds, for tests.
        forecast: say how long the rest will take, were all parts of the job as fast as those done since the start; off
            for a job that does not begin at its beginning, or tells so itself.
        cancelled: whether the job should stop, such as an :class:`Interrupt`.
    """

    def __init__(
        self,
        stream: TextIO,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        forecast: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(cancelled=cancelled)
        self._stream, self._quiet, self._forecast, self._clock = stream, quiet, forecast, clock
        self._stdout = sys.stdout  # which the work may redirect
        self._terminal = stream.isatty()
        self._full, self._empty = ("█", "░") if _can_print(stream, "█░") else ("#", "-")
        self._start, self._drawn = clock(), float("-inf")
        self._width, self._stage = 0, ""

    def __call__(self, stage: str, fraction: float) -> None:
        """Show that ``stage`` runs and ``fraction`` (0 to 1) of the whole job is done."""
        fraction = min(max(fraction, 0.0), 1.0)
        now = self._clock()
        if speaks_in_messages():
            if stage != self._stage or now - self._drawn >= REDRAW_SECONDS:
                _send(Progressed(stage, fraction), self._stdout)
                self._drawn = now
        elif self._quiet:
            return
        elif not self._terminal:
            if stage != self._stage:
                self._write(f"{stage} ({fraction:.0%})\n")
        elif stage != self._stage or now - self._drawn >= REDRAW_SECONDS or fraction == 1.0:
            self._draw(self._line(stage, fraction, now - self._start))
            self._drawn = now
        self._stage = stage

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def say(self, text: str) -> None:
        """Print a line of its own above the bar."""
        if not self._quiet:
            self.clear()
            self._write(f"{text}\n")

    def clear(self) -> None:
        """Take the bar off the screen, so that other text starts on a clean line."""
        if self._width:
            self._draw("")
            self._width = 0

    def _line(self, stage: str, fraction: float, elapsed: float) -> str:
        columns = shutil.get_terminal_size().columns - 1
        length = 24 if columns >= 70 else 10
        filled = round(length * fraction)
        times = duration(elapsed)
        # A forecast from the first percents would jump about more than it tells.
        if self._forecast and 0.05 <= fraction < 1 and elapsed >= 1:
            times += f", about {duration(elapsed / fraction * (1 - fraction))} left"
        bar = self._full * filled + self._empty * (length - filled)
        return f"{bar} {fraction:4.0%}  {stage}  {times}"[:columns]

    def _draw(self, line: str) -> None:
        # Blanks over the rest of the old line serve every terminal, also those without escape codes.
        self._write(f"\r{line}{' ' * (self._width - len(line))}" + ("" if line else "\r"))
        self._width = len(line)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed stderr must not end the work
            self._stream.write(text)
            self._stream.flush()


def _can_print(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def emit_json(result: dict[str, Any]) -> None:
    """One JSON object on one line of stdout; figures that do not exist (NaN, infinity) become null."""
    if speaks_in_messages():
        _send(Done(plain(result)), sys.stdout)
    else:
        print(json.dumps(plain(result), allow_nan=False), flush=True)


def speaks_in_messages() -> bool:
    """Whether a program of ours has started this one and hears its messages."""
    return MESSAGES in os.environ


def _send(message: Message, stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # who hears it may be gone; that must not end the work
        stream.write(encode(message).decode())
        stream.flush()


def number(what: str, is_valid: Callable[[float], bool]) -> Callable[[str], float]:
    """An argument's type: a finite number; ``what`` it must be stands in the sentence that refuses others."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = float(text)
            if math.isfinite(value) and is_valid(value):
                return value
        raise argparse.ArgumentTypeError(f'"{text}" is not {what}')

    return read


def amount(what: str) -> Callable[[str], float]:
    """An argument's type: a finite number of 0 or more; ``what`` it is stands in the sentence that refuses others."""
    return number(f"{what}, 0 or more", lambda value: value >= 0)


def add_device(sub: Parser) -> None:
    """Add ``--device``: where to compute."""
    sub.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="auto|cuda|cuda:N|mps|cpu",
        help="where to compute (default: %(default)s, the fastest at hand)",
    )


def _device(text: str) -> str:
    if re.fullmatch(r"auto|cuda(:\d+)?|mps|cpu", text):
        return text
    raise argparse.ArgumentTypeError(f'"{text}" is not a device; give auto, cuda, cuda:N, mps or cpu')


class Interrupt:
    """A wish to stop, set by SIGINT or SIGTERM and asked for by the work; a second one stops at once.

    Only the main thread may install handlers; elsewhere (a worker's thread, a test) the caller's own remain.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether the work should stop: a ``CancelCheck``."""
        return self._asked.is_set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While inside, signals set this wish instead of ending the process; then the old handlers return."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")  # of which a platform has some
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        old = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()


Command = Callable[[argparse.Namespace, Interrupt], int]
"""What a command does: from the parsed options to the exit code."""


def _existing(names: Sequence[str]) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def command_line(program: str, parser: Callable[[], Parser], argv: Sequence[str] | None) -> int:
    """Parse ``argv`` (default: the process's own) and carry out the chosen command; returns the exit code.

    Each command's parser has set ``command``, a function of the parsed options and an :class:`Interrupt`.
    """

    def work(arguments: Sequence[str], interrupt: Interrupt) -> int:
        try:
            options = parser().parse_args(arguments)
        except SystemExit as ending:  # --help and --version
            return int(ending.code or 0)
        command: Command = options.command
        return command(options, interrupt)

    return guarded(program, list(sys.argv[1:] if argv is None else argv), work)


def guarded(program: str, arguments: Sequence[str], work: Callable[[Sequence[str], Interrupt], int]) -> int:
    """Run a command and return its exit code; every failure becomes one sentence on stderr.

    Args:
        program: the command's name, for the sentence and the log.
        arguments: what the user gave; ``--json`` among them adds ``{"error": ...}`` on stdout on failure,
            also where the arguments could not be parsed.
        work: does the command and returns its exit code.
    """
    interrupt = Interrupt()
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # file names that the console cannot spell are shown with escapes
                stream.reconfigure(errors="backslashreplace")
        with interrupt.listening(), warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # a library's advice to programmers is no message to a user
            return work(arguments, interrupt)
    except CMEDLError as error:
        return _fail(str(error), error.exit_code, arguments)
    except KeyboardInterrupt:
        return _fail("Stopped; no result of the unfinished work was written.", Cancelled.exit_code, arguments)
    except BrokenPipeError:
        # The reader of our output (head, less) left: nobody is there to tell, and exit must not try to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the last line of defense: whatever it is, a user gets a sentence
        return _fail(internal_error(program, error), 1, arguments)


def _fail(sentence: str, code: int, arguments: Sequence[str]) -> int:
    print(sentence, file=sys.stderr, flush=True)
    if speaks_in_messages():
        _send(Broken(sentence, "", "CMEDLError", fault=False), sys.stdout)
    elif "--json" in arguments:
        emit_json({"error": sentence})
    return code
