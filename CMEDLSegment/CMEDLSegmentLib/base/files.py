"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Names that Windows keeps for devices, with any ending: no file or folder can be called so."""
BESIDE = ".cmedl-"
"""How the names of files begin that are being written; one that stays was left by a process that was killed."""


@contextlib.contextmanager
def atomic_path(final: Path | str) -> Iterator[Path]:
    """Yield a path beside ``final`` to write to; rename it to ``final`` on success, remove it on failure.

    The temporary name keeps every ending of ``final`` (``.seg.nrrd``, ``.nii.gz``), because writers choose the
    format by it.

    Raises:
        InputError: the folder is missing or not writable, or the disk is full.
    """
    final = Path(final)
    name, dot, endings = final.name.lstrip(".").partition(".")  # the dot of a hidden file begins no ending
    # A short stem of our own: a long or non-ASCII final name must not grow past the file system's limit.
    beside = final.with_name(f"{BESIDE}{secrets.token_hex(6)}{dot}{endings}" if name else f"{final.name}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb+") as stream:
            os.fsync(stream.fileno())
        beside.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{final} could not be written ({reason}); choose a folder that is writable and has free space."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
