"""One case of a cohort in the views: read in the background, taken out of the scene again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.colors import RATER_COLORS
from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentPanel.poller import Background

from .scene.case_nodes import CaseNodes, Structure


class CaseView:
    """The case that is looked at.

    Args:
        parent: the panel.
        changed: called when a case is shown or gone.

    Attributes:
        case: what is shown, or being read to be shown.
    """

    def __init__(self, parent: qt.QWidget, changed: Callable[[], None]) -> None:
        self._reading = Background(parent)
        self._nodes: CaseNodes | None = None
        self._changed = changed
        self.case: Case | None = None

    @property
    def shown(self) -> bool:
        """Whether a case is shown, or being read to be shown."""
        return self._nodes is not None or self._reading.busy

    def show(self, case: Case, labels: Sequence[str], more: Callable[[Volume], list[Structure]] | None = None) -> None:
        """Show a case with its contours, in place of the one before.

        Args:
            case: the case.
            labels: names of its mask's values.
            more: further structures on its image's grid; called in a thread with the image.
        """
        self.hide()
        self.case = case

        def read(progress) -> tuple[Volume, list[Structure]]:
            volume = read_volume(case.image)
            return volume, [*_structures(case, volume, labels), *(more(volume) if more else [])]

        def show(result: tuple[Volume, list[Structure]] | None, error: Exception | None) -> None:
            self.case = None if error else case
            if isinstance(error, CMEDLError):
                slicer.util.errorDisplay(_("The case cannot be shown.") + f"\n\n{error}")
            elif error:
                raise error
            elif result is not None:
                self._nodes = CaseNodes(case.case, result[0], case.modality, result[1])
            self._changed()

        self._reading.run(read, show)
        self._changed()

    def hide(self) -> None:
        """Take what is shown out of the scene."""
        self._reading.drop()
        self.case = None
        if self._nodes:
            self._nodes.remove()
            self._nodes = None


def _structures(case: Case, volume: Volume, labels: Sequence[str]) -> list[Structure]:
    """What the expert marked, a structure for each of the mask's values."""
    if case.mask is None:
        return []
    mask = read_mask(case.mask, volume.geometry).array
    structures = []
    for value in np.unique(mask[mask > 0]):
        name = labels[value - 1] if value <= len(labels) else str(value)
        structures.append((name, mask == value, RATER_COLORS[(int(value) - 1) % len(RATER_COLORS)]))
    return structures
