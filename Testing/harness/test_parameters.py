"""The stand-in for ``parameterNodeWrapper``: values live in the node, widgets follow, and it is strict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest


def annotated(**kinds: object) -> type:
    """A class of parameters, wrapped. Slicer evaluates annotations as they are written; here they are of a function."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    defaults = {"model": "lung-ct", "threshold": 0.5}
    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": kinds, **defaults}))


@pytest.fixture
def wrapped(slicer_app):
    import slicer
    from slicer.parameterNodeWrapper import WithinRange

    kind = annotated(
        ct=slicer.vtkMRMLScalarVolumeNode,
        model=str,
        threshold=Annotated[float, WithinRange(0.0, 1.0)],
        allSlices=bool,
        width=int,
        raters=list[str],
    )
    return kind, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def test_defaults_and_changes_live_in_the_node(wrapped) -> None:
    import slicer

    kind, node = wrapped
    first, second = kind(node), kind(node)
    assert (first.ct, first.model, first.threshold, first.allSlices) == (None, "lung-ct", 0.5, False)
    assert (first.width, first.raters) == (0, [])
    first.ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    first.allSlices, first.width, first.raters = True, 3, ["A", "B"]
    assert (second.ct, second.allSlices, second.width, second.raters) == (first.ct, True, 3, ["A", "B"])


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.5), ("width", 2.5), ("model", None), ("ct", "CT"), ("raters", ("A",))]
)
def test_what_does_not_fit_is_refused(wrapped, name: str, value: object) -> None:
    kind, node = wrapped
    with pytest.raises((TypeError, ValueError)):
        setattr(kind(node), name, value)


def test_types_and_names_that_are_not_known_are_refused(slicer_app) -> None:
    for kind in (Path, list[int], Annotated[int, "a note"]):
        with pytest.raises(TypeError, match="width"):
            annotated(width=kind)
    with pytest.raises(ValueError, match="isCached"):
        annotated(isCached=bool)


def test_widgets_and_node_follow_each_other_until_they_are_disconnected(wrapped) -> None:
    import ctk
    import qt

    kind, node = wrapped
    parameters = kind(node)
    slider, box = ctk.ctkSliderWidget(), qt.QCheckBox()
    tag = parameters.connectParametersToGui({"threshold": slider, "allSlices": box})
    assert (slider.minimum, slider.maximum, slider.value, box.checked) == (0, 1, 0.5, False)
    slider.value = 0.25
    box.checked = True
    assert (parameters.threshold, parameters.allSlices) == (0.25, True)
    parameters.threshold = 0.75
    assert slider.value == 0.75
    parameters.disconnectGui(tag)
    slider.value = 0.1
    assert parameters.threshold == 0.75


def test_a_widget_that_slicer_could_not_bind_is_refused(wrapped) -> None:
    import ctk
    import qt

    kind, node = wrapped
    for name, widget in (("allSlices", ctk.ctkCheckBox()), ("threshold", qt.QSpinBox()), ("ct", qt.QComboBox())):
        with pytest.raises(RuntimeError, match=type(widget).__name__):
            kind(node).connectParametersToGui({name: widget})
    with pytest.raises(RuntimeError):
        annotated(cc=float)(node).connectParametersToGui({"cc": ctk.ctkSliderWidget()})


def test_connecting_a_whole_panel_returns_nothing_as_in_slicer(wrapped) -> None:
    import qt

    kind, node = wrapped
    panel = qt.QWidget()
    line = qt.QLineEdit(panel)
    line.setProperty("SlicerParameterName", "model")
    assert kind(node).connectGui(panel) is None
    assert line.text == "lung-ct"
