"""The real modules open in the stand-in for Slicer."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("module", ["CMEDLSegment", "CMEDLTrain"])
def test_a_module_opens_with_its_real_panel_and_closes(slicer_app, module: str) -> None:
    import slicer

    widget = slicer_app.open(module)
    assert getattr(slicer.modules, module.lower()).title
    assert widget.parent.isEntered
    slicer_app.close(widget)
    assert not hasattr(slicer.modules, module.lower())
