"""``slicer.app``: what Slicer's Python reads from the application, as far as these modules go."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

from PySide6 import QtCore

from harness import waiting

if TYPE_CHECKING:
    from harness.application import Application


class ModuleManager(QtCore.QObject):
    """``slicer.app.moduleManager()``."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNATURES: ClassVar = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded"}

    def module(self, name: str) -> object:
        """The module called ``name``, or None."""
        import slicer

        return getattr(slicer.modules, name.lower(), None)


class ExtensionsManager:
    """``slicer.app.extensionsManagerModel()``: what was installed is noted, and there after a restart.

    Attributes:
        installed: names of extensions.
        server: whether the server answers.
    """

    def __init__(self) -> None:
        self.installed: list[str] = []
        self.server, self.interactive = True, True

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self.installed

    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = False) -> bool:
        if restart or self.interactive:
            raise NotImplementedError("the harness neither asks nor restarts by itself")
        if self.server:
            self.installed.append(name)
        return self.server


class SlicerApplication(QtCore.QObject):
    """The application object; what it lacks raises AttributeError."""

    startupCompleted = QtCore.Signal()
    applicationName = "Slicer"
    slicerHome = sys.prefix

    def __init__(self, harness: Application) -> None:
        super().__init__()
        self._harness = harness
        self._modules = ModuleManager()

    @property
    def temporaryPath(self) -> str:
        return self._harness.temporary_path

    def translate(self, context: str, text: str, *arguments: object) -> str:
        return self._harness.translator(text)

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def extensionsManagerModel(self) -> ExtensionsManager:
        return self._harness.extensions

    def coreIOManager(self) -> object:
        return self._harness.io

    def applicationLogic(self) -> object:
        return self._harness.core.application_logic

    def layoutManager(self) -> object:
        return self._harness.layout_manager

    def testingEnabled(self) -> bool:
        """False: boxes come up, so that a test can read them."""
        return False

    def processEvents(self, *flags: object) -> None:
        waiting.process()

    def topLevelWidgets(self) -> list:
        return self._harness.qt_application.topLevelWidgets()

    def setOverrideCursor(self, cursor: object) -> None:
        self._harness.qt_application.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._harness.qt_application.restoreOverrideCursor()

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def pauseRender(self) -> None:
        """Views are drawn on demand here."""

    resumeRender = pauseRender

    def restart(self) -> None:
        """Counted, not done."""
        self._harness.restarts += 1
