"""The stand-in for ``parameterNodeWrapper``: values live in the node, widgets follow, and it is strict."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import pytest


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


@pytest.fixture
def wrapped(slicer_app):
    import slicer
    from slicer import vtkMRMLScalarVolumeNode
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    class Parameters:
        ct: vtkMRMLScalarVolumeNode
        model: str = "lung-ct"
        threshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
        allSlices: bool
        width: Annotated[int, Default(3)]
        device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
        side: Side = Side.RIGHT
        folder: Path
        raters: list[str]

    # Slicer evaluates annotations as these were written; here they are text and of this function.
    names = {"vtkMRMLScalarVolumeNode": vtkMRMLScalarVolumeNode, "Choice": Choice, "Default": Default}
    names |= {"WithinRange": WithinRange, "Annotated": Annotated, "Side": Side, "Path": Path}
    Parameters.__annotations__ = {name: eval(kind, names) for name, kind in Parameters.__annotations__.items()}
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    return parameterNodeWrapper(Parameters), node


def test_defaults_and_changes_live_in_the_node(wrapped) -> None:
    import slicer

    kind, node = wrapped
    one, two = kind(node), kind(node)
    assert (one.ct, one.model, one.threshold, one.allSlices, one.width) == (None, "lung-ct", 0.5, False, 3)
    assert (one.side, one.folder, one.raters) == (Side.RIGHT, Path(), [])
    one.ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    one.allSlices, one.side, one.folder, one.raters = True, Side.LEFT, Path("/cohort"), ["A", "B"]
    assert (two.ct, two.allSlices, two.side, two.folder, two.raters) == (
        one.ct, True, Side.LEFT, Path("/cohort"), ["A", "B"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.5), ("device", "gpu"), ("width", 2.5), ("model", None), ("ct", "CT")]
)
def test_what_does_not_fit_is_refused(wrapped, name: str, value: object) -> None:
    kind, node = wrapped
    with pytest.raises((TypeError, ValueError)):
        setattr(kind(node), name, value)


def test_widgets_and_node_follow_each_other_until_they_are_disconnected(wrapped) -> None:
    import ctk
    import qt

    kind, node = wrapped
    parameters = kind(node)
    slider, box = ctk.ctkSliderWidget(), qt.QComboBox()
    tag = parameters.connectParametersToGui({"threshold": slider, "device": box})
    assert (slider.minimum, slider.maximum, slider.value, box.count) == (0, 1, 0.5, 2)
    slider.value = 0.25
    box.currentIndex = 1
    assert (parameters.threshold, parameters.device) == (0.25, "cpu")
    parameters.threshold = 0.75
    assert slider.value == 0.75
    parameters.disconnectGui(tag)
    slider.value = 0.1
    assert parameters.threshold == 0.75


def test_a_widget_that_slicer_could_not_bind_is_refused(wrapped) -> None:
    import ctk

    kind, node = wrapped
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        kind(node).connectParametersToGui({"allSlices": ctk.ctkCheckBox()})


def test_connecting_a_whole_panel_returns_nothing_as_in_slicer(wrapped) -> None:
    import qt

    kind, node = wrapped
    panel = qt.QWidget()
    line = qt.QLineEdit(panel)
    line.setProperty("SlicerParameterName", "model")
    assert kind(node).connectGui(panel) is None
    assert line.text == "lung-ct"
