"""Slicer's own Python interpreter, which the processes beside the window run in."""

from __future__ import annotations

import shutil
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import InputError


def python() -> str:
    """The path of ``PythonSlicer``.

    Raises:
        InputError: it is not found.
    """
    found = shutil.which("PythonSlicer", path=str(Path(slicer.app.slicerHome, "bin"))) or shutil.which("PythonSlicer")
    if found is None:
        raise InputError(_("PythonSlicer was not found; start Slicer by its launcher."))
    return found
