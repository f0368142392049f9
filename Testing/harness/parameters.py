"""A stand-in for ``slicer.parameterNodeWrapper``: typed attributes on a parameter node, bound to widgets.

It knows the types that these modules use (bool, int, float, str, Path, enumerations, lists of the first four, and MRML
nodes) and the widgets that Slicer binds to them, no others: what it does not know it refuses. Where Slicer is strict,
so is this: the types of widgets are compared exactly, a slider needs bounds, a combo box needs its choices.

Two habits of Slicer's wrapper are kept, because panels have to live with them: ``connectGui`` returns None (so that
``disconnectGui`` of that undoes nothing; ``connectParametersToGui`` returns a tag), and the wrapper goes on observing
its node. With ``CMEDL_SLICER_PYTHON`` Slicer's own wrapper is used instead of this one.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
import weakref
from collections.abc import Callable
from pathlib import Path

import ctk
import qt
import slicer
import vtk
from shiboken6 import isValid

PROPERTY = "SlicerParameterName"

_kept: list[Callable] = []
"""Functions that observe nodes. A node whose Python object is collected takes its observers' insides along while VTK
goes on calling them, which ends the process; in Slicer the widgets' connections keep them."""


@dataclasses.dataclass
class Default:
    """The value of a parameter that nobody has set."""

    value: object


@dataclasses.dataclass
class Minimum:
    """The smallest value allowed."""

    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum:
    """The largest value allowed."""

    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclasses.dataclass
class WithinRange:
    """The smallest and the largest value allowed."""

    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclasses.dataclass
class Choice:
    """The values allowed."""

    choices: list

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclasses.dataclass
class Decimals:
    """Digits behind the point in the widget."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """The widget's step."""

    value: float


class _Parameter:
    """One parameter: its type, how it is written to a node as text, and what is allowed."""

    def __init__(self, name: str, annotated: object, owner: type) -> None:
        self.name = name
        self.annotations = list(getattr(annotated, "__metadata__", ()))
        self.type = typing.get_args(annotated)[0] if self.annotations else annotated
        self.validators = [note for note in self.annotations if hasattr(note, "validate")]
        plain = typing.get_args(self.type)[0] if typing.get_origin(self.type) is list else self.type
        self.is_node = isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode)
        self.is_enum = isinstance(plain, type) and issubclass(plain, enum.Enum)
        self.is_list = typing.get_origin(self.type) is list
        if plain not in (bool, int, float, str, Path) and not self.is_enum and (not self.is_node or self.is_list):
            raise TypeError(
                f"The harness's parameterNodeWrapper does not know the type of {owner.__name__}.{name}, {self.type}; "
                "set CMEDL_SLICER_PYTHON to use Slicer's own."
            )
        if hasattr(owner, name):
            self.default = getattr(owner, name)
        else:
            given = [note.value for note in self.annotations if isinstance(note, Default)]
            self.default = given[0] if given else self._empty(plain)

    def _empty(self, plain: type) -> object:
        if self.is_list:
            return []
        if self.is_node:
            return None
        return next(iter(plain)) if self.is_enum else plain()

    def check(self, value: object) -> None:
        expected = list if self.is_list else (int, float) if self.type is float else self.type
        if not isinstance(value, expected) and not (self.is_node and value is None):
            raise TypeError(f"{self.name} takes {self.type}, not {value!r}")
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: object) -> None:
        self.check(value)
        if self.is_node:
            # The empty parameter says that the reference was set, if only to nothing.
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        elif self.is_enum:
            node.SetParameter(self.name, value.name)
        elif self.is_list:
            node.SetParameter(self.name, json.dumps(value))
        else:
            node.SetParameter(self.name, str(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode) -> object:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.type[text]
        if self.is_list:
            return json.loads(text)
        return text == "True" if self.type is bool else self.type(text)


class _Binding:
    """A parameter and the widget that shows it: how to read and set the widget, and its signal."""

    def __init__(self, parameter: _Parameter, widget: qt.QWidget) -> None:
        self.parameter, self.widget = parameter, widget
        self._callback: Callable | None = None
        self._choices: list = []
        self._signal, self.read, self.write = self._way()

    def _note(self, kind: type) -> object:
        return next((note for note in self.parameter.annotations if isinstance(note, kind)), None)

    def _way(self) -> tuple:
        kind, widget, parameter = type(self.widget), self.widget, self.parameter
        if parameter.is_node and kind is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [parameter.type.__name__]
            return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        if parameter.type is bool and kind is qt.QCheckBox:
            return widget.stateChanged, lambda: widget.checked, widget.setChecked
        if parameter.type is bool and kind is qt.QPushButton and widget.checkable:
            return widget.toggled, lambda: widget.checked, widget.setChecked
        if parameter.type is int and kind in (qt.QSpinBox, qt.QSlider):
            self._bound(needed=kind is qt.QSlider, unbounded=(-(2**31), 2**31 - 1))
            return widget.valueChanged, lambda: widget.value, widget.setValue
        if parameter.type is float and kind in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
            self._bound(needed=kind is ctk.ctkSliderWidget, unbounded=(-1e300, 1e300))
            return widget.valueChanged, lambda: widget.value, widget.setValue
        if parameter.type is str and kind is qt.QLineEdit:
            return widget.textChanged, lambda: widget.text, widget.setText
        if parameter.type is str and kind is qt.QTextEdit:
            return widget.textChanged, widget.toPlainText, widget.setPlainText
        if parameter.type is Path and kind is ctk.ctkPathLineEdit:
            return (
                widget.currentPathChanged,
                lambda: Path(widget.currentPath),
                lambda path: widget.setCurrentPath(str(path)),
            )
        if parameter.type is Path and kind is ctk.ctkDirectoryButton:
            return widget.directoryChanged, lambda: Path(widget.directory), lambda path: widget.setDirectory(str(path))
        if kind is qt.QComboBox and (parameter.is_enum or self._note(Choice)):
            labeled = getattr(parameter.type, "label", lambda value: value.name) if parameter.is_enum else str
            self._choices = list(parameter.type) if parameter.is_enum else list(self._note(Choice).choices)
            widget.clear()
            widget.addItems([labeled(choice) for choice in self._choices])
            return widget.currentIndexChanged, lambda: self._choices[widget.currentIndex], self._choose
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{parameter.type}' to widget type '{kind.__name__}'"
        )

    def _choose(self, value: object) -> None:
        self.widget.currentIndex = self._choices.index(value)

    def _bound(self, needed: bool, unbounded: tuple) -> None:
        span, low, high = self._note(WithinRange), self._note(Minimum), self._note(Maximum)
        if needed and not span and not (low and high):
            raise RuntimeError("Cannot have a connection to a slider where the type is unbounded.")
        for note, name in ((self._note(Decimals), "decimals"), (self._note(SingleStep), "singleStep")):
            if note:
                setattr(self.widget, name, note.value)
        self.widget.minimum = (span or low).minimum if span or low else unbounded[0]
        self.widget.maximum = (span or high).maximum if span or high else unbounded[1]

    def on_changed(self, callback: Callable | None) -> None:
        """Call back when the widget changes; None ends that."""
        if callback:
            # A function, which PySide6 keeps as PythonQt does; of a method it would not keep the object.
            self._callback = lambda *arguments: callback()
            self._signal.connect(self._callback)
        else:
            self._signal.disconnect(self._callback)
            self._callback = None


