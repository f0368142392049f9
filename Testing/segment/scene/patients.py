"""Volume nodes and outcomes for the scene's tests: small, with answers known beforehand; and the scene saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentPanel.scene.expert_segments import SegmentRef, all_segments
from CMEDLSegmentPanel.scene.volume_nodes import volume_of

SHAPE = (20, 30, 40)
SPACING = (1.5, 2.0, 3.0)
KINDS = ("plain", "flipped", "permuted", "oblique")
BLOB = (slice(5, 9), slice(8, 14), slice(20, 27))
FAR = (slice(12, 15), slice(20, 23), slice(3, 6))
"""Two boxes (z, y, x) that do not touch."""


def rotation(degrees: float, axis: Sequence[float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    """(3, 3) rotation about an axis, by Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def grid(kind: str = "plain") -> np.ndarray:
    """(4, 4) from voxel indices to RAS of a CT that is plain (as DICOM's), flipped, permuted or oblique."""
    return affine(axes_of(kind) * SPACING, (31.0, -22.0, 101.0))


def axes_of(kind: str) -> np.ndarray:
    """(3, 3) whose columns are the directions (RAS) of a grid's axes; ``kind`` is one of ``KINDS``."""
    plain = np.diag([-1.0, -1.0, 1.0])
    return {
        "plain": plain,
        "flipped": np.diag([1.0, -1.0, -1.0]),
        "permuted": np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "oblique": rotation(25.0) @ plain,
    }[kind]


def affine(axes: np.ndarray, origin: Sequence[float]) -> np.ndarray:
    """(4, 4) of axes (3, 3) and an origin."""
    return np.block([[axes, np.reshape(origin, (3, 1))], [np.zeros(3), 1.0]])


def moved() -> np.ndarray:
    """(4, 4) of a patient turned and shifted."""
    return affine(rotation(40.0, (3, -1, 2)), (12.0, -7.0, 30.0))


def vtk_matrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result


def saved_and_loaded(folder: Path) -> None:
    """Save the scene with its data, close it and load it again, as the application's dialogs do."""
    path = str(folder / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)


def a_volume(
    array: np.ndarray | None = None, matrix: np.ndarray | None = None, kind: str = "vtkMRMLScalarVolumeNode"
) -> slicer.vtkMRMLVolumeNode:
    """A volume node 'CT' in ``slicer.mrmlScene``; by default each voxel differs from its neighbors."""
    if array is None:
        array = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 1000).astype(np.int16)
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1), deep=1))
    node = slicer.mrmlScene.AddNewNodeByClass(kind, "CT")
    node.SetIJKToRASMatrix(vtk_matrix(grid() if matrix is None else matrix))
    node.SetAndObserveImageData(image)
    return node


def put_under(node: slicer.vtkMRMLTransformableNode, matrix: np.ndarray) -> slicer.vtkMRMLTransformNode:
    """Put a node under a new linear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def world(node: slicer.vtkMRMLVolumeNode, index: Sequence[float]) -> np.ndarray:
    """RAS in the world of a voxel (i, j, k), by VTK."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    point = matrix.MultiplyPoint((*index, 1.0))[:3]
    if node.GetParentTransformNode():
        transform = vtk.vtkGeneralTransform()
        node.GetParentTransformNode().GetTransformToWorld(transform)
        point = transform.TransformPoint(point)
    return np.array(point)


def box_label(*boxes: tuple[slice, slice, slice], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """uint8 (z, y, x), the n-th box set to 1."""
    label = np.zeros(shape, dtype=np.uint8)
    for box in boxes:
        label[box] = 1
    return label


def an_outcome(
    node: slicer.vtkMRMLVolumeNode,
    label: np.ndarray,
    probability: np.ndarray | None = None,
    labels: Sequence[Label] = (TUMOR,),
    **changes: object,
) -> SimpleNamespace:
    """What the worker would say of ``label``, its components found by scipy, independently of the scene's code."""
    from scipy import ndimage

    geometry = volume_of(node).geometry
    components = []
    for entry in labels:
        numbers, count = ndimage.label(label == entry.value, structure=np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            z, y, x = np.nonzero(numbers == number)
            values = np.ones(len(z)) if probability is None else probability[z, y, x]
            center = geometry.to_physical(np.array([[x.mean(), y.mean(), z.mean()]]))[0]
            components.append(
                {
                    "label": entry.value,
                    "volume_cc": len(z) * geometry.voxel_cc,
                    "mean": float(values.mean()),
                    "peak": float(values.max()),
                    "slices": [int(z.min()), int(z.max())],
                    "n_slices": int(np.ptp(z)) + 1,
                    "center_mm": center.tolist(),
                }
            )
    components.sort(key=lambda component: (-component["mean"], -component["volume_cc"]))
    summary = {
        "student": "lung-ct",
        "student_title": "Lung tumor on CT",
        "weights_sha256": "ab" * 32,
        "program_version": "1.2.3",
        "threshold": 0.5,
        "slices": "lung",
        "minimum_cc": 0.0,
        "device": "cpu",
        "runtime": "torch fp32",
        "seconds": 1.25,
        "timings": {},
        "lung_slices": 12,
        "tumor_volume_cc": sum(component["volume_cc"] for component in components),
        "warnings": [],
        "labels": [dataclasses.asdict(entry) for entry in labels],
        "components": components,
        "series_uid": None,
        "date": "2026-01-02T03:04:05+00:00",
    }
    return SimpleNamespace(label=label, probability=probability, summary={**summary, **changes})


def a_segmentation(
    volume: slicer.vtkMRMLVolumeNode, segments: dict[str, np.ndarray], name: str = "Experts"
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation as a person would have drawn it: each name's voxels (z, y, x) on the volume's grid."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.CreateDefaultDisplayNodes()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for segment_name, label in segments.items():
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(label.shape[2], label.shape[1], label.shape[0])
        image.GetPointData().SetScalars(numpy_to_vtk(label.astype(np.uint8).reshape(-1), deep=1))
        image.SetGeometryFromImageToWorldMatrix(matrix)
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        segment.SetColor(0.2, 0.4, 0.6)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment)
    return node


def refs_of(node: slicer.vtkMRMLSegmentationNode) -> list[SegmentRef]:
    """The segments of a node as the panel lists them."""
    return [ref for ref in all_segments() if ref.node_id == node.GetID()]
