"""What the panels of the modules have in common: sections, and the scene's parameter node while the module is open."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .binding import Binding
from .section import Section

MODULES = ("CMEDLSegment", "CMEDLTrain")
PACKAGES = [f"{module}{part}" for module in MODULES for part in ("Lib", "Panel")]


class Panel(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """A module's widget; its ``setup`` makes ``uiWidget``, ``ui`` and ``logic`` and gives its sections to :meth:`open`.

    Attributes:
        sections: all of the panel's.
    """

    uiWidget: Any
    ui: Any
    logic: Any
    _binding: Binding | None

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.uiWidget = self.ui = self.logic = self._binding = None
        self.sections: list[Section] = []

    @property
    def Parameters(self) -> type:
        """The class that ``parameterNodeWrapper`` decorates."""
        raise NotImplementedError

    @property
    def parameters(self):
        """The scene's parameters; None while the module is not open or the scene is being closed."""
        return self._binding.parameters if self._binding else None

    def open(self, sections: Sequence[Section]) -> None:
        """Show the sections, and follow the scene from now on."""
        self.sections = list(sections)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.bind()

    def cleanup(self) -> None:
        """Called when the module is unloaded or Slicer ends."""
        self.unbind()
        self.removeObservers()
        for section in self.sections:
            section.cleanup()

    def onReload(self) -> None:
        """Load every file of the extension anew, and both modules' panels: Slicer's own rereads one file alone."""
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        for module in MODULES:
            if hasattr(slicer.modules, f"{module}Widget"):
                slicer.util.reloadScriptedModule(module)

    def enter(self) -> None:
        """Called each time the module is opened."""
        self.bind()

    def exit(self) -> None:
        """Called each time another module is opened: work goes on, but the panel need not follow the scene."""
        self.unbind()

    def onSceneStartClose(self, caller, event) -> None:
        """The scene is about to be closed, and the parameter node with it."""
        self.unbind()

    def onSceneEndClose(self, caller, event) -> None:
        """The scene was closed; an open panel needs a parameter node in the new one."""
        if self.parent.isEntered:
            self.bind()

    def onSceneEndImport(self, caller, event) -> None:
        """A scene was read, and its parameter node with it."""
        if self.parent.isEntered:
            self.bind()

    def bind(self) -> None:
        """Show the scene's parameter node and follow its changes."""
        self.unbind()
        node = self.logic.parameterNode()
        self._binding = Binding(node, self.Parameters, self.ui)
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self.refresh()

    def unbind(self) -> None:
        """Let go of the parameter node and of everything that the sections follow."""
        for section in self.sections:
            section.leave()
        if self._binding:
            self.removeObserver(self._binding.node, vtk.vtkCommand.ModifiedEvent, self.refresh)
            self._binding.release()
            self._binding = None

    def refresh(self, caller=None, event=None) -> None:
        """Let every section show the parameters, once for all the changes that come together."""
        for section in self.sections:
            section.refreshSoon()