class _Cached:
    """A parameter's value in one node, read again when the node says that it was modified."""

    def __init__(self, parameter: _Parameter, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameter, self.node = parameter, node
        self.value = parameter.read(node)
        self._writing = False
        itself = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: itself()._modified())

    def __del__(self) -> None:
        self.node.RemoveObserver(self._tag)

    def _modified(self) -> None:
        if not self._writing:
            self.value = self.parameter.read(self.node)

    def write(self, value: object) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.parameter.write(self.node, value)
                self.value = self.parameter.read(self.node)
        finally:
            self._writing = False


class _Wrapper:
    """What the decorator adds to a class of parameters."""

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("The harness's parameterNodeWrapper knows no prefix.")
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, _Binding]] = {}
        self._tags = 0
        self._updating = False
        self._values = {name: _Cached(parameter, parameterNode) for name, parameter in self.allParameters.items()}

    def _known(self, name: str) -> str:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return name

    def getValue(self, name: str) -> object:
        return self._values[self._known(name)].value

    def setValue(self, name: str, value: object) -> None:
        self._values[self._known(name)].write(value)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[self._known(name)].default)

    def isCached(self, name: str) -> bool:
        return not self.allParameters[self._known(name)].is_list

    def dataType(self, name: str) -> object:
        return self.allParameters[self._known(name)].type

    def connectGui(self, gui: object) -> None:
        """Bind every widget that carries the property ``SlicerParameterName``; returns nothing, as in Slicer."""
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
        self.connectParametersToGui({w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})

    def connectParametersToGui(self, mapping: dict[str, qt.QWidget]) -> int:
        """Bind widgets to the parameters named; returns a tag for ``disconnectGui``."""
        bindings = {name: _Binding(self.allParameters[self._known(name)], widget) for name, widget in mapping.items()}
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
            # A panel that was closed has deleted its widgets; Slicer keeps panels until its end.
            self._guis = {
                tag: {name: binding for name, binding in bindings.items() if isValid(binding.widget)}
                for tag, bindings in self._guis.items()
            }
            for bindings in self._guis.values():
                for name, binding in bindings.items():
                    binding.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: int) -> None:
        self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event: object, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: type | None = None) -> type | Callable:
    """Class decorator: each annotated name becomes an attribute that lives in the parameter node."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {
        name: _Parameter(name, kind, cls) for name, kind in typing.get_type_hints(cls, include_extras=True).items()
    }
    for name, value in vars(_Wrapper).items():
        if name in ("__init__",) or not name.startswith("__"):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, value)
    cls.allParameters = parameters
    for name in parameters:
        setattr(cls, name, _property(name))
    return cls


def module() -> types.ModuleType:
    """The module ``slicer.parameterNodeWrapper``."""
    made = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    for item in (parameterNodeWrapper, Default, Minimum, Maximum, WithinRange, Choice, Decimals, SingleStep):
        setattr(made, item.__name__, item)
    return made
