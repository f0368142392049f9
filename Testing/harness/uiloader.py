"""``qt.QUiLoader``: builds a panel from its ``.ui`` file, and refuses what Slicer's would drop without a word.

Qt's loader goes on past a widget class or a property that it does not know. Here an unknown class, an unknown property
and an unknown enumerator raise, and the ``<connections>`` are made with the types of VTK that PySide6 cannot carry.
"""

from __future__ import annotations

from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

# Imported so that their stand-ins are known.
from harness import folding, paths  # noqa: F401
from harness.pythonqt import connections
from harness.widgets import custom

ROW_HEIGHT = 31
"""Pixels of a table's row at least: more than the ``.ui`` files ask for, as with the larger font of another screen."""
DYNAMIC = {"SlicerParameterName", "SlicerPackParameterName"}
"""Properties that no class declares and that Slicer's Python side reads."""


class UiError(RuntimeError):
    """A ``.ui`` file names something that does not exist."""


class QUiLoader(QtUiTools.QUiLoader):
    """Loads ``.ui`` files with the stand-ins of this package."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for cls in custom.values():
            self.registerCustomWidget(cls)

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The panel in ``device``.

        Raises:
            UiError: it names a class, a property, an enumerator, a signal or a slot that does not exist.
        """
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        elements = list(tree.iter("widget"))
        unknown = {e.get("class") for e in elements} - set(custom) - {"Line"}
        unknown = {name for name in unknown if not hasattr(QtWidgets, name)}
        if unknown:
            raise UiError(f"the harness has no stand-in for {', '.join(sorted(unknown))}")
        names = [element.get("name") for element in tree.iter() if element.tag in ("widget", "layout")]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise UiError(f"used for more than one widget: {', '.join(sorted(twice))}")
        set_here = [(e.get("name"), *taken) for e in elements if e.get("class") in custom for taken in _take_sets(e)]
        made_here = [_take_connection(tree, e) for e in tree.findall("connections/connection") if _carries_vtk(e)]
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        panel = super().load(buffer, parent)
        if panel is None:
            raise UiError(self.errorString())
        widgets = {widget.objectName: widget for widget in [panel, *panel.findChildren(QtWidgets.QWidget)]}
        for element in elements:
            _check_properties(element, widgets[element.get("name")])
            if isinstance(widgets[element.get("name")], QtWidgets.QTableView):
                _enlarge_rows(element, widgets[element.get("name")])
        for name, prop, value in set_here:
            setattr(widgets[name], prop, value)
        for sender, signal, receiver, slot in made_here:
            function = getattr(widgets[receiver], slot.partition("(")[0], None)
            if function is None:
                raise UiError(f"{receiver} has no slot {slot}")
            connections.connect(widgets[sender], signal, function)
        return panel


def _carries_vtk(connection: ElementTree.Element) -> bool:
    return "vtk" in connection.findtext("signal")


def _take_connection(tree: ElementTree.Element, connection: ElementTree.Element) -> list[str]:
    """Remove a connection that Qt's loader cannot make; its sender, signal, receiver and slot."""
    tree.find("connections").remove(connection)
    return [connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")]


def _take_sets(element: ElementTree.Element) -> list[tuple[str, list[str]]]:
    """Remove the enumerators that a stand-in gets from its element; Qt's loader cannot know them."""
    taken = []
    allowed = getattr(custom[element.get("class")], "ENUMS", {})
    for prop in element.findall("property"):
        value = prop.find("set") if prop.find("set") is not None else prop.find("enum")
        if value is None or prop.get("name") not in allowed:
            continue
        names = [name.rpartition("::")[2] for name in value.text.split("|")]
        wrong = [name for name in names if name not in allowed[prop.get("name")]]
        if wrong:
            raise UiError(f"{element.get('class')} {element.get('name')}: no enumerator {', '.join(wrong)}")
        element.remove(prop)
        taken.append((prop.get("name"), names))
    return taken


def _enlarge_rows(element: ElementTree.Element, table: QtWidgets.QTableView) -> None:
    # A table that names the least height of its rows draws in them, without text.
    if "verticalHeaderMinimumSectionSize" not in [attribute.get("name") for attribute in element.findall("attribute")]:
        header = table.verticalHeader()
        header.minimumSectionSize = ROW_HEIGHT
        header.defaultSectionSize = max(header.defaultSectionSize, ROW_HEIGHT)


def _check_properties(element: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
    for prop in element.findall("property"):
        name = prop.get("name")
        if widget.metaObject().indexOfProperty(name) < 0 and name not in DYNAMIC:
            raise UiError(f"{element.get('class')} {element.get('name')} has no property {name}")
