"""One segmentation at a time in the worker process.

The client's threads and files are its own; everything that touches the scene happens here, on the GUI thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.process.client import SegmentationRun, WorkerClient
from CMEDLSegmentLib.process.protocol import Outcome

from .poller import POLL_MS, Poller

Add = Callable[[slicer.vtkMRMLScalarVolumeNode, Outcome], Any]
"""Brings the outcome of a volume into the scene and returns the segmentation node; called on the GUI thread."""


@dataclass(frozen=True)
class RunCallbacks:
    """Whom a run tells what; each is called on the GUI thread.

    Attributes:
        progress: the stage in words, the fraction (0 to 1), seconds elapsed, seconds that remain or None.
        log: a line that the worker printed.
        finished: the new segmentation node.
        failed: a sentence that says what is wrong and what to do; also after a cancel.
    """

    progress: Callable[[str, float, float, float | None], None] | None = None
    log: Callable[[str], None] | None = None
    finished: Callable[[slicer.vtkMRMLSegmentationNode], None] | None = None
    failed: Callable[[str], None] | None = None


class SegmentationRunner:
    """Runs segmentations one after the other.

    Args:
        client: the worker's client.
        add: what to do with an outcome.
    """

    def __init__(
        self,
        client: WorkerClient,
        add: Add,
    ) -> None:
        self.client = client
        self._add = add
        self._callbacks = RunCallbacks()
        self._poller = Poller()

    @property
    def busy(self) -> bool:
        """Whether a segmentation is running."""
        return self._poller.busy

    def start(
        self,
        node: slicer.vtkMRMLScalarVolumeNode,
        volume: Volume,
        options: SegmentationOptions,
        probability: bool,
        callbacks: RunCallbacks,
        add: Add | None = None,
    ) -> None:
        """Begin; returns at once.

        Args:
            add: what to do with the outcome instead of what the runner does.

        Raises:
            CMEDLError: the worker cannot be given the work.
        """
        segmentation = self.client.start(volume, options, probability)
        self._callbacks = callbacks

        def progress(*stage: Any) -> None:
            if slicer.mrmlScene.IsNodePresent(node):
                _report(segmentation, callbacks)
            else:
                self.cancel(_removed())

        def done(outcome: Outcome | None, error: CMEDLError | None) -> None:
            _report(segmentation, callbacks)
            if outcome is None or not slicer.mrmlScene.IsNodePresent(node):
                _tell(callbacks.failed, str(error or _removed()))
            else:
                self._finish(node, outcome, callbacks, add or self._add)

        self._poller.start(segmentation, done, progress)

    def run(
        self,
        node: slicer.vtkMRMLScalarVolumeNode,
        volume: Volume,
        options: SegmentationOptions,
        probability: bool,
        callbacks: RunCallbacks,
        add: Add | None = None,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segment and wait for the result, for scripts; see :meth:`start`.

        Raises:
            CMEDLError: the run failed or was cancelled.
        """
        segmentation = self.client.start(volume, options, probability)
        while not segmentation.done():
            _report(segmentation, callbacks)
            wait([segmentation], POLL_MS / 1000)
        _report(segmentation, callbacks)
        return (add or self._add)(node, segmentation.result())

    def cancel(self, sentence: str | None = None) -> None:
        """Kill the worker and drop the run; nothing of it is left.

        Args:
            sentence: what ``failed`` is told; default is that the user cancelled.
        """
        if self.busy:
            self._poller.drop()
            _tell(self._callbacks.failed, sentence or _("Cancelled; nothing was added to the scene."))

    def close(self) -> None:
        """Drop a run without telling anybody, and end the worker."""
        self._poller.drop()
        self.client.close()

    def _finish(
        self, node: slicer.vtkMRMLScalarVolumeNode, outcome: Outcome, callbacks: RunCallbacks, add: Add
    ) -> None:
        try:
            result = add(node, outcome)
        except CMEDLError as error:
            _tell(callbacks.failed, str(error))
        except Exception:
            _tell(callbacks.failed, _("The result could not be added to the scene; the error log says why."))
            raise
        else:
            _tell(callbacks.finished, result)


def _report(segmentation: SegmentationRun, callbacks: RunCallbacks) -> None:
    for line in segmentation.printed():
        _tell(callbacks.log, line)
    if segmentation.detail:
        logging.error(segmentation.detail)
        _tell(callbacks.log, segmentation.detail)
    if not segmentation.over:
        _tell(callbacks.progress, *segmentation.stage)


def _removed() -> str:
    return _("The CT was removed while it was being segmented; nothing was added to the scene.")


def _tell(callback: Callable | None, *facts: object) -> None:
    if callback:
        callback(*facts)
