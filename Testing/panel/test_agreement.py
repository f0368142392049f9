"""The section "Agreement with experts": figures that follow the contours, the way to disputes, blinded review."""

from __future__ import annotations

import csv
import sys
import threading

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.measures import measure
from panel.bright import LARGE, SMALL, SPACING, balls, distance_mm
from panel.conftest import settle
from panel.test_experts import EXPERT, RATER, add_rater, larger, row_of, tick

NAME, CC, DICE = 1, 2, 3


def wait_for_figures(panel, app) -> None:
    """Until the figures are those of the present contours."""
    settle(panel, app)
    app.wait_until(lambda: panel.agreement.fresh, 60)
    settle(panel, app)


def smaller() -> np.ndarray:
    return distance_mm(LARGE) <= LARGE[1] - 3.0


def student() -> np.ndarray:
    """What the student of ``segmented`` marks."""
    import slicer

    from CMEDLSegmentLib.scene.segments import array_on_volume

    result = slicer.util.getNode("CT bright")
    return array_on_volume(result, "Segment_1", slicer.util.getNode("CT"))


@pytest.fixture
def rated(segmented, slicer_app):
    """The panel with the student's result and two experts, "Ann" and "Bob", and their figures."""
    add_rater("Ann", larger())
    add_rater("Bob", smaller())
    settle(segmented, slicer_app)
    for name in ("Ann", "Bob"):
        tick(segmented, slicer_app, name, EXPERT, True)
    wait_for_figures(segmented, slicer_app)
    return segmented


def column(table, number: int) -> list[str]:
    return [table.item(row, number).text() for row in range(table.rowCount)]


def is_grey(table) -> bool:
    """Whether all figures of a table are grey."""
    from CMEDLSegmentPanel import agreement_view

    colors = {table.item(row, DICE).foreground().color().name() for row in range(table.rowCount)}
    return colors == {"#{:02x}{:02x}{:02x}".format(*agreement_view.GREY)}


def edit(name: str, mask: np.ndarray) -> None:
    """Change what a rater marks, as the Segment Editor does."""
    import slicer

    node, ct = slicer.util.getNode(f"{name}'s"), slicer.util.getNode("CT")
    segment = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, ct)


def test_one_expert_beside_the_student_has_figures(segmented, slicer_app) -> None:
    add_rater("Ann", larger())
    settle(segmented, slicer_app)
    assert not segmented.ui.figuresWidget.visible
    assert "Tick" in segmented.ui.agreementLabel.text
    tick(segmented, slicer_app, "Ann", EXPERT, True)
    wait_for_figures(segmented, slicer_app)
    assert column(segmented.ui.ratersTable, NAME) == ["Ann", "Student"]
    known = measure(larger(), student(), SPACING[::-1])
    assert segmented.ui.ratersTable.item(1, DICE).text() == f"{known.values['dsc']:.2f}"
    assert segmented.ui.ratersTable.item(1, CC).text() == f"{known.volume_b_cc:.1f}"


def test_the_table_of_raters_has_its_figures_too(rated, slicer_app) -> None:
    from CMEDLSegmentPanel.agreement_view import GREY
    from CMEDLSegmentPanel.experts_section import DICE as COLUMN

    table = rated.ui.expertsTable
    known = measure(larger(), smaller(), SPACING[::-1]).values["dsc"]
    assert table.item(row_of(rated, "Ann"), COLUMN).text() == f"{known:.2f}"
    mean = np.mean([measure(one, student(), SPACING[::-1]).values["dsc"] for one in (larger(), smaller())])
    assert table.item(row_of(rated, "Tumor"), COLUMN).text() == f"{mean:.2f}"
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert table.item(row_of(rated, "Ann"), COLUMN).foreground().color().name() == "#{:02x}{:02x}{:02x}".format(*GREY)
    wait_for_figures(rated, slicer_app)
    assert table.item(row_of(rated, "Ann"), COLUMN).text() == "0.00"
    tick(rated, slicer_app, "Bob", EXPERT, False)
    tick(rated, slicer_app, "Ann", EXPERT, False)
    assert {table.item(row, COLUMN).text() for row in range(table.rowCount)} == {""}


def test_two_ticks_without_a_student_are_enough(panel, slicer_app) -> None:
    from panel.bright import add_ct

    panel.parameters.ct = add_ct()
    add_rater("Ann", larger())
    add_rater("Bob", smaller())
    settle(panel, slicer_app)
    tick(panel, slicer_app, "Ann", EXPERT, True)
    assert not panel.ui.figuresWidget.visible
    tick(panel, slicer_app, "Bob", EXPERT, True)
    wait_for_figures(panel, slicer_app)
    known = measure(larger(), smaller(), SPACING[::-1]).values
    assert column(panel.ui.ratersTable, NAME) == ["Ann", "Bob", "All raters"]
    assert {text.split()[0] for text in column(panel.ui.ratersTable, DICE)} == {f"{known['dsc']:.2f}"}
    assert panel.ui.matrixTable.item(0, 1).text() == f"{known['dsc']:.2f}"
    tick(panel, slicer_app, "Bob", EXPERT, False)
    assert not panel.ui.figuresWidget.visible


