"""The stand-ins for CTK's widgets do what CTK's code does where that is not what one expects."""

from __future__ import annotations

import pytest


@pytest.fixture
def ctk(slicer_app):
    import ctk

    return ctk


def test_a_path_is_told_only_while_there_is_one(ctk) -> None:
    line, emitted = ctk.ctkPathLineEdit(), []
    line.connect("currentPathChanged(QString)", lambda path: emitted.append(path))
    line.connect("validInputChanged(bool)", lambda valid: emitted.append(valid))
    line.currentPath = "/data/a"
    line.currentPath = "/data/b"
    line.currentPath = ""
    assert emitted == ["/data/a", True, "/data/b", False]


def test_a_path_of_another_kind_of_file_is_not_told(ctk) -> None:
    line, emitted = ctk.ctkPathLineEdit(), []
    line.nameFilters = ["Tables (*.csv)"]
    line.connect("currentPathChanged(QString)", lambda path: emitted.append(path))
    line.connect("validInputChanged(bool)", lambda valid: emitted.append(valid))
    line.currentPath = "/data/table.txt"
    line.currentPath = "/data/table.csv"
    line.currentPath = "/data/table.txt"
    assert emitted == ["/data/table.csv", True, False]


def test_a_path_is_remembered_only_when_it_is_put_into_the_history(ctk, slicer_app) -> None:
    line = ctk.ctkPathLineEdit()
    line.settingKey = "harness/folders"
    line.currentPath = "/data/a"
    later, emitted = ctk.ctkPathLineEdit(), []
    later.connect("currentPathChanged(QString)", lambda path: emitted.append(path))
    later.settingKey = "harness/folders"
    assert later.currentPath == ""
    for path in ("/data/a", "/data/b"):
        line.currentPath = path
        line.addCurrentPathToHistory()
    latest = ctk.ctkPathLineEdit()
    latest.settingKey = "harness/folders"
    assert latest.currentPath == "/data/b"
    later.currentPath = "/data/c"
    later.retrieveHistory()
    assert later.currentPath == "/data/c"
    assert emitted == ["/data/c"]


def folded(qt, widget):
    """``widget`` on the screen and folded, with two buttons in it, of which code has hidden the second."""
    column, first, second = qt.QVBoxLayout(widget), qt.QPushButton("1"), qt.QPushButton("2")
    column.addWidget(first)
    column.addWidget(second)
    second.hide()
    widget.show()
    widget.collapsed = True
    return first, second


@pytest.mark.parametrize("kind", ["ctkCollapsibleButton", "ctkCollapsibleGroupBox"])
def test_what_is_folded_is_hidden_and_comes_back_as_code_left_it(ctk, kind: str) -> None:
    import qt

    widget = getattr(ctk, kind)("Title")
    first, second = folded(qt, widget)
    assert (first.visible, second.visible) == (False, False)
    widget.collapsed = False
    assert (first.visible, second.visible) == (True, False)
    widget.collapsed = True
    second.show()
    first.hide()
    assert (first.visible, second.visible) == (False, False)
    widget.collapsed = False
    assert (first.visible, second.visible) == (False, True)


def test_a_folded_group_box_disables_what_is_in_it(ctk) -> None:
    import qt

    box = ctk.ctkCollapsibleGroupBox("Title")
    first, _ = folded(qt, box)
    clicked: list[bool] = []
    first.connect("clicked(bool)", clicked.append)
    first.click()
    assert clicked == []
    box.collapsed = False
    first.click()
    assert clicked == [False]


def test_a_section_is_as_wide_as_its_title_and_as_its_contents_would_like(ctk, slicer_app) -> None:
    import qt

    around, section, shrinks = qt.QWidget(), ctk.ctkCollapsibleButton("A title"), qt.QLineEdit()
    qt.QVBoxLayout(around).addWidget(section)
    titled = around.minimumSizeHint.width()
    section.text = "A title, and more and more words of it"
    assert around.minimumSizeHint.width() > titled + 50
    section.text = "T"
    qt.QVBoxLayout(section).addWidget(shrinks)
    assert around.minimumSizeHint.width() >= shrinks.sizeHint.width() > shrinks.minimumSizeHint.width()
    section.sizePolicy = qt.QSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
    assert around.minimumSizeHint.width() < shrinks.sizeHint.width()


def test_a_slider_does_not_round(ctk) -> None:
    slider, emitted = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", emitted.append)
    slider.minimum, slider.maximum, slider.singleStep, slider.decimals = 0.0, 1.0, 0.01, 2
    slider.value = 0.35
    assert slider.value == pytest.approx(0.35)
    assert slider.value != 0.35
    assert emitted == [slider.value]
    slider.value = 0.35
    assert len(emitted) == 1
    slider.value = 7
    assert slider.value == 1.0
