"""The worker process: ``python -m CMEDLSegmentLib.process.worker``, started by ``client.WorkerClient``.

It reads what to do from stdin, does one thing at a time, and keeps up to two models with their networks for the next:
one that finds tumors, and one that answers clicks. It ends when stdin closes or its parent is gone, and after some
minutes without work. Its stdout carries messages only: whatever else is printed in this process goes to stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import os
import queue
import shutil
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import __version__
from ..base.errors import CMEDLError, InputError
from ..base.progress import Progress
from ..inference.options import SegmentationOptions
from .protocol import Alive, Broken, Done, Hello, Message, Outcome, Progressed, Segment, Taken, decode, encode
from .voxel_transfer import read_volume, write_outcome

if TYPE_CHECKING:
    from ..inference.probability import Component
    from ..inference.segmenter import Segmentation, Segmenter
    from ..io.volume import Volume
    from ..models.model_card import Card

HEARTBEAT_SECONDS = 1.0
REPORT_SECONDS = 0.05
"""Between two fractions of the same stage."""
KEPT_MODELS = 2
LOADED, SEGMENTED = 0.05, 0.97
"""Fractions of the work at which its parts end."""


class Worker:
    """Does what the messages on ``asked`` say and answers on ``answers``.

    Args:
        asked: messages of the front end, a line each; its end is the end of this process.
        answers: where messages go.
        idle_seconds: without work for so long, the worker ends.
        parent: process number of the front end, 0 where it cannot be watched.
    """

    def __init__(self, asked: BinaryIO, answers: BinaryIO, idle_seconds: float, parent: int) -> None:
        self._asked, self._answers = asked, answers
        self._idle_seconds, self._parent = idle_seconds, parent
        self._answering = threading.Lock()
        self._tasks: queue.SimpleQueue[Segment] = queue.SimpleQueue()
        self._folder: Path | None = None
        self._kept: dict[tuple, Segmenter] = {}
        self._stage, self._reported = "", 0.0

    def run(self) -> None:
        """Work until there is nothing more to do."""
        self._send(Hello(os.getpid()))
        for target in (self._listen, self._beat):
            threading.Thread(target=target, daemon=True).start()
        while True:
            try:
                task = self._tasks.get(timeout=self._idle_seconds)
            except queue.Empty:
                return
            self._send(self._answer(task))
            self._folder = None
            free_memory()

    def _listen(self) -> None:
        """Pass on what the front end asks; in a thread, because its end must be noticed during work too."""
        for line in self._asked:
            message = decode(line)
            if isinstance(message, Segment):
                self._folder = Path(message.folder)
                self._tasks.put(message)
        self._leave()

    def _beat(self) -> None:
        """Tell that this process lives; notice when its parent does not, even where others hold the pipe open."""
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            if self._parent and not _exists(self._parent):
                self._leave()
            self._send(Alive(round(time.process_time(), 3)))

    def _leave(self) -> None:
        """End at once, whatever the main thread does; nobody else is left to remove the run's files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _send(self, message: Message) -> None:
        try:
            with self._answering:
                self._answers.write(encode(message))
        except OSError:  # nobody reads any more
            self._leave()

    def _progress(self, text: str, fraction: float) -> None:
        now = time.monotonic()
        if text != self._stage or now - self._reported >= REPORT_SECONDS:
            self._stage, self._reported = text, now
            self._send(Progressed(text, min(max(fraction, 0.0), 1.0)))

    def _answer(self, task: Segment) -> Message:
        """Do a task; every failure becomes a message."""
        from ..base.fault_log import internal_error

        self._send(Taken())
        folder = Path(task.folder)
        try:
            outcome = self._segment(folder, task)
            try:
                write_outcome(folder, outcome)
            except OSError as error:
                raise InputError(
                    f"The result could not be written to {folder.parent} ({error.strerror or error}); free some space "
                    "there, or choose another folder for temporary files."
                ) from error
        except CMEDLError as error:
            return Broken(str(error), "", type(error).__name__, fault=False)
        except ImportError as error:
            sentence = (
                f"The Python package '{error.name or error}' is missing or damaged; install it into the Python that "
                "segments and try again."
            )
            return Broken(sentence, "", "CMEDLError", fault=True)
        except Exception as error:  # the last line of defense: whatever it is, a user gets a sentence
            # Without the exception's own words, which may quote a path or a DICOM field and with it a patient.
            detail = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
            return Broken(internal_error("cmedl-worker", error), detail, "CMEDLError", fault=True)
        return Done({})

    def _segment(self, folder: Path, task: Segment) -> Outcome:
        from ..inference import clicks

        volume = read_volume(folder, task.volume)
        progress = Progress(self._progress).part(LOADED, SEGMENTED)
        load = functools.partial(self._segmenter, device=task.options.device)
        segmentation = clicks.segment(volume, task.options, load, progress)
        self._progress("Handing over the result", SEGMENTED)
        probability = segmentation.probability.native() if task.probability else None
        card = load(task.options.model).model.card
        return Outcome(segmentation.label, probability, summary(task.options, volume, segmentation, card))

    def _segmenter(self, model: str, device: str) -> Segmenter:
        """One of the segmenters of the last runs if it is the same model's on the same device, else a new one."""
        from ..models import registry

        path = registry.find(model)
        status = path.stat()
        key = (path, status.st_mtime_ns, status.st_size, device)
        segmenter = self._kept.pop(key, None)
        if segmenter is None:
            # Before the new one takes memory: those of this file that are out of date, and the one unused for longest.
            self._kept = {other: kept for other, kept in self._kept.items() if other[0] != path}
            if len(self._kept) >= KEPT_MODELS:
                del self._kept[next(iter(self._kept))]
            self._progress("Loading the model", 0.0)
            from ..inference.segmenter import Segmenter
            from ..models.model_file import load_model

            segmenter = Segmenter(load_model(path), device=device)
        self._kept[key] = segmenter
        return segmenter


