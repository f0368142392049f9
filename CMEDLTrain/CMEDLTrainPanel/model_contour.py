"""What a run's model marks on one case of the cohort, in the views beside the expert's contour."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_mask
from CMEDLSegmentLib.io.volume import Volume, triple
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentPanel.poller import Poller

if TYPE_CHECKING:
    from .scene.case_nodes import Structure


class ModelContour:
    """Shows a case at once with what the expert marked, and with the model's contour as soon as there is one.

    The model segments the case in a process beside Slicer; what it marked is kept in a temporary folder until the
    panel is closed, so that a second click shows it at once.

    Args:
        panel: the module's widget.
        say: shows a line of text.
    """

    def __init__(self, panel, say: Callable[[str], None]) -> None:
        self._panel, self._say = panel, say
        self._segmenting = Poller(panel.uiWidget)
        self._folder: tempfile.TemporaryDirectory | None = None
        self._name = ""

    def show(self, case: Case, model: Path, card: Card, device: str) -> None:
        """Show ``case`` with the expert's contour and the model's.

        Args:
            case: the case.
            model: the model's file.
            card: its card.
            device: where to compute.

        Raises:
            InputError: the program cannot be started.
        """
        self.drop()
        self._name = case.case
        marked = self._kept(case, card)
        if marked.is_file():
            self._both(case, marked, card)
            return
        self._panel.cohort.showCase(case)
        self._progressed("", 0.0)
        command = self._panel.logic.segment(case.image, model, marked, device)
        self._segmenting.start(
            command, lambda result, error: self._segmented(case, marked, card, error), self._progressed
        )

    def drop(self) -> None:
        """Segment no longer; what is shown stays."""
        self._segmenting.drop()
        self._say("")

    def close(self) -> None:
        """The panel is closed for good: no file is left."""
        self._segmenting.drop()
        if self._folder:
            self._folder.cleanup()

    def _kept(self, case: Case, card: Card) -> Path:
        """Where what this very model marks on the case is kept; cases may be called anything."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="cmedl-outcome-", ignore_cleanup_errors=True)
        key = hashlib.sha256(f"{card.digest} {case.image}".encode()).hexdigest()
        return Path(self._folder.name, f"{key[:16]}.nii.gz")

    def _segmented(self, case: Case, marked: Path, card: Card, error: CMEDLError | None) -> None:
        if error:
            self._say(_("{case}: the model's contour is missing. {reason}").format(case=case.case, reason=error))
        elif self._panel.cohort.shownCase == case:
            self._both(case, marked, card)
        else:  # somebody looks at something else by now
            self._say("")

    def _both(self, case: Case, marked: Path, card: Card) -> None:
        def structures(volume: Volume) -> list[Structure]:
            mask = read_mask(marked, volume.geometry).array
            return [
                (
                    _("Model: {label}").format(label=label.name),
                    mask == label.value,
                    triple(round(255 * part) for part in label.color),
                )
                for label in card.labels
                if (mask == label.value).any()
            ]

        self._panel.cohort.showCase(case, structures)
        text = _("{case}: the expert's contours, and the model's where they are named so")
        if len(card.labels) == 1:
            text = _("{case}: yellow is the expert's contour, red the model's; without red it marks nothing.")
        self._say(text.format(case=case.case))

    def _progressed(self, stage: str, fraction: float) -> None:
        text = _("{case}: the model segments it ({stage}, {percent:.0f} %)")
        self._say(text.format(case=self._name, stage=stage or _("starting"), percent=100 * fraction))
