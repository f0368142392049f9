"""Runs the real modules of this repository without the Slicer application, on slicer-core and PySide6."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.application import Application


def application() -> AbstractContextManager[Application]:
    """A stand-in for a running Slicer; the same one again within a process, left empty at the end."""
    # Imported late: it replaces what ``qt`` and ``slicer`` are for the whole process.
    from harness.application import application as start

    return start()
