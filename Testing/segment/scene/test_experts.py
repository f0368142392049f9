"""Experts' segments: which there are, whose they are, their colors, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, RATER_COLORS
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentPanel.scene import expert_segments, result_nodes
from CMEDLSegmentPanel.scene.expert_segments import Role, SegmentRef
from CMEDLSegmentPanel.scene.lesion_candidates import LesionCandidates
from CMEDLSegmentPanel.scene.segment_masks import array_on_volume
from segment.scene.patients import (
    BLOB,
    FAR,
    SHAPE,
    a_segmentation,
    a_volume,
    affine,
    an_outcome,
    box_label,
    grid,
    put_under,
    refs_of,
    saved_and_loaded,
)

YELLOW = pytest.approx([part / 255 for part in EXPERT_YELLOW], abs=1e-6)
ODD_NAMES = ("<b>Dr. Müller</b>", "x" * 300, "A|B:C;D~E%41^F", '"quoted" & <img src=x>', "山田")


def test_every_kind_of_segment_is_listed(scene: object) -> None:
    volume = a_volume()
    drawn = a_segmentation(volume, {"GTV": box_label(BLOB), "Heart": box_label(FAR)})
    structures, seg = (a_segmentation(volume, {"GTV": box_label(BLOB)}) for _ in range(2))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node, modality in ((structures, "RTSTRUCT"), (seg, "SEG")):
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)
    labelmap = a_volume(box_label(BLOB), kind="vtkMRMLLabelMapVolumeNode")
    result = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB, FAR)))
    LesionCandidates(result).keep(2, False)
    listed = [(ref.node_id, ref.name, ref.source) for ref in expert_segments.all_segments()]
    assert listed == [
        (drawn.GetID(), "GTV", "drawn"),
        (drawn.GetID(), "Heart", "drawn"),
        (structures.GetID(), "GTV", "RTSTRUCT"),
        (seg.GetID(), "GTV", "SEG"),
        (result.GetID(), "Tumor", "model"),
        (labelmap.GetID(), "CT", "labelmap"),
    ]


def test_contours_in_planes_are_an_rtstruct_s(scene: object) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    node.GetSegmentation().SetSourceRepresentationName("Planar contour")
    segment = slicer.vtkSegment()
    segment.AddRepresentation("Planar contour", vtk.vtkPolyData())
    node.GetSegmentation().AddSegment(segment, "a")
    assert [ref.source for ref in refs_of(node)] == ["RTSTRUCT"]


def test_roles_are_given_and_taken_back(scene: object) -> None:
    node = a_segmentation(a_volume(), {"GTV": box_label(BLOB), "Heart": box_label(FAR)})
    gtv, heart = refs_of(node)
    before = expert_segments.color_of(gtv)
    assert expert_segments.role_of(gtv) is None
    expert_segments.set_role(gtv, "Anna", "Tumor")
    expert_segments.set_role(heart, "Anna", "Heart")
    assert expert_segments.role_of(gtv) == Role("Anna", "Tumor")
    assert expert_segments.role_of(heart) == Role("Anna", "Heart")
    assert expert_segments.with_roles() == [gtv, heart]
    expert_segments.set_role(gtv, None)
    assert expert_segments.role_of(gtv) is None
    assert expert_segments.color_of(gtv) == pytest.approx(before, abs=1e-5)
    assert expert_segments.with_roles() == [heart]


def test_the_first_rater_is_yellow_and_all_differ(scene: object) -> None:
    node = a_segmentation(a_volume(), {f"r{n}": box_label(BLOB) for n in range(8)})
    refs = refs_of(node)
    for number, ref in enumerate(refs):
        expert_segments.set_role(ref, f"Rater {number}")
    colors = [expert_segments.color_of(ref) for ref in refs]
    assert colors[0] == YELLOW
    assert len(set(colors)) == len(RATER_COLORS)
    # Told apart also from the model's red.
    assert min(np.linalg.norm(np.array(color) - (0.9, 0.1, 0.1)) for color in colors) > 0.5


def test_a_rater_has_one_color_and_keeps_it_when_renamed(scene: object) -> None:
    node = a_segmentation(a_volume(), {"a": box_label(BLOB), "b": box_label(FAR), "c": box_label(FAR)})
    a, b, c = refs_of(node)
    expert_segments.set_role(a, "Anna", "Tumor")
    expert_segments.set_role(b, "Bob", "Tumor")
    expert_segments.set_role(c, "Anna", "Heart")
    assert expert_segments.color_of(a) == expert_segments.color_of(c) != expert_segments.color_of(b)
    color = expert_segments.color_of(b)
    expert_segments.set_role(b, "Robert", "Tumor")
    assert expert_segments.color_of(b) == color
    expert_segments.set_role(c, "Carla", "Heart")
    assert len({expert_segments.color_of(ref) for ref in (a, b, c)}) == 3
    expert_segments.set_role(a, None)
    expert_segments.set_role(a, "Dora")
    assert expert_segments.color_of(a) == YELLOW


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_text_is_a_name(scene: object, name: str) -> None:
    (ref,) = refs_of(a_segmentation(a_volume(), {"GTV": box_label(BLOB)}))
    expert_segments.set_role(ref, name, name)
    assert expert_segments.role_of(ref) == Role(name, name)


def test_a_name_is_one_line_and_never_empty(scene: object) -> None:
    (ref,) = refs_of(a_segmentation(a_volume(), {"GTV": box_label(BLOB)}))
    expert_segments.set_role(ref, " Anna\nB.\t\x00 ")
    assert expert_segments.role_of(ref).rater == "Anna B."
    expert_segments.set_role(ref, " \n")
    assert expert_segments.role_of(ref).rater == "GTV"


def test_a_labelmap_volume_becomes_a_segmentation(scene: object) -> None:
    label = box_label(BLOB)
    label[FAR] = 3
    volume = a_volume(matrix=grid("oblique"))
    labelmap = a_volume(label, grid("oblique"), "vtkMRMLLabelMapVolumeNode")
    for node in (volume, labelmap):
        put_under(node, np.diag([1.1, 1.0, 1.0, 1.0]))
    (ref,) = expert_segments.all_segments()
    assert expert_segments.set_role(ref, None) == ref
    ref = expert_segments.set_role(ref, "Anna")
    listed = expert_segments.all_segments()
    assert ref in listed
    assert [segment.source for segment in listed] == ["labelmap", "labelmap"]
    node = scene.GetNodeByID(ref.node_id)
    for segment, value in zip(listed, (1, 3), strict=True):
        np.testing.assert_array_equal(array_on_volume(node, segment.segment_id, volume), label == value)
    assert expert_segments.color_of(ref) == YELLOW
    assert expert_segments.problems(ref, volume) == []


def test_an_empty_labelmap_volume_is_told(scene: object) -> None:
    volume = a_volume()
    a_volume(box_label(), kind="vtkMRMLLabelMapVolumeNode")
    (ref,) = expert_segments.all_segments()
    assert expert_segments.problems(ref, volume) == ["Nothing is marked in it."]
    with pytest.raises(InputError, match="CT"):
        expert_segments.set_role(ref, "Anna")
    assert expert_segments.all_segments() == [ref]


def shifted(matrix: np.ndarray, by: tuple[float, float, float]) -> np.ndarray:
    result = matrix.copy()
    result[:3, 3] += matrix[:3, :3] @ by
    return result


def test_a_good_segment_has_no_problem(scene: object) -> None:
    volume = a_volume(matrix=grid("oblique"))
    (ref,) = refs_of(a_segmentation(volume, {"GTV": box_label(BLOB)}))
    assert expert_segments.problems(ref, volume) == []
    # Stored with turned axes, but the same voxels.
    label = box_label(BLOB)
    turned = grid("oblique") @ np.array([[-1, 0, 0, 39], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    source = a_volume(label.transpose(1, 0, 2)[:, :, ::-1].copy(), turned)
    (ref,) = refs_of(a_segmentation(source, {"GTV": label.transpose(1, 0, 2)[:, :, ::-1].copy()}))
    assert expert_segments.problems(ref, volume) == []
    np.testing.assert_array_equal(
        array_on_volume(scene.GetNodeByID(ref.node_id), ref.segment_id, volume), box_label(BLOB) == 1
    )


def test_problems_of_a_segment_are_told(scene: object) -> None:
    volume = a_volume(matrix=grid("oblique"))

    def problems(offset: tuple[float, float, float], label: np.ndarray) -> list[str]:
        source = a_volume(matrix=shifted(grid("oblique"), offset))
        (ref,) = refs_of(a_segmentation(source, {"GTV": label}))
        return expert_segments.problems(ref, volume)

    assert problems((0, 0, 0), box_label()) == ["Nothing is marked in it."]
    assert ["outside" in text for text in problems((100, 0, 0), box_label(BLOB))] == [True]
    assert ["reaches beyond" in text for text in problems((15, 0, 0), box_label(BLOB))] == [True]
    assert ["another grid" in text for text in problems((0.3, 0, 0), box_label(BLOB))] == [True]
    (ref,) = refs_of(a_segmentation(volume, {"gone": box_label(BLOB)}))
    scene.RemoveNode(scene.GetNodeByID(ref.node_id))
    assert ["no longer" in text for text in expert_segments.problems(ref, volume)] == [True]
    assert expert_segments.role_of(ref) is None
    with pytest.raises(InputError, match="gone"):
        expert_segments.set_role(ref, "Anna")


def test_a_transform_of_the_segment_alone_is_another_grid(scene: object) -> None:
    volume = a_volume()
    node = a_segmentation(volume, {"GTV": box_label(BLOB)})
    put_under(node, affine(np.eye(3), (1000.0, 0.0, 0.0)))
    assert "outside" in expert_segments.problems(refs_of(node)[0], volume)[0]


def test_another_grid_is_resampled_to_half_a_voxel(scene: object) -> None:
    """A ball drawn on a finer, turned grid lands on the CT's voxels that lie in the ball."""
    volume = a_volume(matrix=grid("oblique"))
    world_center = (grid("oblique") @ [20.0, 15.0, 10.0, 1.0])[:3]
    fine = affine(np.diag([0.8, 0.8, 0.8]), world_center - 0.8 * 30)
    z, y, x = np.indices((61, 61, 61))
    ball = (np.sqrt((z - 30) ** 2 + (y - 30) ** 2 + (x - 30) ** 2) * 0.8 < 12).astype(np.uint8)
    node = a_segmentation(a_volume(ball, fine), {"ball": ball})
    marked = array_on_volume(node, refs_of(node)[0].segment_id, volume)
    assert marked.sum() > 200
    assert off_the_ball(marked) < 0.8


