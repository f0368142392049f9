"""Filling a selector with what can be chosen, by name."""

from __future__ import annotations

from collections.abc import Mapping

import qt
from slicer.i18n import tr as _

from CMEDLSegmentPanel.section import plainToolTip


def fillSelector(
    box: qt.QComboBox, titles: Mapping[str, str], chosen: str, tips: Mapping[str, str] | None = None
) -> None:
    """Offer ``titles`` (what a person reads, by name) and show the chosen one, also where it is none of them."""
    offered = dict(titles)
    offered.setdefault(chosen, _("{name} (not found here)").format(name=chosen))
    if [box.itemData(index) for index in range(box.count)] != list(offered):
        blocked = box.blockSignals(True)
        box.clear()
        for index, (name, title) in enumerate(offered.items()):
            box.addItem(title, name)
            box.setItemData(index, plainToolTip((tips or {}).get(name, "")), qt.Qt.ToolTipRole)
        box.blockSignals(blocked)
    box.currentIndex = list(offered).index(chosen)
