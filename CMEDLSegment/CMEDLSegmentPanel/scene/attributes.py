"""What we remember with nodes and segments: names, and JSON in MRML attributes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import slicer
import vtk

PREFIX = "CMEDL."
"""Begins the name of every tag, attribute and reference of ours."""

LABEL, DROPPED = "label", "dropped"
"""Tags of a result's segments: the label's value, on the segment of what is kept and on that of what was dropped."""

COMPONENTS, SEEDS, WRITTEN, BOX = "components", "seeds", "written", "box"
"""Attributes of a result, in the indices of its reference grid."""

CLICKS, CLICK_MODEL, CLICK_WEIGHTS = "clicks", "click_model", "click_weights_sha256"
"""Attributes of a result with clicked tumors, and tags of their label: the clicks as JSON (points LPS in the result's
own coordinates, mm), and who answered them."""

PROBABILITY_ROLE = PREFIX + "probability"


def get_json(node: slicer.vtkMRMLNode, name: str) -> Any:
    """The value of one of our attributes, or None."""
    text = node.GetAttribute(PREFIX + name)
    return None if text is None else json.loads(text)


def set_json(node: slicer.vtkMRMLNode, name: str, value: Any) -> None:
    """Set one of our attributes."""
    node.SetAttribute(PREFIX + name, json.dumps(value))


def tag(segment: slicer.vtkSegment, name: str) -> str | None:
    """One of our tags of a segment, as it was set."""
    value = vtk.mutable("")
    return unquote(str(value)) if segment.GetTag(PREFIX + name, value) else None


def set_tag(segment: slicer.vtkSegment, name: str, value: str | None) -> None:
    """Set one of our tags, or take it away (None)."""
    if value is None:
        segment.RemoveTag(PREFIX + name)
    else:
        segment.SetTag(PREFIX + name, escaped(value))


def escaped(text: str) -> str:
    """Text without the characters that separate tags and lines in a ``.seg.nrrd``; ``unquote`` undoes it."""
    return "".join(f"%{ord(letter):02X}" if letter in "%|\r\n" else letter for letter in text)
