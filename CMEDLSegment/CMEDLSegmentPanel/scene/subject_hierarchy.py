"""The subject hierarchy: which study a node belongs to, and putting results beside their images."""

from __future__ import annotations

import slicer


def item_of(node: slicer.vtkMRMLNode) -> tuple[slicer.vtkMRMLSubjectHierarchyNode | None, int]:
    """The scene's subject hierarchy and the node's item in it; None or 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    return hierarchy, hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0


def place_beside(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Put ``node`` into the study (or folder) that ``other`` is in."""
    hierarchy, item = item_of(other)
    if hierarchy is None:
        return
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    own = hierarchy.GetItemByDataNode(node)
    if own:
        hierarchy.SetItemParent(own, parent)
    else:
        # The application makes items by itself; without its window they are ours to make.
        hierarchy.CreateItem(parent, node)


def dicom_modality(node: slicer.vtkMRMLNode) -> str:
    """The modality of the DICOM series that the node came from; empty where there is none."""
    hierarchy, item = item_of(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, name) if hierarchy and item else ""


def dicom_uid(node: slicer.vtkMRMLNode) -> str:
    """The DICOM series that the node came from; empty where there is none."""
    hierarchy, item = item_of(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName()
    return hierarchy.GetItemUID(item, name) if hierarchy and item else ""


def attribute_names(node: slicer.vtkMRMLNode) -> tuple[str, ...]:
    """The names of the attributes of the node's item."""
    hierarchy, item = item_of(node)
    return tuple(hierarchy.GetItemAttributeNames(item)) if hierarchy and item else ()
