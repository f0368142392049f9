"""A stand-in for ``slicer.parameterNodeWrapper``: typed attributes on a parameter node, bound to widgets.

It knows the types that these modules use (bool, int, float, str, list[str] and MRML nodes), ``WithinRange``, and the
widgets that Slicer binds to them, no others: what it does not know it refuses. Where Slicer is strict, so is this: the
types of widgets are compared exactly, and a slider needs bounds.

Two habits of Slicer's wrapper are kept, because panels have to live with them: ``connectGui`` returns None (so that
``disconnectGui`` of that undoes nothing; ``connectParametersToGui`` returns a tag), and the wrapper goes on observing
its node. With ``CMEDL_SLICER_PYTHON`` Slicer's own wrapper is used instead of this one.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
import weakref
from collections.abc import Callable

import ctk
import qt
import slicer
import vtk
from shiboken6 import isValid

PROPERTY = "SlicerParameterName"
RESERVED = ("StartModify", "EndModify", "AddObserver", "RemoveObserver", "Modified", "default", "isCached", "dataType")
"""Methods of Slicer's wrapper that no panel calls: a parameter cannot have their names either."""
UNBOUNDED = {int: (-(2**31), 2**31 - 1), float: (-1e300, 1e300)}
SETTERS = {
    (bool, qt.QCheckBox): ("stateChanged", "checked"),
    (int, qt.QSpinBox): ("valueChanged", "value"),
    (float, qt.QDoubleSpinBox): ("valueChanged", "value"),
    (float, ctk.ctkSliderWidget): ("valueChanged", "value"),
    (str, qt.QLineEdit): ("textChanged", "text"),
}
"""The signal and the property by which a widget shows a parameter of this type."""

_kept: list[Callable] = []
"""Functions that observe nodes. A node whose Python object is collected takes its observers' insides along while VTK
goes on calling them, which ends the process; in Slicer the widgets' connections keep them."""


@dataclasses.dataclass
class WithinRange:
    """The smallest and the largest value allowed."""

    minimum: float
    maximum: float


class _Parameter:
    """One parameter: its type, how it is written to a node as text, and what is allowed."""

    def __init__(self, name: str, annotated: object, owner: type) -> None:
        self.name = name
        notes = getattr(annotated, "__metadata__", ())
        self.type = typing.get_args(annotated)[0] if notes else annotated
        self.span = next((note for note in notes if isinstance(note, WithinRange)), None)
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.is_list = self.type == list[str]
        known = self.is_node or self.is_list or self.type in (bool, int, float, str)
        if not known or not all(isinstance(note, WithinRange) for note in notes):
            raise TypeError(
                f"The harness's parameterNodeWrapper does not know the type of {owner.__name__}.{name}, {annotated}; "
                "set CMEDL_SLICER_PYTHON to use Slicer's own."
            )
        empty = None if self.is_node else [] if self.is_list else self.type()
        self.default = getattr(owner, name, empty)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: object) -> None:
        expected = list if self.is_list else (int, float) if self.type is float else self.type
        if not isinstance(value, expected) and not (self.is_node and value is None):
            raise TypeError(f"{self.name} takes {self.type}, not {value!r}")
        if self.span and not self.span.minimum <= value <= self.span.maximum:
            raise ValueError(f"{value} is not within {self.span.minimum} and {self.span.maximum}")
        if self.is_node:
            # The empty parameter says that the reference was set, if only to nothing.
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            node.SetParameter(self.name, json.dumps(value) if self.is_list else str(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode) -> object:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_list:
            return json.loads(text)
        return text == "True" if self.type is bool else self.type(text)


class _Binding:
    """A parameter and the widget that shows it: how to read and set the widget, and its signal."""

    def __init__(self, parameter: _Parameter, widget: qt.QWidget) -> None:
        self.widget = widget
        self._callback: Callable | None = None
        kind = type(widget)
        if parameter.is_node and kind is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [parameter.type.__name__]
            self._signal, self.read, self.write = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
            return
        if (parameter.type, kind) not in SETTERS:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{parameter.type}' to widget type '{kind.__name__}'"
            )
        if kind is ctk.ctkSliderWidget and not parameter.span:
            raise RuntimeError("Cannot have a connection to a slider where the type is unbounded.")
        if parameter.type in UNBOUNDED:
            span = parameter.span
            ends = (span.minimum, span.maximum) if span else UNBOUNDED[parameter.type]
            widget.minimum, widget.maximum = ends
        signal, name = SETTERS[parameter.type, kind]
        self._signal = getattr(widget, signal)
        self.read = lambda: getattr(widget, name)
        self.write = lambda value: setattr(widget, name, value)

    def on_changed(self, callback: Callable | None) -> None:
        """Call back when the widget changes; None ends that."""
        if callback:
            # A function, which PySide6 keeps as PythonQt does; of a method it would not keep the object.
            self._callback = lambda *arguments: callback()
            self._signal.connect(self._callback)
        else:
            self._signal.disconnect(self._callback)
            self._callback = None


