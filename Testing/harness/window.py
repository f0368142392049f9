"""The application's window: the module panel on the left, the views beside it, as a person sees them."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Qt

PANEL_WIDTH = 480


class ModuleSelector:
    """``slicer.util.moduleSelector()``: leaves one panel and enters another."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        """Open a module's panel.

        Raises:
            AttributeError: there is no such module.
        """
        import slicer

        module = getattr(slicer.modules, name.lower())
        self._window.show_panel(module.widgetRepresentation())
        self.selectedModule = module.name


class MainWindow(QtWidgets.QMainWindow):
    """``slicer.util.mainWindow()``."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (stand-in)")
        self._selector = ModuleSelector(self)
        self._panels = QtWidgets.QScrollArea()
        self._panels.setWidgetResizable(True)
        self._panels.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._panels.setFixedWidth(PANEL_WIDTH)
        self._middle = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self._middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self._panels)
        self.setCentralWidget(self._middle)
        self.resize(1440, 900)

    def add_views(self, layout_manager: QtWidgets.QWidget) -> None:
        """Put the views on the right."""
        QtWidgets.QWidget.layout(self._middle).addWidget(layout_manager, 1)

    def moduleSelector(self) -> ModuleSelector:
        return self._selector

    def room(self) -> int:
        """How many pixels wide a panel may be: what is left beside the scroll bar; there is none for the width."""
        bar = self._panels.verticalScrollBar().sizeHint.width()
        return PANEL_WIDTH - bar - 2 * self._panels.frameWidth

    def panel(self) -> QtWidgets.QWidget | None:
        """What the module panel shows."""
        return self._panels.widget()

    def show_panel(self, container: object) -> None:
        """Leave the present panel and enter ``container`` (None or a module without a panel here: just leave)."""
        shown = self._panels.widget()
        if shown is container:
            return
        if shown is not None:
            self._panels.takeWidget()
            shown.hide()
            if shown.isEntered:
                shown.exit()
        if isinstance(container, QtWidgets.QWidget):
            self._panels.setWidget(container)
            container.show()
            container.enter()
