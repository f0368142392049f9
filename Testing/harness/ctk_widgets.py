"""Module ``ctk``: stand-ins for the widgets of CTK that these modules use, with their properties and signals."""

from __future__ import annotations

import sys
import types

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from harness.widgets import declared, delegated, in_a_row, stand_in

ctk = types.ModuleType("ctk", __doc__)
sys.modules["ctk"] = ctk


@stand_in(ctk)
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box. What it shows is rounded, its value is not: the slider counts steps, and its value is
    so many steps as a product, 0.30000000000000004 where 0.3 was meant."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box, self._slider, self._steps = QtWidgets.QDoubleSpinBox(), QtWidgets.QSlider(), 0.0
        self._slider.setOrientation(Qt.Orientation.Horizontal)
        self._slider.setRange(0, 99)
        in_a_row(self, self._slider, self._box)
        self._box.valueChanged.connect(self._boxed)
        self._slider.valueChanged.connect(self._slid)

    decimals = delegated(int, "_box", "decimals")
    suffix = delegated(str, "_box", "suffix")
    prefix = delegated(str, "_box", "prefix")
    pageStep = declared(float, "pageStep", 1.0)
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


# Those that these modules use as Qt's, and those whose names Slicer's own parameterNodeWrapper wants.
for _name, _base in {
    "ctkCheckBox": QtWidgets.QCheckBox,
    "ctkDirectoryButton": QtWidgets.QPushButton,
    "ctkFittedTextBrowser": QtWidgets.QTextBrowser,
    "ctkMenuButton": QtWidgets.QPushButton,
    "ctkMessageBox": QtWidgets.QMessageBox,
    "ctkRangeWidget": QtWidgets.QWidget,
    "ctkSearchBox": QtWidgets.QLineEdit,
}.items():
    stand_in(ctk)(type(_name, (_base,), {}))