class _Wrapper:
    """What the decorator adds to a class of parameters."""

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("The harness's parameterNodeWrapper knows no prefix.")
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, _Binding]] = {}
        self._tags = 0
        self._updating = False
        for name in self.allParameters:
            self.getValue(name)  # which writes a default

    def _known(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> object:
        return self._known(name).read(self.parameterNode)

    def setValue(self, name: str, value: object) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            self._known(name).write(self.parameterNode, value)

    def connectGui(self, gui: object) -> None:
        """Bind every widget that carries the property ``SlicerParameterName``; returns nothing, as in Slicer."""
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
        self.connectParametersToGui({w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})

    def connectParametersToGui(self, mapping: dict[str, qt.QWidget]) -> int:
        """Bind widgets to the parameters named; returns a tag for ``disconnectGui``."""
        bindings = {name: _Binding(self._known(name), widget) for name, widget in mapping.items()}
        tag, self._tags = self._tags, self._tags + 1
        self._guis[tag] = bindings
        for name, binding in bindings.items():
            binding.write(self.getValue(name))
            binding.on_changed(lambda name=name, binding=binding: self._from_gui(name, binding))
        itself = weakref.ref(self)

        def show(caller: object, event: str) -> None:
            wrapper = itself()
            if wrapper is not None:
                wrapper._to_gui()

        _kept.append(show)
        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, show)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        for binding in self._guis.pop(tag, {}).values():
            binding.on_changed(None)

    def _from_gui(self, name: str, binding: _Binding) -> None:
        if not self._updating:
            self.setValue(name, binding.read())

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for bindings in self._guis.values():
                for name, binding in bindings.items():
                    # A panel that was closed has deleted its widgets; Slicer keeps panels until its end.
                    if isValid(binding.widget):
                        binding.write(self.getValue(name))
        finally:
            self._updating = False


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: each annotated name becomes an attribute that lives in the parameter node."""
    added = {name: value for name, value in vars(_Wrapper).items() if not name.startswith("__")}
    kinds = typing.get_type_hints(cls, include_extras=True)
    taken = [name for name in (*added, *RESERVED) if hasattr(cls, name) or name in kinds]
    if taken:
        raise ValueError(f"Cannot use reserved names {taken} in a parameterNodeWrapper")
    cls.allParameters = {name: _Parameter(name, kind, cls) for name, kind in kinds.items()}
    for name, value in {**added, "__init__": _Wrapper.__init__}.items():
        setattr(cls, name, value)
    for name in kinds:
        setattr(cls, name, _property(name))
    return cls


def module() -> types.ModuleType:
    """The module ``slicer.parameterNodeWrapper``."""
    made = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    made.parameterNodeWrapper, made.WithinRange = parameterNodeWrapper, WithinRange
    return made
