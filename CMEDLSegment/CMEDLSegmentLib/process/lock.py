"""Who holds a folder: a process, told in a small file there that it touches while it lives and removes at a clean end.

It is JSON with the process's number (``pid``), its machine (``host``), the space that numbers processes there
(``space``, a container's or the machine's), a ``mark`` of its start that no later process of the same number has, also
after a restart of the machine, and when it took the folder (``started``, seconds since 1970).
"""

from __future__ import annotations

import contextlib
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
from ..base.files import atomic_path

HEARTBEAT_S = 5.0
"""A holder touches its file this often, from a thread of its own: also while its work is busy elsewhere."""
SILENT_S = 60.0
"""A holder whose process cannot be looked at, on another machine or where there is no ``/proc``, is taken for dead when
it has not touched its file for longer than this."""
SETTLE_S = 0.1
"""Of two processes that take a folder at the same moment, the one whose file is there after this has it."""


def this_process() -> dict[str, Any]:
    """What this process writes to hold something."""
    return {**_place(), "pid": os.getpid(), "mark": _mark(os.getpid()), "started": round(time.time(), 3)}


def take(file: Path, **more: Any) -> None:
    """Hold ``file``'s folder, whoever did so before.

    Args:
        file: where this is told.
        more: what else readers should know.

    Raises:
        InputError: it cannot be written.
    """
    with atomic_path(file) as beside:
        beside.write_text(json.dumps({**this_process(), **more}), "utf-8")


@contextlib.contextmanager
def held(file: Path, **more: Any) -> Iterator[bool]:
    """Hold ``file``'s folder while inside and tell readers that this process lives; False when another one has it.

    Args:
        file: where this is told; removed at the end.
        more: what else readers should know.

    Raises:
        InputError: it cannot be written.
    """
    if living(file) is not None:
        yield False
        return
    token = secrets.token_hex(8)
    take(file, token=token, **more)
    time.sleep(SETTLE_S)
    if _read(file).get("token") != token:
        yield False
        return
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(file, ended), name="cmedl-heartbeat", daemon=True)
    beating.start()
    try:
        yield True
    finally:
        ended.set()
        beating.join()
        file.unlink(missing_ok=True)


def add(file: Path, **more: Any) -> None:
    """Tell readers more of the holder, which this process is; nothing where no one holds the folder."""
    if told := _read(file):
        with atomic_path(file) as beside:
            beside.write_text(json.dumps({**told, **more}), "utf-8")


def living(file: Path) -> dict[str, Any] | None:
    """The holder that ``file`` tells of; None where there is none, or none that is alive."""
    holder = _read(file)
    here, mark = _place(), holder.get("mark")
    if not holder:
        return None
    if mark is None or any(holder.get(name) != value for name, value in here.items()):
        try:
            return holder if time.time() - file.stat().st_mtime < SILENT_S else None
        except OSError:
            return None
    return holder if _mark(holder.get("pid")) == mark else None


def is_here(holder: dict[str, Any]) -> bool:
    """Whether a holder that :func:`living` told of runs where this process does."""
    return all(holder.get(name) == value for name, value in _place().items())


def interrupt(file: Path) -> None:
    """Ask the living holder of ``file``'s folder to end, where it is another process here and signals can be sent."""
    if (pid := _other_here(file)) is not None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def end(file: Path) -> bool:
    """End the living holder of ``file``'s folder at once with all that it started; whether it is another process here.

    Raises:
        InputError: this user may not.
    """
    from .process_group import end_group  # with the worker's messages, which need numpy

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


def _other_here(file: Path) -> int | None:
    holder = living(file)
    return holder["pid"] if holder and is_here(holder) and not is_this_process(holder) else None


def is_this_process(holder: dict[str, Any]) -> bool:
    """Whether a holder that :func:`living` told of is this very process."""
    own = {**_place(), "pid": os.getpid(), "mark": _mark(os.getpid())}
    return all(holder.get(name) == value for name, value in own.items())


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _beat(file: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(file)


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
