"""The section "Agreement with experts": the way to what is disputed, its map, and what is kept of the comparison."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from CMEDLSegmentLib.metrics.measures import measure
from segment.panel.bright import SMALL, SPACING, balls
from segment.panel.comparing import edit, model, smaller, wait_for_figures
from segment.panel.conftest import settle
from segment.panel.test_experts import larger


def slice_now() -> int:
    """The CT's slice that the red view shows."""
    import slicer

    offset = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceOffset()
    return round((offset + 24.0) / SPACING[2])


def test_the_strip_and_the_buttons_lead_to_what_is_disputed(rated, slicer_app) -> None:
    table = rated.ui.stripTable
    marked = np.flatnonzero((larger() | smaller() | model()).any(axis=(1, 2)))
    assert table.columnCount == marked[-1] - marked[0] + 1
    table.cellClicked.emit(0, 3)
    settle(rated, slicer_app)
    assert slice_now() == marked[0] + 3
    masks = np.stack([larger(), smaller(), model()])
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

    from CMEDLSegmentPanel.scene.segment_masks import array_on_volume

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
    known = measure(larger(), model(), SPACING[::-1]).values
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
