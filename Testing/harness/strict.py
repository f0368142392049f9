"""What PythonQt refuses, or gives in another form, where PySide6 would go on: refused here, and given in that form.

- One enumerator alone in a constructor: in PythonQt it is an int, and the first overload that takes an int wins
  (``QDialogButtonBox(Ok | Cancel)`` is an empty box with an orientation).
- Setting what is no property of a Qt object; a Python class that derives from one may have what it likes.
- Lists from Qt are tuples, and where Qt wants a list of texts, a view of a dictionary, a set or an iterator is none.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Callable, ItemsView, Iterator, KeysView, Set, ValuesView

from PySide6 import QtCore

from harness.widgets import custom

LONE_ENUM = ("QBoxLayout", "QDialogButtonBox", "QHeaderView", "QScrollBar", "QSlider", "QSplitter")
"""The classes of which a constructor takes one enumerator and needs nothing else."""
LISTS = re.compile(
    "actions|allKeys|arguments|buttons|capturedTexts|child(Groups|Keys|ren)|dynamicPropertyNames|entry(Info)?List|"
    "families|find(Children|Items)|formats|history|indexes|items|match|nameFilters|persistentIndexList|screens|"
    "selected(Columns|Files|Indexes|Items|Ranges|Rows|Urls)|sizes|stringList|take(Children|Column|Row)|toStringList|"
    "topLevelWidgets|urls|value"
)
"""Methods that return a list."""
TEXTS = re.compile(r"(add|insert)Items|set(Arguments|History|NameFilters|StringList|(Header|Horiz\w+|Vert\w+)Labels)")
"""Methods that take texts as a list."""
NATIVE_SET = QtCore.QObject.__mro__[1].__setattr__
"""Of the base of all classes of PySide6."""
NO_LIST = (KeysView, ValuesView, ItemsView, Set, Iterator)


def install(qt: types.ModuleType) -> None:
    """Make the classes of ``qt`` as strict as PythonQt's; once per process."""
    for cls in [value for value in vars(qt).values() if inspect.isclass(value)]:
        if cls.__name__ in LONE_ENUM:
            cls.__init__ = _without_lone_enum(cls.__init__)
        # Nearly every class of PySide6 has one of its own, so that a base's is not asked.
        if issubclass(cls, QtCore.QObject) and "__setattr__" in vars(cls):
            cls.__setattr__ = _set_property
        for name, method in list(vars(cls).items()):
            known = LISTS.fullmatch(name) or TEXTS.fullmatch(name)
            if known and inspect.ismethoddescriptor(method) and not isinstance(method, staticmethod):
                setattr(cls, name, _listless(method))


def _without_lone_enum(native: Callable) -> Callable:
    def __init__(self, *arguments: object, **named: object) -> None:
        if len(arguments) == 1 and isinstance(arguments[0], enum.Enum):
            kind = type(self).__name__
            raise TypeError(
                f"{kind}({arguments[0]!r}): PythonQt takes the first constructor that an int fits; "
                f"make an empty {kind} and set it then"
            )
        native(self, *arguments, **named)

    return __init__


def _set_property(self: QtCore.QObject, name: str, value: object) -> None:
    kind = type(self)
    known = inspect.getattr_static(kind, name, None)
    if isinstance(known, QtCore.Property):
        known.fset(self, value)
        return
    stand_in = custom.get(kind.__name__) is kind and not name.startswith("_")
    # PySide6 itself keeps bound signals in this way.
    allowed = hasattr(type(known), "__set__") or isinstance(value, QtCore.SignalInstance)
    if (stand_in or kind.__module__.startswith("PySide6.")) and not allowed:
        raise AttributeError(f"'{name}' is no property of {kind.__name__}, so it cannot be set")
    NATIVE_SET(self, name, value)


def _listless(native: Callable) -> Callable:
    def method(self, *arguments: object, **named: object) -> object:
        for argument in arguments:
            if isinstance(argument, NO_LIST):
                raise ValueError(f"{native.__name__}() takes a list or a tuple, not {type(argument).__name__}")
        result = native(self, *arguments, **named)
        return tuple(result) if isinstance(result, list) else result

    method.__name__ = native.__name__
    return method
