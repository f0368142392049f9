"""The front end's side: start a run, look at it, cancel it; plain Python with threads, without a GUI toolkit.

Threads start the process, write the volume and read the result. A run is a future, which its owner looks at by
:meth:`SegmentationRun.done`, from a timer of a window or from a loop.
"""

from __future__ import annotations

import collections
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import errors
from ..base.errors import Cancelled, CMEDLError, InputError
from ..inference.options import SegmentationOptions
from . import voxel_transfer
from .protocol import Alive, Broken, Done, Hello, Message, Outcome, Progressed, Segment, Taken
from .supervisor import END_SECONDS, Process, Program, Work

if TYPE_CHECKING:
    from ..io.volume import Volume

WORKING, READING = 0.02, 0.99
"""Fractions of the whole at which the worker's own 0 and 1 lie."""
FORECAST_SECONDS, FORECAST_SHARE = 1.0, 0.05
"""A forecast needs as much of the run behind it."""
WORK_SECONDS = 0.05
"""Processor time since the last sign of work that is one; a heartbeat itself costs far less."""
LARGEST_GAP_SECONDS = 1.0
"""Of a longer time between two looks no more counts as the worker's silence: it was us who slept."""
MOST_LINES = 10_000
"""Older lines of the log are left out until somebody takes them."""
RESULT_SECONDS = 0.02
"""How often a run whose result is waited for is looked at."""


