"""Filling a table and a selector, touching only what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import qt
from slicer.i18n import tr as _

from CMEDLSegmentPanel.section import plainToolTip, signals_blocked

RIGHT = qt.Qt.AlignRight | qt.Qt.AlignVCenter


def fillTable(table: qt.QTableWidget, rows: Sequence[Sequence[str]], tips: Sequence[str], figures: int = 1) -> None:
    """Show a row of texts for each tip; ``figures`` is the first column of those that are flush right."""
    table.setRowCount(len(rows))
    for row, (texts, tip) in enumerate(zip(rows, tips, strict=True)):
        for column, text in enumerate(texts):
            item = table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                if column >= figures:
                    item.setTextAlignment(RIGHT)
                table.setItem(row, column, item)
            if item.text() != text:
                item.setText(text)
            item.setToolTip(plainToolTip(tip))


def fillSelector(box: qt.QComboBox, titles: Mapping[str, str], chosen: str) -> None:
    """Offer ``titles`` (what a person reads, by name) and show the chosen one, also where it is none of them."""
    offered = dict(titles)
    offered.setdefault(chosen, _("{name} (not found here)").format(name=chosen))
    if [(box.itemData(index), box.itemText(index)) for index in range(box.count)] != list(offered.items()):
        with signals_blocked(box):
            box.clear()
            for name, title in offered.items():
                box.addItem(title, name)
    box.currentIndex = list(offered).index(chosen)


def selected(box: qt.QComboBox) -> str:
    """The name that is chosen in a selector; empty where there is none."""
    return box.itemData(box.currentIndex) or ""
