"""The large button, what it shows while a segmentation runs, and the worker behind it."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from . import dependencies
from .section import Section, plainToolTip, setText, show_errors


def clock(seconds: float) -> str:
    """Seconds as ``m:ss``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


WATCH_MS = 5000
"""How often the panel looks whether an idle worker has left."""


class RunSection(Section):
    """Segment tumor, Cancel, progress, log, Release."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.progressWidget.visible = False
        self.ui.messageLabel.visible = False
        self._watch = qt.QTimer(panel.uiWidget)
        self._watch.setInterval(WATCH_MS)
        self._watch.connect("timeout()", self._showWorker)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegment)
        self.ui.releaseButton.connect("clicked(bool)", self.onRelease)

    def refresh(self) -> None:
        """Show whether a run can start or is under way."""
        button = self.ui.segmentButton
        busy = self.logic.busy
        self.ui.progressWidget.visible = busy
        if busy:
            button.text, button.enabled, button.toolTip = _("Cancel"), True, _("Stop; nothing is added to the scene.")
        else:
            blockingReason = self.logic.blockingReason(self.parameters.ct, self.parameters.model)
            if not blockingReason and dependencies.installing():
                blockingReason = _("Python packages are being installed; wait for the end.")
            button.text, button.enabled = _("Segment tumor"), not blockingReason
            button.toolTip = plainToolTip(blockingReason) or _("Segment the tumor into a new segmentation.")
        self._showWorker()

    def onSegment(self, checked: bool = False) -> None:
        """Start, or cancel what runs; the packages a run needs are asked for here, at the first click."""
        if self.logic.busy:
            self.logic.cancel()
            return
        if dependencies.installing():
            return
        self.say("")
        with show_errors(_("The segmentation could not be started.")):
            if dependencies.ensure("segment"):
                self._start()
            else:
                self.say(_("Not everything that the model needs is installed; press the button again to install it."))
        self.panel.refresh()

    def onRelease(self, checked: bool = False) -> None:
        """End the idle worker."""
        self.logic.release()
        self._showWorker()

    def say(self, message: str) -> None:
        """Show a sentence below the button; an empty one hides the line."""
        setText(self.ui.messageLabel, message)
        self.ui.messageLabel.visible = bool(message)

    def _start(self) -> None:
        parameters = self.parameters
        self.begin()
        self.logic.segment(
            parameters.ct,
            model=parameters.model,
            device=parameters.device,
            threshold=parameters.threshold if parameters.ownThreshold else None,
            allSlices=parameters.allSlices,
            minimumCc=parameters.minimumCc,
            probability=parameters.probability,
            progress=self.onProgress,
            log=self.ui.logTextEdit.appendPlainText,
            finished=self.onFinished,
            failed=self.onFailed,
        )
        self.refresh()

    def begin(self) -> None:
        """Show that a run begins: nothing of the last one."""
        self.ui.logTextEdit.clear()
        self.onProgress(_("Starting"), 0.0, 0.0, None)

    def onProgress(self, stage: str, fraction: float, elapsed: float, remaining: float | None) -> None:
        """Show where the run is."""
        self.ui.progressBar.value = round(1000 * fraction)
        setText(self.ui.stageLabel, stage)
        times = clock(elapsed)
        if remaining is not None:
            times += _(", about {time} left").format(time=clock(remaining + 0.5))
        setText(self.ui.timeLabel, times)

    def onFinished(self, result) -> None:
        """The result is in the scene; show it."""
        self.panel.showNewResult(result)
        self.panel.refresh()

    def onFailed(self, sentence: str) -> None:
        """Say why there is no result."""
        self.say(sentence)
        self.ui.progressWidget.visible = False
        self.panel.refresh()

    def leave(self) -> None:
        """The panel is no longer seen."""
        super().leave()
        self._watch.stop()

    def _showWorker(self) -> None:
        warm = self.logic.warm
        self._watch.start() if warm else self._watch.stop()
        text = _("Worker: ready, the next run starts at once") if warm else _("Worker: none")
        setText(self.ui.workerLabel, _("Worker: running") if self.logic.busy else text)
        self.ui.releaseButton.enabled = warm and not self.logic.busy
