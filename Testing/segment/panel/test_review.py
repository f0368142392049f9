"""Blinded review in the panel: nothing tells a name before all contours are scored."""

from __future__ import annotations

import csv

import pytest

from segment.panel.bright import SMALL, balls
from segment.panel.comparing import column, edit, wait_for_figures
from segment.panel.conftest import settle

ALL = ["Ann", "Bob", "Tumor"]


def words_seen(panel) -> str:
    """Everything that the panel shows at this moment, tool tips too."""
    import qt

    found = []
    for widget in panel.parent.findChildren(qt.QWidget):
        if not widget.isVisibleTo(panel.parent):
            continue
        found.append(widget.toolTip)
        if isinstance(widget, (qt.QLabel, qt.QPushButton, qt.QLineEdit)):
            found.append(widget.text)
        if isinstance(widget, qt.QTableWidget):
            cells = [widget.item(row, at) for row in range(widget.rowCount) for at in range(widget.columnCount)]
            found += [f"{cell.text()} {cell.toolTip()}" for cell in cells if cell]
    return "\n".join(found)


def seen_segments() -> list[str]:
    """The names of the segments that views show."""
    import slicer

    found = set()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        for number in range(node.GetNumberOfDisplayNodes()):
            display = node.GetNthDisplayNode(number)
            for segment in node.GetSegmentation().GetSegmentIDs():
                if display.GetVisibility() and display.GetSegmentVisibility(segment):
                    found.add(node.GetSegmentation().GetSegment(segment).GetName())
    return sorted(found)


@pytest.fixture
def reviewed(rated, slicer_app):
    """The panel in the middle of a blinded review."""
    assert seen_segments() == ALL
    rated.ui.reviewGroupBox.collapsed = False
    rated.ui.reviewedByLineEdit.text = "R. Viewer"
    settle(rated, slicer_app)
    rated.ui.startReviewButton.click()
    settle(rated, slicer_app)
    return rated


def score_all(panel, app) -> None:
    """Score every contour, each with another score."""
    buttons = [panel.ui.acceptButton, panel.ui.minorButton, panel.ui.rejectButton]
    for button in buttons:
        assert not panel.ui.revealButton.enabled
        button.click()
        assert [each.checked for each in buttons].count(True) == 1
        panel.ui.nextContourButton.click()
    settle(panel, app)


def test_a_review_starts_only_with_a_reviewer(rated, slicer_app) -> None:
    rated.ui.reviewGroupBox.collapsed = False
    rated.ui.reviewedByLineEdit.text = " "
    settle(rated, slicer_app)
    assert not rated.ui.startReviewButton.enabled
    rated.ui.reviewedByLineEdit.text = "R. Viewer"
    settle(rated, slicer_app)
    assert rated.ui.startReviewButton.enabled
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert not rated.ui.startReviewButton.enabled
    wait_for_figures(rated, slicer_app)
    assert rated.ui.startReviewButton.enabled


def test_an_unfolded_group_shows_only_what_a_start_needs(rated, slicer_app) -> None:
    rated.ui.reviewGroupBox.collapsed = False
    slicer_app.process_events()
    seen = [rated.ui.startReviewButton, rated.ui.reviewedByLineEdit]
    assert all(widget.isVisibleTo(rated.parent) for widget in seen)
    unseen = [rated.ui.acceptButton, rated.ui.revealButton, rated.ui.cancelReviewButton, rated.ui.reviewTable]
    assert not any(widget.isVisibleTo(rated.parent) for widget in unseen)


def test_during_a_review_nothing_tells_a_name(reviewed, slicer_app) -> None:
    assert seen_segments() == ["Contour 1"]
    told = words_seen(reviewed)
    assert not [word for word in ("Ann", "Bob", "Student:", "DSC 0", "Rater 1") if word in told.replace("Model:\n", "")]
    reviewed.ui.othersCheckBox.click()
    assert seen_segments() == ["Contour 1", "Contour 2", "Contour 3"]
    reviewed.ui.nextContourButton.click()
    reviewed.ui.othersCheckBox.click()
    assert seen_segments() == ["Contour 2"]
    reviewed.ui.previousContourButton.click()
    assert seen_segments() == ["Contour 1"]


