"""``qt`` behaves as Slicer's: what PythonQt refuses, or gives in another form than PySide6, is so here."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest


@pytest.fixture
def qt(slicer_app):
    import qt

    return qt


def test_properties_are_attributes_and_cannot_be_called(qt) -> None:
    button = qt.QPushButton("Segment")
    button.text = "Cancel"
    button.enabled = None
    assert (button.text, button.enabled, button.isEnabled()) == ("Cancel", False, False)
    with pytest.raises(TypeError):
        button.text()
    assert isinstance(button.sizeHint, qt.QSize)


def test_a_name_that_is_property_and_static_method_is_both(qt, slicer_app) -> None:
    fired: list[str] = []
    qt.QTimer.singleShot(0, lambda: fired.append("once"))
    timer = qt.QTimer()
    assert timer.singleShot is False
    timer.interval = 1
    timer.connect("timeout()", lambda: fired.append("again"))
    timer.start()
    slicer_app.wait_until(lambda: fired.count("again") > 1)
    assert fired.count("once") == 1
    assert timer.active
    timer.stop()


def test_an_unknown_signal_raises(qt) -> None:
    with pytest.raises(ValueError, match=r"pressed\(int\)"):
        qt.QPushButton().connect("pressed(int)", print)


def test_a_connection_ends_by_what_made_it(qt) -> None:
    button = qt.QPushButton()
    got: list[bool] = []
    button.connect("clicked(bool)", got.append)
    assert button.disconnect("clicked(bool)", got.append)
    assert not button.disconnect("clicked(bool)", got.append)
    button.click()
    assert got == []


def test_what_pythonqt_lacks_is_not_in_qt(qt) -> None:
    assert [name for name in ("Signal", "Slot", "Property", "SIGNAL") if hasattr(qt, name)] == []


def test_the_functions_of_slicer_util_are_not_in_slicer(slicer_app) -> None:
    import slicer

    assert not hasattr(slicer, "arrayFromVolume")
    assert hasattr(slicer.util, "arrayFromVolume")


def test_a_box_does_not_wait_and_says_what_it_said(slicer_app) -> None:
    import slicer

    slicer_app.answer("yes")
    assert slicer.util.confirmYesNoDisplay("Overwrite?")
    assert not slicer.util.confirmYesNoDisplay("Really?"), "without an answer nothing may be agreed to"
    slicer.util.errorDisplay("No lungs were found.", detailedText="trace")
    assert [message.text for message in slicer_app.messages] == ["Overwrite?", "Really?", "No lungs were found."]
    assert slicer_app.messages[-1].details == "trace"


def test_a_dialog_of_ones_own_does_not_wait_and_is_read(qt, slicer_app) -> None:
    dialog = qt.QDialog()
    dialog.windowTitle = "Provenance"
    column = qt.QVBoxLayout(dialog)
    column.addWidget(qt.QLabel("Model: lung-ct"))
    column.addWidget(qt.QPlainTextEdit("SHA-256: 00ff"))
    column.addWidget(qt.QPushButton("Close"))
    slicer_app.answer("ok")
    assert dialog.exec_() == 1
    assert dialog.exec_() == 0
    assert slicer_app.messages[0].title == "Provenance"
    assert slicer_app.messages[0].text.splitlines() == ["Model: lung-ct", "SHA-256: 00ff"]


def test_a_file_dialog_gets_its_path_from_the_queue(qt, slicer_app) -> None:
    slicer_app.answer("/somewhere/cohort")
    assert qt.QFileDialog.getExistingDirectory(None, "Cohort folder") == "/somewhere/cohort"
    assert qt.QFileDialog.getExistingDirectory(None, "Cohort folder") == ""


def test_what_a_slot_raises_is_kept(qt, slicer_app) -> None:
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda checked: 1 / 0)
    button.click()
    (error,) = slicer_app.take_errors()
    assert "ZeroDivisionError" in error


def test_what_an_observer_raises_is_kept(slicer_app) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.SetText("changed")
    assert any("ZeroDivisionError" in error for error in slicer_app.take_errors())


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
