"""How things are said in sentences."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 error``, ``2 errors``: a number of things whose plural takes an s."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
