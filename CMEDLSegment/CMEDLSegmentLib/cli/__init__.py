"""The command line ``cmedl-segment``: its programs, what a terminal shows, and how it ends."""

from .program import main

__all__ = ["main"]
