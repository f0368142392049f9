"""Modules: the C++ half of a scripted one, and a stand-in for Segment Editor, which keeps what it was told."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import slicer
from PySide6 import QtGui, QtWidgets

from harness import samples
from harness.mrml_widgets import qSlicerWidget


class ScriptedModule:
    """The C++ half of a scripted module: it holds the title and so on, and makes the panel."""

    def __init__(self, path: Path) -> None:
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
            with _before_loadable_modules():
                spec.loader.exec_module(module)
        return sys.modules[self.name]

    def self(self) -> object:
        return self._instance

    def widgetRepresentation(self) -> QtWidgets.QWidget:
        """The panel, made at the first call."""
        if self._widget is None:
            self._widget = slicer.qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
        return self._widget

    def forget(self) -> None:
        """The module is unloaded."""
        self._widget = None
        for name in (self.name.lower(), f"{self.name}Widget"):
            with contextlib.suppress(AttributeError):
                delattr(slicer.modules, name)
        slicer.selfTests.pop(self.name, None)
        sys.modules.pop(self.name, None)


@contextlib.contextmanager
def _before_loadable_modules() -> Iterator[None]:
    """Take from ``slicer`` what loadable modules bring along (logics, some nodes): when Slicer reads a scripted
    module's file they may not have been loaded."""
    hidden = {name: value for name, value in vars(slicer).items() if _is_of_loadable_module(name, value)}
    for name in hidden:
        delattr(slicer, name)
    try:
        yield
    finally:
        vars(slicer).update(hidden)


def _is_of_loadable_module(name: str, value: object) -> bool:
    # Such a library is named after its module: vtkSlicerMarkupsModuleMRML, vtkSlicerVolumesModuleLogic. The nodes of
    # segmentations have come from their module and from MRML's core library, by Slicer's version.
    library = value.__module__ if inspect.isclass(value) else ""
    return bool(re.search(r"vtkSlicer\w+Module", library)) or name.startswith("vtkMRMLSegmentation")


class ScriptedModuleWidget(qSlicerWidget):
    """``qSlicerScriptedLoadableModuleWidget``: what holds a scripted module's panel."""

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
        if self.isEntered:
            self.enter()

    def enter(self) -> None:
        self.isEntered = True
        if hasattr(self._instance, "enter"):
            self._instance.enter()

    def exit(self) -> None:
        self.isEntered = False
        if hasattr(self._instance, "exit"):
            self._instance.exit()


class SegmentEditor:
    """``slicer.modules.segmenteditor``, its panel and its widget in one: what it was opened with."""

    name, title, path = "SegmentEditor", "Segment Editor", ""

    def __init__(self) -> None:
        self._segmentation = self._volume = None
        self._segment = self.effect = ""
        self.editor = self

    def widgetRepresentation(self) -> SegmentEditor:
        return self

    self = widgetRepresentation

    def setSegmentationNode(self, node) -> None:
        self._segmentation = node

    def segmentationNode(self):
        return self._segmentation

    def setSourceVolumeNode(self, node) -> None:
        self._volume = node

    def sourceVolumeNode(self):
        return self._volume

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segment = identifier

    def currentSegmentID(self) -> str:
        return self._segment

    def setActiveEffectByName(self, name: str) -> None:
        self.effect = name


def install() -> None:
    """Put the stand-ins where modules import them from; once per process."""
    slicer.qSlicerScriptedLoadableModule = ScriptedModule
    slicer.qSlicerScriptedLoadableModuleWidget = ScriptedModuleWidget
    slicer.selfTests = {}
    slicer.modules.segmenteditor = slicer.modules.SegmentEditorWidget = SegmentEditor()
    samples.install()
