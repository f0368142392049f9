"""What happened in a run so far: its status and its curves, read from ``events.jsonl`` as it grows.

A run of days has more events than anybody can look at, so that what is kept does not grow with them: curves hold at
most ``MOST_POINTS`` points, evenly spaced over the run. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_POINTS = 1000
"""Of each curve."""
READ_BYTES = 1 << 20
"""Read from the events at a time: some thousand events, a few hundredths of a second."""
TAIL_BYTES = 1 << 16
"""At the end of the events: enough to know where a run is."""


@dataclass
class Curves:
    """Figures over steps: ``names`` may grow, and a figure that an event does not have is None.

    Attributes:
        steps: one per point.
        values: by name, as long as ``steps``.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float | None]] = field(default_factory=dict)
    _stride: int = 1
    """Of so many points given one is kept: the first, ..."""
    _given: int = 0

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Take a point; every second one is dropped, from now on too, whenever there are too many."""
        self._given += 1
        if (self._given - 1) % self._stride:
            return
        self.steps.append(step)
        for name in [name for name in figures if name not in self.values]:
            self.values[name] = [None] * (len(self.steps) - 1)
        for name, column in self.values.items():
            column.append(figures.get(name))
        if len(self.steps) > MOST_POINTS:
            self._stride *= 2
            self._keep(slice(None, None, 2))

    def go_back(self, step: int) -> None:
        """Forget what came after ``step``: a run that was resumed there does it again."""
        kept = next((at for at, known in enumerate(self.steps) if known > step), len(self.steps))
        self._keep(slice(kept))
        self._given = kept * self._stride

    def _keep(self, points: slice) -> None:
        self.steps = self.steps[points]
        self.values = {name: column[points] for name, column in self.values.items()}


@dataclass
class History:
    """A run as its events tell it.

    Attributes:
        state: ``running`` as far as the events know, ``stopped``, ``finished`` or ``failed``; a trainer that was killed
            could not say so.
        figures: of the last events: step, steps, epoch, seconds_left, losses, validation.
        losses, validation: curves over steps.
        rates: the last ``images_per_second``, ``gpu_memory_gb`` or ``memory_gb``, and ``learning_rate``.
        preview: the newest preview picture, relative to the run's folder; empty where there is none.
        term: the loss term at which training failed.
    """

    state: str = "stopped"
    figures: dict[str, Any] = field(
        default_factory=lambda: {
            "step": 0,
            "steps": None,
            "epoch": 0,
            "seconds_left": None,
            "losses": {},
            "validation": {},
        }
    )
    losses: Curves = field(default_factory=Curves)
    validation: Curves = field(default_factory=Curves)
    rates: dict[str, float] = field(default_factory=dict)
    preview: str = ""
    term: str = ""

    def take(self, event: dict[str, Any]) -> None:
        """Take one event of ``events.jsonl``; kinds that are not known are left out."""
        kind = event.get("event")
        if kind == "start":
            self.state, self.term = "running", ""
            self.losses.go_back(event["step"])
            self.validation.go_back(event["step"])
        elif kind in ("stopped", "finished", "failed"):
            self.state = kind
            self.term = event.get("term", "")
        elif kind == "step":
            self.state = "running"  # also where the start was not read
            self.losses.add(event["step"], event["losses"])
            rates = ("images_per_second", "gpu_memory_gb", "memory_gb", "learning_rate")
            self.rates = {name: event[name] for name in rates if name in event}
        elif kind == "epoch":
            # The first epochs of a small cohort are over before a step is told by itself.
            if "losses" in event and self.losses.steps[-1:] != [event["step"]]:
                self.losses.add(event["step"], event["losses"])
            self.state = "running"
            self.validation.add(event["step"], event["validation"])
        elif kind == "preview":
            self.preview = event["file"]
        self.figures |= {name: event[name] for name in self.figures.keys() & event.keys()}


class Reader:
    """Reads the events that were added since the last look.

    Attributes:
        history: what they tell.
    """

    def __init__(self, path: Path) -> None:
        """``path`` need not exist yet."""
        self._path = path
        self._position = 0
        self._rest = b""
        self.history = History()

    def skip(self) -> None:
        """Leave out all but the end."""
        with contextlib.suppress(OSError):
            self._position = max(0, self._path.stat().st_size - TAIL_BYTES)

    def read(self, most: int | None = READ_BYTES) -> bool:
        """Take in at most ``most`` bytes (None: all); whether there is more to read.

        A last line without its end is left for the next time, a line that a crash has cut is left out, and a file that
        became shorter is read anew from its beginning.
        """
        try:
            with self._path.open("rb") as stream:
                size = stream.seek(0, 2)
                if size < self._position:
                    self._position, self._rest, self.history = 0, b"", History()
                stream.seek(self._position)
                data = stream.read(-1 if most is None else most)
        except OSError:  # not there yet, or on a share that is gone
            return False
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for event in events_of(lines):
            self.history.take(event)
        return self._position < size


def latest(path: Path) -> History:
    """What the end of the events tells: state and figures, with curves of the last points alone."""
    reader = Reader(path)
    reader.skip()
    reader.read(most=None)
    return reader.history


def events_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events that lines of ``events.jsonl`` tell; one that a crash has cut is left out."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event
