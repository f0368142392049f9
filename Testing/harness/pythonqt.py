"""Module ``qt`` as Slicer's Python has it (PythonQt), on PySide6.

The two bindings differ in what a module's code meets at every step; each difference is bridged here:

- a Q_PROPERTY is an attribute (``button.text``, ``timer.interval = 100``), and calling it (``button.text()``) fails;
- ``sender.connect("clicked(bool)", function)`` takes a signal's signature, raises for an unknown one, and hands the
  function only as many arguments as it takes;
- ``name`` is ``objectName``, ``delete()`` deletes, ``className()`` names the C++ class, conversions are loose;
- what PythonQt refuses is refused (``strict``).

What PySide6 offers and PythonQt does not (``Signal``, ``Slot``, ``Property``) is left out of ``qt``, so that code which
uses it fails here as it would there. Names of enumerations are to be written unscoped (``qt.Qt.Checked``), which
this cannot check.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import isValid

from harness import strict

MODULES = (QtCore, QtGui, QtWidgets)
LOOSE = {"bool": bool, "int": int, "double": float, "QString": str}
"""Conversions that PythonQt makes when a property is set, by the property's type."""


class _Attribute:
    """A Q_PROPERTY as an attribute; on the class, what PySide6 has under that name (``QTimer.singleShot`` is both)."""

    def __init__(self, name: str, original: object, kind: str, writable: bool) -> None:
        self._name, self._original = name, original
        self._convert = LOOSE.get(kind)
        self._writable = writable

    def __get__(self, instance: object, owner: type | None = None) -> object:
        if instance is None:
            bind = getattr(self._original, "__get__", None)
            return bind(None, owner) if bind else self._original
        if callable(self._original) and not isinstance(self._original, staticmethod):
            value = self._original(instance)
        else:
            value = QtCore.QObject.property(instance, self._name)
        return tuple(value) if isinstance(value, list) else value

    def __set__(self, instance: object, value: object) -> None:
        if not self._writable:
            raise AttributeError(f"Property '{self._name}' of {type(instance).__name__} object is not writable")
        if self._convert is str and value is None:
            raise TypeError(f"{type(instance).__name__}.{self._name} = None: PythonQt makes it the text 'None'")
        # Enumerations and flags go through as they are.
        if self._convert and not hasattr(value, "value"):
            value = self._convert(value)
        if QtCore.QObject.setProperty(instance, self._name, value):
            return
        # Enumerations that Qt's properties do not know from Python: their setters do.
        setter = getattr(instance, f"set{self._name[0].upper()}{self._name[1:]}", None)
        if setter is None:
            raise AttributeError(f"Property '{self._name}' of {type(instance).__name__} does not take {value!r}")
        setter(value)


