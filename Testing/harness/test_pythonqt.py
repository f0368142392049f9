"""``qt`` behaves as Slicer's: what fails there fails here."""

from __future__ import annotations

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
    with pytest.raises(TypeError, match="not callable"):
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


def test_a_slot_gets_as_many_arguments_as_it_takes(qt) -> None:
    box = qt.QSpinBox()
    got: list[object] = []
    box.connect("valueChanged(int)", got.append)
    box.connect("valueChanged(int)", lambda: got.append("none"))
    box.value = 7
    assert got == [7, "none"]


def test_an_unknown_signal_raises(qt) -> None:
    with pytest.raises(ValueError, match=r"has no signal 'pressed\(int\)'"):
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
