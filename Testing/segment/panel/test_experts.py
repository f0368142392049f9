"""The experts' table and the views: who is an expert, and where red and yellow are."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW
from segment.panel.bright import LARGE, SHAPE, balls, distance_mm
from segment.panel.conftest import settle
from segment.panel.test_run import results

YELLOW = "#{:02x}{:02x}{:02x}".format(*EXPERT_YELLOW)
EXPERT, SHOW, RATER, STRUCTURE = range(4)


def add_rater(name: str, mask: np.ndarray):
    """A segmentation node "<name>'s" with one segment ``name`` on the CT's grid; no expert's yet."""
    import slicer

    ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name}'s")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    segment = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, ct)
    return node


def larger() -> np.ndarray:
    """What an expert draws: the large ball with a margin of 4 mm."""
    return distance_mm(LARGE) <= LARGE[1] + 4.0


def row_of(panel, name: str) -> int:
    return next(row for row, ref in enumerate(panel.experts._refs) if ref.name == name)


def tick(panel, app, name: str, column: int, checked: bool) -> None:
    import qt

    item = panel.ui.expertsTable.item(row_of(panel, name), column)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    settle(panel, app)


@pytest.fixture
def compared(segmented, slicer_app):
    """The panel with a result and one expert, "Ann"."""
    add_rater("Ann", larger())
    settle(segmented, slicer_app)
    tick(segmented, slicer_app, "Ann", EXPERT, True)
    return segmented


def test_every_segment_of_the_scene_has_a_row(segmented, slicer_app) -> None:
    import slicer

    add_rater("Ann", larger())
    ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    labelmap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Bob")
    slicer.util.updateVolumeFromArray(labelmap, balls(LARGE).astype(np.uint8))
    labelmap.CopyOrientation(ct)
    settle(segmented, slicer_app)
    table = segmented.ui.expertsTable
    assert [table.item(row, RATER).text() for row in range(table.rowCount)] == ["Tumor", "Ann", "Bob"]
    for row, source in enumerate(("model", "drawn", "labelmap")):
        assert source in table.item(row, RATER).toolTip()
    tick(segmented, slicer_app, "Bob", EXPERT, True)
    assert table.item(row_of(segmented, "Bob"), RATER).text() == "Bob"


def test_the_first_expert_is_yellow_and_the_next_ones_are_not(compared, slicer_app) -> None:
    add_rater("Bob", balls(LARGE))
    settle(compared, slicer_app)
    tick(compared, slicer_app, "Bob", EXPERT, True)
    table = compared.ui.expertsTable
    colors = [table.item(row_of(compared, name), SHOW).background().color().name() for name in ("Ann", "Bob")]
    assert colors[0] == YELLOW
    assert colors[1] not in (YELLOW, "#ff0000")


@pytest.mark.parametrize("name", ["<b>Dr. Who</b>", "x" * 300, "Ünï & Co\nsecond line"])
def test_a_rater_s_name_is_text_whatever_it_holds(name: str, compared, slicer_app) -> None:
    item = compared.ui.expertsTable.item(row_of(compared, "Ann"), RATER)
    item.setText(name)
    settle(compared, slicer_app)
    shown = compared.ui.expertsTable.item(row_of(compared, "Ann"), RATER)
    assert shown.text() == name.replace("\n", " ")
    assert "<b>" not in shown.toolTip()


def test_a_segment_that_does_not_fit_says_why(segmented, slicer_app) -> None:
    import slicer
    import vtk

    outside = add_rater("Ann", larger())
    far = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 500.0)
    far.SetMatrixTransformToParent(matrix)
    outside.SetAndObserveTransformNodeID(far.GetID())
    add_rater("Bob", np.zeros(SHAPE, dtype=bool))
    settle(segmented, slicer_app)
    for name, words in (("Ann", "outside"), ("Bob", "Nothing is marked")):
        tick(segmented, slicer_app, name, EXPERT, True)
        assert words in segmented.ui.expertsTable.item(row_of(segmented, name), RATER).toolTip()
        assert f"{name}: " in segmented.ui.expertsNoteLabel.text
    assert segmented.ui.expertsNoteLabel.visible


def colors(pixels: np.ndarray) -> tuple[int, int]:
    """How many pixels are red (the model's), and how many yellow (the expert's)."""
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    return (
        int(((red > 150) & (green < 90) & (blue < 90)).sum()),
        int(((red > 150) & (green > 150) & (blue < 90)).sum()),
    )


def test_overlay_shows_both_contours_in_each_view(compared, slicer_app) -> None:
    compared.ui.overlayButton.click()
    settle(compared, slicer_app)
    assert compared.ui.overlayButton.checked
    for name in ("Red", "Green", "Yellow"):
        assert min(colors(slicer_app.slice_pixels(name))) > 20


def test_side_by_side_shows_the_model_left_and_the_expert_right(compared, slicer_app) -> None:
    compared.ui.sideBySideButton.click()
    settle(compared, slicer_app)
    compared.ui.jumpButton.click()
    left, right = colors(slicer_app.slice_pixels("CMEDLStudent")), colors(slicer_app.slice_pixels("CMEDLExperts"))
    assert left[0] > 20
    assert left[1] == 0
    assert right[0] == 0
    assert right[1] > 20
    # A click on what is on brings back what was there before.
    compared.ui.sideBySideButton.click()
    settle(compared, slicer_app)
    assert slicer_app.layout_manager.layout == 3
    assert not compared.ui.sideBySideButton.checked
    compared.ui.jumpButton.click()
    assert min(colors(slicer_app.slice_pixels("Red"))) > 20


def test_the_contours_can_be_made_wider_filled_and_hidden(compared, slicer_app) -> None:
    compared.ui.overlayButton.click()
    settle(compared, slicer_app)
    thin = colors(slicer_app.slice_pixels("Red"))
    compared.ui.outlineSlider.value = 6
    settle(compared, slicer_app)
    wide = colors(slicer_app.slice_pixels("Red"))
    assert wide[0] > 1.5 * thin[0]
    assert wide[1] > 1.5 * thin[1]
    tick(compared, slicer_app, "Ann", SHOW, False)
    assert colors(slicer_app.slice_pixels("Red"))[1] == 0
    compared.ui.fillSlider.value = 0.9
    settle(compared, slicer_app)
    assert colors(slicer_app.slice_pixels("Red"))[0] > 2 * wide[0]


def test_the_buttons_go_from_tumor_slice_to_tumor_slice(compared, slicer_app) -> None:
    import slicer

    view = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    compared.ui.jumpButton.click()
    middle = view.GetSliceOffset()
    assert abs(middle - (-24.0 + 2.0 * LARGE[0][0])) <= 2.0
    compared.ui.nextSliceButton.click()
    assert view.GetSliceOffset() == pytest.approx(middle + 2.0, abs=0.1)
    compared.ui.previousSliceButton.click()
    assert view.GetSliceOffset() == pytest.approx(middle, abs=0.1)


def test_a_saved_scene_brings_raters_colors_and_the_layout_back(compared, slicer_app, tmp_path) -> None:
    import slicer

    compared.ui.expertsTable.item(row_of(compared, "Ann"), RATER).setText("Dr. Ann <b>")
    settle(compared, slicer_app)
    compared.ui.sideBySideButton.click()
    settle(compared, slicer_app)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    settle(compared, slicer_app)
    assert compared.ui.expertsTable.rowCount == 0
    slicer.util.loadScene(str(path))
    settle(compared, slicer_app)
    row = row_of(compared, "Ann")
    assert compared.ui.expertsTable.item(row, RATER).text() == "Dr. Ann <b>"
    assert compared.ui.expertsTable.item(row, SHOW).background().color().name() == YELLOW
    assert compared.ui.sideBySideButton.checked
    assert len(results()) == 2
