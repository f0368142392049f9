"""CMEDLTrainLib: unpaired CT and MRI segmentations in, a student network out.

Depends on CMEDLSegmentLib, never the other way. Importing it is cheap; torch is imported where it is used, so that a
run's folder exists before a slow import could be interrupted. Research use, not a medical device.
"""

from CMEDLSegmentLib import __version__

__all__ = ["__version__"]
