"""Stand-ins for CTK's two widgets that fold: what is in them is hidden while they are folded."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QStyle

from harness.ctk_widgets import ctk
from harness.widgets import declared, stand_in

HIDDEN = "_hidden"
"""The dynamic property that says of a child whether it is hidden also while its parent is not folded."""


class _Folding:
    """Shared by both: ``collapsed`` is the opposite of ``checked``; children are shown and hidden accordingly.

    A child that code hides or shows while its parent is folded is so when it is unfolded.
    """

    _forcing = False

    def _fold(self) -> None:
        for child in self.children():
            if child.isWidgetType():
                self._adopt(child)
                self._show_or_hide(child)

    def _adopt(self, child: QtWidgets.QWidget) -> None:
        """Hear from now on when code shows or hides the child."""
        if child.property(HIDDEN) is None:
            explicit = child.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            child.setProperty(HIDDEN, explicit and child.isHidden())
            child.installEventFilter(self)

    def _show_or_hide(self, child: QtWidgets.QWidget) -> None:
        # As CTK's: what is not on the screen yet is left alone, or it would count as hidden by code.
        if not self.testAttribute(Qt.WidgetAttribute.WA_WState_Created):
            return
        self._forcing = True
        child.setVisible(not child.property(HIDDEN) and not self.collapsed)
        if not child.property(HIDDEN):
            child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        # Not when it is added: it is being constructed then, and Python must not touch it.
        if event.type() == QtCore.QEvent.Type.ChildPolished and event.child().isWidgetType():
            self._adopt(event.child())
            self._show_or_hide(event.child())

    def setVisible(self, visible: bool) -> None:
        before = self.testAttribute(Qt.WidgetAttribute.WA_WState_Created)
        self._forcing = True
        super().setVisible(visible)
        self._forcing = False
        if not before:
            self._fold()

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if not self._forcing and event.type() == QtCore.QEvent.Type.ShowToParent:
            child.setProperty(HIDDEN, False)
            self._show_or_hide(child)
        elif not self._forcing and event.type() == QtCore.QEvent.Type.HideToParent:
            child.setProperty(HIDDEN, True)
        return False


def _collapsed() -> Property:
    return Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))


@stand_in(ctk)
class ctkCollapsibleButton(_Folding, QtWidgets.QAbstractButton):
    """A titled section that folds. As long as its policy is (Minimum, Preferred), it is never narrower than its hint:
    the title's width, or what its contents would like to have."""

    contentsCollapsed = Signal(bool)

    collapsed = _collapsed()
    collapsedHeight = declared(int, "collapsedHeight", 14)
    contentsLineWidth = declared(int, "contentsLineWidth", 1)

    def __init__(self, parent: QtWidgets.QWidget | str | None = None, owner: QtWidgets.QWidget | None = None) -> None:
        text, parent = (parent, owner) if isinstance(parent, str) else ("", parent)
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._title_size().height(), 0, 0)
        self._height = self.maximumHeight
        self.toggled.connect(self._toggled)
        self.text = text

    def _toggled(self, expanded: bool) -> None:
        if not expanded:
            self._height = self.maximumHeight
        self.setMaximumHeight(self._height if expanded else self.sizeHint().height())
        self._fold()
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def _option(self) -> QtWidgets.QStyleOptionButton:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        return option

    def _title_size(self) -> QtCore.QSize:
        """Of the button: an indicator, its distance, the title (or room for one), and what the style adds."""
        style, option = self.style(), self._option()
        across, up, apart = (
            style.pixelMetric(metric, option, self)
            for metric in (
                QStyle.PixelMetric.PM_IndicatorWidth,
                QStyle.PixelMetric.PM_IndicatorHeight,
                QStyle.PixelMetric.PM_CheckBoxLabelSpacing,
            )
        )
        title = self.fontMetrics().size(Qt.TextFlag.TextShowMnemonic.value, self.text or "XXXX")
        contents = QtCore.QSize(across + apart + (title.width() if self.text else 0), max(up, title.height()))
        return style.sizeFromContents(QStyle.ContentsType.CT_PushButton, option, contents, self)

    # Methods, unlike Qt's own properties of these names: Qt asks them.
    def sizeHint(self) -> QtCore.QSize:
        folded = self._title_size() + QtCore.QSize(0, self.collapsedHeight)
        return folded if self.collapsed else QtWidgets.QAbstractButton.sizeHint(self).expandedTo(folded)

    def minimumSizeHint(self) -> QtCore.QSize:
        title = self._title_size()
        if self.collapsed:
            return title + QtCore.QSize(0, self.collapsedHeight)
        inside = QtWidgets.QWidget.layout(self)
        return QtWidgets.QAbstractButton.minimumSizeHint(self).expandedTo(title) if inside else title

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtWidgets.QStylePainter(self), self._option()
        option.rect.setHeight(self._title_size().height())
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        sign = "\u25b8" if self.collapsed else "\u25be"
        painter.drawText(option.rect.adjusted(8, 0, -8, 0), Qt.AlignmentFlag.AlignVCenter, f"{sign} {self.text}")


@stand_in(ctk)
class ctkCollapsibleGroupBox(_Folding, QtWidgets.QGroupBox):
    """A group box that folds: one that can be checked, so that while it is folded Qt disables what is in it."""

    collapsed = _collapsed()
    collapsedHeight = declared(int, "collapsedHeight", 14)

    def __init__(self, parent: QtWidgets.QWidget | str | None = None, owner: QtWidgets.QWidget | None = None) -> None:
        text, parent = (parent, owner) if isinstance(parent, str) else ("", parent)
        super().__init__(parent)
        self.title = text
        self.setCheckable(True)
        self._height = self.maximumHeight
        self.toggled.connect(self._toggled)

    def _toggled(self, expanded: bool) -> None:
        self._fold()
        if not expanded:
            self._height = self.maximumHeight
        self.setMaximumHeight(self._height if expanded else self.fontMetrics().height() + self.collapsedHeight)
