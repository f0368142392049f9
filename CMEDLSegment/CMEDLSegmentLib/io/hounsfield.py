"""Whether an image's values can be Hounsfield units, and what they look like instead if they cannot."""

from __future__ import annotations

import numpy as np

from ..base.errors import InputError

SAMPLE_VOXELS = 500_000
DARKEST_HU = -1100.0
"""What is below is no tissue and no air: filling outside a round field of view."""
OFFSETS = (1024, 1000, -1024, -1000)
"""What a CT is off by when its rescale intercept was left out, or was applied twice."""


def check_hounsfield(array: np.ndarray) -> list[str]:
    """Check that ``array`` (any shape, any numeric type) can be a chest CT in Hounsfield units.

    HU are an absolute scale, and every chest shows it: there is air near -1000, most of what is not air is soft
    tissue in a narrow band around water (fat near -100, muscle near 50), and little lies between. Bone, contrast
    medium and metal have a small share, and what fills the corners of a round field of view (-2000, -3024) is
    left out. MR, windowed pictures, normalized values and CT without its rescale intercept fail in one of these.

    Returns:
        Warnings: a sentence about values that are HU yet unusual.

    Raises:
        InputError: the values cannot be HU of a chest; the sentence says what they look like.
    """
    values = _sample(array)
    low, high = float(values.min()), float(values.max())
    if _like_hounsfield(values):
        if high > 300:
            return []
        return [f"No voxel is brighter than {high:g} HU, as bone is: the CT may have been clipped."]
    refused = f"The image is not in Hounsfield units: its values run from {low:g} to {high:g}"
    for offset in OFFSETS:
        if _like_hounsfield(values - offset):
            change = f"subtract {offset}" if offset > 0 else f"add {-offset}"
            raise InputError(f"{refused}, like a CT that is off by about {offset:+d}; {change} and try again.")
    if low >= 0 and 1 < high <= 255:
        raise InputError(f"{refused}, like an 8-bit picture; give the original CT.")
    if high - low <= 100:
        raise InputError(f"{refused}, like a normalized or an empty image; give the original CT.")
    raise InputError(
        f"{refused}, without the air near -1000 and the soft tissue around 0 of a chest CT; it may be an MR or a "
        "rescaled CT: give the original CT, or choose a model for this kind of image."
    )


def _sample(array: np.ndarray) -> np.ndarray:
    """About SAMPLE_VOXELS values, evenly spread over the array, as float64."""
    step = max(1, round((array.size / SAMPLE_VOXELS) ** (1 / max(1, array.ndim))))
    return array[(slice(None, None, step),) * array.ndim].astype(float).ravel()


def _like_hounsfield(values: np.ndarray) -> bool:
    """Whether there is air as dark as in a lung, and soft tissue that outweighs what is brighter or in between.

    Between lung and soft tissue only walls are imaged: msd_lung has at least six times as much tissue, in single
    slices five times. MR that a factor and an offset bring into this range has no such valley.
    """
    imaged = values[values > DARKEST_HU]
    if not len(imaged):
        return False
    body = imaged[imaged > -300]
    tissue = np.count_nonzero(np.abs(body) < 200)
    valley = np.count_nonzero((imaged > -600) & (imaged < -200))
    return bool(
        np.percentile(imaged, 1) < -600
        and tissue > 0.5 * len(body)
        and tissue > 0.04 * len(imaged)
        and tissue > 3 * valley
    )