class SegmentationRun(Work):
    """One click: a future of its :class:`Outcome`, made by :meth:`WorkerClient.start`.

    Attributes:
        stage: what it does, in words, the fraction (0 to 1) of the whole that is done, seconds since the start, and a
            forecast of the seconds that remain, None while there is nothing to base it on; as of the last look.
        warm: whether there was a worker already.
        detail: of a failed run, for the log: what the worker printed last, or where the fault arose; may be empty.
    """

    def __init__(
        self, client: WorkerClient, volume: Volume, options: SegmentationOptions, probability: bool, warm: bool
    ) -> None:
        super().__init__()
        self.warm, self.detail = warm, ""
        self.volume: Volume | None = volume
        self.options, self.probability = options, probability
        self.folder: Path | None = None
        self.description: dict[str, Any] = {}  # the volume's file, once it is written
        self.fresh = False  # a worker was started for this run
        self.ending = False  # why it ends is known, and its files are being removed
        self.sent = self.taken = False
        self.lines: collections.deque[str] = collections.deque(maxlen=MOST_LINES)
        self.end: Outcome | CMEDLError | None = None  # not told before the next look: a cancel may come first
        self._client = weakref.ref(client)  # which goes, and with it the worker, when nobody has it any more
        self._begun = time.monotonic()
        self._text = "Starting"
        self._first: tuple[float, float] | None = None  # time and fraction from which a forecast reckons
        self._last = (self._begun, 0.0)
        self.stage = self._stage()

    @property
    def over(self) -> bool:
        """Whether it has ended, also where nobody has looked since."""
        return self.end is not None

    def done(self) -> bool:
        """Look at the run, which takes no time; called several times a second. Whether it is over."""
        if not super().done():
            self.stage = self._stage()
            client = self._client()
            if client is None:
                self.settle(_cancelled())
            else:
                client.look(self)
        return super().done()

    def result(self, timeout: float | None = None) -> Outcome:
        """Look at the run until it is over.

        Args:
            timeout: seconds to wait at most; the run goes on after them.

        Raises:
            CMEDLError: the run failed (then of the kind that the worker met), or time ran out.
            Cancelled: it was cancelled.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            if end is not None and time.monotonic() >= end:
                raise CMEDLError(f"The segmentation takes more than {timeout:g} s; wait again, or cancel it.")
            wait([self], RESULT_SECONDS)
        outcome: Outcome = super().result()
        return outcome

    def cancel(self) -> bool:
        """See :meth:`WorkerClient.cancel`."""
        client = self._client()
        return client is not None and client.cancel(self)

    def settle(self, end: Outcome | CMEDLError) -> None:
        """Tell whoever has the run of its end."""
        self.end, self.volume = end, None
        self.set_exception(end) if isinstance(end, CMEDLError) else self.set_result(end)

    def printed(self) -> list[str]:
        """What the worker, or a library in it, has printed since the last call."""
        return [self.lines.popleft() for _ in range(len(self.lines))]

    def progress(self, text: str, fraction: float) -> None:
        """The run has come to ``fraction`` of the whole."""
        now = time.monotonic()
        self._text = text
        if self._first is None and fraction > WORKING:
            self._first = (now, fraction)
        if fraction != self._last[1]:
            self._last = (now, fraction)

    def _stage(self) -> tuple[str, float, float, float | None]:
        now = time.monotonic()
        at, fraction = self._last
        remaining = None
        if self._first is not None:
            seconds, share = at - self._first[0], fraction - self._first[1]
            if seconds >= FORECAST_SECONDS and share >= FORECAST_SHARE:
                remaining = max(seconds * (1.0 - fraction) / share - (now - at), 0.0)
        return self._text, fraction, now - self._begun, remaining


def _cancelled() -> Cancelled:
    return Cancelled("The segmentation was cancelled; there is no result.")


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
        self._run: SegmentationRun | None = None
        self._process: Process | None = None
        self._worker_pid: int | None = None
        self._cpu_s = self._silent_s = self._last_look = 0.0
        self._belongings = _Belongings()
        # Called when this object goes, and at the latest when the interpreter ends.
        self._end = weakref.finalize(self, self._belongings.clear)

    @property
    def busy(self) -> bool:
        """Whether a run is under way; it is until somebody has looked at its end."""
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

    def start(self, volume: Volume, options: SegmentationOptions, probability: bool = False) -> SegmentationRun:
        """Begin to segment; returns at once.

        Args:
            volume: its array is read in the background, until the worker reports a stage; it must not be changed in
                place before.
            options: how to segment.
            probability: whether the probability is wanted too.

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
            run = self._run = SegmentationRun(self, volume, options, probability, self.warm)
            self._silent_s, self._last_look = 0.0, time.monotonic()
        self._belongings.in_thread(self._hand_over, run)
        return run

    def cancel(self, run: SegmentationRun | None = None) -> bool:
        """End a run, and the worker with all its children, at once.

        Args:
            run: default is what is under way.

        Returns:
            False where it is not under way.
        """
        with self._lock:
            run = run or self._run
            if run is None or run is not self._run:
                return False
            self._run = None
            run.settle(_cancelled())
            self._abandon(run)
            return True

    def look(self, run: SegmentationRun) -> None:
        """Settle a run that is over, and end a worker that gives no sign of work; called by the run."""
        with self._lock:
            if run is not self._run:
                return
            if run.end is None:
                self._check_silence(run)
            if run.end is not None:
                self._run = None
                run.settle(run.end)

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
            self._drop_process()
        self._end()

    def _check_busy(self) -> None:
        if self._run is not None:
            raise InputError("A segmentation is under way; wait for its end or cancel it.")

    def _check_silence(self, run: SegmentationRun) -> None:
        now = time.monotonic()
        self._silent_s += min(now - self._last_look, LARGEST_GAP_SECONDS)
        self._last_look = now
        if self._silent_s > self._hang_seconds:
            run.detail = "\n".join(self._process.last_lines) if self._process is not None else ""
            run.end = CMEDLError(
                f"The worker process gave no sign of work for {self._hang_seconds:g} s and was ended; try again, and "
                "on another device if it happens again."
            )
            self._abandon(run)

    def _drop_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _abandon(self, run: SegmentationRun) -> None:
        """Kill the worker in the middle of a run; the run's files go as soon as nobody can write more of them."""
        process = self._process
        self._drop_process()

        def clean() -> None:
            if process is not None:
                process.join(END_SECONDS)
            self._belongings.remove(run.folder)

        self._belongings.in_thread(clean)

    def _over(self, run: SegmentationRun, end: Outcome | CMEDLError, detail: str = "") -> None:
        """A run came to its end, in a thread; that becomes known when its files are gone.

        The first reason holds: the others may come of the files that go.
        """
        with self._lock:
            if run.ending:
                return
            run.ending = True
        self._belongings.remove(run.folder)
        with self._lock:
            if not run.over:
                run.end, run.detail = end, detail

    # In a thread of its own, for each run: bringing it to the worker.

    def _hand_over(self, run: SegmentationRun) -> None:
        """Make the run's folder, start the worker where there is none, write the volume, send the request."""
        volume = run.volume  # a cancel lets go of it
        doing = f"No private folder could be made in {self._place or 'the folder for temporary files'}"
        advice = "choose another folder for temporary files"
        try:
            folder = run.folder
            if folder is None:
                folder = Path(tempfile.mkdtemp(prefix="cmedl-", dir=self._place))
                self._belongings.folders.add(folder)
                run.folder = folder
            while not (run.over or run.sent):
                doing, advice = f"The worker process could not be started by '{self._python[0]}'", "install it again"
                process = self._ready_process(run)
                if volume is not None:
                    doing = f"The image ({volume.array.nbytes / 1e6:.0f} MB) could not be written to {folder.parent}"
                    advice = "free some space there, or choose another folder for temporary files"
                    run.description = voxel_transfer.write_volume(folder, volume, lambda: run.over)
                    run.volume = volume = None
                with self._lock:
                    # A worker that has left since is replaced.
                    run.sent = process is self._process
                if run.sent:
                    process.send(Segment(str(folder), run.description, run.options, run.probability))
        except OSError as error:
            self._over(run, InputError(f"{doing} ({error.strerror or error}); {advice}."))
        if run.over:
            self._belongings.remove(run.folder)

    def _ready_process(self, run: SegmentationRun) -> Process:
        """The worker, started where there is none."""
        process = self._process
        if process is not None:
            return process
        run.progress("Starting the worker process", 0.0)
        program = Program(self._python, self._environment, "CMEDLSegmentLib.process.worker")
        process = program.open(["--idle", f"{self._idle_seconds:g}", "--parent", str(os.getpid())], self)
        with self._lock:
            self._belongings.processes.add(process)
            run.fresh = True
            if run.over:
                process.kill()
            else:
                self._process, self._worker_pid, self._cpu_s = process, None, 0.0
        process.listen()
        return process

    # In the threads of a process (`supervisor.Owner`).

    def heard(self, process: Process, message: Message) -> None:
        """What the worker says of itself and of the run."""
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
                run.progress(message.text, WORKING + (READING - WORKING) * message.fraction)
            elif isinstance(message, Broken) and message.fault:
                # Nobody knows in what state it is now.
                self._drop_process()
        if isinstance(message, Broken):
            detail = "\n".join(filter(None, [message.detail, *process.last_lines]))
            self._over(run, getattr(errors, message.kind)(message.sentence), detail)
        elif isinstance(message, Done):
            self._collect(run)

    def printed(self, process: Process, line: str) -> None:
        """What goes to the run's log."""
        with self._lock:
            if process is self._process and self._run is not None and not self._run.over:
                self._run.lines.append(line)

    def ended(self, process: Process, code: int | None) -> None:
        """The worker has left: between two runs, before it took one, or in the middle of one."""
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
            self._over(run, CMEDLError(self._why(process, code)), "\n".join(process.last_lines))

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

    def _collect(self, run: SegmentationRun) -> None:
        """Read the results of a run that the worker has finished."""
        assert run.folder is not None
        try:
            self._over(run, voxel_transfer.read_outcome(run.folder))
        except (OSError, ValueError, MemoryError) as error:
            with self._lock:
                self._drop_process()
            self._over(run, CMEDLError(f"The result could not be read ({error}); free some memory and try again."))
