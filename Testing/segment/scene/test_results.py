"""What the worker found as nodes of the scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentPanel.scene import result_nodes
from CMEDLSegmentPanel.scene.segment_masks import array_on_volume, mask_of, show_surface
from segment.scene.patients import (
    BLOB,
    FAR,
    KINDS,
    SHAPE,
    a_volume,
    an_outcome,
    box_label,
    grid,
    moved,
    put_under,
    saved_and_loaded,
    world,
)


def edit(node: slicer.vtkMRMLSegmentationNode, segment_id: str, index: tuple[int, int, int], value: int = 1) -> None:
    """Change one voxel as the Segment Editor does."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    modifier = slicer.vtkOrientedImageData()
    modifier.SetExtent(*(end for at in index for end in (at, at)))
    modifier.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    modifier.GetPointData().GetScalars().Fill(value)
    modifier.CopyDirections(image)
    modifier.SetOrigin(image.GetOrigin())
    modifier.SetSpacing(image.GetSpacing())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    mode = logic.MODE_MERGE_MAX if value else logic.MODE_MERGE_MIN
    logic.SetBinaryLabelmapToSegment(modifier, node, segment_id, mode, modifier.GetExtent())


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_result_lies_on_the_anatomy(scene: object, kind: str, transformed: bool) -> None:
    volume = a_volume(matrix=grid(kind))
    if transformed:
        put_under(volume, moved())
    label = box_label(BLOB)
    node = result_nodes.add_result(volume, an_outcome(volume, label))
    np.testing.assert_array_equal(array_on_volume(node, "Segment_1", volume), label == 1)
    # Independently: Slicer's own export of the segment, placed in the world by VTK.
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("Segment_1", image)
    slicer.vtkSlicerSegmentationsModuleLogic.ApplyParentTransformToOrientedImageData(node, image, False)
    extent = [0, -1, 0, -1, 0, -1]
    assert slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(image, extent)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    center = to_world.MultiplyPoint((*((np.array(extent[::2]) + extent[1::2]) / 2), 1.0))[:3]
    expected = world(volume, [(part.start + part.stop - 1) / 2 for part in BLOB[::-1]])
    np.testing.assert_allclose(center, expected, atol=0.5 * 1.5 if transformed else 1e-6)


def test_the_surface_in_3d_lies_on_the_anatomy_too(scene: object) -> None:
    volume = a_volume(matrix=grid("oblique"))
    node = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    show_surface(node)
    surface = node.GetClosedSurfaceInternalRepresentation("Segment_1")
    center = np.array(surface.GetCenter())
    expected = world(volume, [(part.start + part.stop - 1) / 2 for part in BLOB[::-1]])
    assert np.linalg.norm(center - expected) < 0.75


def test_the_result_is_named_colored_and_coded(scene: object) -> None:
    volume = a_volume()
    node = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    assert node.GetName() == "CT lung-ct"
    segment = node.GetSegmentation().GetSegment("Segment_1")
    assert segment.GetName() == "Tumor"
    np.testing.assert_allclose(segment.GetColor(), TUMOR.color)
    entry = vtk.mutable("")
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    for code in ("SCT^49755003^", "SCT^86049000^Neoplasm, Primary", "SCT^39607008^Lung"):
        assert code in str(entry)
    assert result_nodes.volume_of_result(node) is volume
    assert node.GetDisplayNode().GetVisibility()


def test_every_run_makes_a_node_of_its_own(scene: object) -> None:
    volume = a_volume()
    first = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    edit(first, "Segment_1", (1, 2, 3))
    second = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    assert first.GetName() != second.GetName()
    assert array_on_volume(first, "Segment_1", volume)[3, 2, 1]
    assert not array_on_volume(second, "Segment_1", volume)[3, 2, 1]


def test_the_result_stands_beside_its_ct_in_the_study(scene: object) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    volume = a_volume()
    hierarchy.CreateItem(study, volume)
    node = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    # In the application an item of the node is there already, at the top.
    other = a_volume()
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), other)
    result_nodes.place_beside(other, volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(other)) == study


def test_the_result_tells_how_it_was_made(scene: object) -> None:
    volume = a_volume()
    outcome = an_outcome(volume, box_label(BLOB), series_uid="1.2.3", warnings=["Look | here.\nAnd there."])
    node = result_nodes.add_result(volume, outcome)
    facts = result_nodes.provenance(node)
    assert facts["weights_sha256"] == "ab" * 32
    assert facts["program"] == "CMEDL 1.2.3"
    assert (facts["student"], facts["threshold"], facts["device"]) == ("lung-ct", "0.5", "cpu")
    assert (facts["series_uid"], facts["date"]) == ("1.2.3", "2026-01-02T03:04:05+00:00")
    text = result_nodes.provenance_text(node)
    assert "Weights (SHA-256): " + "ab" * 32 in text
    assert "Edited" not in text
    assert result_nodes.provenance(volume) == {}


def test_an_empty_result_is_a_result(scene: object) -> None:
    volume = a_volume()
    node = result_nodes.add_result(volume, an_outcome(volume, box_label()))
    assert mask_of(node, "Segment_1").empty
    assert not result_nodes.is_edited(node)
    edit(node, "Segment_1", (1, 2, 3))
    assert result_nodes.is_edited(node)


def test_several_labels_become_several_segments(scene: object) -> None:
    volume = a_volume()
    label = box_label(BLOB)
    label[FAR] = 7
    labels = (TUMOR, dataclasses.replace(TUMOR, value=7, name="Node", color=(0.0, 0.5, 1.0)))
    node = result_nodes.add_result(volume, an_outcome(volume, label, labels=labels))
    np.testing.assert_array_equal(array_on_volume(node, "Segment_1", volume), label == 1)
    np.testing.assert_array_equal(array_on_volume(node, "Segment_7", volume), label == 7)


