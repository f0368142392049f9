"""Slicer's own Python interpreter and the environment that programs beside the window run in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import InputError

from . import devices


def python() -> str:
    """The path of ``PythonSlicer``.

    Raises:
        InputError: it is not found.
    """
    found = shutil.which("PythonSlicer", path=str(Path(slicer.app.slicerHome, "bin"))) or shutil.which("PythonSlicer")
    if found is None:
        raise InputError(_("PythonSlicer was not found; start Slicer by its launcher."))
    return found


def environment() -> dict[str, str]:
    """The environment variables of those processes, which number graphics cards as the panel does."""
    return {**os.environ, **devices.ORDER}
