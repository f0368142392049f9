"""The menu of the curves that are plotted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt

from .run_monitor import LOSSES, VALIDATION
from .run_status import figureTitles


class CurvesMenu:
    """Which curves are ticked; those that matter are at first.

    Args:
        button: opens the menu.
        changed: called when other curves are ticked.
    """

    def __init__(self, button: qt.QPushButton, changed: Callable[[], None]) -> None:
        self.ticked: list[str] = [*LOSSES, *VALIDATION]
        self._button, self._changed = button, changed
        self._offered: list[str] = []
        button.setMenu(qt.QMenu(button))
        button.enabled = False

    def offer(self, names: Sequence[str]) -> None:
        """Offer the curves of a run."""
        if list(names) == self._offered:
            return
        self._offered = list(names)
        menu = self._button.menu()
        menu.clear()
        for name in names:
            action = menu.addAction(figureTitles().get(name, name))
            action.checkable, action.checked = True, name in self.ticked
            action.connect("toggled(bool)", lambda checked, name=name: self.onTicked(name, checked))
        self._button.enabled = bool(names)

    def onTicked(self, name: str, checked: bool) -> None:
        """Plot a curve, or no longer."""
        self.ticked = [*(other for other in self.ticked if other != name), *([name] if checked else [])]
        self._changed()