def test_the_matrix_shows_the_chosen_measure_of_everybody_against_everybody(rated, slicer_app) -> None:
    table, box = rated.ui.matrixTable, rated.ui.measureComboBox
    box.currentIndex = box.findData("sensitivity")
    box.activated.emit(box.currentIndex)
    settle(rated, slicer_app)
    masks = [larger(), smaller(), student()]
    for row in range(3):
        for tested in range(3):
            known = measure(masks[row], masks[tested], SPACING[::-1]).values["sensitivity"]
            assert table.item(row, tested).text() == ("" if row == tested else f"{known:.2f}")
    assert rated.parameters.measure == "sensitivity"
    assert "reference" in table.item(0, 1).toolTip()


def test_figures_are_worked_out_beside_the_window(rated, slicer_app, monkeypatch) -> None:
    from CMEDLSegmentLib.agreement import raters

    original, threads, held = raters.analyse, [], threading.Event()

    def slow(*arguments):
        threads.append(threading.current_thread())
        assert held.wait(30)
        return original(*arguments)

    monkeypatch.setattr(raters, "analyse", slow)
    edit("Bob", larger())
    slicer_app.wait_until(lambda: threads)
    assert threads[0] is not threading.main_thread()
    slicer_app.wait_until(lambda: "Working" in rated.ui.agreementProgressLabel.text)
    held.set()
    wait_for_figures(rated, slicer_app)
    assert rated.ui.agreementProgressLabel.text == ""
    assert rated.ui.matrixTable.item(0, 1).text() == "1.00"


def test_figures_are_grey_while_a_contour_is_edited_and_new_afterwards(rated, slicer_app) -> None:
    before = column(rated.ui.ratersTable, DICE)
    assert not is_grey(rated.ui.ratersTable)
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert is_grey(rated.ui.ratersTable)
    assert column(rated.ui.ratersTable, DICE) == before
    assert not rated.ui.reportButton.enabled
    wait_for_figures(rated, slicer_app)
    assert not is_grey(rated.ui.ratersTable)
    assert column(rated.ui.ratersTable, DICE) != before
    assert rated.ui.matrixTable.item(0, 1).text() == "0.00"
    assert rated.ui.reportButton.enabled


def test_figures_of_a_contour_that_was_edited_elsewhere_are_not_shown_as_if_they_held(rated, slicer_app) -> None:
    slicer_app.leave(rated)
    edit("Bob", balls(SMALL))
    slicer_app.open("CMEDLSegment")
    settle(rated, slicer_app)
    assert rated.agreement.fresh or is_grey(rated.ui.ratersTable)
    wait_for_figures(rated, slicer_app)
    assert rated.ui.matrixTable.item(0, 1).text() == "0.00"


def test_a_color_or_a_look_makes_no_new_figures(rated, slicer_app, monkeypatch) -> None:
    import slicer

    figures = rated.agreement.figures
    slicer.util.getNode("Ann's").GetSegmentation().GetNthSegment(0).SetColor(0.2, 0.4, 0.6)
    rated.ui.outlineSlider.value = 5
    settle(rated, slicer_app)
    assert rated.agreement.fresh
    assert rated.agreement.figures is figures
    assert rated.ui.ratersTable.item(0, 0).background().color().name() == "#336699"


def test_another_tolerance_makes_new_figures(rated, slicer_app) -> None:
    def surface() -> str:
        return rated.ui.ratersTable.item(0, DICE + 1).text()

    before = surface()
    rated.ui.toleranceSpinBox.value = 8.0
    wait_for_figures(rated, slicer_app)
    assert surface() != before
    assert rated.agreement.figures.agreement.tolerance_mm == 8.0


def test_structures_are_compared_one_at_a_time(rated, slicer_app) -> None:
    assert not rated.ui.structureComboBox.visible
    for name in ("Cleo", "Dan"):
        add_rater(name, balls(SMALL))
        settle(rated, slicer_app)
        tick(rated, slicer_app, name, EXPERT, True)
        rated.ui.expertsTable.item(row_of(rated, name), 5).setText("Node")
        settle(rated, slicer_app)
    box = rated.ui.structureComboBox
    assert box.visible
    box.currentIndex = box.findText("Node")
    box.activated.emit(box.currentIndex)
    wait_for_figures(rated, slicer_app)
    assert column(rated.ui.ratersTable, NAME)[:2] == ["Cleo", "Dan"]


