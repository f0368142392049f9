"""One segmentation at a time in the worker process.

The client's threads and files are its own; everything that touches the scene happens here, on the GUI thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base import errors
from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError
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
)
from CMEDLSegmentLib.process.supervisor import Work

from .poller import Poller


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
        self._callbacks = RunCallbacks()
        self._poller = Poller()

    @property
    def busy(self) -> bool:
        """Whether a segmentation is running."""
        return self._poller.busy

    def start(
        self, node: slicer.vtkMRMLScalarVolumeNode, volume: Volume, request: Request, callbacks: RunCallbacks
    ) -> None:
        """Begin; returns at once.

        Raises:
            CMEDLError: the worker cannot be given the work.
        """
        self.client.start(volume, request)
        self._callbacks = callbacks

        def progress(*stage: Any) -> None:
            if slicer.mrmlScene.IsNodePresent(node):
                _tell(callbacks.progress, *stage)
            else:
                self.cancel(_removed())

        self._poller.start(
            _Segmentation(self.client, callbacks.log),
            lambda outcome, error: self._finish(node, outcome, error, callbacks),
            progress,
        )

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
        segmentation = _Segmentation(self.client, callbacks.log)

        def hear(event: Event) -> None:
            segmentation.hear(event)
            _tell(callbacks.progress, *segmentation.stage)

        return self._add(node, self.client.wait(hear))

    def cancel(self, sentence: str | None = None) -> None:
        """Kill the worker and drop the run; nothing of it is left.

        Args:
            sentence: what ``failed`` is told; default is that the user cancelled.
        """
        if self.busy:
            self._poller.drop()
            _tell(self._callbacks.failed, sentence or _cancelled())

    def close(self) -> None:
        """Drop a run without telling anybody, and end the worker."""
        self._poller.drop()
        self.client.close()

    def _finish(
        self,
        node: slicer.vtkMRMLScalarVolumeNode,
        outcome: Outcome | None,
        error: Exception | None,
        callbacks: RunCallbacks,
    ) -> None:
        if outcome is None or not slicer.mrmlScene.IsNodePresent(node):
            _tell(callbacks.failed, str(error or _removed()))
            return
        try:
            result = self._add(node, outcome)
        except CMEDLError as refusal:
            _tell(callbacks.failed, str(refusal))
        except Exception:
            _tell(callbacks.failed, _("The result could not be added to the scene; the error log says why."))
            raise
        else:
            _tell(callbacks.finished, result)


class _Segmentation(Work):
    """A run of the worker: its stage is that of ``RunCallbacks.progress``.

    Args:
        client: has begun with it.
        log: told what the worker prints.
    """

    def __init__(self, client: WorkerClient, log: Callable[[str], None] | None) -> None:
        super().__init__()
        self._client, self._log = client, log
        self.stage = (_("Starting"), 0.0, 0.0, None)

    def done(self) -> bool:
        """Hear what happened since the last time; whether the run is over."""
        if not super().done():
            for event in self._client.poll():
                self.hear(event)
        return super().done()

    def cancel(self) -> bool:
        """Kill the worker; nothing of the run is left."""
        self._client.cancel()
        return self.done()

    def hear(self, event: Event) -> None:
        """Take in what the client tells."""
        if isinstance(event, Stage):
            self.stage = (event.text, event.fraction, event.elapsed_s, event.remaining_s)
        elif isinstance(event, Log):
            _tell(self._log, event.line)
        elif isinstance(event, Finished):
            self.set_result(event.outcome)
        elif isinstance(event, CancelledEvent):
            self.set_exception(Cancelled(_cancelled()))
        elif isinstance(event, Failed):
            if event.detail:
                logging.error(event.detail)
                _tell(self._log, event.detail)
            self.set_exception(getattr(errors, event.kind)(event.sentence))


def _cancelled() -> str:
    return _("Cancelled; nothing was added to the scene.")


def _removed() -> str:
    return _("The CT was removed while it was being segmented; nothing was added to the scene.")


def _tell(callback: Callable | None, *facts: object) -> None:
    if callback:
        callback(*facts)
