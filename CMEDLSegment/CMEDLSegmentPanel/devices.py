"""The devices that a network can run on, found without loading torch and without waiting for anything."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

QUESTION = ["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Environment of the worker, so that it numbers the graphics cards as ``nvidia-smi`` does."""


class Devices:
    """What the selector of devices offers; NVIDIA's program is asked in the background.

    Args:
        changed: called when the answer is there.

    Attributes:
        titles: what the user reads, by the name that the worker understands.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.titles = {"auto": _("Automatic"), "cpu": _("Processor (CPU)")}
        if sys.platform == "darwin" and platform.machine() == "arm64":
            self.titles["mps"] = _("Apple graphics (mps)")
        self._changed = changed
        self._process: Any = None

    def ask(self) -> None:
        """Ask once which NVIDIA cards there are; nothing happens where there is no driver."""
        program = shutil.which("nvidia-smi")
        if self._process is not None or program is None:
            return
        self._process = qt.QProcess()
        self._process.connect("finished(int,QProcess::ExitStatus)", self._answered)
        self._process.start(program, QUESTION)

    def close(self) -> None:
        """Ask no longer."""
        if self._process is None:
            return
        self._process.disconnect("finished(int,QProcess::ExitStatus)", self._answered)
        if self._process.state() != qt.QProcess.NotRunning:
            self._process.kill()
            self._process.waitForFinished(1000)

    def _answered(self, code: int, status: int) -> None:
        if code == 0:
            text = bytes(self._process.readAllStandardOutput().data()).decode("utf-8", "replace")
            self.titles.update(cards(text, os.environ.get("CUDA_VISIBLE_DEVICES")))
            self._changed()


def cards(answer: str, visible: str | None = None) -> dict[str, str]:
    """Titles of the cards that ``nvidia-smi`` listed, by torch's names for them.

    Args:
        answer: lines of "index, name, memory in MiB".
        visible: ``CUDA_VISIBLE_DEVICES``: torch numbers only these; one that names no numbers leaves nothing to list.
    """
    found = {}
    for line in answer.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[0].isdigit() and parts[2].isdigit():
            found[parts[0]] = f"{parts[1]}, {int(parts[2]) / 1024:.0f} GB"
    order = list(found) if visible is None else [index.strip() for index in visible.split(",")]
    return {f"cuda:{number}": found[index] for number, index in enumerate(order) if index in found}