@pytest.mark.parametrize("name", ["<b>Dr. Who</b>", "x" * 300, "candidate", "Ünï \N{BLACK HEART SUIT}"])
def test_a_rater_s_name_is_text_whatever_it_holds(name: str, rated, slicer_app) -> None:
    rated.ui.expertsTable.item(row_of(rated, "Ann"), RATER).setText(name)
    if name == "candidate":
        slicer_app.wait_until(lambda: "stands for the student" in rated.ui.agreementLabel.text)
        return
    wait_for_figures(rated, slicer_app)
    assert column(rated.ui.ratersTable, NAME)[0] == name
    tips = [rated.ui.ratersTable.item(0, NAME).toolTip(), rated.ui.matrixTable.item(0, 1).toolTip()]
    tips += [rated.ui.stripTable.item(0, at).toolTip() for at in range(rated.ui.stripTable.columnCount)]
    assert not any("<b>" in tip for tip in tips)


def test_what_keeps_from_comparing_is_told(rated, slicer_app, monkeypatch) -> None:
    import slicer

    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    node = slicer.util.getNode("Ann's")
    node.SetAndObserveTransformNodeID(bent.GetID())
    settle(rated, slicer_app)
    assert "harden" in rated.ui.agreementLabel.text
    assert not rated.ui.figuresWidget.visible
    node.SetAndObserveTransformNodeID(None)
    wait_for_figures(rated, slicer_app)
    # None makes an import fail as if the package were not installed.
    monkeypatch.setitem(sys.modules, "CMEDLSegmentLib.agreement.raters", None)
    edit("Bob", balls(SMALL))
    slicer_app.wait_until(lambda: "not installed" in rated.ui.agreementLabel.text)


@pytest.mark.parametrize("everybody", [False, True])
def test_empty_contours_are_shown_as_what_they_are(everybody: bool, panel, slicer_app) -> None:
    from panel.bright import SHAPE, add_ct

    panel.parameters.ct = add_ct()
    nothing = np.zeros(SHAPE, dtype=bool)
    for name, mask in (("Ann", nothing if everybody else larger()), ("Bob", nothing)):
        add_rater(name, mask)
        settle(panel, slicer_app)
        tick(panel, slicer_app, name, EXPERT, True)
    wait_for_figures(panel, slicer_app)
    # One empty: nothing in common. Both empty: nothing that could be.
    shown, other = panel.ui.ratersTable.item(0, DICE).text(), panel.ui.matrixTable.item(0, 1).text()
    assert (shown, other) == ("\N{EN DASH} *", "\N{EN DASH}") if everybody else (shown, other) == ("0.00", "0.00")
    assert "marked" in panel.ui.agreementLabel.text
    assert panel.ui.stripTable.columnCount == (0 if everybody else np.count_nonzero(larger().any(axis=(1, 2))))
    for button in (panel.ui.worstSliceButton, panel.ui.nextWorstButton, panel.ui.mapCheckBox, panel.ui.tablesButton):
        button.click()
    panel.ui.consensusButton.click()
    settle(panel, slicer_app)
    assert "consensus" in panel.ui.agreementDoneLabel.text


def slice_now() -> int:
    """The CT's slice that the red view shows."""
    import slicer

    offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
    return round((offset + 24.0) / SPACING[2])


def test_the_strip_and_the_buttons_lead_to_what_is_disputed(rated, slicer_app) -> None:
    table = rated.ui.stripTable
    marked = np.flatnonzero((larger() | smaller() | student()).any(axis=(1, 2)))
    assert table.columnCount == marked[-1] - marked[0] + 1
    table.cellClicked.emit(0, 3)
    settle(rated, slicer_app)
    assert slice_now() == marked[0] + 3
    masks = np.stack([larger(), smaller(), student()])
    disputed = (masks.any(axis=0) & ~masks.all(axis=0)).sum(axis=(1, 2))
    seen = []
    rated.ui.worstSliceButton.click()
    for _ in range(3):
        seen.append(slice_now())
        rated.ui.nextWorstButton.click()
    assert [disputed[index] for index in seen] == sorted(disputed, reverse=True)[:3]
    assert len(set(seen)) == 3
    assert f"Slice {slice_now()}," in rated.ui.stripLabel.text
    here = [at for at in range(table.columnCount) if table.item(1, at).background().color().name() == "#1e1e1e"]
    assert here == [slice_now() - marked[0]]


