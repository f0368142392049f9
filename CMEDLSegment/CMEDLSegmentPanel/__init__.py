"""The parts of the CMEDLSegment panel, one file each; the module file puts them together.

The rules that this package keeps:

- A section shows what the scene says and passes clicks on. What a click does stands in the module's Logic and in
  ``CMEDLSegmentLib``, where it can be had without a window.
- A section follows objects of the scene only while the module is open, and lets go of all of them in ``leave``.
- Texts that come from data (names of raters, segments, files) are shown as plain text, never as HTML.
- Nothing is imported here that Slicer does not bundle; the network runs in a process of its own.
"""
