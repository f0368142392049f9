"""Module ``ctk``: stand-ins for the widgets of CTK that these modules use, with their properties and signals."""

from __future__ import annotations

import sys
import types
from typing import ClassVar

from PySide6 import QtWidgets
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor

from harness.widgets import declared, delegated, stand_in, with_setters

ctk = types.ModuleType("ctk", __doc__)
sys.modules["ctk"] = ctk


@stand_in(ctk)
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section that folds; its contents are hidden while it is folded."""

    toggled = Signal(bool)
    clicked = Signal(bool)
    contentsCollapsed = Signal(bool)

    collapsed = declared(bool, "collapsed", False, "contentsCollapsed", "_fold")
    collapsedHeight = declared(int, "collapsedHeight", 10)
    contentsLineWidth = declared(int, "contentsLineWidth", 1)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        if isinstance(parent, str):
            text, parent = parent, None
        else:
            text = ""
        super().__init__(parent)
        self._button = QtWidgets.QPushButton(text, self)
        self._button.setObjectName("")
        self._button.setCheckable(True)
        self._button.setChecked(True)
        self._button.setStyleSheet("text-align: left; padding: 3px 8px; font-weight: bold;")
        self._button.clicked.connect(self._clicked)
        self.setContentsMargins(0, self._height(), 0, 0)

    text = delegated(str, "_button", "text")

    def _height(self) -> int:
        return self._button.sizeHint.height()

    def resizeEvent(self, event) -> None:
        self._button.setGeometry(0, 0, self.width, self._height())
        super().resizeEvent(event)

    def _clicked(self) -> None:
        self.collapsed = not self.collapsed
        self.clicked.emit(not self.collapsed)

    def childEvent(self, event) -> None:
        super().childEvent(event)
        if self.collapsed:
            self._fold()

    def _fold(self) -> None:
        self._button.setChecked(not self.collapsed)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and child is not self._button:
                child.setVisible(not self.collapsed)
        self._button.setText(("\u25b8 " if self.collapsed else "") + self._button.text.lstrip("\u25b8 "))
        self.setMaximumHeight(self._height() if self.collapsed else 16777215)
        self.updateGeometry()
        self.toggled.emit(not self.collapsed)


@stand_in(ctk)
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds."""

    collapsed = declared(bool, "collapsed", False, None, "_fold")
    collapsedHeight = declared(int, "collapsedHeight", 14)

    def childEvent(self, event) -> None:
        super().childEvent(event)
        if self.collapsed:
            self._fold()

    def _fold(self) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not self.collapsed)


@with_setters
class _Number(QtWidgets.QWidget):
    """A row with a spin box whose properties are the widget's."""

    valueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QDoubleSpinBox()
        self._row.addWidget(self._box)

    value = delegated(float, "_box", "value")
    minimum = delegated(float, "_box", "minimum")
    maximum = delegated(float, "_box", "maximum")
    singleStep = delegated(float, "_box", "singleStep")
    decimals = delegated(int, "_box", "decimals")
    suffix = delegated(str, "_box", "suffix")


@stand_in(ctk)
class ctkSliderWidget(_Number):
    """A slider with a spin box."""

    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, 1000)
        self._box.setRange(0, 99)
        self._row.insertWidget(0, self._slider)
        self._box.valueChanged.connect(self._moved)
        self._slider.valueChanged.connect(self._slid)

    prefix = delegated(str, "_box", "prefix")
    pageStep = declared(float, "pageStep", 1.0)
    tickInterval = declared(float, "tickInterval", 0.0)
    tracking = declared(bool, "tracking", True)
    spinBoxVisible = declared(bool, "spinBoxVisible", True, None, "_show_box")

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)

    def _show_box(self) -> None:
        self._box.setVisible(self.spinBoxVisible)

    def _span(self) -> float:
        return (self.maximum - self.minimum) or 1.0

    def _moved(self, value: float) -> None:
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self.minimum) / self._span()))
        self._slider.blockSignals(blocked)
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _slid(self, position: int) -> None:
        self._box.setValue(self.minimum + position / 1000 * self._span())


