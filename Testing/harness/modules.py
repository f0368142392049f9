"""Modules: the C++ half of a scripted one, and stand-ins for what Slicer brings along (Segment Editor,
``slicer.packaging``). The stand-ins keep what they were told, for a test to look at."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import slicer
from packaging.requirements import Requirement
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
    module's file they may not have been loaded. Nodes of MRML's core library, such as segmentations, are there."""
    hidden = {name: value for name, value in vars(slicer).items() if _is_of_loadable_module(value)}
    for name in hidden:
        delattr(slicer, name)
    try:
        yield
    finally:
        vars(slicer).update(hidden)


def _is_of_loadable_module(value: object) -> bool:
    # Such a library is named after its module: vtkSlicerMarkupsModuleMRML, vtkSlicerVolumesModuleLogic.
    library = value.__module__ if inspect.isclass(value) else ""
    return bool(re.search(r"vtkSlicer\w+Module", library))


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
    """Segment Editor's widget: which segmentation and volume it was opened with."""

    def __init__(self) -> None:
        self.parameterSetNode = None
        self._nodes: dict[str, object] = {"segmentation": None, "volume": None}
        self._segment = ""
        self.editor = self

    def setMRMLScene(self, scene) -> None:
        """It has the scene."""

    def setMRMLSegmentEditorNode(self, node) -> None:
        self.parameterSetNode = node

    def setSegmentationNode(self, node) -> None:
        self._nodes["segmentation"] = node

    def segmentationNode(self):
        return self._nodes["segmentation"]

    def setSourceVolumeNode(self, node) -> None:
        self._nodes["volume"] = node

    def sourceVolumeNode(self):
        return self._nodes["volume"]

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segment = identifier

    def currentSegmentID(self) -> str:
        return self._segment


class SegmentEditorModule:
    """``slicer.modules.segmenteditor``."""

    name, title, path = "SegmentEditor", "Segment Editor", ""

    def __init__(self) -> None:
        self._editor = SegmentEditor()

    def widgetRepresentation(self) -> object:
        return self

    def self(self) -> SegmentEditor:
        return self._editor


class Packaging:
    """``slicer.packaging`` (5.12) and ``slicer.util.pip_install`` (5.10): nothing is installed, it is only noted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.install: Callable[[list[str]], None] = lambda requirements: None
        """What a test wants to happen instead of an installation."""

    def _take(self, requirements: list[str]) -> None:
        self.asked += requirements
        self.install(requirements)

    def pip_install(self, requirements: str | list[str], **options: object) -> None:
        self._take(requirements.split() if isinstance(requirements, str) else list(requirements))

    def pip_ensure(
        self,
        requirements: list[Requirement],
        constraints: object = None,
        skip_packages: object = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        """As Slicer's, it takes Requirement objects, not text.

        Raises:
            TypeError: it was given something else.
            RuntimeError: a person was asked and said no.
        """
        if not all(isinstance(requirement, Requirement) for requirement in requirements):
            raise TypeError("pip_ensure takes packaging.requirements.Requirement objects")
        names = [str(requirement) for requirement in requirements]
        if prompt_install and not slicer.util.confirmOkCancelDisplay(f"{requester} needs {', '.join(names)}."):
            raise RuntimeError("User declined package installation")
        self._take(names)

    def load_requirements(self, path: str | Path) -> list[Requirement]:
        """The requirements in a file, a line each."""
        lines = [line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [Requirement(line) for line in lines if line]

    def pip_check(self, requirement: Requirement) -> bool:
        """Whether it is installed in a version that will do."""
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        return requirement.specifier.contains(version, prereleases=True)


def _module(name: str, **contents: object) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(contents)
    sys.modules[name] = made
    return made


def install(packaging: Packaging) -> None:
    """Put the stand-ins where modules import them from; once per process."""
    slicer.qSlicerScriptedLoadableModule = ScriptedModule
    slicer.qSlicerScriptedLoadableModuleWidget = ScriptedModuleWidget
    slicer.selfTests = {}
    slicer.modules.segmenteditor = SegmentEditorModule()
    slicer.modules.SegmentEditorWidget = slicer.modules.segmenteditor.self()
    samples.install()
    public = {name: getattr(packaging, name) for name, _ in inspect.getmembers(Packaging, inspect.isfunction)}
    slicer.packaging = _module(
        "slicer.packaging", **{name: function for name, function in public.items() if not name.startswith("_")}
    )
    slicer.util.pip_install = packaging.pip_install
