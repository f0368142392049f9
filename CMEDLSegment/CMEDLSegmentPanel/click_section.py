"""The row below the result that adds what the model missed: one click into a tumor, and what mends it."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.inference.options import ADD, CUT, END, TUMOR

from . import dependencies
from .scene import contour_views
from .scene.click_placement import ClickPlacement
from .scene.clicked_tumors import result_of
from .section import Section, plainToolTip, show_errors


class ClickSection(Section):
    """Add a tumor, Add at crosshair, Undo; and for the last tumor: Ends here, Add, Cut."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._mode: str | None = None
        self._buttons = {TUMOR: self.ui.addTumorButton, ADD: self.ui.growButton, CUT: self.ui.cutButton}
        self._tips = {action: button.toolTip for action, button in self._buttons.items()}
        self._placement = ClickPlacement(self._onPlacement)
        # Slicer is in the middle of its own work when a point is placed.
        self._after = qt.QTimer(panel.uiWidget)
        self._after.setSingleShot(True)
        self._after.setInterval(0)
        self._after.connect("timeout()", self._look)
        self._escape = qt.QShortcut(qt.QKeySequence("Esc"), slicer.util.mainWindow() or panel.uiWidget)
        self._escape.enabled = False
        # Another Escape in the window must not swallow this one.
        self._escape.connect("activated()", self.stop)
        self._escape.connect("activatedAmbiguously()", self.stop)
        self.ui.clickWidget.visible = self.ui.mendWidget.visible = self.ui.undoClickButton.visible = False
        self.ui.addTumorButton.connect("clicked(bool)", self.onAddTumor)
        self.ui.growButton.connect("clicked(bool)", self.onGrow)
        self.ui.cutButton.connect("clicked(bool)", self.onCut)
        self.ui.clickCrosshairButton.connect("clicked(bool)", self.onCrosshair)
        self.ui.endButton.connect("clicked(bool)", self.onEnd)
        self.ui.undoClickButton.connect("clicked(bool)", self.onUndo)

    @property
    def result(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The result that a click goes to; None where it makes a new one."""
        return result_of(self.parameters.ct, self.parameters.result)

    def refresh(self) -> None:
        """Show what can be clicked, and wait for a click where one is asked for."""
        shown = bool(self.parameters.ct) and not self.panel.review.blinded
        self.ui.clickWidget.visible = shown
        busy = self.logic.busy
        tumors = self.logic.clickedTumors(self.result) if shown else None
        reason = "" if busy else self.logic.clickBlockingReason(self.parameters.ct, self.parameters.model)
        if self._mode and (not shown or reason or (self._mode != TUMOR and tumors is None)):
            self.stop()
        for action, button in self._buttons.items():
            # What waits can always be given up.
            button.enabled = self._mode == action or not (reason or busy)
            button.toolTip = plainToolTip(reason) or self._tips[action]
        waiting = self._mode == TUMOR and not busy
        self.ui.addTumorButton.text = _("Click into it; Esc ends") if waiting else _("Add a tumor: click it")
        self.ui.clickCrosshairButton.text = _("Cut at crosshair") if self._mode == CUT else _("Add at crosshair")
        for button in (self.ui.clickCrosshairButton, self.ui.endButton):
            button.enabled = not (reason or busy)
        self.ui.undoClickButton.enabled = not busy
        self.ui.mendWidget.visible = self.ui.undoClickButton.visible = tumors is not None
        if self._mode and not busy:
            self._arm()
        else:
            self._placement.rest()

    def onAddTumor(self, checked: bool) -> None:
        """Begin to click tumors, or end it."""
        self._choose(TUMOR, checked)

    def onGrow(self, checked: bool) -> None:
        """Begin to click what the last tumor lacks, or end it."""
        self._choose(ADD, checked)

    def onCut(self, checked: bool) -> None:
        """Begin to click what the last tumor has too much, or end it."""
        self._choose(CUT, checked)

    def onCrosshair(self, checked: bool = False) -> None:
        """Do at the crosshair what a click would do."""
        if self._ready():
            self._click(contour_views.crosshair(), self._mode or TUMOR)

    def onEnd(self, checked: bool = False) -> None:
        """Let the last tumor go no further than the crosshair's slice."""
        if self._ready():
            self._click(contour_views.crosshair(), END)

    def onUndo(self, checked: bool = False) -> None:
        """Take the last click back."""
        self.panel.run.say("")
        with show_errors(_("The click could not be taken back.")):
            self.logic.undoClick(self.result)
        self.panel.refresh()

    def stop(self) -> None:
        """No click is waited for any more; what runs goes on."""
        self._mode, self._escape.enabled = None, False
        self._after.stop()
        for button in self._buttons.values():
            button.checked = False
        self._placement.stop()

    def leave(self) -> None:
        """The panel is no longer seen."""
        super().leave()
        self.stop()

    def cleanup(self) -> None:
        """The panel is closed for good, but not the window that Escape is pressed in."""
        self._escape.deleteLater()

    def _choose(self, action: str, checked: bool) -> None:
        self.stop()
        if checked and self._ready():
            self._mode, self._escape.enabled = action, True
            self._buttons[action].checked = True
            self._arm()
        self.refreshSoon()

    def _ready(self) -> bool:
        """Whether a click can be answered; the packages that this needs are asked for here."""
        self.panel.run.say("")
        if self.logic.busy or dependencies.installing():
            return False
        with show_errors(_("The tumor could not be added.")):
            if dependencies.ensure("segment"):
                return True
            self.panel.run.say(_("Not everything that the model needs is installed; press the button again."))
        return False

    def _arm(self) -> None:
        if not self._placement.armed:
            self._placement.arm()

    def _onPlacement(self) -> None:
        self._after.start()

    def _look(self) -> None:
        """A point was placed, or somebody has left the mode by another way."""
        if not self._mode or not self._placement.armed:
            return
        place = self._placement.taken()
        if place is not None:
            self._placement.rest()
            self._click(place, self._mode)
        elif not self._placement.waiting:
            self.stop()
            self.refreshSoon()

    def _click(self, place: tuple[float, float, float], action: str) -> None:
        """Begin what a click asks for."""
        parameters = self.parameters
        self.panel.run.say("")
        self.panel.run.begin()
        with show_errors(_("The tumor could not be added.")):
            try:
                self.logic.addTumor(
                    parameters.ct,
                    place,
                    action=action,
                    result=self.result,
                    model=parameters.model,
                    device=parameters.device,
                    allSlices=parameters.allSlices,
                    progress=self.panel.run.onProgress,
                    log=self.ui.logTextEdit.appendPlainText,
                    finished=self.onFinished,
                    failed=self.panel.run.onFailed,
                )
            except CMEDLError as error:
                # No box over the views: the next click is a better one.
                self.panel.run.onFailed(str(error))
        self.panel.refresh()

    def onFinished(self, result: slicer.vtkMRMLSegmentationNode) -> None:
        """The tumor is in the scene: show its result, and say where no model that reads clicks has answered."""
        parameters = self.parameters or self.logic.getParameterNode()
        if parameters.result is not result:
            parameters.result = result
            if self.parameters:
                self.panel.experts.rearrange()
        if self.logic.clickModel(parameters.model) is None:
            self.panel.run.say(
                _(
                    "Contoured where the model's own probability is at least 0.3 of its peak at the click: no model "
                    "that reads clicks is installed for these images."
                )
            )
        self.panel.refresh()
