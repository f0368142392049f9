"""Between cohorts and Slicer's scene; imported by the panel alone, because it needs ``slicer``."""
