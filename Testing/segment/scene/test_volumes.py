"""A volume node as a Volume: where its voxels lie, and what is doubtful about one."""

from __future__ import annotations

import functools
import tracemalloc

import numpy as np
import pytest
import slicer
import vtk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLSegmentPanel.scene.volume_nodes import input_checks, modality_of, volume_of
from segment.inference.small_models import a_card
from segment.scene.patients import KINDS, SHAPE, a_volume, affine, grid, moved, put_under, rotation, world

LUNG_CARD = {"slices": "lung"}
LPS = np.array([-1.0, -1.0, 1.0])


def chest(matrix: np.ndarray | None = None) -> slicer.vtkMRMLScalarVolumeNode:
    """A phantom's chest as a node."""
    return a_volume(chest_array(), np.diag([-4.0, -4.0, 6.0, 1.0]) if matrix is None else matrix)


@functools.cache
def chest_array() -> np.ndarray:
    return thorax_ct(3, (30, 96, 96), (6.0, 4.0, 4.0), tumor="lung").image.array


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_voxel_lies_where_the_scene_says(scene: object, kind: str, transformed: bool) -> None:
    node = a_volume(matrix=grid(kind))
    if transformed:
        put_under(node, moved())
    volume = volume_of(node)
    assert volume.array.shape == SHAPE == volume.geometry.shape
    for index in ((0, 0, 0), (39, 0, 0), (0, 29, 0), (0, 0, 19), (7, 11, 13)):
        expected = world(node, index) * LPS
        np.testing.assert_allclose(volume.geometry.to_physical(np.array([index]))[0], expected, atol=1e-6)
        assert volume.array[index[::-1]] == node.GetImageData().GetScalarComponentAsDouble(*index, 0)


def test_two_transforms_above_each_other_count_both(scene: object) -> None:
    node = a_volume()
    inner = put_under(node, moved())
    put_under(inner, np.diag([1.2, 1.2, 0.8, 1.0]))
    place = volume_of(node).geometry.to_physical(np.array([[5, 6, 7]]))[0]
    np.testing.assert_allclose(place, world(node, (5, 6, 7)) * LPS, atol=1e-6)


def test_an_extent_that_does_not_begin_at_zero_is_respected(scene: object) -> None:
    node = a_volume()
    node.GetImageData().SetExtent(3, 42, -2, 27, 5, 24)
    geometry = volume_of(node).geometry
    np.testing.assert_allclose(geometry.origin, world(node, (3, -2, 5)) * LPS, atol=1e-9)


def test_the_array_is_the_nodes_own_memory_and_outlives_it(scene: object) -> None:
    node = a_volume()
    array = volume_of(node).array
    node.GetImageData().SetScalarComponentFromDouble(1, 2, 3, 0, 777)
    assert array[3, 2, 1] == 777
    slicer.mrmlScene.RemoveNode(node)
    del node
    assert array[3, 2, 1] == 777


def test_dicom_tells_modality_and_series(scene: object) -> None:
    node = a_volume()
    assert volume_of(node).modality is None
    assert volume_of(node).series_uid is None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemUID(item, "DICOM", "1.2.3")
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert (volume_of(node).modality, volume_of(node).series_uid) == ("MR", "1.2.3")


def test_units_of_hounsfield_mean_ct(scene: object) -> None:
    node = a_volume()
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("hnsf'U", "UCUM", "Hounsfield unit")
    node.SetVoxelValueUnits(units)
    assert modality_of(node) == "CT"


def bent(node: slicer.vtkMRMLVolumeNode) -> None:
    grid_transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    transform = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for corner in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (25, 25, 25)):
        points.InsertNextPoint(corner)
    targets = vtk.vtkPoints()
    targets.DeepCopy(points)
    targets.SetPoint(4, 25, 25, 40)
    transform.SetSourceLandmarks(points)
    transform.SetTargetLandmarks(targets)
    transform.SetBasisToR()
    grid_transform.SetAndObserveTransformToParent(transform)
    node.SetAndObserveTransformNodeID(grid_transform.GetID())


