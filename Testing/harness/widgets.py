"""What the stand-ins for ctk's and qMRML's widgets share: how they declare properties and are known to the loader."""

from __future__ import annotations

import types
from collections.abc import Callable

from PySide6 import QtCore, QtWidgets

custom: dict[str, type] = {}
"""The stand-ins by class name: what a ``.ui`` file may name besides Qt's own classes."""


def _refuse_none(widget: QtCore.QObject, kind: type | str, name: str, value: object) -> None:
    if kind is str and value is None:
        raise TypeError(f"{type(widget).__name__}.{name} = None: PythonQt makes it the text 'None'")


def declared(kind: type | str, name: str, default: object, signal: str | None = None, then: str | None = None):
    """A Q_PROPERTY that keeps its value, emits ``signal`` with it and calls the method ``then`` when it changes."""
    key = f"_{name}"

    def get(self: QtCore.QObject) -> object:
        return self.__dict__.get(key, default)

    def put(self: QtCore.QObject, value: object) -> None:
        _refuse_none(self, kind, name, value)
        if kind == "QStringList":
            if not isinstance(value, (list, tuple)):
                raise TypeError(f"{type(self).__name__}.{name} takes a list of texts, not {value!r}")
            value = tuple(value)
        if get(self) == value:
            return
        self.__dict__[key] = value
        if then:
            getattr(self, then)()
        if signal:
            getattr(self, signal).emit(value)

    return QtCore.Property(kind, get, put)


def delegated(kind: type | str, part: str, name: str):
    """A Q_PROPERTY that is the property ``name`` of the inner widget ``part``."""

    def get(self: QtCore.QObject) -> object:
        return getattr(getattr(self, part), name)

    def put(self: QtCore.QObject, value: object) -> None:
        _refuse_none(self, kind, name, value)
        setattr(getattr(self, part), name, value)

    return QtCore.Property(kind, get, put)


def in_a_row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    """Lay the inner widgets of ``widget`` side by side."""
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        row.addWidget(part)
    return row


def stand_in(module: types.ModuleType) -> Callable[[type], type]:
    """Class decorator: put the class into ``module`` under its name, let the loader build it, and give it a ``setName``
    for each property ``name`` that has none."""

    def add(cls: type) -> type:
        for name, value in list(vars(cls).items()):
            setter = f"set{name[0].upper()}{name[1:]}"
            if isinstance(value, QtCore.Property) and setter not in vars(cls):
                setattr(cls, setter, lambda self, value, name=name: setattr(self, name, value))
        setattr(module, cls.__name__, cls)
        custom[cls.__name__] = cls
        return cls

    return add
