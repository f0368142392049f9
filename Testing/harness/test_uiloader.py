"""The loader of ``.ui`` files refuses what Qt's would pass over."""

from __future__ import annotations

from pathlib import Path

import pytest

PANEL = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel">
<layout class="QVBoxLayout" name="column">{items}</layout></widget>
<customwidgets/>{connections}</ui>"""


def load(folder: Path, *widgets: str, connections: str = "") -> object:
    import slicer

    items = "".join(f"<item>{widget}</item>" for widget in widgets)
    path = folder / "panel.ui"
    path.write_text(PANEL.format(items=items, connections=connections), encoding="utf-8")
    return slicer.util.loadUI(str(path))


def widget(kind: str, name: str, **properties: str) -> str:
    inner = "".join(f'<property name="{key}">{value}</property>' for key, value in properties.items())
    return f'<widget class="{kind}" name="{name}">{inner}</widget>'


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (widget("qMRMLNodeCombobox", "ct"), "qMRMLNodeCombobox"),
        (widget("QLabel", "ct", wordwrap="<bool>true</bool>"), "wordwrap"),
        (widget("ctkCollapsibleButton", "ct", colapsed="<bool>true</bool>"), "colapsed"),
        (widget("ctkPathLineEdit", "ct", filters="<set>ctkPathLineEdit::Folders</set>"), "Folders"),
        (widget("QLabel", "column"), "column"),
    ],
)
def test_what_does_not_exist_is_named(wrong: str, named: str, slicer_app, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=named):
        load(tmp_path, wrong)


def test_properties_reach_the_stand_ins(slicer_app, tmp_path: Path) -> None:
    import slicer

    slider = widget("ctkSliderWidget", "slider", maximum="<double>0.9</double>", value="<double>0.5</double>")
    path = widget("ctkPathLineEdit", "path", filters="<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::NoDot</set>")
    panel = load(tmp_path, slider, path)
    ui = slicer.util.childWidgetVariables(panel)
    assert (ui.slider.maximum, ui.slider.value, ui.path.filters) == (0.9, 0.5, ("Dirs", "NoDot"))


def test_the_scene_reaches_the_selectors_along_the_connections(slicer_app, tmp_path: Path) -> None:
    import slicer

    types = "<stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist>"
    line = (
        "<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
        "<receiver>ct</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>"
    )
    panel = load(tmp_path, widget("qMRMLNodeComboBox", "ct", nodeTypes=types), connections=line)
    selector = slicer.util.childWidgetVariables(panel).ct
    assert selector.mrmlScene() is None
    panel.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is None
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "not offered")
    assert selector.currentNode() is volume, "without noneEnabled there is always a node if there is one"
    slicer.mrmlScene.RemoveNode(volume)
    assert selector.currentNode() is None
