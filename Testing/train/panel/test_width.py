"""The panel fits into Slicer's module panel, which cuts what is wider, whatever it shows."""

from __future__ import annotations

import pytest

from train.panel.conftest import settle


@pytest.mark.parametrize("state", ["panel", "filled", "finished"])
def test_the_panel_is_no_wider_than_slicer_s(request, slicer_app, state: str) -> None:
    panel = request.getfixturevalue(state)
    assert slicer_app.least_width(panel) <= slicer_app.main_window.room()
    for section in ("cohort", "training", "run", "outcome"):
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = False
    panel.ui.allSettingsGroupBox.collapsed = False
    settle(panel, slicer_app)
    assert slicer_app.least_width(panel) <= slicer_app.main_window.room()
