"""Components found slice by slice against scipy's 3-D labeling of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.probability import ProbabilityField
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.io.volume import Geometry, axial_view

TOUCHING = np.ones((3, 3, 3))


def a_probability(values: np.ndarray, geometry: Geometry | None = None, labels: tuple[int, ...] = (1,)):
    """Probabilities (labels, z, y, x) on a model's grid that is the native one."""
    _, depth, height, width = values.shape
    assert height == width
    geometry = geometry or Geometry((width, height, depth), (1.5, 1.5, 3.0), (5.0, -7.0, 11.0))
    field = ModelField((height, width), (1.5, 1.5), ((height - 1) / 2, (width - 1) / 2), height, 1.5)
    values = values.transpose(1, 0, 2, 3).astype(np.float16)
    return ProbabilityField(values, np.arange(depth), field, geometry, labels)


def many_components(seed: int, blur: float) -> np.ndarray:
    """A few per cent of the voxels at 0.5 or above: components of all shapes, near percolation without blur."""
    noise = np.random.default_rng(seed).uniform(0, 1, (20, 24, 24))
    smooth = ndimage.gaussian_filter(noise, blur) if blur else noise
    return np.clip(0.5 + (smooth - np.quantile(smooth, 0.93)) * 2, 0, 1).astype(np.float16)


@pytest.mark.parametrize(("seed", "blur"), [(0, 0.0), (1, 0.7), (2, 1.5)])
def test_components_are_those_of_the_whole_volume(seed: int, blur: float) -> None:
    values = many_components(seed, blur)
    probability = a_probability(values[None])
    label, components = probability.segment(0.5)

    expected, count = ndimage.label(values >= 0.5, structure=TOUCHING)
    assert count > 3
    assert ((expected > 0) == (label == 1)).all()
    index = np.arange(1, count + 1)
    voxels = ndimage.sum_labels(np.ones(values.shape), expected, index)
    means = ndimage.mean(values.astype(float), expected, index)
    peaks = ndimage.maximum(values, expected, index)
    centers = np.array(ndimage.center_of_mass(np.ones(values.shape), expected, index))
    ranges = [box[0] for box in ndimage.find_objects(expected)]
    order = sorted(range(count), key=lambda i: (-round(means[i], 6), -voxels[i], centers[i].tolist()))
    ordered = sorted(components, key=lambda c: (-round(c.mean, 6), -c.volume_cc, c.center_mm[::-1]))
    assert [c.volume_cc for c in ordered] == pytest.approx([voxels[i] * 1.5 * 1.5 * 3 / 1000 for i in order])
    assert [c.mean for c in ordered] == pytest.approx([means[i] for i in order], abs=1e-5)
    assert [c.peak for c in ordered] == pytest.approx([float(peaks[i]) for i in order], abs=1e-5)
    assert [c.slices for c in ordered] == [(ranges[i].start, ranges[i].stop - 1) for i in order]
    assert [c.n_slices for c in ordered] == [ranges[i].stop - ranges[i].start for i in order]
    expected_mm = [(5 + 1.5 * x, -7 + 1.5 * y, 11 + 3 * z) for z, y, x in (centers[i] for i in order)]
    np.testing.assert_allclose([c.center_mm for c in ordered], expected_mm, atol=1e-6)


def test_the_most_confident_component_comes_first() -> None:
    values = np.zeros((1, 4, 32, 32))
    values[0, 1:3, 4:12, 4:12] = 0.6
    values[0, 2, 20:22, 20:22] = 0.9
    _, components = a_probability(values).segment(0.5)
    assert [round(c.mean, 2) for c in components] == [0.9, 0.6]


@pytest.mark.parametrize("step", [(1, 1, 1), (1, -1, 1), (1, 0, -1), (0, 1, -1)])
def test_voxels_that_touch_at_a_corner_are_one_component(step: tuple[int, int, int]) -> None:
    for count in (1, 2):
        values = np.zeros((1, 8, 32, 32))
        values[0, 3, 10, 12] = values[0, 3 + count * step[0], 10 + count * step[1], 12 + count * step[2]] = 0.9
        assert len(a_probability(values).segment(0.5)[1]) == count


