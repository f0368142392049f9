"""The panel fits into Slicer's module panel, which cuts what is wider, whatever it shows."""

from __future__ import annotations

import pytest

from segment.panel.bright import add_ct
from segment.panel.conftest import settle, unfold

WIDEST, HIGHEST = 420, 900
"""Pixels: Slicer's own width of a module's panel, and what a small screen shows of one without scrolling."""


@pytest.mark.parametrize("unfolded", [False, True], ids=["as it opens", "unfolded"])
@pytest.mark.parametrize("state", ["panel", "segmented", "rated"])
def test_the_panel_is_no_wider_than_slicer_s(request, slicer_app, state: str, unfolded: bool) -> None:
    panel = request.getfixturevalue(state)
    if state == "panel":
        panel.parameters.ct = add_ct("A name that somebody gave to a volume of a patient, which may be very long")
        settle(panel, slicer_app)
    if unfolded:
        unfold(panel, slicer_app)
    assert slicer_app.least_width(panel) <= WIDEST


def test_an_empty_panel_is_no_wider_than_slicer_s(panel, slicer_app) -> None:
    assert slicer_app.least_width(panel) <= WIDEST
    unfold(panel, slicer_app)
    assert slicer_app.least_width(panel) <= WIDEST


NAME = "Thorax_1.00_Br59_S3_Lung_axial_after_contrast_2019-03-12_a_name_that_nothing_breaks_into_lines"


def test_names_and_paths_of_the_patient_s_data_do_not_widen_it(segmented, slicer_app) -> None:
    """A selector takes the width of the longest name that is there when it is first seen."""
    import slicer

    add_ct(NAME)
    segmented.parameters.result.SetName(f"{NAME} model")
    slicer_app.close(segmented)
    panel = slicer_app.open("CMEDLSegment")
    unfold(panel, slicer_app)
    assert slicer_app.least_width(panel) <= WIDEST
    for label in (panel.ui.handOnLabel, panel.ui.agreementDoneLabel, panel.ui.inputNoteLabel, panel.ui.messageLabel):
        label.text, label.visible = f"Saved in /data/{'1.2.840.113619.2.404.3.' * 6}/{NAME}", True
    assert slicer_app.least_width(panel) <= WIDEST
    slicer.mrmlScene.Clear(0)


def test_it_keeps_its_width_while_figures_are_worked_out(rated, slicer_app) -> None:
    from segment.panel.test_experts import STRUCTURE, add_rater, larger, row_of, tick

    add_rater("Cid", larger())
    settle(rated, slicer_app)
    tick(rated, slicer_app, "Cid", 0, True)
    rated.ui.expertsTable.item(row_of(rated, "Cid"), STRUCTURE).setText("A structure of another name")
    settle(rated, slicer_app)
    assert rated.ui.structureComboBox.visible
    rated.ui.agreementProgressLabel.text = "Working out the figures: 100 %"
    assert slicer_app.least_width(rated) <= WIDEST


def test_rows_of_the_tables_are_seen_whole(rated, slicer_app) -> None:
    unfold(rated, slicer_app)
    for table in (rated.ui.ratersTable, rated.ui.matrixTable):
        last = table.visualItemRect(table.item(table.rowCount - 1, 0))
        assert table.viewport().rect.contains(last), table.objectName
        assert not table.verticalScrollBar().visible, table.objectName


def visible_widgets(panel) -> list[str]:
    """The named widgets of the panel that are seen; what only holds others does not count."""
    import qt

    return [
        name
        for name, widget in vars(panel.ui).items()
        if isinstance(widget, qt.QWidget) and widget.visible and not name.endswith("Widget") and name != "CMEDLSegment"
    ]


def test_it_opens_with_few_widgets_and_everything_else_folded(panel, slicer_app) -> None:
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    assert len(visible_widgets(panel)) <= 25
    for name in ("compare", "handOn", "batch", "advanced"):
        assert getattr(panel.ui, f"{name}CollapsibleButton").collapsed
    assert panel.ui.qualityLabel.visible
    assert not panel.ui.resultWidget.visible


def test_a_result_is_seen_without_scrolling_and_opens_nothing(with_result, slicer_app) -> None:
    assert with_result.ui.candidatesTable.visible
    assert with_result.ui.compareCollapsibleButton.collapsed
    assert with_result.parent.sizeHint.height() <= HIGHEST


def test_a_second_contour_unfolds_the_comparison_once(with_result, slicer_app) -> None:
    from segment.panel.test_experts import add_rater, larger

    button = with_result.ui.compareCollapsibleButton
    add_rater("Ann", larger())
    settle(with_result, slicer_app)
    assert not button.collapsed
    button.collapsed = True
    add_rater("Bob", larger())
    settle(with_result, slicer_app)
    assert button.collapsed


def test_what_was_left_open_is_open_the_next_time(panel, slicer_app) -> None:
    for folded in (False, True):
        panel.ui.advancedCollapsibleButton.collapsed = folded
        slicer_app.close(panel)
        panel = slicer_app.open("CMEDLSegment")
        assert panel.ui.advancedCollapsibleButton.collapsed == folded
