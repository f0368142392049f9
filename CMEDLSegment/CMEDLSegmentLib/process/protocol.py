"""What a front end and work elsewhere say to each other.

On the wire a message is one line of JSON: an object whose ``message`` names one of the classes below and whose
other entries are its fields. Anything else is garbage, which :func:`decode` refuses. Voxels travel in files, see
``voxel_transfer.py``. A command tells ``Progressed`` and then ``Done`` or ``Broken``; the worker, which lives longer,
knows the other ones too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..base import schema
from ..base.errors import InputError
from ..inference.options import SegmentationOptions

if TYPE_CHECKING:
    import numpy as np

LONGEST_LINE = 1 << 24
"""Bytes; a longer line is no message."""
MESSAGES = "CMEDL_MESSAGES"
"""Environment variable; where it is set, a command speaks in messages on stdout: for a program that has started it."""


@dataclass
class Outcome:
    """What came back.

    Attributes:
        label: uint8 (z, y, x) on the input's own grid; 0 is background.
        probability: float32 (z, y, x) on the same grid, or None where it was not asked for.
        summary: how it was made, in JSON's types; see ``worker.summary``.
    """

    label: np.ndarray
    probability: np.ndarray | None
    summary: dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """To the worker: segment the volume in ``folder``, and leave the results there.

    Attributes:
        folder: the run's.
        volume: what ``voxel_transfer.write_volume`` says of the volume's file.
        options: how to segment.
        probability: whether the probability is wanted too.
    """

    folder: str
    volume: dict[str, Any]
    options: SegmentationOptions
    probability: bool


@dataclass(frozen=True)
class Hello:
    """The worker listens."""

    pid: int


@dataclass(frozen=True)
class Alive:
    """A heartbeat, with the seconds of processor time that the worker has used so far."""

    cpu_s: float


@dataclass(frozen=True)
class Taken:
    """The worker has begun with what it was asked."""


@dataclass(frozen=True)
class Progressed:
    """The stage in words and the fraction (0 to 1) of the work that is done."""

    text: str
    fraction: float


@dataclass(frozen=True)
class Done:
    """The work is done; ``result`` is a command's answer, and empty from the worker, whose results are files."""

    result: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """The work failed.

    Attributes:
        sentence: what is wrong and what to do, for the user.
        detail: for the log: where the fault arose; may be empty.
        kind: the error's class in ``errors``.
        fault: whether it was a fault of ours, not of the input.
    """

    sentence: str
    detail: str
    kind: str
    fault: bool


Message = Segment | Hello | Alive | Taken | Progressed | Done | Broken
_MESSAGES: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Segment, Hello, Alive, Taken, Progressed, Done, Broken)
}


def encode(message: Message) -> bytes:
    """A message as one line.

    Raises:
        ValueError: JSON cannot hold it.
    """
    try:
        fields = schema.write(message)
    except InputError as error:
        raise ValueError(str(error)) from error
    return json.dumps({"message": type(message).__name__, **fields}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message on a line.

    Raises:
        ValueError: it is none.
    """
    if not line.endswith(b"\n"):
        raise ValueError("The line was cut.")
    tree = schema.parse_object(line.decode())
    kind = _MESSAGES.get(str(tree.pop("message", "")))
    if kind is None:
        raise ValueError("The line is no message.")
    try:
        return schema.read(kind, tree)
    except InputError as error:
        raise ValueError(f"The fields of '{kind.__name__}' are wrong: {error}") from error
