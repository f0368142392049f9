"""Stand-ins for Slicer's qMRML widgets, bound to the real MRML scene; they live in ``slicer``, as Slicer's do."""

from __future__ import annotations

from typing import ClassVar

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from harness.widgets import declared, in_a_row, stand_in


@stand_in(slicer)
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and passes it on along the ``<connections>`` of its ``.ui`` file."""

    mrmlSceneChanged = Signal(object)
    SIGNATURES: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@stand_in(slicer)
class qSlicerWidget(qMRMLWidget):
    """The same for Slicer's own panels."""


@stand_in(slicer)
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses one of the scene's nodes; without ``noneEnabled`` it always has one if there is one."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    _validity = Signal(bool)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    SIGNATURES: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validity",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
    }
    nodeTypes = declared("QStringList", "nodeTypes", (), None, "_refresh")
    hideChildNodeTypes = declared("QStringList", "hideChildNodeTypes", (), None, "_refresh")
    showHidden = declared(bool, "showHidden", False, None, "_refresh")
    showChildNodeTypes = declared(bool, "showChildNodeTypes", True, None, "_refresh")
    baseName = declared(str, "baseName", "")
    noneEnabled = declared(bool, "noneEnabled", False, None, "_refresh")
    noneDisplay = declared(str, "noneDisplay", "None", None, "_refresh")
    addEnabled = declared(bool, "addEnabled", True, None, "_refresh")
    removeEnabled = declared(bool, "removeEnabled", True)
    editEnabled = declared(bool, "editEnabled", False)
    renameEnabled = declared(bool, "renameEnabled", False)
    selectNodeUponCreation = declared(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = declared(str, "interactionNodeSingletonTag", "")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        in_a_row(self, self._box)
        self._box.activated.connect(self._picked)
        self._scene, self._observers, self._attributes = None, [], []
        self._ids: list[str] = []
        self._current = ""

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene, self._observers = scene, []
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._observers = [scene.AddObserver(event, self._scene_changed) for event in events]
            # It lives as long as the scene does unless it lets go of it.
            self.destroyed.connect(_letting_go(scene, self._observers))
        self._refresh()

    def _scene_changed(self, caller, event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._refresh()

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        """Offer only nodes of ``nodeType`` that have the attribute (with that value)."""
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def _offers(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        exact = not self.showChildNodeTypes
        if not any(node.GetClassName() == kind if exact else node.IsA(kind) for kind in self.nodeTypes):
            return False
        if any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        return all(
            not node.IsA(kind) or (node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)))
            for kind, name, value in self._attributes
        )

    def _refresh(self) -> None:
        nodes = []
        if self._scene:
            collection = self._scene.GetNodes()
            everything = (collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems()))
            nodes = [node for node in everything if self._offers(node)]
        self._ids = [node.GetID() for node in nodes]
        self._box.clear()
        if self.noneEnabled or not nodes:
            self._box.addItem(self.noneDisplay if self.noneEnabled else "", "")
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        if self.addEnabled and self._scene:
            for kind in self.nodeTypes:
                self._box.addItem(f"Create new {kind.removeprefix('vtkMRML').removesuffix('Node')}", f"+{kind}")
        chosen = self._current if self._current in self._ids else ""
        if not chosen and not self.noneEnabled and self._ids:
            chosen = self._ids[0]
        self._choose(chosen)

    def _picked(self, index: int) -> None:
        chosen = self._box.itemData(index) or ""
        if chosen.startswith("+"):
            self.nodeAddedByUser.emit(self.addNode(chosen[1:]))
        else:
            self._choose(chosen)
            self.nodeActivated.emit(self.currentNode())

    def _choose(self, chosen: str) -> None:
        self._box.setCurrentIndex(max(self._box.findData(chosen), 0))
        if chosen == self._current:
            return
        self._current = chosen
        self.currentNodeIDChanged.emit(chosen)
        self.currentNodeChanged.emit(self.currentNode())
        self._validity.emit(bool(chosen))

    def addNode(self, nodeType: str | None = None):
        """Make a node and choose it."""
        kind = nodeType or self.nodeTypes[0]
        name = self._scene.GenerateUniqueName(self.baseName or kind.removeprefix("vtkMRML").removesuffix("Node"))
        node = self._scene.AddNewNodeByClass(kind, name)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, identifier: str | None) -> None:
        """Choose by ID; one that is not offered chooses nothing (or the first, where there must be one)."""
        self._refresh()
        known = identifier if identifier in self._ids else ""
        self._choose(known or (self._ids[0] if self._ids and not self.noneEnabled else ""))

    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID, notify=currentNodeIDChanged)


def _letting_go(subject, tags: list[int]):
    """What takes the observers ``tags`` off ``subject`` when a widget is deleted; it does not hold the widget."""

    def let_go(*arguments: object) -> None:
        for tag in tags:
            subject.RemoveObserver(tag)

    return let_go


@stand_in(slicer)
class qMRMLSubjectHierarchyTreeView(QtWidgets.QTreeView):
    """Only its name: Slicer's own parameterNodeWrapper asks whether a widget is one."""


@stand_in(slicer)
class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    """Shows and hides a segmentation's closed surface."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self._node = self._observed = None
        self.toggled.connect(self._toggled)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node) -> None:
        if self._observed:
            segmentation, tag = self._observed
            segmentation.RemoveObserver(tag)
        self._node, self._observed = node, None
        if node is not None:
            segmentation = node.GetSegmentation()
            event = segmentation.ContainedRepresentationNamesModified
            self._observed = segmentation, segmentation.AddObserver(event, self._show)
        self._show()

    def _show(self, caller=None, event=None) -> None:
        """Be pressed as long as there is a surface."""
        self.setEnabled(self._node is not None)
        blocked = self.blockSignals(True)
        self.setChecked(bool(self._node and self._node.GetSegmentation().ContainsRepresentation("Closed surface")))
        self.blockSignals(blocked)

    def _toggled(self, checked: bool) -> None:
        if checked:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()