@stand_in(ctk)
class ctkDoubleSpinBox(_Number):
    """A spin box for numbers with a point."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box.valueChanged.connect(self.valueChanged)


@stand_in(ctk)
class ctkRangeWidget(QtWidgets.QWidget):
    """Two values within a range."""

    valuesChanged = Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        for box in (self._low, self._high):
            row.addWidget(box)
            box.valueChanged.connect(lambda value: self.valuesChanged.emit(self.minimumValue, self.maximumValue))

    minimumValue = delegated(float, "_low", "value")
    maximumValue = delegated(float, "_high", "value")
    minimum = delegated(float, "_low", "minimum")
    maximum = delegated(float, "_high", "maximum")
    singleStep = declared(float, "singleStep", 1.0)
    decimals = declared(int, "decimals", 2)
    suffix = declared(str, "suffix", "")


@stand_in(ctk)
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path, typed or chosen; choosing goes through the queue of answers like any dialog."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    ENUMS: ClassVar = {
        "filters": ("Dirs", "Files", "Executable", "NoDot", "NoDotDot", "Readable", "Writable", "Hidden", "Drives")
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edit, self._browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._browse.setText("...")
        row.addWidget(self._edit)
        row.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    currentPath = delegated(str, "_edit", "text")
    settingKey = declared(str, "settingKey", "")
    label = declared(str, "label", "")
    showBrowseButton = declared(bool, "showBrowseButton", True)
    showHistoryButton = declared(bool, "showHistoryButton", True)
    nameFilters = declared("QStringList", "nameFilters", [])
    filters = declared("QStringList", "filters", [])

    def browse(self) -> None:
        """As if the button were pressed."""
        ask = QtWidgets.QFileDialog
        folders = "Files" not in self.filters and "Dirs" in self.filters
        path = ask.getExistingDirectory(self, self.label) if folders else ask.getOpenFileName(self, self.label)
        if path:
            self.currentPath = path

    def addCurrentPathToHistory(self) -> None:
        """The history is not kept here."""


@stand_in(ctk)
class ctkDirectoryButton(QtWidgets.QPushButton):
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directory = declared(str, "directory", "", "directoryChanged", "_show")
    caption = declared(str, "caption", "")

    def _show(self) -> None:
        self.setText(self.directory)


@stand_in(ctk)
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text as high as its contents, of which a part can be folded away."""

    collapsed = declared(bool, "collapsed", True)
    collapsibleText = declared(str, "collapsibleText", "")


@stand_in(ctk)
class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button of a colour."""

    colorChanged = Signal(QColor)
    color = declared(QColor, "color", QColor(0, 0, 0), "colorChanged", "_show")
    displayColorName = declared(bool, "displayColorName", True)

    def _show(self) -> None:
        self.setStyleSheet(f"background: {self.color.name()};")


@stand_in(ctk)
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box that may have icons."""


@stand_in(ctk)
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a default text."""

    defaultText = declared(str, "defaultText", "")


@stand_in(ctk)
class ctkPushButton(QtWidgets.QPushButton):
    """A push button whose text can be elided."""

    elideMode = declared(int, "elideMode", 0)


@stand_in(ctk)
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu beside it."""


@stand_in(ctk)
class ctkExpandButton(QtWidgets.QToolButton):
    """A small button that unfolds something."""

    mirrorOnExpand = declared(bool, "mirrorOnExpand", False)
    orientation = declared(int, "orientation", 1)


@stand_in(ctk)
class ctkSearchBox(QtWidgets.QLineEdit):
    """A line to search by."""

    showSearchIcon = declared(bool, "showSearchIcon", False)


@stand_in(ctk)
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that can be told not to come again."""

    dontShowAgainVisible = declared(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = declared(str, "dontShowAgainSettingsKey", "")
