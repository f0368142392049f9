"""What is chosen before a run, and what the panel says about it before anyone clicks."""

from __future__ import annotations

import numpy as np
import pytest

from segment.panel.bright import add_ct
from segment.panel.conftest import settle


def test_without_a_volume_the_panel_says_what_to_do(panel) -> None:
    assert "load a CT" in panel.ui.inputNoteLabel.text
    assert not panel.ui.segmentButton.enabled
    assert "load a CT" in panel.ui.segmentButton.toolTip


def test_a_ct_that_suits_is_described(panel, slicer_app) -> None:
    panel.ui.ctSelector.setCurrentNode(add_ct())
    settle(panel, slicer_app)
    assert panel.ui.inputNoteLabel.text == "Ready: 64 x 64 x 24, 1.50 x 1.50 x 2.00 mm"
    assert panel.ui.segmentButton.enabled


def test_the_volume_that_is_looked_at_is_proposed(panel, slicer_app) -> None:
    import slicer

    image = np.zeros((4, 8, 8), np.int16)
    slicer.util.addVolumeFromArray(image, nodeClassName="vtkMRMLLabelMapVolumeNode", name="a labelmap")
    slicer_app.leave(panel)
    slicer_app.open("CMEDLSegment")
    assert panel.parameters.ct is None
    slicer.util.addVolumeFromArray(np.zeros((4, 8, 8, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode")
    older, newer = add_ct("older"), add_ct("newer")
    cases = (({}, older), ({"background": newer}, newer), ({"background": older, "foreground": newer}, older))
    for layers, wanted in cases:
        slicer.util.setSliceViewerLayers(**layers)
        panel.parameters.ct = None
        slicer_app.leave(panel)
        slicer_app.open("CMEDLSegment")
        assert panel.parameters.ct is wanted, layers


def test_a_view_that_the_layout_does_not_show_proposes_nothing(panel, slicer_app) -> None:
    import slicer

    seen, unseen = add_ct("seen"), add_ct("unseen")
    logics = {name: slicer_app.layout_manager.sliceWidget(name).sliceLogic() for name in ("Red", "Yellow")}
    slicer_app.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpYellowSliceView)
    for name, volume in (("Red", unseen), ("Yellow", seen)):
        logics[name].GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    panel.parameters.ct = None
    slicer_app.leave(panel)
    slicer_app.open("CMEDLSegment")
    assert panel.parameters.ct is seen


def test_a_doubt_is_told_in_one_line_and_does_not_keep_from_a_run(panel, slicer_app) -> None:
    ct = add_ct()
    ct.SetSpacing(1.5, 1.5, 9.0)
    panel.parameters.ct = ct
    settle(panel, slicer_app)
    assert "9 mm apart" in panel.ui.inputNoteLabel.text
    assert "\n" not in panel.ui.inputNoteLabel.text
    assert panel.ui.segmentButton.enabled


def test_an_mr_cannot_be_segmented_by_a_model_for_ct(panel, slicer_app) -> None:
    import slicer

    mr = add_ct("MR")
    quantity = slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("110852", "DCM", "MR signal intensity")
    mr.SetVoxelValueQuantity(quantity)
    panel.parameters.ct = mr
    settle(panel, slicer_app)
    assert "MR" in panel.ui.inputNoteLabel.text
    assert not panel.ui.segmentButton.enabled


def test_a_volume_that_loses_its_voxels_is_noticed(panel, slicer_app) -> None:
    ct = add_ct()
    panel.parameters.ct = ct
    settle(panel, slicer_app)
    assert panel.ui.segmentButton.enabled
    ct.SetAndObserveImageData(None)
    settle(panel, slicer_app)
    assert not panel.ui.segmentButton.enabled
    assert "no voxels" in panel.ui.inputNoteLabel.text


def test_a_labelmap_is_refused_by_its_name(panel) -> None:
    import slicer

    from CMEDLSegmentLib.base.errors import InputError

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "organs")
    with pytest.raises(InputError, match="'organs' is a labelmap"):
        panel.logic.segment(node, model="bright")
    with pytest.raises(InputError, match="No volume"):
        panel.logic.segment(None, model="bright")


def test_details_shows_the_card_as_plain_text(panel, slicer_app) -> None:
    import qt

    panel.ui.modelDetailsButton.click()
    (text,) = panel.input._details.findChildren(qt.QPlainTextEdit)
    assert "Bright is tumor" in text.toPlainText()
    assert "CC BY-SA 4.0" in text.toPlainText()


def test_the_threshold_is_the_model_s_until_one_of_one_s_own_is_asked_for(panel, slicer_app) -> None:
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    assert not panel.ui.thresholdSlider.enabled
    assert panel.ui.thresholdSlider.value == 0.5
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.ownThresholdCheckBox.click()
    panel.ui.thresholdSlider.value = 0.8
    settle(panel, slicer_app)
    assert panel.parameters.threshold == pytest.approx(0.8)
    panel.ui.ownThresholdCheckBox.click()
    settle(panel, slicer_app)
    assert panel.ui.thresholdSlider.value == 0.5


def test_the_first_volume_of_a_scene_is_proposed(slicer_app, panel) -> None:
    slicer_app.leave(panel)
    ct = add_ct()
    slicer_app.open("CMEDLSegment")
    settle(panel, slicer_app)
    assert panel.parameters.ct is ct


def test_graphics_cards_are_listed_with_their_memory(panel) -> None:
    from CMEDLSegmentPanel.devices import cards

    answer = "0, NVIDIA RTX A4000, 16376\n1, NVIDIA H100 80GB HBM3, 81559\nno line of a card\n"
    assert cards(answer) == {"cuda:0": "NVIDIA RTX A4000, 16 GB", "cuda:1": "NVIDIA H100 80GB HBM3, 80 GB"}
    assert cards(answer, "1") == {"cuda:0": "NVIDIA H100 80GB HBM3, 80 GB"}
    assert cards(answer, "GPU-5c0f") == {}


def test_cards_appear_when_the_driver_has_answered(
    slicer_app, python_slicer, tmp_path, monkeypatch, models, place
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "0, A card, 8192"\n', encoding="utf-8")
    program.chmod(0o755)
    panel = slicer_app.open("CMEDLSegment")
    box = panel.ui.deviceComboBox
    slicer_app.wait_until(lambda: box.count == 3)
    assert [box.itemText(index) for index in range(3)] == ["Automatic", "Processor (CPU)", "A card, 8 GB"]
    box.setCurrentIndex(2)
    box.activated.emit(2)
    assert panel.parameters.device == "cuda:0"


def test_a_device_of_another_computer_is_shown_as_such(panel, slicer_app) -> None:
    panel.parameters.device = "cuda:7"
    settle(panel, slicer_app)
    assert panel.ui.deviceComboBox.currentText == "cuda:7 (not found here)"


def test_looking_at_the_input_takes_no_time(panel, slicer_app, monkeypatch: pytest.MonkeyPatch) -> None:
    from CMEDLSegmentPanel.scene import volume_nodes

    looked = []
    real = volume_nodes.input_checks
    monkeypatch.setattr(volume_nodes, "input_checks", lambda *arguments: looked.append(1) or real(*arguments))
    panel.parameters.ct = add_ct()
    for value in np.linspace(0.1, 0.9, 9):
        panel.parameters.fill = float(value)
        settle(panel, slicer_app)
    assert len(looked) == 1
