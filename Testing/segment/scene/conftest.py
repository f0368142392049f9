"""The scene that these tests work in: the harness's, without its window."""

from __future__ import annotations

import pytest
import slicer


@pytest.fixture
def scene(slicer_app: object) -> slicer.vtkMRMLScene:
    """An empty scene with the logics that segmentations need."""
    return slicer.mrmlScene