def test_the_strip_marks_the_slice_of_views_that_came_later(rated, slicer_app) -> None:
    import slicer

    rated.ui.sideBySideButton.click()
    settle(rated, slicer_app)
    view = slicer.app.layoutManager().sliceWidget("CMEDLStudent").sliceLogic()
    rated.ui.worstSliceButton.click()
    view.SetSliceOffset(view.GetSliceOffset() + SPACING[2])
    settle(rated, slicer_app)
    table, first = rated.ui.stripTable, np.flatnonzero(larger().any(axis=(1, 2)))[0]
    here = [at for at in range(table.columnCount) if table.item(1, at).background().color().name() == "#1e1e1e"]
    assert here == [rated.agreement.figures.agreement.worst[0] + 1 - first]


def test_the_map_is_shown_and_taken_away_and_follows_the_contours(rated, slicer_app) -> None:
    import slicer

    def foregrounds() -> set:
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return {node.GetForegroundVolumeID() for node in nodes}

    rated.ui.mapCheckBox.click()
    settle(rated, slicer_app)
    node = slicer.util.getNode("CT agreement map")
    assert foregrounds() == {node.GetID()}
    counts = slicer.util.arrayFromVolume(node)
    assert ((counts == 2).sum(), (counts == 1).sum()) == (smaller().sum(), (larger() & ~smaller()).sum())
    edit("Bob", larger())
    wait_for_figures(rated, slicer_app)
    assert (slicer.util.arrayFromVolume(node) == 2).sum() == larger().sum()
    rated.ui.mapCheckBox.click()
    settle(rated, slicer_app)
    assert node.GetID() not in foregrounds()
    assert not rated.ui.mapCheckBox.checked


def test_consensus_tables_and_plots_are_in_the_scene(rated, slicer_app) -> None:
    import slicer

    from CMEDLSegmentLib.scene.segments import array_on_volume

    for number, word in enumerate(("majority", "STAPLE")):
        rated.ui.consensusComboBox.currentIndex = number
        rated.ui.consensusButton.click()
        node = slicer.util.getNode(f"CT consensus ({word})")
        assert word in rated.ui.agreementDoneLabel.text
        # Of two raters the majority is what both marked.
        if word == "majority":
            ct = slicer.util.getNode("CT")
            np.testing.assert_array_equal(array_on_volume(node, "Consensus", ct), smaller() & larger())
    rated.ui.tablesButton.click()
    table = slicer.util.getNode("CT agreement raters")
    before = table.GetTable().GetColumnByName("dsc_mean").GetValue(0)
    assert before == pytest.approx(measure(larger(), smaller(), SPACING[::-1]).values["dsc"])
    edit("Bob", balls(SMALL))
    wait_for_figures(rated, slicer_app)
    assert table.GetTable().GetColumnByName("dsc_mean").GetValue(0) == 0.0
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 2


def test_the_report_is_written_and_not_over_another_one_unasked(rated, slicer_app, tmp_path) -> None:
    slicer_app.answer(str(tmp_path))
    rated.ui.reportButton.click()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Ann" in page
    assert str(tmp_path) in rated.ui.agreementDoneLabel.text
    with (tmp_path / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        pairs = {(row["a"], row["b"]): row for row in csv.DictReader(stream)}
    known = measure(larger(), student(), SPACING[::-1]).values
    assert set(pairs) == {("Ann", "Bob"), ("Ann", "candidate"), ("Bob", "candidate")}
    assert float(pairs["Ann", "candidate"]["dsc"]) == pytest.approx(known["dsc"], abs=1e-12)
    assert not (tmp_path / "reviews.csv").exists()
    (tmp_path / "report.html").write_text("mine", encoding="utf-8")
    settle(rated, slicer_app)
    slicer_app.answer(str(tmp_path), "no")
    rated.ui.reportButton.click()
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "mine"
    slicer_app.answer(str(tmp_path), "yes")
    rated.ui.reportButton.click()
    assert "Ann" in (tmp_path / "report.html").read_text(encoding="utf-8")
    slicer_app.answer("")
    rated.ui.reportButton.click()


# --- blinded review


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


ALL = ["Ann", "Bob", "Tumor"]


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
    assert not [
        word for word in ("Ann", "Bob", "Student:", "Dice 0", "Rater 1") if word in told.replace("Student:\n", "")
    ]
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
    assert sorted(column(table, 0)) == ["Ann", "Bob", "Student"]
    assert column(table, 1) == ["Accept", "Minor edit", "Reject"]
    assert column(table, 3) == ['<b>too</b> "wide"; 50 %', "", ""]
    assert "<b>too" not in table.item(0, 3).toolTip()
    assert reviewed.ui.expertsCollapsibleButton.visible
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
    assert reviewed.ui.expertsCollapsibleButton.visible
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
    assert reviewed.ui.expertsCollapsibleButton.visible
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
