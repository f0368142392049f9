"""The settings of a run: one tree of dataclasses, what each may be, what each means."""
