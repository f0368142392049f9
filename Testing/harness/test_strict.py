"""What PythonQt refuses, or gives in another form, is so here."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest


@pytest.fixture
def qt(slicer_app):
    import qt

    return qt


def test_one_enumerator_alone_makes_no_widget(qt) -> None:
    buttons = qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel
    with pytest.raises(TypeError, match="QDialogButtonBox"):
        qt.QDialogButtonBox(buttons)
    with pytest.raises(TypeError, match="QSlider"):
        qt.QSlider(qt.Qt.Horizontal)
    box = qt.QDialogButtonBox()
    box.setStandardButtons(buttons)
    assert len(box.buttons()) == 2


def test_what_is_no_property_cannot_be_set(qt) -> None:
    import ctk
    import slicer

    for widget in (qt.QLabel(), ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox()):
        widget.toolTip = "known"
        with pytest.raises(AttributeError, match="tooltip"):
            widget.tooltip = "unknown"
        with pytest.raises(AttributeError, match="setToolTip"):
            widget.setToolTip = "a method"
        with pytest.raises(AttributeError, match="tooltip"):
            _ = widget.tooltip


def test_a_python_class_has_what_it_likes(qt) -> None:
    class Label(qt.QLabel):
        pass

    label = Label()
    label.tooltip = "its own"
    assert label.tooltip == "its own"


def test_none_is_no_text(qt) -> None:
    import ctk
    import slicer

    for widget, name in (
        (qt.QLabel(), "text"),
        (qt.QPushButton(), "toolTip"),
        (ctk.ctkPathLineEdit(), "label"),
        (ctk.ctkCollapsibleButton(), "text"),
        (slicer.qMRMLNodeComboBox(), "baseName"),
    ):
        with pytest.raises(TypeError, match=name):
            setattr(widget, name, None)


def test_lists_from_qt_are_tuples(qt) -> None:
    import slicer

    table = qt.QTableWidget(2, 1)
    table.setItem(0, 0, qt.QTableWidgetItem("a"))
    table.selectAll()
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    qt.QSettings().setValue("harness/names", ["a", "b"])
    for found in (
        table.children(),
        table.findChildren(qt.QHeaderView),
        table.selectedItems(),
        table.selectionModel().selectedRows(),
        selector.nodeTypes,
        qt.QSettings().value("harness/names"),
    ):
        assert isinstance(found, tuple)
        assert found


def test_a_view_of_a_dictionary_is_no_list_of_texts(qt) -> None:
    box, texts = qt.QComboBox(), {"dsc": "DSC", "hd95": "HD95"}
    with pytest.raises(ValueError, match="dict_keys"):
        box.addItems(texts.keys())
    box.addItems(list(texts))
    assert box.count == 2


class Called:
    def __init__(self) -> None:
        self.got: list[tuple] = []

    def __call__(self, *arguments: object) -> None:
        self.got.append(arguments)

    def method(self) -> None:
        self.got.append(())


def test_only_functions_and_methods_get_fewer_arguments(qt, slicer_app) -> None:
    button, called = qt.QPushButton(), Called()
    button.connect("clicked(bool)", lambda: called.got.append(()))
    button.connect("clicked(bool)", called.method)
    button.connect("clicked(bool)", called)
    button.connect("clicked(bool)", functools.partial(called, "partial"))
    button.connect("clicked(bool)", called.got.append)
    button.click()
    assert called.got == [(), (), (False,), ("partial", False), False]
    button.connect("clicked(bool)", functools.partial(lambda: None))
    button.click()
    assert "TypeError" in slicer_app.take_errors()[0]


def test_a_dialog_without_a_button_is_an_error(qt, slicer_app) -> None:
    dialog = qt.QDialog()
    dialog.windowTitle = "Trap"
    column = qt.QVBoxLayout(dialog)
    dialog.exec_()
    box = qt.QDialogButtonBox()
    column.addWidget(box)
    dialog.exec_()
    box.setStandardButtons(qt.QDialogButtonBox.Close)
    dialog.exec_()
    errors = slicer_app.take_errors()
    assert len(errors) == 2
    assert all("Trap" in error for error in errors)


MODULE = """
from slicer import vtkMRMLScalarVolumeNode
import slicer
names = ("vtkSlicerVolumesLogic", "vtkMRMLSegmentEditorNode", "vtkMRMLSegmentationNode")
present = [name for name in names if hasattr(slicer, name)]
class Early:
    def __init__(self, parent):
        pass
"""


def test_a_module_s_file_is_read_before_loadable_modules_bring_their_classes(slicer_app, tmp_path: Path) -> None:
    import slicer

    from harness.modules import ScriptedModule

    (tmp_path / "Early.py").write_text(MODULE, encoding="utf-8")
    module = ScriptedModule(tmp_path / "Early.py")
    try:
        assert module.python().present == []
    finally:
        module.forget()
    assert hasattr(slicer, "vtkSlicerVolumesLogic")
