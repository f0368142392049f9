"""``slicer.app.layoutManager()``: Slicer's own layout logic says which views there are, and its XML where.

The widgets show the pictures that :mod:`harness.views` draws; each has a colored bar with its name, as in Slicer.
Tabs, detached windows and tables are not known here, and a layout that asks for them is refused.
"""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QImage, QPainter

from harness.core import Core
from harness.views import PlotView, SliceView, ThreeDView, View


class Canvas(QtWidgets.QWidget):
    """``sliceView()`` and ``threeDView()``: the picture, drawn when it is asked for."""

    def __init__(self, view: View, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent)
        self.view = view
        self._image = QImage()
        self.setMinimumSize(80, 80)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    def resizeEvent(self, event) -> None:
        self.view.resize(max(self.width, 1), max(self.height, 1))

    def paintEvent(self, event) -> None:
        QPainter(self).drawImage(0, 0, self._image)

    def pixels(self) -> np.ndarray:
        """Draw; uint8 of shape (height, width, 3)."""
        pixels = self.view.pixels()
        height, width, _ = pixels.shape
        self._image = QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        self.update()
        return pixels

    def resetFocalPoint(self) -> None:
        """Look at everything that is shown (3-D views)."""
        self.view.reset_camera()


class ViewWidget(QtWidgets.QWidget):
    """A view with its bar: ``sliceWidget(name)`` or ``threeDWidget(index)``."""

    def __init__(self, view: View, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent)
        self.view = view
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self._bar = QtWidgets.QLabel(self)
        self._bar.setFixedHeight(18)
        self._canvas = Canvas(view, self)
        column.addWidget(self._bar)
        column.addWidget(self._canvas)

    def label(self) -> None:
        """Bring the bar up to date: the view's label and color, and where its slice is."""
        node = self.view.node
        red, green, blue = (round(255 * part) for part in node.GetLayoutColor())
        text = f" {node.GetLayoutLabel() or node.GetLayoutName()}"
        if isinstance(self.view, SliceView):
            text += f"   {self.view.logic.GetSliceOffset():.1f} mm"
        self._bar.setText(text)
        self._bar.setStyleSheet(f"background: rgb({red}, {green}, {blue}); color: black;")

    def sliceView(self) -> Canvas:
        return self._canvas

    threeDView = sliceView

    def sliceLogic(self):
        return self.view.logic

    def mrmlSliceNode(self):
        return self.view.node

    def mrmlSliceCompositeNode(self):
        return self.view.logic.GetSliceCompositeNode()


class LayoutManager(QtWidgets.QWidget):
    """The middle of Slicer's window."""

    layoutChanged = Signal(int)

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(core.application_logic)
        self._logic.SetMRMLScene(core.scene)
        self._widgets: dict[str, ViewWidget] = {}
        self._shown: tuple = ()
        self._mapped: list[str] = []
        self._column = QtWidgets.QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self.resize(900, 700)
        node = self._logic.GetLayoutNode()
        node.AddObserver("ModifiedEvent", self._follow)
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._follow()

    def _follow(self, *arguments: object) -> None:
        """Build the widgets anew when the layout node names another layout."""
        node = self._logic.GetLayoutNode()
        wanted = (node.GetViewArrangement(), node.GetCurrentLayoutDescription())
        if wanted == self._shown or not wanted[1]:
            return
        self._shown = wanted
        for widget in self._widgets.values():
            widget.setParent(self)
            widget.hide()
        if outer := self._column.itemAt(0):
            outer.widget().deleteLater()
            self._column.removeItem(outer)
        self._mapped = []
        self._column.addWidget(self._build(ElementTree.fromstring(wanted[1])))
        for identifier, widget in self._widgets.items():
            widget.view.node.SetMappedInLayout(1 if identifier in self._mapped else 0)
        self.layoutChanged.emit(wanted[0])

    def _build(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        if element.tag == "view":
            return self._view(element)
        kind = element.get("type")
        if element.tag != "layout" or kind not in ("horizontal", "vertical"):
            raise NotImplementedError(f"the harness knows no layout of type {kind or element.tag}")
        across = Qt.Orientation.Horizontal if kind == "horizontal" else Qt.Orientation.Vertical
        splitter = QtWidgets.QSplitter()
        splitter.setOrientation(across)
        splitter.setHandleWidth(3)
        items = element.findall("item")
        for item in items:
            splitter.addWidget(self._build(item[0]))
        splitter.setSizes([int(item.get("splitSize") or 1000) for item in items])
        return splitter

    def _view(self, element: ElementTree.Element) -> ViewWidget:
        kind, tag = element.get("class"), element.get("singletontag")
        node = self._core.scene.GetSingletonNode(tag, kind)
        views = {"vtkMRMLSliceNode": SliceView, "vtkMRMLViewNode": ThreeDView, "vtkMRMLPlotViewNode": PlotView}
        if kind not in views:
            raise NotImplementedError(f"the harness has no view for a {kind}")
        if node.GetID() not in self._widgets:
            self._widgets[node.GetID()] = ViewWidget(views[kind](self._core, node), self)
        widget = self._widgets[node.GetID()]
        self._mapped.append(node.GetID())
        widget.show()
        return widget

    def _views(self, kind: type, mapped: bool = True) -> list[ViewWidget]:
        return [
            widget
            for identifier, widget in self._widgets.items()
            if isinstance(widget.view, kind) and (not mapped or identifier in self._mapped)
        ]

    def shown(self) -> list[ViewWidget]:
        """The views of the present layout."""
        return [self._widgets[identifier] for identifier in self._mapped]

    def layoutLogic(self):
        return self._logic

    def setLayout(self, identifier: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(identifier)

    @property
    def layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, identifier: int) -> None:
        self.setLayout(identifier)

    def sliceViewNames(self) -> list[str]:
        return [widget.view.node.GetLayoutName() for widget in self._views(SliceView)]

    def sliceWidget(self, name: str) -> ViewWidget | None:
        """The slice view called ``name``, also one that another layout showed; None if there never was one."""
        views = self._views(SliceView, mapped=False)
        return next((widget for widget in views if widget.view.node.GetLayoutName() == name), None)

    @property
    def threeDViewCount(self) -> int:
        return len(self._views(ThreeDView))

    def plotWidget(self, which: int) -> ViewWidget | None:
        views = self._views(PlotView)
        return views[which] if which < len(views) else None

    def threeDWidget(self, which: int | str) -> ViewWidget | None:
        views = self._views(ThreeDView)
        if isinstance(which, str):
            return next((widget for widget in views if widget.view.node.GetLayoutName() == which), None)
        return views[which] if which < len(views) else None

    def mrmlSliceLogics(self):
        return self._core.slice_logics

    def viewport(self) -> QtWidgets.QWidget:
        return self

    def resetSliceViews(self) -> None:
        for widget in self._views(SliceView):
            widget.view.logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._views(ThreeDView):
            widget.view.reset_camera()

    def draw(self) -> None:
        """Draw every view of the layout."""
        for widget in self.shown():
            widget.label()
            widget.sliceView().pixels()
