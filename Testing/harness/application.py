"""The one object that a test holds: it opens modules, hears what they say, and takes pictures."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6 import QtCore, QtWidgets

from harness import dialogs, pythonqt, waiting

REPOSITORY = Path(__file__).resolve().parents[2]
SLICER_PYTHON = "CMEDL_SLICER_PYTHON"


def slicer_python() -> str:
    """The folder of Slicer's own base classes that ``CMEDL_SLICER_PYTHON`` names; empty if it names none.

    Raises:
        FileNotFoundError: it names a folder without them.
    """
    folder = os.environ.get(SLICER_PYTHON, "")
    if folder and not Path(folder, "ScriptedLoadableModule.py").is_file():
        raise FileNotFoundError(f"{SLICER_PYTHON} is {folder}, which has no ScriptedLoadableModule.py")
    return folder


PATIENCE = 240.0
"""Seconds until a test gives up: many times what anything takes, as a machine may be slow and busy with other work."""


LOOK_S = 0.05
"""How often a condition is looked at when nothing happens in the window: a process may have ended, say."""


class Application:
    """The stand-in for a running Slicer; one per process, from :func:`harness.application`.

    Attributes:
        errors: exceptions that got out of slots and observers; PySide6 and VTK go on after them, as Slicer does. And
            dialogs that a person could not have closed by a button.
        extensions: which extensions are installed, and whether more can be had.
        restarts: how often Slicer was to be restarted.
        translator: what ``tr`` makes of a text; a test that puts another one here sees which texts are not translated.
        temporary_path: ``slicer.app.temporaryPath``.
        cannot_draw: why views cannot be drawn on this machine; empty where they can.
    """

    def __init__(self) -> None:
        self.qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        self._keep_settings_apart()
        self.qt = pythonqt.install()
        self.errors: list[str] = []
        dialogs.install(self.errors)
        # From here on ``slicer`` and ``vtk`` are loaded, and each step stands on those before it.
        from harness.core import Core

        self.core = Core()
        from harness import modules, uiloader, views
        from harness.files import IOManager
        from harness.layout import LayoutManager
        from harness.slicerapp import ExtensionsManager, SlicerApplication
        from harness.window import MainWindow

        self.qt.QUiLoader = uiloader.QUiLoader
        self.restarts = 0
        self.translator: Callable[[str], str] = str
        self.temporary_path = tempfile.gettempdir()
        self.extensions = ExtensionsManager()
        self.io = IOManager(self.core)
        modules.install()
        import slicer

        slicer.app = SlicerApplication(self)
        self._take_bases(slicer)
        self.cannot_draw = views.why_not()
        self.layout_manager = LayoutManager(self.core)
        self.main_window = MainWindow()
        self.main_window.add_views(self.layout_manager)
        self.main_window.show()
        self._containers: list[object] = []
        sys.excepthook = self._exception

    def _keep_settings_apart(self) -> None:
        """Settings in a folder of this process, so that no run finds another's."""
        QtCore.QCoreApplication.setOrganizationName("CMEDL")
        QtCore.QCoreApplication.setApplicationName("harness")
        self._settings = QtCore.QTemporaryDir()
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(ini, scope, self._settings.path())

    def _take_bases(self, slicer: types.ModuleType) -> None:
        """Slicer's own base classes, wrapper and translation where they are given, else the stand-ins."""
        own = slicer_python()
        if own:
            slicer.__path__.append(own)
            # Slicer's wrapper imports this widget from its own module.
            widgets = types.ModuleType("qSlicerSubjectHierarchyModuleWidgetsPythonQt")
            widgets.qMRMLSubjectHierarchyTreeView = slicer.qMRMLSubjectHierarchyTreeView
            sys.modules[widgets.__name__] = widgets
            return
        from harness import parameters, scripted

        i18n = types.ModuleType("slicer.i18n")
        i18n.translate = lambda context, text: slicer.app.translate(context, text)
        i18n.tr = lambda text: slicer.app.translate("", text)
        stand_ins = {"ScriptedLoadableModule": scripted, "parameterNodeWrapper": parameters.module(), "i18n": i18n}
        for name, module in stand_ins.items():
            sys.modules[f"slicer.{name}"] = module
            setattr(slicer, name, module)

    def _exception(self, kind: type, value: BaseException, trace: types.TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, value, trace))
        self.errors.append(text)
        logging.getLogger("harness").error("%s", text)

    @property
    def messages(self) -> list[dialogs.Message]:
        """The boxes that came up, oldest first."""
        return dialogs.messages

    def answer(self, *words: str) -> None:
        """Queue what a person will press ("yes", "no", "ok", "cancel", ...) or, for a file dialog, the path.

        Without an answer a box gets the one that changes nothing: its default button, else Cancel, No, Close or OK.
        """
        dialogs.answers.extend(words)

    def take_errors(self) -> list[str]:
        """The exceptions that got out of slots and observers since the last call."""
        taken, self.errors[:] = list(self.errors), []
        return taken

    def process_events(self, seconds: float = 0.0) -> None:
        """Let timers and signals run for that long, at least once."""
        end = time.monotonic() + seconds
        waiting.process()
        while (left := end - time.monotonic()) > 0:
            waiting.pause(left)

    def wait_until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Process events until ``condition()`` is true, which is looked at whenever something happened.

        Raises:
            TimeoutError: it was not in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not true within {seconds} s")
            waiting.pause(LOOK_S)

    def load(self, name: str) -> object:
        """Load the module ``name`` as Slicer does at its start; the module, whose panel is not made yet."""
        import slicer

        from harness.modules import ScriptedModule

        module = getattr(slicer.modules, name.lower(), None) or ScriptedModule(REPOSITORY / name / f"{name}.py")
        # At Slicer's start modules are loaded before this; each module gets it once.
        slicer.app.startupCompleted.emit()
        pythonqt.connections.forget(slicer.app)
        return module

    def open(self, name: str) -> object:
        """Load the module ``name`` and open its panel; its Python widget."""
        container = self.load(name).widgetRepresentation()
        if container not in self._containers:
            self._containers.append(container)
        self.main_window.moduleSelector().selectModule(name)
        self.process_events()
        return container.self()

    def leave(self, widget: object) -> None:
        """Another module is opened: the panel is hidden and told so."""
        self.main_window.show_panel(None)
        self.process_events()

    def close(self, widget: object) -> None:
        """Leave the panel and unload the module, as at Slicer's end."""
        import slicer

        container = widget.parent
        if self.main_window.panel() is container:
            self.main_window.show_panel(None)
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(container.moduleName)
        self._containers.remove(container)
        container.module.forget()
        container.deleteLater()
        self.process_events()

    def clear(self) -> None:
        """Close every panel and the scene, show the usual layout, and forget settings and what was said or asked."""
        import slicer

        for container in list(self._containers):
            self.close(container.self())
        self.core.clear()
        self.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.translator, self.restarts = str, 0
        self.temporary_path = tempfile.gettempdir()
        self.extensions.__init__()
        slicer.app.userSettings().clear()
        slicer.modules.segmenteditor.__init__()
        self.process_events()
        dialogs.messages.clear()
        dialogs.answers.clear()

    def least_width(self, widget: object) -> int:
        """How wide, in pixels, a panel must be at least; whatever is beyond the module panel's width is cut."""
        self.process_events()
        return widget.parent.minimumSizeHint.width()

    def slice_pixels(self, name: str) -> np.ndarray:
        """Draw the slice view ``name`` ("Red"); uint8 of shape (height, width, 3), the first row on top."""
        return self.layout_manager.sliceWidget(name).sliceView().pixels()

    def ras_to_pixel(self, name: str, ras: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a point (RAS, mm) lies in that picture: row, column, and mm in front of the slice's plane."""
        self.process_events()
        return self.layout_manager.sliceWidget(name).view.pixel_of(ras)

    def click(self, name: str, ras: tuple[float, float, float], button: str = "Left") -> None:
        """As a person clicks into the slice view ``name`` at a point (RAS, mm) of its slice."""
        view = self.layout_manager.sliceWidget(name).view
        view.mouse(ras, "MouseMoveEvent", f"{button}ButtonPressEvent", f"{button}ButtonReleaseEvent")
        self.process_events()

    def scroll(self, name: str, offset: float) -> None:
        """As a person turns the wheel over a slice view: views that are linked with it follow. ``offset`` in mm."""
        logic = self.layout_manager.sliceWidget(name).sliceLogic()
        logic.StartSliceOffsetInteraction()
        logic.SetSliceOffset(offset)
        logic.EndSliceOffsetInteraction()

    def zoom(self, name: str, factor: float) -> None:
        """As a person zooms a slice view: what is seen becomes ``factor`` times as wide, also in linked views."""
        widget = self.layout_manager.sliceWidget(name)
        node, logic = widget.mrmlSliceNode(), widget.sliceLogic()
        logic.StartSliceNodeInteraction(node.FieldOfViewFlag)
        across, up, depth = node.GetFieldOfView()
        node.SetFieldOfView(across * factor, up * factor, depth)
        logic.EndSliceNodeInteraction()

    def grab(self, what: object, path: Path | str) -> Path:
        """Write a picture of a panel (the Python widget that ``open`` returned) or of any widget."""
        target = what if isinstance(what, QtWidgets.QWidget) else what.parent
        self.process_events()
        if not target.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        return Path(path)

    def grab_window(self, path: Path | str) -> Path:
        """Write a picture of the whole window, panel and views, with all views drawn anew."""
        self.process_events()
        self.layout_manager.draw()
        return self.grab(self.main_window, path)


_application: Application | None = None


@contextlib.contextmanager
def application() -> Iterator[Application]:
    """A stand-in for a running Slicer; the same one again in one process, left empty at the end."""
    global _application
    if _application is None:
        _application = Application()
    try:
        yield _application
    finally:
        _application.clear()
