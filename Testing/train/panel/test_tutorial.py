"""From a loaded scene to a model that CMEDLSegment segments with, by the panel's buttons in the order of its numbers.

Both panels are the real ones, with real processes between.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from CMEDLSegmentLib.io.cohort_table import SPLITS, read_cohort
from CMEDLSegmentLib.models import registry
from segment.panel.conftest import settle as settle_segment
from train.panel.conftest import add, choose, opened, settle, take
from train.panel.test_adding import added, reviewer
from train.panel.test_outcome import done, evaluate
from train.panel.test_training import type_value

SIZE, SPACING = (16, 48, 48), (18.0, 8.0, 8.0)
"""Of the phantoms, (z, y, x) in voxels and mm."""
SETTINGS = {"images.field": "32", "images.spacing_mm": "12", "network.arguments": '{"width": 2}'}
"""Smaller than preset tiny: the test is of the way, not of what is learned."""


def phantoms(numbers: Sequence[int]):
    """CT and MR phantoms of as many patients each in the scene, with an expert's segment; the last CT."""
    import slicer

    from CMEDLSegmentLib.phantom import thorax_ct, thorax_mr
    from CMEDLSegmentPanel.scene.coordinates import ras_of, to_vtk

    for number in numbers:
        for made in (thorax_mr(number, SIZE, SPACING), thorax_ct(number, SIZE, SPACING)):
            volume = slicer.util.addVolumeFromArray(made.image.array, to_vtk(ras_of(made.image.geometry)))
            volume.SetName(f"{made.image.modality} {number}")
            drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"expert {number}")
            drawn.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            segment = drawn.GetSegmentation().AddEmptySegment("", "Tumor")
            slicer.util.updateSegmentBinaryLabelmapFromArray(made.mask, drawn, segment, volume)
    return volume


def points(curve: str) -> int:
    """How many points a curve of the run has in Slicer's plots."""
    import slicer

    series = [node for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode") if node.GetName() == curve]
    return max((node.GetTableNode().GetTable().GetNumberOfRows() for node in series), default=0)


def test_from_the_scene_to_a_student_that_segments(panel, slicer_app, tmp_path: Path) -> None:
    # 1 Cases: what is in the scene becomes cases, divided by patient.
    ct, ui = phantoms((1, 2, 3)), panel.ui
    reviewer()
    assert "choose a folder" in ui.nextLabel.text
    choose(panel, slicer_app, tmp_path / "cohort")
    assert "add at least 3 CT cases" in ui.nextLabel.text
    slicer_app.answer("ok")
    add(panel, "scene")
    added(panel, slicer_app)
    assert "Split by patient" in ui.nextLabel.text
    assert opened(panel) == ["cohort"]
    ui.trainSpinBox.value, ui.validationSpinBox.value, ui.testSpinBox.value = 34, 33, 33
    ui.splitButton.click()
    settle(panel, slicer_app)
    cases = read_cohort(tmp_path / "cohort" / "cohort.csv", required=("mask", "role", "split"))
    assert {case.split for case in cases if (case.role, case.modality) == ("student", "CT")} == set(SPLITS)
    assert {case.split for case in cases if (case.role, case.modality) == ("teacher", "MR")} == {"train"}

    # 2 Method and settings: a student that learns from a teacher.
    slicer_app.wait_until(lambda: "choose a method" in ui.nextLabel.text)
    assert opened(panel) == ["training", "run"]
    for box, name in ((ui.methodComboBox, "cmedl"), (ui.presetComboBox, "tiny"), (ui.trainingDeviceComboBox, "cpu")):
        take(box, slicer_app, name)
    ui.epochsSpinBox.value = 3
    settle(panel, slicer_app)
    for key, value in SETTINGS.items():
        type_value(panel, slicer_app, key, value)
    assert ui.startButton.enabled, ui.trainingNoteLabel.text

    # 3 Train: a process of its own, whose curves come while it works.
    ui.runNameLineEdit.text = "mine"
    ui.startButton.click()
    settle(panel, slicer_app)
    slicer_app.wait_until(lambda: "mine" in ui.nextLabel.text)
    assert opened(panel) in (["run"], ["outcome"])
    slicer_app.wait_until(lambda: points("hint") or panel.run.chosen.state == "finished")
    slicer_app.wait_until(lambda: panel.run.chosen.state == "finished")
    settle(panel, slicer_app)
    assert not [message.text for message in slicer_app.messages if message.kind != "dialog"]

    # 4 Model: figures on the held-out case, and the model in CMEDLSegment.
    slicer_app.wait_until(lambda: "press Evaluate" in ui.nextLabel.text)
    assert opened(panel) == ["outcome"]
    assert min(points("hint"), points("DSC")) > 1
    slicer_app.wait_until(lambda: panel.outcome.run is not None)
    assert ui.againstComboBox.itemData(ui.againstComboBox.currentIndex) == registry.DEFAULT
    settle(panel, slicer_app)
    evaluate(panel, slicer_app)
    assert ui.pairedTable.rowCount, ui.evaluationLabel.text
    assert not ui.pairedTable.isColumnHidden(2)
    assert "press Install" in ui.nextLabel.text
    ui.card_name.text = "from the scene"
    ui.installButton.click()
    assert "CMEDLSegment uses from the scene" in done(panel, slicer_app)
    assert "Done: CMEDLSegment segments with from the scene" in ui.nextLabel.text

    # CMEDLSegment segments with it.
    segment = slicer_app.open("CMEDLSegment")
    settle_segment(segment, slicer_app)
    segment.parameters.ct, segment.parameters.device = ct, "cpu"
    take(segment.ui.modelComboBox, slicer_app, "from the scene")
    settle_segment(segment, slicer_app)
    assert segment.ui.segmentButton.enabled, segment.ui.inputNoteLabel.text
    segment.ui.segmentButton.click()
    slicer_app.wait_until(lambda: not segment.logic.busy)
    settle_segment(segment, slicer_app)
    assert segment.parameters.result is not None, segment.ui.messageLabel.text
    assert segment.parameters.result.GetName() == "CT 3 from the scene"
    segment.ui.provenanceButton.click()
    assert registry.entry("from the scene").card.weights_sha256 in segment.ui.provenanceTextEdit.toPlainText()
