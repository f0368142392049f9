"""Geometry and the axial view, against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.volume import Geometry, axial_view, set_geometry
from segment.io.conftest import all_axis_orders, grid, orientations, rotation, tilted


def itk_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    set_geometry(image, geometry)
    return image


@pytest.mark.parametrize("name", orientations())
def test_positions_are_those_of_simpleitk_and_back(name, ct):
    geometry = grid(orientations()[name])
    image = itk_image(ct, geometry)
    points = np.random.default_rng(0).uniform(-3, 30, (20, 3))
    expected = [image.TransformContinuousIndexToPhysicalPoint(point.tolist()) for point in points]
    np.testing.assert_allclose(geometry.to_physical(points), expected, atol=1e-9)
    np.testing.assert_allclose(geometry.to_index(geometry.to_physical(points)), points, atol=1e-9)


def test_a_voxel_has_its_volume_also_on_a_sheared_grid():
    sheared = grid(tilted(20))
    assert grid(rotation(30)).voxel_cc == pytest.approx(0.7 * 0.85 * 2.5 / 1000)
    assert sheared.voxel_cc == pytest.approx(0.7 * 0.85 * 2.5 / 1000 * np.cos(np.radians(20)))
    assert sheared.is_sheared
    assert not grid(rotation(30)).is_sheared


def test_grids_are_close_as_far_as_their_farthest_voxels_are():
    whole = Geometry((100, 100, 100), (1.0, 1.0, 1.0))
    stretched = Geometry((100, 100, 100), (1.0, 1.0, 1.001))
    assert whole.is_close(stretched, 0.1)
    assert not whole.is_close(stretched, 0.09)
    assert not whole.is_close(Geometry((100, 100, 99)), 1000.0)


@pytest.mark.parametrize("direction", all_axis_orders())
def test_the_axial_view_is_simpleitks_lps_orientation_without_a_copy(direction, ct):
    geometry = grid(direction)
    view = axial_view(ct, geometry)
    expected = sitk.DICOMOrient(itk_image(ct, geometry), "LPS")
    np.testing.assert_array_equal(view.array, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(view.geometry.origin, expected.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(view.geometry.direction, np.eye(3).ravel(), atol=1e-12)
    assert view.spacing == expected.GetSpacing()[::-1]
    assert view.obliquity_degrees == pytest.approx(0.0, abs=1e-5)
    assert np.shares_memory(view.array, ct)


@pytest.mark.parametrize("name", orientations())
def test_the_axial_view_goes_there_and_back_and_keeps_positions(name, ct):
    geometry = grid(orientations()[name])
    view = axial_view(ct, geometry)
    np.testing.assert_array_equal(view.to_native(view.array), ct)
    np.testing.assert_array_equal(view.to_axial(ct), view.array)
    # The brightest voxel is at one place in the patient, whichever way one looks.
    native = np.argwhere(ct == ct.max())[:1, ::-1]
    axial = np.argwhere(view.array == ct.max())
    distance = np.linalg.norm(view.geometry.to_physical(axial[:, ::-1]) - geometry.to_physical(native), axis=1)
    assert distance.min() < 1e-9


def test_obliquity_is_the_angle_of_the_worst_axis():
    assert axial_view(np.zeros((12, 20, 24)), grid(rotation(17, (1, 0, 0)))).obliquity_degrees == pytest.approx(17)


def test_an_array_of_another_shape_is_refused(ct):
    with pytest.raises(InputError, match=r"\(11, 20, 24\)"):
        axial_view(ct[1:], grid(np.eye(3)))
