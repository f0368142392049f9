"""A stand-in for CTK's line for a path."""

from __future__ import annotations

import re
from typing import ClassVar

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from harness.ctk_widgets import ctk
from harness.widgets import declared, delegated, in_a_row, stand_in

MOST_PATHS = 5
"""In the list of earlier ones."""


@stand_in(ctk)
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path, typed or chosen; choosing goes through the queue of answers like any dialog.

    It tells of a path only while it is acceptable: not empty and, with name filters, of one of their extensions. When
    it stops being so, ``validInputChanged(False)`` is all that is heard. Earlier paths are in the settings under the
    widget's ``settingKey`` (else its name); only :meth:`addCurrentPathToHistory` writes them, and setting the key shows
    the latest one, silently, if there is no path yet.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    ENUMS: ClassVar = {
        "filters": ("Dirs", "Files", "Executable", "NoDot", "NoDotDot", "Readable", "Writable", "Hidden", "Drives")
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box, self._edit, self._browse = QtWidgets.QComboBox(), QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        # One that Python made: a box's own line is gone for Python sooner than for Qt.
        self._box.setLineEdit(self._edit)
        self._box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._browse.setText("...")
        in_a_row(self, self._box, self._browse).setSpacing(0)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        self._valid = False
        self._edit.textChanged.connect(self._changed)
        self._browse.clicked.connect(self.browse)
        self._filter()

    currentPath = delegated(str, "_edit", "text")
    settingKey = declared(str, "settingKey", "", None, "retrieveHistory")
    label = declared(str, "label", "")
    showBrowseButton = declared(bool, "showBrowseButton", True, None, "_show_browse")
    showHistoryButton = declared(bool, "showHistoryButton", True)
    nameFilters = declared("QStringList", "nameFilters", (), None, "_filter")
    filters = declared("QStringList", "filters", ())

    def _filter(self) -> None:
        ends = [end for text in self.nameFilters for end in re.findall(r"\*\.(\w+)", text)]
        pattern = "|".join(rf".*\.{end}" for end in ends) or ".+"
        self._edit.setValidator(QtGui.QRegularExpressionValidator(QtCore.QRegularExpression(pattern), self))

    def _show_browse(self) -> None:
        self._browse.setVisible(self.showBrowseButton)

    def _changed(self) -> None:
        before, self._valid = self._valid, self._edit.hasAcceptableInput()
        if self._valid:
            self.currentPathChanged.emit(self.currentPath)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    # Methods, unlike Qt's own properties of these names: Qt asks them.
    def sizeHint(self) -> QtCore.QSize:
        """Room for no text at all: the arrow, the frame and the button."""
        option = QtWidgets.QStyleOptionComboBox()
        arrow = self._box.style().subControlRect(
            QtWidgets.QStyle.ComplexControl.CC_ComboBox,
            option,
            QtWidgets.QStyle.SubControl.SC_ComboBoxArrow,
            self._box,
        )
        browse = self._browse.minimumSizeHint.width() if self.showBrowseButton else 0
        return QtCore.QSize(arrow.width() + 9 + browse, self._box.minimumSizeHint.height())

    minimumSizeHint = sizeHint

    def browse(self) -> None:
        """As if the button were pressed."""
        ask = QtWidgets.QFileDialog
        if "Files" not in self.filters and "Dirs" in self.filters:
            path = ask.getExistingDirectory(self, self.label)
        elif "Writable" in self.filters:
            path = ask.getSaveFileName(self, self.label)
        else:
            path = ask.getOpenFileName(self, self.label)
        if path:
            self.currentPath = path

    def _key(self) -> str:
        return f"ctkPathLineEdit/{self.settingKey or self.objectName}"

    def _history(self) -> list[str]:
        kept = QtCore.QSettings().value(self._key())
        # An INI file gives a list of one text as the text.
        return [kept] if isinstance(kept, str) else list(kept or ())

    def retrieveHistory(self) -> None:
        """Offer the earlier paths; without a path the latest is taken. Nobody is told."""
        path, blocked = self.currentPath, self.blockSignals(True)
        self._box.clear()
        self._box.addItems(self._history()[:MOST_PATHS])
        if path:
            self.currentPath = path
        else:
            self._box.setCurrentIndex(0)
        self.blockSignals(blocked)

    def addCurrentPathToHistory(self) -> None:
        """Remember the path for the next time."""
        path = self.currentPath
        if not path:
            return
        history = [path, *(other for other in self._history() if other != path)]
        QtCore.QSettings().setValue(self._key(), history)
        blocked = self._box.blockSignals(True)
        edited = self._edit.blockSignals(True)
        self._box.clear()
        self._box.addItems(history[:MOST_PATHS])
        self._edit.blockSignals(edited)
        self._box.blockSignals(blocked)