def test_what_cannot_be_segmented_is_refused_in_a_sentence(scene: object) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    labelmap = a_volume(kind="vtkMRMLLabelMapVolumeNode")
    flat = a_volume(np.zeros((1, 30, 40), np.int16))
    color = a_volume()
    color.GetImageData().AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    under_bent = a_volume()
    bent(under_bent)
    singular = a_volume(matrix=np.diag([1.0, 1.0, 0.0, 1.0]))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    refused = {
        "No volume": None,
        "no voxels": empty,
        "labelmap": labelmap,
        "single slice": flat,
        "3 values": color,
        "bends": under_bent,
        "without a size": singular,
        "no volume": segmentation,
    }
    for words, node in refused.items():
        with pytest.raises(InputError):
            volume_of(node)
        (check,) = input_checks(node, a_card())
        assert check.blocks
        assert words in check.text


def test_a_chest_ct_raises_no_doubt(scene: object) -> None:
    assert input_checks(chest(), a_card(**LUNG_CARD, spacing_mm=2.0)) == []


def test_doubtful_inputs_are_told(scene: object) -> None:
    card = a_card(**LUNG_CARD, spacing_mm=2.0)
    oblique = affine(rotation(25.0, (1, 0, 0)) @ np.diag([-4.0, -4.0, 6.0]), np.zeros(3))
    (tilt,) = [check for check in input_checks(chest(oblique), card) if "tilted" in check.text]
    assert not tilt.blocks
    assert "25 degrees" in tilt.text
    thick = input_checks(chest(np.diag([-4.0, -4.0, 14.0, 1.0])), card)
    assert any("14 mm apart" in check.text and not check.blocks for check in thick)
    coarse = input_checks(chest(), a_card(**LUNG_CARD, spacing_mm=1.0))
    assert any("coarser" in check.text for check in coarse)
    short = a_volume(chest_array()[8:14], np.diag([-4.0, -4.0, 5.0, 1.0]))
    assert any("only 6 axial slices" in check.text for check in input_checks(short, card))


def test_values_that_are_no_hounsfield_units_block(scene: object) -> None:
    card = a_card(**LUNG_CARD)
    array = chest_array()
    shifted = input_checks(a_volume(array + np.int16(1024)), card)
    assert shifted[0].blocks
    assert "off by about +1024" in shifted[0].text
    holes = array.astype(np.float32)
    holes[:] = np.nan
    assert "NaN" in input_checks(a_volume(holes), card)[0].text
    # A model that does not look for lungs takes any values.
    assert not any(check.blocks for check in input_checks(a_volume(array + np.int16(1024)), a_card(slices="all")))


def test_a_body_without_lung_is_told(scene: object) -> None:
    array = chest_array().copy()
    inside = (array > -960) & (array < -400)
    array[inside] = 40
    checks = input_checks(a_volume(array, np.diag([-4.0, -4.0, 6.0, 1.0])), a_card(**LUNG_CARD))
    assert any("No lung is seen" in check.text and not check.blocks for check in checks)


def test_mr_for_a_ct_model_blocks(scene: object) -> None:
    node = chest()
    quantity = slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("110852", "DCM", "MR signal intensity")
    node.SetVoxelValueQuantity(quantity)
    check = input_checks(node, a_card())[0]
    assert check.blocks
    assert "is MR, but" in check.text


def test_looking_for_doubts_reads_a_sample_only(scene: object) -> None:
    """The bar for 512 x 512 x 300 is 50 ms, measured in the bench; here what is held must not grow with the voxels."""
    small, large = chest(), a_volume(np.tile(chest_array(), (2, 4, 4)), np.diag([-1.0, -1.0, 4.0, 1.0]))
    card = a_card(**LUNG_CARD)
    input_checks(small, card)
    peaks = []
    tracemalloc.start()
    for node in (small, large):
        tracemalloc.reset_peak()
        input_checks(node, card)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    print(f"{peaks[0] / 1e6:.2f} and {peaks[1] / 1e6:.2f} MB")
    assert peaks[1] < 2 * peaks[0] < slicer.util.arrayFromVolume(large).nbytes
