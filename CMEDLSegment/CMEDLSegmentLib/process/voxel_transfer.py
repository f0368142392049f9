"""How voxels and results go between the front end and the worker: raw files in the run's private folder.

A volume of 150 MB in a pipe would be copied piece by piece through Python; in a file it is written once, and the
worker maps it. The label and the probability are mostly zeros: only the slices from the first to the last one that
are not are written.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .protocol import Outcome

if TYPE_CHECKING:
    from ..io.volume import Volume

VOLUME, LABEL, PROBABILITY, SUMMARY = "volume.raw", "label.raw", "probability.raw", "summary.json"
CHUNK = 64 << 20
"""Bytes written at a time; between two chunks a cancel is noticed."""


def write_volume(folder: Path, volume: Volume, stopped: Callable[[], bool]) -> dict[str, Any]:
    """Write the volume's voxels into ``folder``; what :func:`read_volume` needs besides, in JSON's types.

    Args:
        folder: the run's folder.
        volume: its array is read where it lies.
        stopped: asked between chunks; when it turns true, the rest is left out.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    _write(folder / VOLUME, volume.array, stopped)
    return {
        "shape": list(volume.array.shape),
        "dtype": volume.array.dtype.str,
        "geometry": dataclasses.asdict(volume.geometry),
        "modality": volume.modality,
        "series_uid": volume.series_uid,
        "warnings": list(volume.warnings),
    }


def read_volume(folder: Path, description: dict[str, Any]) -> Volume:
    """The volume that :func:`write_volume` wrote; its array is the file, mapped into memory, read-only."""
    from ..io.volume import Geometry, Volume

    array = np.memmap(
        folder / VOLUME, dtype=np.dtype(description["dtype"]), mode="r", shape=tuple(description["shape"])
    )
    geometry = Geometry(**{key: tuple(value) for key, value in description["geometry"].items()})
    return Volume(array, geometry, **{key: description[key] for key in ("modality", "series_uid", "warnings")})


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write an outcome into ``folder``; the summary comes last.

    Raises:
        OSError: the disk is full, or the folder is gone.
    """
    arrays = {LABEL: outcome.label}
    if outcome.probability is not None:
        arrays[PROBABILITY] = outcome.probability
    layouts = {}
    for name, array in arrays.items():
        used = np.flatnonzero([part.any() for part in array])
        first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        _write(folder / name, array[first:end], lambda: False)
        layouts[name] = {"shape": list(array.shape), "dtype": array.dtype.str, "first": first, "end": end}
    text = json.dumps({"summary": outcome.summary, "arrays": layouts}, allow_nan=False)
    (folder / SUMMARY).write_text(text, encoding="utf-8")


def read_outcome(folder: Path) -> Outcome:
    """The outcome that :func:`write_outcome` wrote, in memory.

    Raises:
        OSError: a file is missing.
        ValueError: a file is not what the summary says.
    """
    stored = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    arrays = {name: _read(folder / name, **fields) for name, fields in stored["arrays"].items()}
    return Outcome(arrays[LABEL], arrays.get(PROBABILITY), stored["summary"])


def _read(path: Path, shape: list[int], dtype: str, first: int, end: int) -> np.ndarray:
    array = np.zeros(shape, dtype=np.dtype(dtype))
    part = array[first:end]
    with path.open("rb", buffering=0) as stream:
        view = part.data.cast("B") if part.size else memoryview(b"")
        while view:
            count = stream.readinto(view)
            if not count:
                raise ValueError(f"{path.name} is cut short.")
            view = view[count:]
    return array


def _write(path: Path, array: np.ndarray, stopped: Callable[[], bool]) -> None:
    """Write an array's voxels; plain writes, because a full disk kills a process that writes by mapping."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        # A C-contiguous array is one part; of a flipped or permuted view, one slice at a time is copied.
        for part in (array,) if array.flags.c_contiguous else array:
            view = np.ascontiguousarray(part).data.cast("B") if part.size else memoryview(b"")
            while view:
                if stopped():
                    return
                view = view[stream.write(view[:CHUNK]) :]
