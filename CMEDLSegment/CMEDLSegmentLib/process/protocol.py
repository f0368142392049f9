"""What a front end and work elsewhere say to each other.

On the wire a message is one line of JSON: an object whose ``message`` names one of the classes below and whose
other entries are its fields. Anything else on the wire is garbage, which :func:`decode` refuses. Voxels travel in
files, see ``voxel_transfer.py``. A command tells ``Progressed`` and then ``Done`` or ``Broken``; the worker, which
lives longer, knows the other ones too.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LONGEST_LINE = 1 << 24
"""Bytes; a longer line is no message."""
MESSAGES = "CMEDL_MESSAGES"
"""Environment variable; where it is set, a command speaks in messages on stdout: for a program that has started it."""


@dataclass(frozen=True)
class Request:
    """What a click asks for.

    Attributes:
        model: a model's name or file.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        threshold: probability from which a voxel is marked; None is the model's own.
        all_slices: look at every slice, whatever the model's card says.
        minimum_cc: components below this volume (cc) are dropped.
        probability: whether the probability is wanted too.
    """

    model: str
    device: str = "auto"
    threshold: float | None = None
    all_slices: bool = False
    minimum_cc: float = 0.0
    probability: bool = False


@dataclass
class Outcome:
    """What came back.

    Attributes:
        label: uint8 (z, y, x) on the input's own grid; 0 is background.
        probability: float32 (z, y, x) on the same grid, or None where it was not asked for.
        summary: in JSON's types: model, model_title, weights_sha256, program_version, threshold, slices ("all" or
            "lung"), minimum_cc, device, runtime, seconds, timings (seconds by stage), lung_slices, tumor_volume_cc,
            warnings, labels (as the card's ``Label``), components (as ``components.Component``: label is the
            value in ``label``), series_uid (or None), and date (ISO 8601, UTC).
    """

    label: np.ndarray
    probability: np.ndarray | None
    summary: dict[str, Any]


# The wire. From the front end:


@dataclass(frozen=True)
class Segment:
    """Do this; the files of the run are in ``folder``.

    Attributes:
        folder: where the volume lies and the results go.
        volume: what ``voxel_transfer.write_volume`` says of the volume's file.
        request: the fields of a :class:`Request`.
    """

    folder: str
    volume: dict[str, Any]
    request: dict[str, Any]


# From the worker, and of these the last three from a command:


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
_MESSAGES = {kind.__name__: kind for kind in (Segment, Hello, Alive, Taken, Progressed, Done, Broken)}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict[str, Any]": dict,
}


def encode(message: Message) -> bytes:
    """A message as one line."""
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return json.dumps({"message": type(message).__name__, **fields}, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message on a line.

    Raises:
        ValueError: it is none.
    """
    if not line.endswith(b"\n"):
        raise ValueError("The line was cut.")
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("The line is nested too deeply.") from error
    kind = _MESSAGES.get(str(found.pop("message", ""))) if isinstance(found, dict) else None
    if kind is None:
        raise ValueError("The line is no message.")
    known = {field.name: _TYPES[str(field.type)] for field in dataclasses.fields(kind)}
    if found.keys() != known.keys() or not all(isinstance(found[name], known[name]) for name in known):
        raise ValueError(f"The fields of '{kind.__name__}' are wrong.")
    return kind(**found)