def summary(options: SegmentationOptions, volume: Volume, segmentation: Segmentation, card: Card) -> dict[str, Any]:
    """What an :class:`Outcome` tells about how it was made, in JSON's types.

    Beside ``pipeline.making``: student_title, program_version, seconds, timings (seconds by stage), lung_slices,
    tumor_volume_cc, warnings, labels (as the card's ``Label``) and components (as ``probability.Component``, with
    ``click`` where a person clicked it).
    """
    from ..base.text import plain
    from ..inference.pipeline import is_likely, making

    def told(component: Component) -> dict[str, Any]:
        fields = {name: value for name, value in dataclasses.asdict(component).items() if value is not None}
        return {**fields, "likely": is_likely(component, card)}

    return plain(
        {
            **making(options, volume, segmentation, card),
            "student_title": card.title,
            "program_version": __version__,
            "seconds": segmentation.seconds,
            "timings": segmentation.timings,
            "lung_slices": segmentation.lung_slices,
            "tumor_volume_cc": segmentation.volume_cc,
            "warnings": segmentation.warnings,
            "labels": [dataclasses.asdict(label) for label in card.labels],
            "components": [told(component) for component in segmentation.components],
        }
    )


def free_memory() -> None:
    """Give back what the last run used: to the system, and to other programs on the GPU."""
    torch = sys.modules.get("torch")
    if torch is not None:
        from ..inference.runtimes import return_freed_memory

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return_freed_memory()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def own_channels() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout as streams that nobody else has; for others, stdin is empty and stdout goes to stderr."""
    asked = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return asked, answers


def main() -> None:
    """Run a worker with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--idle", type=float, required=True, help="seconds without work after which it ends")
    parser.add_argument("--parent", type=int, default=0, help="process number of the front end")
    options = parser.parse_args()
    asked, answers = own_channels()
    assert isinstance(sys.stderr, io.TextIOWrapper)
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's advice to programmers is no message to a user
    # os.kill asks on POSIX whether a process exists; on Windows it would end it.
    parent = options.parent if os.name == "posix" else 0
    Worker(asked, answers, options.idle, parent).run()
    # Not by the interpreter's own way out, which waits for threads of libraries.
    os._exit(0)


if __name__ == "__main__":
    main()
