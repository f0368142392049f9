"""Runs the real modules of this repository without the Slicer application.

The Qt-free half of Slicer comes from PyPI (``slicer-core``: MRML, logics, displayable managers, ``slicer.util``); the
other half is stood in for on PySide6::

    with harness.application() as app:
        widget = app.open("CMEDLSegment")     # the real module file, the real .ui
        widget.ui.segmentButton.click()
        app.wait_until(lambda: not widget.logic.busy)
        red = app.slice_pixels("Red")         # drawn by Slicer's own displayable managers
        app.grab_window("window.png")

A test takes the fixture ``slicer_app``: the same, with an empty scene, and failing when a slot or an observer raised.
Qt is told to draw off the screen and VTK to render without a display (EGL, with Mesa where there is no graphics card).

What a passing test shows
    The module's Python, its ``.ui`` and the MRML that it leaves behind fit together; nodes, segmentations, slice
    geometry, contours in slices, surfaces and layouts are Slicer's own code, so what they show is what Slicer shows.

    The stand-ins are as strict as PythonQt and CTK where those surprise, as far as that is known: what PythonQt refuses
    (module ``strict``), which arguments a slot gets, the least width of a panel, what a folded section hides and
    disables, when a path line tells of a path, values of sliders that are not round, that Sample Data's button alone
    makes a sample, that no other Python thread runs while the window is idle (module ``waiting``; on Linux). Rows of
    tables are higher than the ``.ui`` files ask for, and a dialog that shows no button fails the test. A module's file
    is read while ``slicer`` lacks the classes of loadable modules; what a file imports is read then only if no test
    has imported it before.

What it does not show
    - That the module works in the Slicer application. The widgets of ctk and qMRML are stand-ins with the properties
      and signals that these modules use (an unknown class, property, signal or enumerator raises); how they look,
      how they behave under the mouse and what else they do is not theirs to prove.
    - PythonQt. PySide6 is bent to behave like it (properties are attributes, ``connect`` by signature, as many
      arguments as the slot takes), but conversions between Python and C++ differ in corners: PythonQt takes plain
      integers for enumerations, PySide6 names for them that PythonQt does not know; ``setText(None)`` passes, only the
      property refuses it; of lists, those that modules are likely to meet are tuples. Objects live longer in PythonQt.
    - Widths that depend on Slicer's font and style, or on qMRML's own widgets: a panel that fits here with little to
      spare may be cut there.
    - The base classes, ``parameterNodeWrapper`` and ``i18n``: stand-ins too, unless the environment variable
      ``CMEDL_SLICER_PYTHON`` names a folder that holds Slicer's own (``Base/Python/slicer`` of its sources, or
      ``bin/Python/slicer`` of an installation), which are then used, unmodified.
    - Anything of C++ that slicer-core lacks: DICOM import and RTSTRUCT, Segment Editor, Segment Statistics, the views'
      controllers, the items that subject hierarchy's plugins make. The Extensions Manager only notes what it is asked.
    - Speed on the screen, other platforms, other Python versions than the running one (Slicer 5.10 and 5.12 have 3.12).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.application import Application


def application() -> AbstractContextManager[Application]:
    """A stand-in for a running Slicer; the same one again within a process, left empty at the end."""
    # Imported late: it replaces what ``qt`` and ``slicer`` are for the whole process.
    from harness.application import application as start

    return start()
