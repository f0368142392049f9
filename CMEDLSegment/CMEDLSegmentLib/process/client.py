"""The front end's side: start a run, ask how it goes, cancel it; plain Python with threads, without a GUI toolkit.

Threads do what could take long (start the process, write the volume, read the result) and queue events; whoever owns
the client takes them out by :meth:`WorkerClient.poll`, from a timer of a window or from a loop.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import errors
from ..base.errors import Cancelled, CMEDLError, InputError
from . import voxel_transfer
from .protocol import (
    Alive,
    Broken,
    CancelledEvent,
    Done,
    Event,
    Failed,
    Finished,
    Hello,
    Log,
    Message,
    Outcome,
    Progressed,
    Request,
    Segment,
    Stage,
    Started,
    Taken,
)
from .supervisor import END_SECONDS, Process, Program, weakly

if TYPE_CHECKING:
    from ..io.volume import Volume

WORKING, READING = 0.02, 0.99
"""Fractions of the whole at which the worker's own 0 and 1 lie."""
REPEAT_SECONDS = 0.2
"""A stage is told again after this time, so that the times shown go on."""
FORECAST_SECONDS, FORECAST_SHARE = 1.0, 0.05
"""A forecast needs as much of the run behind it."""
WORK_SECONDS = 0.05
"""Processor time since the last sign of work that is one; a heartbeat itself costs far less."""
LARGEST_GAP_SECONDS = 1.0
"""Of a longer time between two polls no more counts as the worker's silence: it was us who slept."""
MOST_EVENTS = 10_000
"""Further lines of the log are left out until somebody polls."""


class _Run:
    """One click."""

    def __init__(self, volume: Volume, request: Request) -> None:
        self.volume: Volume | None = volume
        self.request = request
        self.folder: Path | None = None
        self.described: dict[str, Any] = {}  # the volume's file, once it is written
        self.fresh = False  # a worker was started for this run
        self.sent = self.taken = self.over = False
        self.begun = self.told = time.monotonic()
        self.text = "Starting"
        self.first: tuple[float, float] | None = None  # time and fraction from which a forecast reckons
        self.last = (self.begun, 0.0)

    def is_over(self) -> bool:
        """Whether nobody waits for this run any more."""
        return self.over

    def progress(self, text: str, fraction: float) -> Stage:
        """The run has come to ``fraction`` of the whole."""
        now = time.monotonic()
        self.text = text
        if self.first is None and fraction > WORKING:
            self.first = (now, fraction)
        if fraction != self.last[1]:
            self.last = (now, fraction)
        return self.stage()

    def stage(self) -> Stage:
        """Where the run is now."""
        self.told = now = time.monotonic()
        at, fraction = self.last
        remaining = None
        if self.first is not None:
            seconds, share = at - self.first[0], fraction - self.first[1]
            if seconds >= FORECAST_SECONDS and share >= FORECAST_SHARE:
                remaining = max(seconds * (1.0 - fraction) / share - (now - at), 0.0)
        return Stage(self.text, fraction, now - self.begun, remaining)


class _Belongings:
    """What a client has outside of this process, and what must not outlive it."""

    def __init__(self) -> None:
        self.processes: set[Process] = set()
        self.folders: set[Path] = set()
        self.threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def in_thread(self, target: Callable[..., None], *arguments: object) -> None:
        """Call ``target`` in a thread; :meth:`clear` waits for it."""
        thread = threading.Thread(target=target, args=arguments, name=f"cmedl-{target.__name__}", daemon=True)
        self.threads.add(thread)
        thread.start()

    def remove(self, folder: Path | None) -> None:
        """Remove a run's folder. One that cannot be removed (on Windows: in use) is tried again at the end."""
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                self.folders.discard(folder)

    def clear(self) -> None:
        """End every process and remove every folder."""
        processes = list(self.processes)
        for process in processes:
            process.kill()
        for thread in list(self.threads):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(END_SECONDS)
        for process in processes:
            process.join(END_SECONDS)
        for folder in list(self.folders):
            self.remove(folder)


