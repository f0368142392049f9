"""``slicer.app`` and the one object that a test holds: it opens modules, takes what they say, and takes pictures."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

from harness import dialogs, pythonqt

REPOSITORY = Path(__file__).resolve().parents[2]


class ModuleManager(QtCore.QObject):
    """``slicer.app.moduleManager()``."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNATURES: ClassVar = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded"}

    def module(self, name: str) -> object:
        """The module called ``name``, or None."""
        import slicer

        return getattr(slicer.modules, name.lower(), None)


class Environment(dict):
    """``QProcessEnvironment`` as ``slicer.util.startupEnvironment`` reads it."""

    def value(self, name: str) -> str:
        return self[name]


class SlicerApplication(QtCore.QObject):
    """What Slicer's Python reads from ``slicer.app``, as far as these modules go."""

    startupCompleted = QtCore.Signal()
    applicationName = mainApplicationName = "Slicer"
    documentationBaseUrl = "https://slicer.readthedocs.io/"

    def __init__(self, harness: Application) -> None:
        super().__init__()
        self._harness = harness
        self._modules = ModuleManager()
        self.majorVersion, self.minorVersion = harness.version
        self.applicationVersion = f"{self.majorVersion}.{self.minorVersion}.0"
        self.revision = "0"
        self.slicerHome = sys.prefix

    @property
    def temporaryPath(self) -> str:
        return self._harness.temporary_path

    def translate(self, context: str, text: str, *arguments: object) -> str:
        return text

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def coreIOManager(self) -> object:
        return self._harness.io

    ioManager = coreIOManager

    def applicationLogic(self) -> object:
        return self._harness.core.application_logic

    def mrmlScene(self) -> object:
        return self._harness.core.scene

    def layoutManager(self) -> object:
        return self._harness.layout_manager

    def testingEnabled(self) -> bool:
        """False: boxes come up, so that a test can read them."""
        return False

    def commandOptions(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(noMainWindow=False, testingEnabled=False)

    def processEvents(self) -> None:
        self._harness.qt_application.processEvents()

    def topLevelWidgets(self) -> list:
        return self._harness.qt_application.topLevelWidgets()

    def startupEnvironment(self) -> Environment:
        return Environment(os.environ)

    def setOverrideCursor(self, cursor: object) -> None:
        self._harness.qt_application.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._harness.qt_application.restoreOverrideCursor()

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    settings = userSettings

    def pauseRender(self) -> None:
        """Rendering happens on demand here."""

    resumeRender = pauseRender

    def restart(self) -> None:
        """Recorded, not done."""
        self._harness.restarts += 1


class Application:
    """The stand-in for a running Slicer; one per process, from :func:`harness.application`."""

    version = (5, 12)

    def __init__(self) -> None:
        self.qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        QtCore.QCoreApplication.setOrganizationName("CMEDL")
        QtCore.QCoreApplication.setApplicationName("harness")
        self.qt = pythonqt.install()
        dialogs.install()
        import slicer
        import slicer.util

        from harness.core import Core

        self.core = Core()
        self.temporary_path = os.environ.get("TMPDIR", "/tmp")
        self.layout_manager = None
        self.restarts = 0
        self.errors: list[str] = []
        self._open: list[object] = []
        self._install_settings()
        self._install_modules(slicer)
        from harness.files import IOManager

        self.io = IOManager(self.core)
        slicer.app = SlicerApplication(self)
        self.main_window = QtWidgets.QMainWindow()
        self.main_window.setObjectName("qSlicerMainWindow")
        sys.excepthook = self._exception

    def _install_settings(self) -> None:
        """Settings in a folder of this process, so that no run finds another's."""
        self._settings = QtCore.QTemporaryDir()
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, self._settings.path())

    def _install_modules(self, slicer: types.ModuleType) -> None:
        # The first two put their classes into ctk and into slicer.
        from harness import ctk_widgets, mrml_widgets, uiloader  # noqa: F401

        self.qt.QUiLoader = uiloader.QUiLoader
        slicer.qSlicerScriptedLoadableModule = ScriptedModule
        slicer.qSlicerScriptedLoadableModuleWidget = _module_widget_class(slicer)
        own = os.environ.get("CMEDL_SLICER_PYTHON")
        if own:
            slicer.__path__.append(own)
            return
        from harness import parameters, scripted

        i18n = types.ModuleType("slicer.i18n")
        i18n.tr = lambda text: text
        i18n.translate = lambda context, text: text
        stand_ins = {"ScriptedLoadableModule": scripted, "parameterNodeWrapper": parameters.module(), "i18n": i18n}
        for name, module in stand_ins.items():
            sys.modules[f"slicer.{name}"] = module
            setattr(slicer, name, module)

    def _exception(self, kind: type, value: BaseException, trace: types.TracebackType | None) -> None:
        """An exception in a slot or an observer: PySide6 and VTK go on, as Slicer does; a test should not."""
        text = "".join(traceback.format_exception(kind, value, trace))
        self.errors.append(text)
        logging.getLogger("harness").error("%s", text)

    @property
    def messages(self) -> list[dialogs.Message]:
        """The boxes that came up, oldest first."""
        return dialogs.messages

    def answer(self, *words: str) -> None:
        """Queue what a person will press ("yes", "no", "ok", "cancel", ...) or, for a file dialog, the path."""
        dialogs.answers.extend(words)

    def take_errors(self) -> list[str]:
        """The exceptions that got out of slots and observers since the last call."""
        taken, self.errors[:] = list(self.errors), []
        return taken

    def process_events(self, seconds: float = 0.0) -> None:
        """Let timers and signals run for that long, at least once."""
        end = time.monotonic() + seconds
        while True:
            self.qt_application.processEvents()
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
            if time.monotonic() >= end:
                return
            time.sleep(0.005)

    def wait_until(self, condition, seconds: float = 30.0) -> None:
        """Process events until ``condition()``.

        Raises:
            TimeoutError: it did not come true.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s")
            self.process_events(0.01)

    def open(self, name: str) -> object:
        """Load the module ``name`` as Slicer does and open its panel; the Python widget."""
        import slicer

        module = getattr(slicer.modules, name.lower(), None)
        if module is None:
            module = ScriptedModule(REPOSITORY / name / f"{name}.py")
        widget = module.widgetRepresentation()
        widget.show()
        widget.enter()
        self._open.append(widget)
        self.process_events()
        return widget.self()

    def leave(self, widget: object) -> None:
        """Another module is opened: the panel is hidden and told so."""
        widget.parent.exit()
        widget.parent.hide()

    def enter(self, widget: object) -> None:
        """The panel is opened again."""
        widget.parent.show()
        widget.parent.enter()

    def close(self, widget: object) -> None:
        """Leave the panel and unload the module."""
        import slicer

        container = widget.parent
        if container.isEntered:
            container.exit()
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(container.moduleName)
        self._open.remove(container)
        container.module.forget()
        container.deleteLater()
        self.process_events()

    def clear(self) -> None:
        """Close every panel and the scene, and forget boxes and answers."""
        for container in list(self._open):
            self.close(container.self())
        self.core.clear()
        self.process_events()
        dialogs.messages.clear()
        dialogs.answers.clear()

    def grab(self, widget: QtWidgets.QWidget, path: Path | str) -> Path:
        """Write a picture of ``widget`` (a panel, or any widget) as PNG."""
        target = getattr(widget, "parent", widget) if not isinstance(widget, QtWidgets.QWidget) else widget
        self.process_events()
        if not target.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        return Path(path)


class ScriptedModule:
    """The C++ half of a scripted module: it holds the title and so on, and makes the panel."""

    def __init__(self, path: Path) -> None:
        import slicer

        self.path, self.name = str(path), path.stem
        self.icon = QtGui.QIcon()
        self.title, self.hidden = "", False
        self._widget = None
        # Slicer adds the folder of modules to the path.
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        self._instance = getattr(self.python(), self.name)(self)
        setattr(slicer.modules, self.name.lower(), self)

    def python(self) -> types.ModuleType:
        """The module's file, imported under its own name."""
        if self.name not in sys.modules:
            spec = importlib.util.spec_from_file_location(self.name, self.path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[self.name] = module
            spec.loader.exec_module(module)
        return sys.modules[self.name]

    def self(self) -> object:
        return self._instance

    def widgetRepresentation(self) -> QtWidgets.QWidget:
        """The panel, made at the first call."""
        import slicer

        if self._widget is None:
            self._widget = slicer.qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
        return self._widget

    def logic(self) -> object:
        return self.widgetRepresentation().self().logic

    def forget(self) -> None:
        """The module is unloaded."""
        import slicer

        self._widget = None
        for name in (self.name.lower(), f"{self.name}Widget"):
            with contextlib.suppress(AttributeError):
                delattr(slicer.modules, name)
        sys.modules.pop(self.name, None)


def _module_widget_class(slicer: types.ModuleType) -> type:
    class qSlicerScriptedLoadableModuleWidget(slicer.qSlicerWidget):
        """What holds a scripted module's panel."""

        def __init__(self, module: ScriptedModule) -> None:
            super().__init__()
            self.module, self.moduleName = module, module.name
            self.isEntered = False
            self._instance = None
            self.setLayout(QtWidgets.QVBoxLayout())
            self.setMRMLScene(slicer.mrmlScene)

        def self(self) -> object:
            return self._instance

        def reload(self) -> None:
            """Make the Python widget and let it build itself."""
            self._instance = getattr(self.module.python(), f"{self.moduleName}Widget")(self)
            setattr(slicer.modules, f"{self.moduleName}Widget", self._instance)
            self._instance.setup()

        def enter(self) -> None:
            self.isEntered = True
            if hasattr(self._instance, "enter"):
                self._instance.enter()

        def exit(self) -> None:
            self.isEntered = False
            if hasattr(self._instance, "exit"):
                self._instance.exit()

    return qSlicerScriptedLoadableModuleWidget


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