def test_scores_get_their_names_at_the_end_and_go_into_the_report(reviewed, slicer_app, tmp_path) -> None:
    reviewed.ui.reasonComboBox.currentIndex = 1
    reviewed.ui.reasonComboBox.activated.emit(1)
    reviewed.ui.commentLineEdit.textEdited.emit('<b>too</b> "wide"; 50 %')
    score_all(reviewed, slicer_app)
    assert reviewed.ui.revealButton.enabled
    reviewed.ui.revealButton.click()
    wait_for_figures(reviewed, slicer_app)
    assert seen_segments() == ALL
    table = reviewed.ui.reviewTable
    assert sorted(column(table, 0)) == ["Ann", "Bob", "Model"]
    assert column(table, 1) == ["Accept", "Minor edit", "Reject"]
    assert column(table, 3) == ['<b>too</b> "wide"; 50 %', "", ""]
    assert "<b>too" not in table.item(0, 3).toolTip()
    assert reviewed.ui.expertsWidget.visible
    assert reviewed.ui.ratersTable.visible
    slicer_app.answer(str(tmp_path))
    reviewed.ui.reportButton.click()
    with (tmp_path / "reviews.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["score"] for row in rows] == ["accept", "minor edit", "reject"]
    assert rows[0]["comment"] == '<b>too</b> "wide"; 50 %'
    assert rows[0]["reason"] == "too large"
    assert {row["rater"] for row in rows} == {"Ann", "Bob", "candidate"}
    assert "&lt;b&gt;too" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_volumes_that_tell_whose_a_contour_is_leave_the_views_until_the_end(rated, slicer_app) -> None:
    import slicer

    def foregrounds() -> set:
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return {node.GetForegroundVolumeID() for node in nodes}

    rated.ui.reviewGroupBox.collapsed = False
    rated.ui.reviewedByLineEdit.text = "R. Viewer"
    for box in (rated.ui.mapCheckBox, rated.ui.showProbabilityCheckBox):
        box.click()
        settle(rated, slicer_app)
        before = foregrounds()
        assert before != {None}
        rated.ui.startReviewButton.click()
        settle(rated, slicer_app)
        assert foregrounds() == {None}
        slicer_app.answer("yes")
        rated.ui.cancelReviewButton.click()
        settle(rated, slicer_app)
        assert foregrounds() == before


def test_a_comment_is_not_written_over_while_it_is_typed(reviewed, slicer_app) -> None:
    line = reviewed.ui.commentLineEdit
    line.text = "too "
    line.textEdited.emit("too ")
    reviewed.review.refresh()
    assert line.text == "too "
    reviewed.ui.nextContourButton.click()
    assert line.text == ""
    reviewed.ui.previousContourButton.click()
    assert line.text == "too"


def test_leaving_the_module_brings_everything_back_and_the_review_can_go_on(reviewed, slicer_app) -> None:
    reviewed.ui.rejectButton.click()
    slicer_app.leave(reviewed)
    assert seen_segments() == ALL
    slicer_app.open("CMEDLSegment")
    wait_for_figures(reviewed, slicer_app)
    assert seen_segments() == ALL
    assert reviewed.ui.expertsWidget.visible
    assert reviewed.ui.startReviewButton.text == "Continue"
    reviewed.ui.startReviewButton.click()
    settle(reviewed, slicer_app)
    assert seen_segments() == ["Contour 2"]
    assert "1 scored" in reviewed.ui.contourLabel.text


def test_a_cancelled_review_leaves_nothing(reviewed, slicer_app) -> None:
    import slicer

    reviewed.ui.rejectButton.click()
    slicer_app.answer("no")
    reviewed.ui.cancelReviewButton.click()
    assert reviewed.review.blinded
    slicer_app.answer("yes")
    reviewed.ui.cancelReviewButton.click()
    wait_for_figures(reviewed, slicer_app)
    assert seen_segments() == ALL
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert not reviewed.ui.reviewTable.visible
    assert reviewed.ui.startReviewButton.text == "Start"


def test_a_scene_closed_in_the_middle_leaves_an_empty_panel(reviewed, slicer_app) -> None:
    import slicer

    slicer.mrmlScene.Clear(0)
    settle(reviewed, slicer_app)
    assert not reviewed.review.blinded
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert reviewed.ui.expertsWidget.visible
    assert not reviewed.ui.figuresWidget.visible
    assert reviewed.ui.startReviewButton.visible


def test_a_scene_saved_in_the_middle_is_shown_as_it_was_and_goes_on(reviewed, slicer_app, tmp_path) -> None:
    import slicer

    reviewed.ui.rejectButton.click()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    assert seen_segments() == ["Contour 1"]
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    wait_for_figures(reviewed, slicer_app)
    assert seen_segments() == ALL
    assert reviewed.ui.startReviewButton.text == "Continue"
    reviewed.ui.startReviewButton.click()
    settle(reviewed, slicer_app)
    assert "1 scored" in reviewed.ui.contourLabel.text


def test_the_review_s_table_removed_ends_it(reviewed, slicer_app) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(slicer.util.getNodesByClass("vtkMRMLTableNode")[0])
    wait_for_figures(reviewed, slicer_app)
    assert seen_segments() == ALL
    assert not reviewed.review.blinded


def test_the_module_unloaded_in_the_middle_brings_everything_back(reviewed, slicer_app) -> None:
    slicer_app.close(reviewed)
    assert seen_segments() == ALL