class WorkerClient:
    """A worker process and at most one run at a time.

    Args:
        python: the command that starts the interpreter, such as ``["PythonSlicer"]``; default is this one.
        environment: the worker's environment variables; default are this process's.
        idle_seconds: after so long without work the worker ends by itself.
        hang_seconds: after so long without a sign of work the worker is ended, and the run has failed.
        folder: where the private folders of the runs are made; default is the system's for temporary files.
    """

    def __init__(
        self,
        python: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        idle_seconds: float = 300.0,
        hang_seconds: float = 60.0,
        folder: Path | None = None,
    ) -> None:
        self._python = list(python) if python else [sys.executable]
        self._environment = os.environ if environment is None else environment
        self._idle_seconds, self._hang_seconds = idle_seconds, hang_seconds
        self._place = folder
        self._lock = threading.RLock()
        self._news = threading.Event()
        self._events: list[Event] = []
        self._run: _Run | None = None
        self._process: Process | None = None
        self._worker_pid: int | None = None
        self._cpu_s = self._silent_s = self._polled = 0.0
        self._belongings = _Belongings()
        # Called when this object goes, and at the latest when the interpreter ends.
        self._end = weakref.finalize(self, self._belongings.clear)

    @property
    def busy(self) -> bool:
        """Whether a run is under way; it is until :meth:`poll` has returned its last event."""
        return self._run is not None

    @property
    def warm(self) -> bool:
        """Whether there is a worker."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The worker's process number, None without a worker."""
        with self._lock:
            return None if self._process is None else self._worker_pid or self._process.pid

    def start(self, volume: Volume, request: Request) -> None:
        """Begin to segment; returns at once.

        Args:
            volume: its array is read in the background, until the worker reports a stage; it must not be changed in
                place before.
            request: what to do.

        Raises:
            InputError: a run is under way, the client was closed, or the array is no volume.
        """
        array = volume.array
        if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "iufb":
            raise InputError(
                f"An array of shape {array.shape} and type {array.dtype} is no volume; give one with a number for "
                "each voxel (z, y, x)."
            )
        with self._lock:
            if not self._end.alive:
                raise InputError("The worker was closed; open the module again.")
            self._check_busy()
            run = self._run = _Run(volume, request)
            self._events = [Started(self.warm)]
            self._silent_s, self._polled = 0.0, run.begun
        self._belongings.in_thread(self._hand_over, run)

    def poll(self) -> list[Event]:
        """The events since the last call, oldest first; takes about a millisecond; called several times a second."""
        if self.busy:
            # Where a C++ event loop keeps the interpreter's lock, other threads get their turn only here.
            time.sleep(0.001)
        with self._lock:
            run = self._run
            if run is not None and not run.over:
                self._watch(run)
            self._news.clear()
            events, self._events = self._events, []
            if run is not None and run.over:
                self._run = None
        return events

    def wait(self, on_event: Callable[[Event], None] | None = None, timeout: float | None = None) -> Outcome:
        """Block until the run is over.

        Args:
            on_event: told every event.
            timeout: seconds to wait at most; the run goes on after them.

        Raises:
            CMEDLError: the run failed (then of the kind that the worker met), none was started, or time ran out.
            Cancelled: it was cancelled, by ``on_event`` or another thread.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            idle = not self.busy
            events = self.poll()
            for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Finished):
                    return event.outcome
                if isinstance(event, CancelledEvent):
                    raise Cancelled("The segmentation was cancelled; there is no result.")
                if isinstance(event, Failed):
                    raise getattr(errors, event.kind)(event.sentence)
            if idle and not events:
                raise InputError("No segmentation is under way; start one before waiting for it.")
            if end is not None and time.monotonic() >= end:
                raise CMEDLError(f"The segmentation takes more than {timeout:g} s; wait again, or cancel it.")
            self._news.wait(0.1)

    def cancel(self) -> None:
        """End the run, and the worker with all its children, at once. Without a run, nothing happens."""
        with self._lock:
            run = self._run
            if run is None:
                return
            run.over = True
            self._run = None
            self._events = [CancelledEvent()]
            self._news.set()
            self._abandon(run)

    def release(self) -> None:
        """End the idle worker, which frees its memory.

        Raises:
            InputError: a run is under way.
        """
        with self._lock:
            self._check_busy()
            self._drop_process()

    def close(self) -> None:
        """Cancel what is under way and end the worker for good; can be called again."""
        self.cancel()
        with self._lock:
            self._events = []
            self._drop_process()
        self._end()

    def _check_busy(self) -> None:
        if self._run is not None:
            raise InputError("A segmentation is under way; wait for its end or cancel it.")

    def _watch(self, run: _Run) -> None:
        """Tell the stage again where it lasts; end a worker that gives no sign of work."""
        now = time.monotonic()
        self._silent_s += min(now - self._polled, LARGEST_GAP_SECONDS)
        self._polled = now
        if self._silent_s > self._hang_seconds:
            lines = self._process.last_lines if self._process is not None else ()
            sentence = (
                f"The worker process gave no sign of work for {self._hang_seconds:g} s and was ended; try again, and "
                "on another device if it happens again."
            )
            self._events.append(Failed(sentence, "\n".join(lines)))
            run.over = True
            self._abandon(run)
        elif now - run.told >= REPEAT_SECONDS:
            self._events.append(run.stage())

    def _drop_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _abandon(self, run: _Run) -> None:
        """Kill the worker in the middle of a run; the run's files go as soon as nobody can write more of them."""
        process, run.volume = self._process, None
        self._drop_process()

        def clean() -> None:
            if process is not None:
                process.join(END_SECONDS)
            self._belongings.remove(run.folder)

        self._belongings.in_thread(clean)

    def _over(self, run: _Run, event: Finished | Failed) -> None:
        """A run came to its end, in a thread; that becomes known when its files are gone."""
        self._belongings.remove(run.folder)
        with self._lock:
            if not run.over:
                run.over, run.volume = True, None
                self._events.append(event)
                self._news.set()

    def _tell(self, run: _Run, text: str, fraction: float) -> None:
        with self._lock:
            if not run.over:
                self._events.append(run.progress(text, fraction))
                self._news.set()

    # In a thread of its own, for each run: bringing it to the worker.

    def _hand_over(self, run: _Run) -> None:
        """Make the run's folder, start the worker where there is none, write the volume, send the request."""
        volume = run.volume  # a cancel lets go of it
        doing = f"No private folder could be made in {self._place or 'the folder for temporary files'}"
        advice = "choose another folder for temporary files"
        try:
            folder = self._make_folder(run)
            while not (run.over or run.sent):
                doing, advice = f"The worker process could not be started by '{self._python[0]}'", "install it again"
                process = self._ready_process(run)
                if volume is not None:
                    doing = f"The image ({volume.array.nbytes / 1e6:.0f} MB) could not be written to {folder.parent}"
                    advice = "free some space there, or choose another folder for temporary files"
                    run.described = voxel_transfer.write_volume(folder, volume, run.is_over)
                    run.volume = volume = None
                with self._lock:
                    # A worker that has left since is replaced.
                    run.sent = process is self._process
                if run.sent:
                    process.send(Segment(str(folder), run.described, vars(run.request)))
        except OSError as error:
            self._over(run, Failed(f"{doing} ({error.strerror or error}); {advice}.", kind="InputError"))
        if run.over:
            self._belongings.remove(run.folder)

    def _make_folder(self, run: _Run) -> Path:
        if run.folder is None:
            folder = Path(tempfile.mkdtemp(prefix="cmedl-", dir=self._place))
            self._belongings.folders.add(folder)
            run.folder = folder
        return run.folder

    def _ready_process(self, run: _Run) -> Process:
        """The worker, started where there is none."""
        process = self._process
        if process is not None:
            return process
        self._tell(run, "Starting the worker process", 0.0)
        program = Program(self._python, self._environment, "CMEDLSegmentLib.process.worker")
        process = program.open(
            ["--idle", f"{self._idle_seconds:g}", "--parent", str(os.getpid())],
            weakly(self._heard),
            weakly(self._printed),
            weakly(self._ended),
        )
        with self._lock:
            self._belongings.processes.add(process)
            run.fresh = True
            if run.over:
                process.kill()
            else:
                self._process, self._worker_pid, self._cpu_s = process, None, 0.0
        process.listen()
        return process

    # In the threads of a process.

    def _heard(self, process: Process, message: Message) -> None:
        with self._lock:
            run = self._run
            if process is not self._process:
                return
            if isinstance(message, Alive):
                # Its thread beats also when the work itself stands still; processor time tells.
                if message.cpu_s - self._cpu_s < WORK_SECONDS:
                    return
                self._cpu_s = message.cpu_s
            self._silent_s = 0.0
            if isinstance(message, Hello):
                self._worker_pid = message.pid
            if run is None or run.over:
                return
            if isinstance(message, Taken):
                run.taken = True
            elif isinstance(message, Progressed):
                self._tell(run, message.text, WORKING + (READING - WORKING) * message.fraction)
            elif isinstance(message, Broken) and message.fault:
                # Nobody knows in what state it is now.
                self._drop_process()
        if isinstance(message, Broken):
            detail = "\n".join(filter(None, [message.detail, *process.last_lines]))
            self._over(run, Failed(message.sentence, detail, message.kind))
        elif isinstance(message, Done):
            self._collect(run)

    def _printed(self, process: Process, line: str) -> None:
        with self._lock:
            listening = process is self._process and self._run is not None and not self._run.over
            if listening and len(self._events) < MOST_EVENTS:
                self._events.append(Log(line))

    def _ended(self, process: Process, code: int | None) -> None:
        with self._lock:
            self._belongings.processes.discard(process)
            if process is not self._process:
                return
            self._process = None
            run = self._run
            if run is None or run.over:
                return
            # One that left, idle or ended by someone, before it could take the run: another one does it.
            replace = not run.fresh and not run.taken and code is not None
            again, run.sent = replace and run.sent, False
        if again:
            self._belongings.in_thread(self._hand_over, run)
        elif not replace:
            self._over(run, Failed(self._why(process, code), "\n".join(process.last_lines)))

    def _why(self, process: Process, code: int | None) -> str:
        """The sentence for a worker that ended before the run did."""
        if code is None:
            return (
                "The worker process answered with text that is no message: something in its Python prints where it "
                "must not. Look at the log and try again."
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not process.greeted:
            return (
                f"The worker process could not be started by '{self._python[0]}' ({how}); look at the log, and install "
                "what is missing."
            )
        return (
            f"The worker process ended in the middle of the work ({how}), most often because memory ran out; close "
            "other programs, or choose another device, and try again."
        )

    def _collect(self, run: _Run) -> None:
        """Read the results of a run that the worker has finished."""
        event: Finished | Failed
        assert run.folder is not None
        try:
            event = Finished(voxel_transfer.read_outcome(run.folder))
        except (OSError, ValueError, MemoryError) as error:
            event = Failed(f"The result could not be read ({error}); free some memory and try again.")
            with self._lock:
                self._drop_process()
        self._over(run, event)
