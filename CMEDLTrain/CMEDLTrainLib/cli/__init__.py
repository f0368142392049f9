"""The command line ``cmedl-train``."""

from .program import main

__all__ = ["main"]
