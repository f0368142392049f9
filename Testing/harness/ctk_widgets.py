"""Module ``ctk``: stand-ins for the widgets of CTK that these modules use, with their properties and signals."""

from __future__ import annotations

import sys
import types

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QColor

from harness.widgets import declared, delegated, stand_in, with_setters

ctk = types.ModuleType("ctk", __doc__)
sys.modules["ctk"] = ctk


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
    """A slider with a spin box. What it shows is rounded, its value is not: the slider counts steps, and its value is
    so many steps as a product, 0.30000000000000004 where 0.3 was meant."""

    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._steps = QtWidgets.QSlider(), 0.0
        self._slider.setOrientation(Qt.Orientation.Horizontal)
        self._slider.setRange(0, 99)
        self._row.insertWidget(0, self._slider)
        self._box.valueChanged.connect(self._boxed)
        self._slider.valueChanged.connect(self._slid)

    prefix = delegated(str, "_box", "prefix")
    pageStep = declared(float, "pageStep", 1.0)
    tickInterval = declared(float, "tickInterval", 0.0)
    tracking = declared(bool, "tracking", True)
    spinBoxVisible = declared(bool, "spinBoxVisible", True, None, "_show_box")

    def _product(self) -> float:
        return min(max(self.singleStep * self._steps, self.minimum), self.maximum)

    def _set_range(self, minimum: float, maximum: float) -> None:
        before = self._product()
        blocked = self._box.blockSignals(True)
        self._box.setRange(minimum, maximum)
        self._box.blockSignals(blocked)
        self._place(min(max(before, self.minimum), self.maximum), before)

    def _set_step(self, step: float) -> None:
        # As CTK's: a step that is wider than the range is passed over.
        if 0 < step <= self.maximum - self.minimum:
            before = self._product()
            self._box.setSingleStep(step)
            self._place(before, before)

    singleStep = Property(float, lambda self: self._box.singleStep, _set_step)
    minimum = Property(float, lambda self: self._box.minimum, lambda self, low: self._set_range(low, self.maximum))
    maximum = Property(float, lambda self: self._box.maximum, lambda self, high: self._set_range(self.minimum, high))
    value = Property(float, _product, lambda self, value: self._box.setValue(value))

    def setRange(self, minimum: float, maximum: float) -> None:
        self._set_range(minimum, maximum)

    def _show_box(self) -> None:
        self._box.setVisible(self.spinBoxVisible)

    def _boxed(self, value: float) -> None:
        self._place(value, self._product())

    def _slid(self, steps: int) -> None:
        # The handle moves by whole steps from where it stood between two of them.
        before, apart = self._product(), self._steps - round(self._steps)
        self._place(self.singleStep * (steps + apart), before)

    def _place(self, value: float, before: float) -> None:
        """Take ``value``, let box and handle show it, and tell if it is not what was ``before``."""
        self._steps = value / self.singleStep
        for part in (self._box, self._slider):
            part.blockSignals(True)
        self._slider.setRange(round(self.minimum / self.singleStep), round(self.maximum / self.singleStep))
        self._slider.setValue(round(self._steps))
        self._box.setValue(self._product())
        for part in (self._box, self._slider):
            part.blockSignals(False)
        if abs(self._product() - before) > 1e-9 * self.singleStep:
            if not self.tracking:
                self.valueIsChanging.emit(self._product())
            self.valueChanged.emit(self._product())


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
    """A button of a color."""

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
