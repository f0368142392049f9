"""Which Python packages each thing that the panels do needs beyond Slicer's own, and how pip installs them.

Nothing here needs Qt or Slicer.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

TORCH = "torch>=2.6,<2.14"
NEEDS = {
    "segment": (TORCH, "safetensors>=0.4.3"),
    "agreement": ("scikit-image>=0.22",),
    "rtstruct": ("scikit-image>=0.22",),
    # pip takes one that fits Slicer's pydicom: 0.22 in Slicer 5.10; Slicer 5.12 brings 0.27 along.
    "seg": ("highdicom>=0.22",),
    "train": (TORCH, "safetensors>=0.4.3"),
    "evaluate": (TORCH, "safetensors>=0.4.3", "scikit-image>=0.22"),
}
"""By what somebody clicks."""


def missing(purpose: str) -> list[str]:
    """What ``purpose`` needs and is not installed, or in too old a version; nothing is imported to find out.

    An upper bound is for pip's choice alone: a newer version that is there was installed for another extension.

    Args:
        purpose: one of ``NEEDS``.
    """
    importlib.invalidate_caches()
    found = []
    for line in NEEDS[purpose]:
        requirement = Requirement(line)
        version = None  # as in a folder that a cancelled installation left half
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(requirement.name)
        oldest = [str(part) for part in requirement.specifier if part.operator == ">="]
        if version is None or not SpecifierSet(",".join(oldest)).contains(version, prereleases=True):
            found.append(line)
    return found


def constraints(wanted: Sequence[str] = ()) -> list[str]:
    """Lines for pip that keep each installed package at its version, but for those in ``wanted``.

    Slicer's own packages are in use, on Windows as open files, and those that other extensions installed are theirs:
    pip is to find versions that fit them, or to say that there are none.

    Args:
        wanted: requirements that are about to be installed.
    """
    free = {canonicalize_name(Requirement(line).name) for line in wanted}
    pins: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        # A folder that a cancelled installation left half has no name or no version, and pip stops at a version that
        # is none. Of several of one name the one that Python finds counts.
        if name and version and canonicalize_name(name) not in free:
            with contextlib.suppress(InvalidVersion):
                pins.setdefault(canonicalize_name(name), f"{name}=={Version(version)}")
    return [pins[name] for name in sorted(pins)]


def pip_options(pins: Path) -> list[str]:
    """What pip's ``install`` is told besides what it is to install.

    Args:
        pins: a file with :func:`constraints`.
    """
    # Rather an older wheel than a source: most computers with Slicer have no compiler.
    return ["--no-input", "--disable-pip-version-check", "--prefer-binary", "--constraint", str(pins)]


def torch_gb() -> float:
    """About how much pip downloads for its own build of torch on this computer, in GB (10^9 bytes)."""
    # torch 2.13: on Linux it is the build for NVIDIA cards, with CUDA's libraries.
    return 2.7 if sys.platform == "linux" else 0.1