def test_a_volume_that_is_gone_or_changed_gets_no_result(scene: object) -> None:
    volume = a_volume()
    outcome = an_outcome(volume, box_label(BLOB))
    volume.SetAndObserveImageData(a_volume(np.zeros((5, 5, 5), np.int16)).GetImageData())
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="CT"):
        result_nodes.add_result(volume, outcome)
    scene.RemoveNode(volume)
    with pytest.raises(InputError):
        result_nodes.add_result(volume, outcome)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodes() < before


def test_an_edit_is_noticed_and_an_undone_one_is_none(scene: object) -> None:
    volume = a_volume()
    node = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    assert not result_nodes.is_edited(node)
    edit(node, "Segment_1", (1, 2, 3))
    assert result_nodes.is_edited(node)
    assert "Edited: yes" in result_nodes.provenance_text(node)
    edit(node, "Segment_1", (1, 2, 3), value=0)
    assert not result_nodes.is_edited(node)
    node.GetSegmentation().RemoveSegment("Segment_1")
    assert result_nodes.is_edited(node)
    assert not result_nodes.is_edited(a_volume())


def two_hills() -> np.ndarray:
    """A probability with a high hill of 0.9 and a lower one of 0.6, each falling off in steps of voxels."""
    z, y, x = np.indices(SHAPE)
    high = 0.9 - 0.1 * np.maximum.reduce([abs(z - 6), abs(y - 10), abs(x - 10)])
    low = 0.6 - 0.1 * np.maximum.reduce([abs(z - 12), abs(y - 20), abs(x - 30)])
    return np.clip(np.maximum(high, low), 0, 1).astype(np.float32)


def a_result_with_probability(**changes: object) -> tuple[slicer.vtkMRMLScalarVolumeNode, object, np.ndarray]:
    volume = a_volume(matrix=grid("oblique"))
    put_under(volume, moved())
    probability = two_hills()
    outcome = an_outcome(volume, (probability >= 0.5).astype(np.uint8), probability.copy(), **changes)
    node = result_nodes.add_result(volume, outcome)
    result_nodes.add_probability(volume, outcome, node)
    return volume, node, probability


def test_the_probability_is_a_linked_volume_on_the_same_grid(scene: object) -> None:
    volume, node, probability = a_result_with_probability()
    map_node = result_nodes.probability_of(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(map_node), probability)
    np.testing.assert_allclose(world(map_node, (3, 4, 5)), world(volume, (3, 4, 5)))
    display = map_node.GetDisplayNode()
    assert display.GetColorNode() is not None
    assert (display.GetWindow(), display.GetLevel()) == (1.0, 0.5)
    assert not display.GetAutoWindowLevel()
    without = an_outcome(volume, box_label(BLOB))
    with pytest.raises(InputError, match="probability"):
        result_nodes.add_probability(volume, without, node)


@pytest.mark.parametrize("threshold", [0.05, 0.25, 0.5, 0.55, 0.75, 0.99])
def test_another_threshold_marks_what_reaches_it(scene: object, threshold: float) -> None:
    volume, node, probability = a_result_with_probability()
    result_nodes.rethreshold(node, 0.95)
    result_nodes.rethreshold(node, threshold)
    np.testing.assert_array_equal(array_on_volume(node, "Segment_1", volume), probability >= np.float32(threshold))
    assert result_nodes.provenance(node)["threshold"] == f"{threshold:g}"
    assert not result_nodes.is_edited(node)


def test_the_runs_smallest_component_holds_at_another_threshold_too(scene: object) -> None:
    volume, node, _ = a_result_with_probability(minimum_cc=1.0)
    result_nodes.rethreshold(node, 0.5)
    marked = array_on_volume(node, "Segment_1", volume)
    # The lower hill has 27 voxels of 0.009 cc; the higher one 729.
    assert marked[6, 10, 10]
    assert not marked[12, 20, 30]


def test_what_cannot_be_given_another_threshold_is_told(scene: object) -> None:
    volume, node, _ = a_result_with_probability()
    for wrong in (0.0, 1.0, -3.0, float("nan")):
        with pytest.raises(InputError, match=f"{wrong:g}"):
            result_nodes.rethreshold(node, wrong)
    edit(node, "Segment_1", (1, 2, 3))
    with pytest.raises(InputError, match="CT lung-ct"):
        result_nodes.rethreshold(node, 0.4)
    assert array_on_volume(node, "Segment_1", volume)[3, 2, 1]
    slicer.mrmlScene.RemoveNode(result_nodes.probability_of(node))
    with pytest.raises(InputError, match="CT lung-ct"):
        result_nodes.rethreshold(node, 0.4)


def test_results_survive_saving_and_loading_the_scene(scene: object, tmp_path: Path) -> None:
    volume, node, probability = a_result_with_probability(warnings=["Look | here <b>&amp;\nAnd there."])
    result_nodes.rethreshold(node, 0.4)
    facts = result_nodes.provenance(node)
    names = node.GetName(), volume.GetName()
    saved_and_loaded(tmp_path)
    node, volume = (scene.GetFirstNodeByName(name) for name in names)
    assert result_nodes.is_result(node)
    assert not result_nodes.is_edited(node)
    assert result_nodes.provenance(node) == facts
    assert result_nodes.volume_of_result(node) is volume
    np.testing.assert_array_equal(array_on_volume(node, "Segment_1", volume), probability >= np.float32(0.4))
    result_nodes.rethreshold(node, 0.7)
    np.testing.assert_array_equal(array_on_volume(node, "Segment_1", volume), probability >= np.float32(0.7))
    edit(node, "Segment_1", (1, 2, 3))
    assert result_nodes.is_edited(node)
