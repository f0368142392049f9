"""The panel fits into Slicer's module panel, which cuts what is wider, whatever it shows."""

from __future__ import annotations

import pytest

from panel.bright import add_ct
from panel.conftest import settle

SECTIONS = ("input", "result", "candidates", "experts", "agreement", "handOn")


def unfold(panel, app) -> None:
    """Open every section and every group in them, and let them all be seen."""
    for section in SECTIONS:
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = False
    for group in ("advanced", "log", "review"):
        getattr(panel.ui, f"{group}GroupBox").collapsed = False
    settle(panel, app)


@pytest.mark.parametrize("unfolded", [False, True], ids=["as it opens", "unfolded"])
@pytest.mark.parametrize("state", ["panel", "segmented", "rated"])
def test_the_panel_is_no_wider_than_slicer_s(request, slicer_app, state: str, unfolded: bool) -> None:
    panel = request.getfixturevalue(state)
    if state == "panel":
        panel.parameters.ct = add_ct("A name that somebody gave to a volume of a patient, which may be very long")
        settle(panel, slicer_app)
    if unfolded:
        unfold(panel, slicer_app)
    assert slicer_app.least_width(panel) <= slicer_app.main_window.room()


def test_an_empty_panel_is_no_wider_than_slicer_s(panel, slicer_app) -> None:
    assert slicer_app.least_width(panel) <= slicer_app.main_window.room()
    unfold(panel, slicer_app)
    assert slicer_app.least_width(panel) <= slicer_app.main_window.room()


def test_rows_of_the_tables_are_seen_whole(rated, slicer_app) -> None:
    unfold(rated, slicer_app)
    for table in (rated.ui.ratersTable, rated.ui.matrixTable):
        last = table.visualItemRect(table.item(table.rowCount - 1, 0))
        assert table.viewport().rect.contains(last), table.objectName
        assert not table.verticalScrollBar().visible, table.objectName
