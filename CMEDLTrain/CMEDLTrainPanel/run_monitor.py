"""The run that is looked at: its events as they grow, its curves and pictures in the views."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from CMEDLSegmentPanel.scene.layouts import layout_node
from CMEDLTrainLib.runs.history import History, Reader
from CMEDLTrainLib.runs.run_folder import Run

from .run_status import figureTitles
from .scene import run_views
from .scene.run_views import LOSSES_VIEW, VALIDATION_VIEW, Chart, Preview

LOSSES, VALIDATION = ("student", "segmentation", "hint"), ("dsc",)
"""The curves that matter: the student's segmentation loss, by its name in joint training and alone, the hint loss, and
the DSC of validation. Others are plotted when they are ticked."""
VALIDATIONS = ("dsc", "dsc_structure_slices")
"""Validation figures that can be plotted."""
LOOK_BYTES = 1 << 19
"""Read at a look: some hundredths of a second."""


class RunMonitor:
    """A run that is followed until another one is chosen.

    Args:
        run: the run.

    Attributes:
        picture: the newest preview's file; None where there is none.
        pixels: what is in it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._reader = Reader(run.events)
        self._charts: tuple[Chart, Chart] | None = None
        self._preview: Preview | None = None
        self._shown: tuple = ()
        self._ticked: tuple[str, ...] = ()
        self._pictured: Path | None = None
        self.picture: Path | None = None
        self.pixels = b""

    @property
    def history(self) -> History:
        """What its events told so far."""
        return self._reader.history

    def read(self) -> bool:
        """Read on, half a megabyte at most; whether there is more. Touches no scene: it may be called in a thread."""
        more = self._reader.read(LOOK_BYTES)
        newest = self.run.folder / self.history.preview if self.history.preview else None
        if newest and newest != self.picture:
            # It may be gone by now, as a still newer one has come.
            with contextlib.suppress(OSError):
                self.pixels, self.picture = newest.read_bytes(), newest
        return more

    @property
    def names(self) -> list[str]:
        """The curves that can be plotted."""
        return [*self.history.losses.values, *(name for name in VALIDATIONS if name in self.history.validation.values)]

    def show(self, ticked: Sequence[str] = (*LOSSES, *VALIDATION)) -> None:
        """Bring the nodes of the scene up to date; they are made once there is something to show.

        Args:
            ticked: names of the curves that are plotted.
        """
        losses, validation = self.history.losses, self.history.validation
        if self._ticked != tuple(ticked):
            # Anew, so that colors are given in the order of the curves.
            self._ticked = tuple(ticked)
            for chart in self._charts or ():
                chart.remove()
            self._charts = None
        if not (self._charts and all(chart.there for chart in self._charts)):
            self._charts, self._shown = None, ()
            if not losses.steps:
                return
            name = self.run.folder.name
            self._charts = (
                Chart(_("{run}: losses").format(run=name), _("loss"), LOSSES_VIEW),
                Chart(_("{run}: validation").format(run=name), "DSC", VALIDATION_VIEW, (0.0, 1.0)),
            )
        shown = tuple((curves.steps[-1:], len(curves.steps)) for curves in (losses, validation))
        if shown != self._shown:
            self._shown = shown
            titles = figureTitles()
            self._charts[0].show(losses, {name: name for name in losses.values if name in ticked})
            self._charts[1].show(validation, {name: titles[name] for name in VALIDATIONS if name in ticked})
        if self._preview and not self._preview.there:
            self._preview = self._pictured = None
        if run_views.layout_is_shown():
            self._showInViews()

    def _showInViews(self) -> None:
        for chart in self._charts or ():
            chart.select()
        if self.picture and self.picture != self._pictured:
            self._pictured = self.picture
            self._preview = self._preview or Preview()
            self._preview.show(self.pixels)
        if self._preview:
            self._preview.select()

    def remove(self) -> None:
        """Take its nodes out of the scene."""
        for node in (*(self._charts or ()), self._preview):
            if node:
                node.remove()
        self._charts = self._preview = self._pictured = None


class RunViews:
    """The arrangement of the views for a run, and the one that was there before."""

    def __init__(self) -> None:
        self._before: int | None = None

    @property
    def shown(self) -> bool:
        """Whether the views are arranged for a run."""
        return run_views.layout_is_shown()

    def show(self) -> None:
        """Arrange them so."""
        if not self.shown:
            self._before = run_views.show_layout()

    def hide(self) -> None:
        """Arrange them as before."""
        if self.shown and self._before is not None:
            layout_node().SetViewArrangement(self._before)
