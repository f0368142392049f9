"""Processes that lead a group of their own, so that all that they start can be ended with them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any


def own_group() -> dict[str, Any]:
    """What ``subprocess.Popen`` is given, so that the process leads a group, and on POSIX a session, of its own."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def end_group(leader: int) -> None:
    """End the process ``leader``, which leads a group, and all that it started, at once and without waiting."""
    if sys.platform == "win32":
        # Started, not waited for: the caller may be the thread that draws the window.
        subprocess.Popen(
            ["taskkill", "/T", "/F", "/PID", str(leader)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
