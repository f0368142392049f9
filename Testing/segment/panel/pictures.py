"""Pictures of the panel and of both layouts, for people to look at and for the README.

``python3 Testing/segment/panel/pictures.py FOLDER`` goes the tutorial's way in the stand-in for Slicer: the phantom of
Sample Data, a click on Segment tumor with the bundled model, the candidate at the tumor, Overlay, Side by side.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
WINDOW = (1600, 1000)
ZOOM = 0.5


def main(folder: Path) -> None:
    """Write ``panel.png``, ``overlay.png`` and ``side-by-side.png``."""
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
    from harness.samples import press

    panel = app.open("CMEDLSegment")
    app.main_window.resize(*WINDOW)
    app.leave(panel)
    press("CMEDLChestPhantom")
    app.open("CMEDLSegment")
    app.process_events(0.2)
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.probabilityCheckBox.click()
    panel.ui.advancedCollapsibleButton.collapsed = True
    panel.ui.segmentButton.click()
    app.wait_until(lambda: not panel.logic.busy, 600)
    app.process_events(0.3)
    panel.ui.jumpButton.click()
    panel.ui.keepAtCrosshairButton.click()
    for button, name in ((panel.ui.overlayButton, "overlay"), (panel.ui.sideBySideButton, "side-by-side")):
        button.click()
        app.process_events(0.3)
        if name == "side-by-side":
            app.zoom("CMEDLStudent", ZOOM)
        panel.ui.jumpButton.click()
        app.process_events(0.3)
        app.layout_manager.threeDWidget(0).threeDView().resetFocalPoint()
        app.grab_window(folder / f"{name}.png")
    panel.parent.resize(420, panel.parent.sizeHint.height())
    app.grab(panel, folder / "panel.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