def off_the_ball(marked: np.ndarray) -> float:
    """mm from the surface of a ball of 12 mm around the voxel (20, 15, 10) to the wrong voxel farthest off it."""
    k, j, i = np.indices(SHAPE)
    distance = np.linalg.norm((np.stack([i, j, k], axis=-1) - (20, 15, 10)) * (1.5, 2.0, 3.0), axis=-1)
    return float(np.abs(distance[marked != (distance < 12)] - 12).max(initial=0))


def test_a_surface_is_filled_on_the_ct_s_voxels(scene: object) -> None:
    volume = a_volume(matrix=grid("oblique"))
    center = (grid("oblique") @ [20.0, 15.0, 10.0, 1.0])[:3]
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*center)
    sphere.SetRadius(12.0)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segment = slicer.vtkSegment()
    segment.AddRepresentation("Closed surface", sphere.GetOutput())
    node.GetSegmentation().AddSegment(segment, "ball")
    (ref,) = refs_of(node)
    assert expert_segments.problems(ref, volume) == []
    assert off_the_ball(array_on_volume(node, "ball", volume)) < 0.75
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_roles_survive_saving_and_loading_the_scene(scene: object, tmp_path: Path) -> None:
    volume = a_volume()
    node = a_segmentation(volume, {f"s{n}": box_label(BLOB) for n in range(len(ODD_NAMES))})
    refs = refs_of(node)
    for ref, name in zip(refs, ODD_NAMES, strict=True):
        expert_segments.set_role(ref, name, "Tumor")
    labelmap = a_volume(box_label(FAR), kind="vtkMRMLLabelMapVolumeNode")
    (raw,) = refs_of(labelmap)
    refs.append(expert_segments.set_role(raw, "Anna"))

    def shown(refs: list[SegmentRef]) -> list[tuple]:
        rest = [dataclasses.replace(ref, node_id="") for ref in refs]
        colors = [np.round(expert_segments.color_of(ref), 3).tolist() for ref in refs]
        return list(zip(rest, map(expert_segments.role_of, refs), colors, strict=True))

    before = shown(refs)
    saved_and_loaded(tmp_path)
    after = expert_segments.all_segments()
    assert shown(after) == before
    expert_segments.set_role(after[0], None)
    assert np.round(expert_segments.color_of(after[0]), 3).tolist() == [0.2, 0.4, 0.6]
