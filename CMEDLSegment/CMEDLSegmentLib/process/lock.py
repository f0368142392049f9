"""Who owns a folder: one process, which a small file there names until the process removes it.

The file is JSON with the process's number (``pid``), its machine (``host``), the space that numbers processes there
(``space``, a container's or the machine's), a ``mark`` of its start that no later process of the same number has, also
after a restart of the machine, when it took the folder (``started``, seconds since 1970), and a ``token``. The owner
touches it while it lives.

The file system decides between rivals: a free lock's file is created exclusively. A dead owner's file is replaced only
by the process that has created, exclusively too, a claim beside it whose name is a digest of that very file. The claim
becomes the lock by a rename. A claim whose process died is claimed in the same way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..base.errors import InputError
from ..base.files import BESIDE, atomic_path
from .process_group import end_group

HEARTBEAT_S = 5.0
"""An owner touches its file this often, from a thread of its own: also while its work is busy elsewhere."""
SILENT_S = 60.0
"""An owner whose process cannot be looked at, on another machine or where there is no ``/proc``, is taken for dead when
it has not touched its file for longer than this."""

ATTEMPTS = 100
"""Each fails only where others take or release the lock in the same moment."""


def this_process() -> dict[str, Any]:
    """What this process writes to own something."""
    return {**_place(), "pid": os.getpid(), "mark": _mark(os.getpid()), "started": round(time.time(), 3)}


def acquire(file: Path, **more: Any) -> bool:
    """Own ``file``'s folder, and tell so there; False when a living process does already, be it this one.

    Args:
        file: the lock's file.
        more: what else readers should know.

    Raises:
        InputError: it cannot be written.
    """
    content = json.dumps({**this_process(), "token": secrets.token_hex(8), **more}).encode()
    try:
        return _take(file, content)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{file} could not be written ({reason}); choose a folder that is writable and has free space."
        ) from error


def refresh(file: Path) -> None:
    """Touch the file if this process owns it: the sign of life for other machines."""
    if _is_mine(file):
        with contextlib.suppress(OSError):
            os.utime(file)


def update(file: Path, **more: Any) -> None:
    """Let the file say more if this process owns it.

    Raises:
        InputError: it cannot be written.
    """
    if _is_mine(file):
        with atomic_path(file) as beside:
            beside.write_text(json.dumps({**_parse(_read(file)[0]), **more}), "utf-8")


def release(file: Path) -> None:
    """Remove the file if this process owns it."""
    if _is_mine(file):
        with contextlib.suppress(OSError):
            file.unlink()


@contextlib.contextmanager
def hold(file: Path, **more: Any) -> Iterator[bool]:
    """Own ``file``'s folder while inside, with a heartbeat; False when another process owns it. See :func:`acquire`."""
    if not acquire(file, **more):
        yield False
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            refresh(file)

    heartbeat = threading.Thread(target=beat, name="cmedl-heartbeat", daemon=True)
    heartbeat.start()
    try:
        yield True
    finally:
        ended.set()
        heartbeat.join()
        release(file)


def owner(file: Path) -> dict[str, Any] | None:
    """What the living owner wrote in ``file``; None where there is none, or none that is alive."""
    try:
        content, modified = _read(file)
    except OSError:
        return None
    written = _parse(content)
    return written if _lives(written, time.time() - modified) else None


def is_here(owner: dict[str, Any]) -> bool:
    """Whether an :func:`owner` runs where this process does."""
    return all(owner.get(name) == value for name, value in _place().items())


def is_this_process(owner: dict[str, Any]) -> bool:
    """Whether an :func:`owner` is this very process."""
    return is_here(owner) and (owner.get("pid"), owner.get("mark")) == (os.getpid(), _mark(os.getpid()))


def terminate(file: Path) -> None:
    """Ask the living owner to end, where it is another process here and signals can be sent."""
    if (pid := _other_here(file)) is not None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(file: Path) -> bool:
    """End the living owner at once with all that it started; whether it was another process here.

    Raises:
        InputError: this user may not.
    """
    if (pid := _other_here(file)) is None:
        return False
    try:
        if sys.platform == "win32" or os.getpgid(pid) == pid:
            end_group(pid)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise InputError(f"The process {pid} is another user's; ask them to end it.") from error
    return True


def _take(file: Path, content: bytes) -> bool:
    for _ in range(ATTEMPTS):
        if _create(file, content):
            return True
        try:
            left, modified = _read(file)
        except FileNotFoundError:  # released meanwhile
            continue
        if _lives(_parse(left), time.time() - modified):
            return False
        claim = _claim(file, left)
        if not _take(claim, content):
            return False
        # Nobody else may replace what was left, unless somebody did before there was this claim. The claim's time is
        # that of the disk's clock, as the heartbeat's is: this machine's may be wrong.
        try:
            now, modified = _read(file)
        except FileNotFoundError:
            now = None
        if now == left and not _lives(_parse(left), claim.stat().st_mtime - modified):
            claim.replace(file)
            return True
        claim.unlink(missing_ok=True)
        if now == left:
            return False
    return False  # a link that leads nowhere, say


def _create(file: Path, content: bytes) -> bool:
    """Write a file that was not there; False where it was."""
    try:
        stream = file.open("xb")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(content)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return True


def _claim(file: Path, left: bytes) -> Path:
    """The file of the only process that may replace ``file`` as it is."""
    name = file.name.removeprefix(BESIDE)
    return file.with_name(f"{BESIDE}{name}.{hashlib.sha256(left).hexdigest()[:12]}")


def _read(file: Path) -> tuple[bytes, float]:
    """A file's content, and when it was touched last, in seconds since 1970."""
    with file.open("rb") as stream:
        return stream.read(), os.fstat(stream.fileno()).st_mtime


def _parse(content: bytes) -> dict[str, Any]:
    """What an owner wrote. One that has created its file and not yet written it is an unknown one elsewhere."""
    try:
        written = json.loads(content)
    except ValueError:
        written = None
    return written if isinstance(written, dict) else {"pid": None, "host": None}


def _lives(owner: dict[str, Any], silent_s: float) -> bool:
    """Whether an owner lives that touched its file so many seconds ago."""
    mark = owner.get("mark")
    if mark is None or not is_here(owner):
        return silent_s < SILENT_S
    return _mark(owner.get("pid")) == mark


def _is_mine(file: Path) -> bool:
    try:
        return is_this_process(_parse(_read(file)[0]))
    except OSError:
        return False


def _other_here(file: Path) -> int | None:
    living = owner(file)
    return living["pid"] if living and is_here(living) and not is_this_process(living) else None


def _place() -> dict[str, str | None]:
    """This machine, and the space in which it numbers this process."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - "pid:[4026531836]" is no path
    except OSError:
        space = None
    return {"host": socket.gethostname(), "space": space}


def _mark(pid: Any) -> str | None:
    """A mark of the process's start; None when there is no such process, or no ``/proc`` to look in."""
    try:
        # Linux's stat after the name, which may hold spaces: the state, and as field 22 of all the start in ticks.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except (OSError, UnicodeError):
        return None
    # A process that was killed and that its parent has not asked about yet is dead.
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
