"""Pictures of the panel in every state and of both layouts, for people to look at and for the README.

``python3 Testing/segment/panel/pictures.py FOLDER`` goes the tutorial's way in the stand-in for Slicer: the phantom of
Sample Data, a click on Segment tumor with the bundled model, its candidates, a click into the tumor, Overlay,
Side by side, all unfolded.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
WINDOW = (1600, 1000)
ZOOM = 0.5
PANEL = 420
"""Pixels: the width of Slicer's own module panel."""


def main(folder: Path) -> None:
    """Write a picture of each state."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(TESTING), *(str(TESTING.parent / name) for name in ("CMEDLSegment", "CMEDLTrain"))]
    import harness

    with tempfile.TemporaryDirectory() as programs, harness.application() as app:
        launcher = Path(programs, "PythonSlicer")
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
        os.environ["PATH"] = os.pathsep.join([programs, os.environ["PATH"]])
        draw(app, folder)


def draw(app, folder: Path) -> None:
    """Go the way and take the pictures."""
    from CMEDLSegmentPanel.scene import contour_views
    from harness.samples import press

    def state(name: str) -> None:
        """The panel as it is, as wide as Slicer's own."""
        app.process_events(0.3)
        panel.parent.resize(PANEL, panel.parent.sizeHint.height())
        app.grab(panel, folder / f"{name}.png")

    panel = app.open("CMEDLSegment")
    state("empty")
    app.main_window.resize(*WINDOW)
    app.leave(panel)
    press("CMEDLChestPhantom")
    app.open("CMEDLSegment")
    app.process_events(0.2)
    state("opened")
    panel.ui.segmentButton.click()
    app.process_events(2.0)
    state("running")
    app.wait_until(lambda: not panel.logic.busy, 600)
    app.process_events(1.0)
    app.wait_until(lambda: panel.agreement.fresh, 60)
    state("panel")
    panel.ui.compareCollapsibleButton.collapsed = True
    state("result")
    panel.ui.moreCandidatesButton.checked = True
    state("more")
    panel.ui.moreCandidatesButton.checked = False
    contour_views.jump(contour_views.tumor_center(panel.parameters.result))
    panel.ui.clickCrosshairButton.click()
    app.wait_until(lambda: not panel.logic.busy, 600)
    state("clicked")
    panel.ui.undoClickButton.click()
    panel.ui.compareCollapsibleButton.collapsed = False
    for button, name in ((panel.ui.overlayButton, "overlay"), (panel.ui.sideBySideButton, "side-by-side")):
        button.click()
        app.process_events(0.3)
        if name == "side-by-side":
            app.zoom("CMEDLStudent", ZOOM)
        panel.ui.jumpButton.click()
        app.process_events(0.3)
        app.layout_manager.threeDWidget(0).threeDView().resetFocalPoint()
        app.grab_window(folder / f"{name}.png")
    state("compared")
    panel.ui.batchLoadedButton.click()
    for name in [name for name in vars(panel.ui) if name.endswith(("CollapsibleButton", "GroupBox"))]:
        getattr(panel.ui, name).collapsed = False
    state("unfolded")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