def expose_properties(cls: type) -> None:
    """Turn the Q_PROPERTYs of ``cls`` into attributes: those that it declares, and inherited ones that its own
    methods hide (``QPushButton.sizeHint``)."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        prop = meta.property(index)
        if index < meta.propertyOffset() and prop.name() not in cls.__dict__:
            continue
        original = cls.__dict__.get(prop.name())
        if not isinstance(original, (property, _Attribute)):
            setattr(cls, prop.name(), _Attribute(prop.name(), original, prop.typeName(), prop.isWritable()))


def _arguments(signature: str) -> list[str]:
    inside = signature.partition("(")[2].rstrip(")")
    return [part for part in (re.sub(r"\bconst\b|&|\s", "", part) for part in inside.split(",")) if part]


def signal_of(sender: QtCore.QObject, signature: str) -> object:
    """The bound signal of ``sender`` that ``signature`` (as in "clicked(bool)") names.

    A stand-in declares in ``SIGNATURES`` which of its signals carries which C++ signature, because VTK types cannot
    be named in a PySide6 signal.

    Raises:
        ValueError: there is no such signal.
    """
    name = signature.partition("(")[0].strip()
    wanted = f"{name}({','.join(_arguments(signature))})"
    declared = getattr(type(sender), "SIGNATURES", {})
    if wanted in declared:
        return getattr(sender, declared[wanted])
    meta = sender.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    signals = [method for method in methods if method.methodType() == QtCore.QMetaMethod.MethodType.Signal]
    if wanted not in [bytes(method.methodSignature().data()).decode() for method in signals]:
        raise ValueError(f"{meta.className()} object has no signal '{wanted}'")
    signal = getattr(sender, name)
    try:
        return signal[wanted.partition("(")[2].rstrip(")")]
    except (KeyError, IndexError, TypeError):
        return signal


def _taken(function: Callable) -> int | None:
    """How many arguments of a signal ``function`` gets; None is all of them.

    PythonQt counts them for a function, a lambda and a method written in Python. Whatever else can be called, such as
    a partial function, gets all.
    """
    method = inspect.ismethod(function)
    code = getattr(function.__func__ if method else function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - method


class _Connections:
    """Connections made with a signature, kept so that they can be undone: PySide6 knows only its own way."""

    def __init__(self) -> None:
        self._made: list[tuple] = []

    def connect(self, sender: QtCore.QObject, signature: str, receiver: object, slot: str | None = None) -> bool:
        """``sender.connect(signature, function)`` or ``sender.connect(signature, object, "slot()")``."""
        function = getattr(receiver, slot.partition("(")[0]) if slot else receiver
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called, so nothing can be connected to it")
        taken = _taken(function)

        def called(*arguments: object) -> None:
            function(*arguments[:taken])

        signal = signal_of(sender, signature)
        signal.connect(called)
        self._made = [made for made in self._made if isValid(made[0])]
        self._made.append((sender, signature, function, signal, called))
        return True

    def disconnect(
        self, sender: QtCore.QObject, signature: str, receiver: object = None, slot: str | None = None
    ) -> bool:
        """Undo one connection; False if there is none like it."""
        function = getattr(receiver, slot.partition("(")[0]) if slot else receiver
        for made in self._made:
            if made[0] is sender and made[1] == signature and function in (None, made[2]):
                made[3].disconnect(made[4])
                self._made.remove(made)
                return True
        return False

    def forget(self, sender: QtCore.QObject) -> None:
        """Undo all connections of ``sender``."""
        for made in [made for made in self._made if made[0] is sender]:
            self.disconnect(sender, made[1], made[2])


connections = _Connections()


def _install_connect() -> None:
    """Let ``connect`` and ``disconnect`` with a signature reach ours.

    PySide6 answers both names before it looks at the class, so the look-up itself is replaced. PySide6 calls them too
    (``QTimer.singleShot`` does): whatever does not begin with a plain signature goes on to it.
    """
    native = QtCore.QObject.__getattribute__
    ours = {"connect": connections.connect, "disconnect": connections.disconnect}

    def look_up(self: QtCore.QObject, name: str) -> object:
        own = ours.get(name)
        if own is None:
            return native(self, name)

        def call(*arguments: object) -> object:
            # SIGNAL() and SLOT() of PySide6 begin with a digit.
            by_signature = arguments and isinstance(arguments[0], str) and not arguments[0][:1].isdigit()
            if by_signature and (len(arguments) < 3 or isinstance(arguments[2], str)):
                return own(self, *arguments)
            return native(self, name)(*arguments)

        return call

    # QProcess has a look-up of its own.
    QtCore.QObject.__getattribute__ = QtCore.QProcess.__getattribute__ = look_up


def install() -> types.ModuleType:
    """Make the module ``qt`` and put it where ``import qt`` finds it; once per process."""
    qt = types.ModuleType("qt", "PythonQt's qt on PySide6, for tests")
    for module in MODULES:
        for name in dir(module):  # not vars(): PySide6 makes its classes when they are asked for
            if re.match(r"Q[A-Zt]|q[A-Z]", name):
                setattr(qt, name, getattr(module, name))
    for value in list(vars(qt).values()):
        # Bases share a meta-object with classes that declare none of their own: take each class's own.
        if (
            isinstance(value, type)
            and issubclass(value, QtCore.QObject)
            and value.staticMetaObject.className() == value.__name__
        ):
            expose_properties(value)
    base = QtCore.QObject
    base.name = property(lambda self: self.objectName, lambda self, text: self.setObjectName(text))
    base.className = lambda self: self.metaObject().className()
    base.delete = lambda self: self.deleteLater()
    _install_connect()
    QtCore.QEventLoop.exec_ = QtCore.QEventLoop.exec
    strict.install(qt)
    sys.modules["qt"] = qt
    return qt
