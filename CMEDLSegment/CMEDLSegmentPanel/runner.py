"""One segmentation at a time in the worker process, with a timer that asks the worker's client how it goes.

The client's threads and files are its own; everything that touches the scene happens here, on the GUI thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.process.client import WorkerClient
from CMEDLSegmentLib.process.protocol import (
    CancelledEvent,
    Event,
    Failed,
    Finished,
    Log,
    Outcome,
    Request,
    Stage,
    Started,
)

POLL_MS = 50


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
        add: makes the nodes of an outcome and returns the segmentation; called on the GUI thread.
    """

    def __init__(
        self,
        client: WorkerClient,
        add: Callable[[slicer.vtkMRMLScalarVolumeNode, Outcome], slicer.vtkMRMLSegmentationNode],
    ) -> None:
        self.client = client
        self._add = add
        self._node = None
        self._callbacks = RunCallbacks()
        self._stage = Stage("", 0.0, 0.0, None)
        self._staged = self._began = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def busy(self) -> bool:
        """Whether a segmentation is running."""
        return self._node is not None

    def start(
        self, node: slicer.vtkMRMLScalarVolumeNode, volume: Volume, request: Request, callbacks: RunCallbacks
    ) -> None:
        """Begin; returns at once.

        Raises:
            CMEDLError: the worker cannot be given the work.
        """
        self.client.start(volume, request)
        self._node, self._callbacks = node, callbacks
        self._stage = Stage(_("Starting"), 0.0, 0.0, None)
        self._staged = self._began = time.monotonic()
        self._timer.start()

    def run(
        self,
        node: slicer.vtkMRMLScalarVolumeNode,
        volume: Volume,
        request: Request,
        callbacks: RunCallbacks,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segment and wait for the result, for scripts.

        Raises:
            CMEDLError: the run failed or was cancelled.
        """
        self.client.start(volume, request)
        self._callbacks = callbacks
        outcome = self.client.wait(self._report)
        return self._add(node, outcome)

    def cancel(self, sentence: str | None = None) -> None:
        """Kill the worker and drop the run; nothing of it is left.

        Args:
            sentence: what ``failed`` is told; default is that the user cancelled.
        """
        if self.busy:
            self.client.cancel()
            self.client.poll()
            self._end(failed=sentence or _("Cancelled; nothing was added to the scene."))

    def close(self) -> None:
        """Drop a run without telling anybody, and end the worker."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._poll)
        self._node, self._callbacks = None, RunCallbacks()
        self.client.close()

    def _poll(self) -> None:
        """What happened since the last time; called by the timer."""
        if not slicer.mrmlScene.IsNodePresent(self._node):
            self.cancel(_("The CT was removed while it was being segmented; nothing was added to the scene."))
            return
        for event in self.client.poll():
            if isinstance(event, Finished):
                self._finish(event.outcome)
                return
            if isinstance(event, Failed):
                if event.detail:
                    logging.error(event.detail)
                    self._tell(self._callbacks.log, event.detail)
                self._end(failed=event.sentence)
                return
            if isinstance(event, CancelledEvent):
                self._end(failed=_("Cancelled; nothing was added to the scene."))
                return
            self._report(event)
        self._progress()

    def _report(self, event: Event) -> None:
        """Hand on what is no end."""
        if isinstance(event, Started):
            self._began = self._staged = time.monotonic()
        elif isinstance(event, Stage):
            self._stage, self._staged = event, time.monotonic()
            self._progress()
        elif isinstance(event, Log):
            self._tell(self._callbacks.log, event.line)

    def _progress(self) -> None:
        """The stage with times of now: between two stages the clock goes on."""
        now = time.monotonic()
        remaining = self._stage.remaining_s
        if remaining is not None:
            remaining = max(0.0, remaining - (now - self._staged))
        self._tell(self._callbacks.progress, self._stage.text, self._stage.fraction, now - self._began, remaining)

    def _finish(self, outcome: Outcome) -> None:
        try:
            result = self._add(self._node, outcome)
        except CMEDLError as error:
            self._end(failed=str(error))
        except Exception:
            self._end(failed=_("The result could not be added to the scene; the error log says why."))
            raise
        else:
            self._end(result=result)

    def _end(self, result: slicer.vtkMRMLSegmentationNode | None = None, failed: str = "") -> None:
        """The run is over before anybody is told, so that a callback can begin the next one."""
        callbacks = self._callbacks
        self._timer.stop()
        self._node, self._callbacks = None, RunCallbacks()
        if result:
            self._tell(callbacks.finished, result)
        else:
            self._tell(callbacks.failed, failed)

    @staticmethod
    def _tell(callback: Callable | None, *facts: object) -> None:
        if callback:
            callback(*facts)
