"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# PyTorch's builds for NVIDIA cards import triton where it is there, and the process ends when VTK was loaded before it.
# Slicer's processes do not meet this: the worker, which imports PyTorch, loads no VTK.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

from harness.fixtures import _slicer_session, slicer_app  # noqa: E402, F401 (fixtures)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data (``CMEDL_DATA``, default ``../shared/data``); the test is skipped without it."""
    root = Path(os.environ.get("CMEDL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "msd_lung").is_dir():
        pytest.skip("real data not found: set CMEDL_DATA to the folder that holds msd_lung and lidc_raters")
    return root
