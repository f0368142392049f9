"""The log of a fault of ours: where it happened, without a word that could name a patient."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from datetime import datetime, timezone
from pathlib import Path


def internal_error(program: str, error: BaseException) -> str:
    """Log the stack of an unexpected exception; return the sentence that says so.

    The log holds the frames and the exceptions' types but not their messages, which may quote a path or a
    DICOM field and with it a patient.
    """
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        return f"{program} ran out of memory; close other programs or give a smaller volume."
    lines = [f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {program}\n"]
    link: BaseException | None = error
    while link is not None:
        lines += [f"{type(link).__name__}\n", *traceback.format_tb(link.__traceback__)]
        link = link.__cause__ or link.__context__
    name = f"{program}-{datetime.now().strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (log_folder(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log = folder / name
            with log.open("a", encoding="utf-8") as stream:
                stream.writelines(lines)
        except OSError:
            continue
        return f"{program} met a fault of its own ({kind}); please report it with the log {log}."
    return f"{program} met a fault of its own ({kind}), and no folder for a log could be written to."


def log_folder() -> Path:
    """Where this platform keeps the logs of a user's programs."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "CMEDL" / "Logs"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Logs" / "CMEDL"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "cmedl"
