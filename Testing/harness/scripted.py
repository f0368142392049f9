"""Stand-ins for the four base classes in ``slicer.ScriptedLoadableModule``, as far as a module's code can see.

Written from Slicer's documentation of them; with ``CMEDL_SLICER_PYTHON`` Slicer's own are used instead.
"""

from __future__ import annotations

import importlib
import unittest
from pathlib import Path

import ctk
import qt
import slicer


class ScriptedLoadableModule:
    """What the application shows about a module; ``parent`` is the C++ half of it."""

    def __init__(self, parent) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        for kind in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{kind}")
            if Path(icon).is_file():
                parent.icon = qt.QIcon(icon)
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the module's folder ``Resources``."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **kwargs: object) -> None:
        """Run the module's self-test class."""
        case = getattr(importlib.import_module(self.__module__), f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        self.layout = self.parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the module's folder ``Resources``."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Build the panel; in developer mode it begins with the buttons of Reload & Test."""
        if self.developerMode:
            self.setupDeveloperSection()

    def cleanup(self) -> None:
        """For the module to override; called when it is unloaded."""

    def setupDeveloperSection(self) -> None:
        """The buttons of developer mode that do something here: Reload, and Reload and Test."""
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        form = qt.QFormLayout(self.reloadCollapsibleButton)
        self.reloadButton = qt.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        self.reloadTestButton = qt.QPushButton("Reload and Test")
        self.reloadTestButton.connect("clicked()", self.onReloadAndTest)
        form.addRow(self.reloadButton, self.reloadTestButton)

    def onReload(self) -> None:
        """Load the module's file anew and build the panel again."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: object) -> None:
        """Reload, then run the module's self-test."""
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](msec=0, **kwargs)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """A module's logic: it owns the parameter nodes."""

    def __init__(self, parent=None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        """The module's one parameter node in the scene, made if there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self-test; ``delayDisplay`` only says the message here."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Log what the test is about to do."""
        slicer.util.delayDisplay(message, msec or requestedDelay or 0)

    def runTest(self) -> None:
        """For the module to override."""
