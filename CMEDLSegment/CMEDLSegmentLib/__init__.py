"""CMEDLSegmentLib: a chest CT in, the model's tumor contour out.

The rules this package keeps, so that it runs in Slicer, in a worker and on a command line alike:

- Nothing here imports slicer or qt.
- ``import CMEDLSegmentLib`` is cheap: torch, SimpleITK and scipy are imported where they are used.
- CMEDLTrainLib depends on this package, never the other way.
- Arrays are (z, y, x); physical points are LPS in mm; intensities of CT are HU.
- Every error a user can meet is a :class:`CMEDLSegmentLib.base.errors.CMEDLError` whose message says what is wrong
  with which input and what to do.

Research use, not a medical device.
"""

__version__ = "0.1.0"
