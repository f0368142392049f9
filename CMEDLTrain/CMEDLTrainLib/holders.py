"""Who holds a folder: a process, told in a small file there that it removes at a clean end.

It is JSON with the process's number (``pid``), its machine (``host``) and a mark of its start (``started``), which
no later process of the same number has.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from CMEDLSegmentLib.files import atomic_path

SILENT_S = 60.0
"""A holder on another machine that has not touched its file for longer than this is taken for dead."""


def this_process() -> dict[str, Any]:
    """What this process writes to hold something."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _process_start(os.getpid())}


def take(file: Path) -> None:
    """Hold ``file``'s folder, whoever did so before.

    Raises:
        InputError: it cannot be written.
    """
    with atomic_path(file) as beside:
        beside.write_text(json.dumps(this_process()), "utf-8")


def living(file: Path) -> dict[str, Any] | None:
    """The holder that ``file`` tells of; None where there is none, or none that is alive."""
    try:
        holder = json.loads(file.read_text("utf-8"))
        silent = time.time() - file.stat().st_mtime
    except (OSError, ValueError):
        return None
    if holder.get("host") != socket.gethostname():
        return holder if silent < SILENT_S else None
    return holder if _process_start(int(holder.get("pid", -1))) == holder.get("started") else None


def _process_start(pid: int) -> str | None:
    """A mark of the process that no later process of the same number shares; None when there is no such process."""
    try:
        # Field 22 of Linux's stat: start time in clock ticks since boot; the name before it may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
