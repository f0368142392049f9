"""Waiting as Slicer's window does: while its event loop is idle, no other Python thread runs.

PythonQt's loop is C++ that holds Python's lock, and gives it away only in Python code: a thread gets a step whenever
a timer or a signal calls some. PySide6 lets go of the lock in every call into Qt, so here Qt's own functions are called
through ctypes, which holds it. Where they cannot be found (not on Linux), PySide6's are used, and threads run freely.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from PySide6 import QtCore

WAIT_FOR_MORE = QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents.value
DELETE = QtCore.QEvent.Type.DeferredDelete.value


def _library() -> ctypes.PyDLL | None:
    folder = QtCore.QLibraryInfo.path(QtCore.QLibraryInfo.LibraryPath.LibrariesPath)
    try:
        library = ctypes.PyDLL(str(Path(folder, "libQt6Core.so.6")))
        library.process = library["_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"]
        library.send = library["_ZN16QCoreApplication16sendPostedEventsEP7QObjecti"]
    except (OSError, AttributeError):
        return None
    library.process.argtypes, library.process.restype = [ctypes.c_int], None
    library.send.argtypes, library.send.restype = [ctypes.c_void_p, ctypes.c_int], None
    return library


_qt = _library()


def process(flags: int = 0) -> None:
    """Let Qt do what there is to do, and delete what was to be deleted later."""
    if _qt:
        _qt.process(flags)
        _qt.send(None, DELETE)
    else:
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag(flags))
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def pause(seconds: float) -> None:
    """Be idle until something happens, at most for that long."""
    alarm = QtCore.QTimer()
    alarm.setSingleShot(True)
    alarm.start(max(1, round(1000 * seconds)))
    process(WAIT_FOR_MORE)
