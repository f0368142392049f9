"""The section "Outcome" on real students: evaluated beside another one, looked at, installed, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import read_card
from train.panel.conftest import settle, take


def texts(table) -> list[list[str]]:
    cells = [[table.item(row, column) for column in range(table.columnCount)] for row in range(table.rowCount)]
    return [[cell.text() if cell else "" for cell in row] for row in cells]


def evaluate(panel, app) -> None:
    panel.ui.evaluateButton.click()
    assert panel.ui.evaluateButton.text == "Cancel"
    app.wait_until(lambda: panel.ui.evaluateButton.text == "Evaluate")
    settle(panel, app)


def folder_of(panel) -> Path:
    return panel.outcome.run.folder


def done(panel, app) -> str:
    """Wait for what the second half of the section does; what it then says."""
    app.wait_until(lambda: not panel.student._work.busy)
    settle(panel, app)
    return panel.ui.studentLabel.text


def structures() -> dict[str, int]:
    """Voxels of each segment in the scene, by name."""
    import slicer

    voxels = {}
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        for segment in node.GetSegmentation().GetSegmentIDs():
            name = node.GetSegmentation().GetSegment(segment).GetName()
            voxels[name] = int(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment).sum())
    return voxels


def test_a_student_is_judged_beside_another_one_and_its_cases_are_seen(finished, slicer_app) -> None:
    import slicer

    panel, ui = finished, finished.ui
    assert "not been evaluated" in ui.outcomeLabel.text
    take(ui.againstComboBox, slicer_app, str(folder_of(panel).with_name("short")))
    evaluate(panel, slicer_app)
    evaluation = json.loads((folder_of(panel) / "evaluation.json").read_text("utf-8"))
    rows = {row[0]: row[1:] for row in texts(ui.pairedTable)}
    assert list(rows) == ["DSC", "surface DSC 2 mm", "HD95 (mm)", "Missed patients", "Missed tumors"]
    assert rows["DSC"][0].startswith(f"{evaluation['summary']['dsc']['mean']:.2f} ")
    assert rows["DSC"][1].startswith(f"{evaluation['against']['summary']['dsc']['mean']:.2f} ")
    compared = evaluation["against"]["comparisons"]["dsc"]
    assert float(rows["DSC"][2]) == pytest.approx(compared["p"], abs=5e-4)
    assert "2 patients" in ui.pairedTable.item(0, 0).toolTip()
    assert rows["Missed patients"][1] == f"{evaluation['against']['missed']['patients']} of 2"
    # The worst case comes first; clicked, it is in the views with both contours.
    cases = texts(ui.scoredTable)
    assert [row[0] for row in cases] == [
        case["case"] for case in sorted(evaluation["cases"], key=lambda case: (not case["missed"], case["dsc"]))
    ]
    ui.scoredTable.cellClicked.emit(1, 0)
    slicer_app.wait_until(lambda: "Model: Tumor" in structures())
    voxels = structures()
    dsc = float(cases[1][1])
    assert 0 < dsc < 1
    assert voxels["Tumor"] > 0
    assert voxels["Model: Tumor"] > 0
    kept = Path(panel.outcome._contour._folder.name)
    # Who takes the case out before the contour is there does not get it back.
    ui.scoredTable.cellClicked.emit(0, 0)
    ui.openCaseButton.click()
    slicer_app.wait_until(lambda: not panel.outcome._contour._segmenting.busy)
    settle(panel, slicer_app)
    assert structures() == {}
    # What the student marked is kept for a second look, and gone with the panel.
    ui.scoredTable.cellClicked.emit(1, 0)
    assert not panel.outcome._contour._segmenting.busy
    slicer_app.wait_until(lambda: "Model: Tumor" in structures())
    ui.hideScoredButton.click()
    assert structures() == {}
    ui.scoredTable.cellClicked.emit(1, 0)
    slicer_app.wait_until(lambda: "Model: Tumor" in structures())
    slicer_app.leave(panel)
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    slicer_app.close(panel)
    assert not kept.exists()


def test_an_evaluation_is_cancelled_and_read_when_the_panel_is_opened_again(finished, slicer_app, monkeypatch) -> None:
    import qt

    from CMEDLTrainLib.cli import main

    panel, ui, run = finished, finished.ui, folder_of(finished)
    ui.evaluateButton.click()
    ui.evaluateButton.click()
    assert "Cancelled" in ui.evaluationLabel.text
    assert not (run / "evaluation.json").exists()
    slicer_app.leave(panel)
    assert main(["evaluate", str(run), "--device=cpu"]) == 0
    slicer_app.open("CMEDLTrain")
    settle(panel, slicer_app)
    assert ui.outcomeLabel.text == ""
    assert ui.pairedTable.rowCount == 5
    assert ui.pairedTable.isColumnHidden(2)
    names = [ui.picturesComboBox.itemData(index) for index in range(ui.picturesComboBox.count)]
    assert {"roc.svg", "cases.csv"} <= set(names)
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    take(ui.picturesComboBox, slicer_app, "cases.csv")
    ui.openPictureButton.click()
    ui.openEvaluationButton.click()
    assert list(map(Path, opened)) == [run / "evaluation" / "cases.csv", run / "evaluation"]
    # A case that was evaluated is no longer in the cohort.
    table = Path(panel.parameters.cohort, "cohort.csv")
    table.write_text(
        "".join(line for line in table.read_text("utf-8").splitlines(True) if "case005" not in line), "utf-8"
    )
    ui.scoredTable.cellClicked.emit([row[0] for row in texts(ui.scoredTable)].index("case005"), 0)
    assert "no case case005 any more" in slicer_app.messages[-1].text
    # The run goes on and its student becomes another one.
    (run / "student.safetensors").write_bytes((run.with_name("short") / "student.safetensors").read_bytes())
    slicer_app.wait_until(lambda: "older weights" in ui.outcomeLabel.text)
    # Something else wrote the file.
    (run / "evaluation.json").write_text('{"cases": [{"case": "<b>a</b>"}]}', "utf-8")
    slicer_app.wait_until(lambda: "lacks or misspells" in ui.outcomeLabel.text)
    assert ui.evaluateButton.enabled


def test_what_an_evaluation_refuses_is_told(finished, slicer_app) -> None:
    panel, ui = finished, finished.ui
    table = Path(panel.parameters.cohort, "cohort.csv")
    table.write_text(table.read_text("utf-8").replace(",test", ",train"), "utf-8")
    evaluate(panel, slicer_app)
    assert "no student case with split 'test'" in ui.evaluationLabel.text


def test_installed_students_are_versioned_and_rolled_back(finished, slicer_app, tmp_path: Path) -> None:
    from CMEDLTrainLib.cli import main

    panel, ui = finished, finished.ui
    (tmp_path / "card.json").write_text('{"name": "our lung"}', "utf-8")
    run, first_file = str(folder_of(panel).with_name("short")), tmp_path / "first.safetensors"
    assert main(["export", run, f"--output={first_file}", f"--card={tmp_path / 'card.json'}"]) == 0
    registry.install(first_file)
    (first,) = registry.versions("our lung")
    segment = slicer_app.open("CMEDLSegment")
    slicer_app.open("CMEDLTrain")
    settle(panel, slicer_app)
    ui.card_name.text, ui.card_title.text = "our lung", "Ours"
    ui.installButton.click()
    assert "uses our lung" in done(panel, slicer_app)
    assert registry.entry("our lung").card.title == "Ours"
    assert not ui.useVersionButton.enabled
    assert ui.versionsComboBox.count == 2
    take(ui.versionsComboBox, slicer_app, first.version)
    ui.useVersionButton.click()
    assert first.version in done(panel, slicer_app)
    assert registry.entry("our lung").version == first.version
    slicer_app.open("CMEDLSegment")
    slicer_app.process_events(0.2)
    assert "our lung" in [entry.name for entry in segment.logic.models()]
    # A version that was damaged since is not used.
    (damaged,) = (entry for entry in registry.versions("our lung") if not entry.current)
    damaged.path.write_bytes(damaged.path.read_bytes()[:-1])
    slicer_app.open("CMEDLTrain")
    settle(panel, slicer_app)
    take(ui.versionsComboBox, slicer_app, damaged.version)
    ui.useVersionButton.click()
    assert "cannot be used" in done(panel, slicer_app)
    assert registry.entry("our lung").version == first.version


def test_one_file_carries_its_card_and_the_figures(finished, slicer_app, tmp_path: Path) -> None:
    from CMEDLTrainLib.cli import main

    panel, ui = finished, finished.ui
    assert main(["evaluate", str(folder_of(panel)), "--device=cpu"]) == 0
    ui.card_title.text, ui.card_data_name.text = "", "discs"
    ui.exportStudentButton.click()
    assert "needs a title" in slicer_app.messages[-1].text
    ui.card_title.text = "Discs <b>only</b>"
    ui.exportStudentButton.click()
    assert "fill in all three" in slicer_app.messages[-1].text
    ui.card_data_license.text, ui.card_data_attribution.text = "CC0", "nobody"
    before = len(slicer_app.messages)
    ui.exportStudentButton.click()  # the file dialog is cancelled
    assert not panel.student._work.busy
    assert len(slicer_app.messages) == before + 1
    (tmp_path / "ours.safetensors").write_text("something else", "utf-8")
    slicer_app.answer(str(tmp_path / "ours"), "no")
    ui.exportStudentButton.click()
    assert (tmp_path / "ours.safetensors").read_text("utf-8") == "something else"
    slicer_app.answer(str(tmp_path / "mine"))
    ui.exportStudentButton.click()
    assert "Exported to" in done(panel, slicer_app)
    card = read_card(tmp_path / "mine.safetensors")
    assert (card.title, card.data[0]["license"]) == ("Discs <b>only</b>", "CC0")
    assert [figure["n"] for figure in card.figures if figure["measure"].startswith("DSC, all")] == [2]
    # What was written on the card is there when the run is chosen again.
    panel.parameters.run = "short"
    settle(panel, slicer_app)
    assert ui.card_data_name.text == ""
    panel.parameters.run = "long"
    settle(panel, slicer_app)
    assert (ui.card_title.text, ui.card_data_name.text) == ("Discs <b>only</b>", "discs")


def test_a_run_without_a_student_offers_nothing(finished, slicer_app) -> None:
    panel, ui = finished, finished.ui
    (folder_of(panel) / "student.safetensors").unlink()
    slicer_app.wait_until(lambda: "Choose a run" in ui.outcomeLabel.text)
    settle(panel, slicer_app)
    assert not ui.evaluateButton.enabled
    assert not ui.installButton.enabled