def test_components_below_the_smallest_volume_leave_the_label_and_the_list() -> None:
    values = many_components(5, 0.7)
    expected, count = ndimage.label(values >= 0.5, structure=TOUCHING)
    sizes = ndimage.sum_labels(np.ones(values.shape), expected, np.arange(1, count + 1))
    smallest = int(np.median(sizes)) + 1
    kept = np.isin(expected, np.flatnonzero(sizes >= smallest) + 1)
    assert 0 < (sizes >= smallest).sum() < count

    voxel_cc = 1.5 * 1.5 * 3 / 1000
    label, components = a_probability(values[None]).segment(0.5, minimum_cc=smallest * voxel_cc)
    assert ((label == 1) == kept).all()
    assert len(components) == (sizes >= smallest).sum()
    assert min(c.volume_cc for c in components) >= smallest * voxel_cc * (1 - 1e-9)


def test_every_label_has_its_own_components_and_dropping_one_spares_its_neighbor() -> None:
    values = np.zeros((2, 6, 32, 32))
    values[0, 1:5, 8:16, 8:16] = 0.9
    values[1, 2, 16, 12] = 0.8  # touches the first label's block
    values[1, 1:4, 24:28, 24:28] = 0.7
    values[0, 1:4, 24:28, 24:28] = 0.2
    probability = a_probability(values, labels=(3, 7))
    label, components = probability.segment(0.5)
    assert [(c.label, c.n_slices) for c in components] == [(3, 4), (7, 1), (7, 3)]
    assert label[3, 25, 25] == 7
    label, components = probability.segment(0.5, minimum_cc=0.01)
    assert [c.label for c in components] == [3, 7]
    assert label[2, 16, 12] == 0
    assert (label[1:5, 8:16, 8:16] == 3).all()


def test_foreground_is_where_the_labels_together_reach_the_threshold() -> None:
    values = np.zeros((2, 1, 32, 32))
    values[:, 0, 10, 10] = 0.35, 0.25
    values[:, 0, 20, 20] = 0.10, 0.30
    label, _ = a_probability(values, labels=(1, 2)).segment(0.5)
    assert label[0, 10, 10] == 1
    assert label[0, 20, 20] == 0


def test_slices_and_center_are_in_the_terms_of_the_stored_volume() -> None:
    """Stored from the head down and left to right flipped: the index runs against the axial one."""
    geometry = Geometry((24, 24, 10), (1.5, 1.5, 3.0), (40.0, 0.0, 90.0), (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    native = np.zeros(geometry.shape)
    native[1:4, 5:8, 2:4] = 0.9
    axial = axial_view(native, geometry).array
    _, (component,) = a_probability(axial[None], geometry).segment(0.5)
    assert component.slices == (1, 3)
    np.testing.assert_allclose(component.center_mm, (40 - 1.5 * 2.5, 1.5 * 6, 90 - 3.0 * 2), atol=1e-9)


def test_native_probability_is_the_one_that_was_thresholded() -> None:
    rng = np.random.default_rng(6)
    geometry = Geometry((50, 40, 5), (0.9, 1.1, 2.0))
    field = ModelField((40, 50), (1.1, 0.9), (19.0, 26.0), 20, 1.5)
    values = rng.uniform(0, 1, (3, 2, 20, 20)).astype(np.float16) / 2
    probability = ProbabilityField(values, np.array([1, 2, 4]), field, geometry, (1, 2))
    whole = probability.native()
    assert whole.shape == geometry.shape
    assert whole.dtype == np.float32
    assert whole[[0, 3]].max() == 0
    for threshold in (0.3, 0.5, 0.7):
        away = np.abs(whole - threshold) > 1e-5
        label = probability.segment(threshold)[0]
        assert ((label > 0) == (whole >= threshold))[away].all()
    for (z, first), (_, second) in zip(probability.planes(1), probability.planes(2), strict=True):
        np.testing.assert_allclose(whole[z], first + second, atol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "minimum_cc"),
    [(0.0, 0), (1.0, 0), (-1.0, 0), (np.nan, 0), (0.5, -0.1), (0.5, np.nan), (0.5, np.inf)],
)
def test_what_makes_no_sense_is_refused(threshold: float, minimum_cc: float) -> None:
    with pytest.raises(InputError, match="volume" if minimum_cc else "threshold"):
        a_probability(np.zeros((1, 2, 24, 24))).segment(threshold, minimum_cc)


def test_nothing_found_is_an_empty_label_and_no_components() -> None:
    label, components = a_probability(np.zeros((1, 3, 24, 24))).segment(0.5)
    assert label.dtype == np.uint8
    assert label.max() == 0
    assert components == []
