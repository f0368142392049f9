"""The section "Agreement with experts": figures that follow the contours."""

from __future__ import annotations

import importlib.metadata
import threading

import numpy as np
import pytest

from CMEDLSegmentLib.metrics.measures import measure
from segment.panel.bright import SMALL, SPACING, balls
from segment.panel.comparing import CC, DICE, NAME, column, edit, model, smaller, wait_for_figures
from segment.panel.conftest import settle, unfold
from segment.panel.test_experts import EXPERT, RATER, STRUCTURE, add_rater, larger, row_of, tick


def is_gray(table) -> bool:
    """Whether all figures of a table are gray."""
    from CMEDLSegmentPanel import agreement_view

    colors = {table.item(row, DICE).foreground().color().name() for row in range(table.rowCount)}
    return colors == {"#{:02x}{:02x}{:02x}".format(*agreement_view.GRAY)}


def test_one_expert_beside_the_model_has_figures(segmented, slicer_app) -> None:
    add_rater("Ann", larger())
    settle(segmented, slicer_app)
    assert not segmented.ui.figuresWidget.visible
    assert "Tick" in segmented.ui.agreementLabel.text
    tick(segmented, slicer_app, "Ann", EXPERT, True)
    wait_for_figures(segmented, slicer_app)
    assert column(segmented.ui.ratersTable, NAME) == ["Ann", "Model"]
    known = measure(larger(), model(), SPACING[::-1])
    assert segmented.ui.ratersTable.item(1, DICE).text() == f"{known.values['dsc']:.2f}"
    assert segmented.ui.ratersTable.item(1, CC).text() == f"{known.volume_b_cc:.1f}"


def test_the_table_of_raters_has_its_figures_too(rated, slicer_app) -> None:
    from CMEDLSegmentPanel.agreement_view import GRAY
    from CMEDLSegmentPanel.experts_section import DICE as COLUMN

    table = rated.ui.expertsTable
    known = measure(larger(), smaller(), SPACING[::-1]).values["dsc"]
    assert table.item(row_of(rated, "Ann"), COLUMN).text() == f"{known:.2f}"
    mean = np.mean([measure(one, model(), SPACING[::-1]).values["dsc"] for one in (larger(), smaller())])
    assert table.item(row_of(rated, "Tumor"), COLUMN).text() == f"{mean:.2f}"
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert table.item(row_of(rated, "Ann"), COLUMN).foreground().color().name() == "#{:02x}{:02x}{:02x}".format(*GRAY)
    wait_for_figures(rated, slicer_app)
    assert table.item(row_of(rated, "Ann"), COLUMN).text() == "0.00"
    tick(rated, slicer_app, "Bob", EXPERT, False)
    tick(rated, slicer_app, "Ann", EXPERT, False)
    assert {table.item(row, COLUMN).text() for row in range(table.rowCount)} == {""}


def test_two_ticks_without_a_model_are_enough(panel, slicer_app) -> None:
    from segment.panel.bright import add_ct

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
    masks = [larger(), smaller(), model()]
    for row in range(3):
        for tested in range(3):
            known = measure(masks[row], masks[tested], SPACING[::-1]).values["sensitivity"]
            assert table.item(row, tested).text() == ("" if row == tested else f"{known:.2f}")
    assert rated.parameters.measure == "sensitivity"
    assert "reference" in table.item(0, 1).toolTip()


def test_figures_are_worked_out_beside_the_window(rated, slicer_app, monkeypatch) -> None:
    from CMEDLSegmentLib.agreement import raters

    original, threads, held = raters.analyze, [], threading.Event()

    def slow(*arguments):
        threads.append(threading.current_thread())
        assert held.wait(30)
        return original(*arguments)

    monkeypatch.setattr(raters, "analyze", slow)
    edit("Bob", larger())
    slicer_app.wait_until(lambda: threads)
    assert threads[0] is not threading.main_thread()
    slicer_app.wait_until(lambda: "Working" in rated.ui.agreementProgressLabel.text)
    held.set()
    wait_for_figures(rated, slicer_app)
    assert rated.ui.agreementProgressLabel.text == ""
    assert rated.ui.matrixTable.item(0, 1).text() == "1.00"


def test_figures_are_gray_while_a_contour_is_edited_and_new_afterwards(rated, slicer_app) -> None:
    before = column(rated.ui.ratersTable, DICE)
    assert not is_gray(rated.ui.ratersTable)
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert is_gray(rated.ui.ratersTable)
    assert column(rated.ui.ratersTable, DICE) == before
    assert not rated.ui.reportButton.enabled
    wait_for_figures(rated, slicer_app)
    assert not is_gray(rated.ui.ratersTable)
    assert column(rated.ui.ratersTable, DICE) != before
    assert rated.ui.matrixTable.item(0, 1).text() == "0.00"
    assert rated.ui.reportButton.enabled


def test_figures_of_a_contour_that_was_edited_elsewhere_are_not_shown_as_if_they_held(rated, slicer_app) -> None:
    slicer_app.leave(rated)
    edit("Bob", balls(SMALL))
    slicer_app.open("CMEDLSegment")
    settle(rated, slicer_app)
    assert rated.agreement.fresh or is_gray(rated.ui.ratersTable)
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
        return rated.ui.matrixTable.item(0, 1).text()

    rated.parameters.measure = "surface_dice"
    settle(rated, slicer_app)
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
        rated.ui.expertsTable.item(row_of(rated, name), STRUCTURE).setText("Node")
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
        slicer_app.wait_until(lambda: "stands for the model" in rated.ui.agreementLabel.text)
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


def test_packages_that_the_figures_need_are_installed_at_a_click(rated, slicer_app, monkeypatch) -> None:
    from CMEDLSegmentPanel import dependencies

    real, absent = importlib.metadata.version, {"scikit-image"}

    def version(name: str) -> str:
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    assert not rated.ui.agreementPackagesButton.visible
    monkeypatch.setattr(importlib.metadata, "version", version)
    edit("Bob", balls(SMALL))
    settle(rated, slicer_app)
    assert "not installed" in rated.ui.agreementLabel.text
    assert not rated.ui.figuresWidget.visible
    monkeypatch.setattr(dependencies, "_install", lambda wanted: absent.clear())
    slicer_app.answer("ok")
    rated.ui.agreementPackagesButton.click()
    assert "scikit-image" in slicer_app.messages[-1].text
    wait_for_figures(rated, slicer_app)
    assert not rated.ui.agreementPackagesButton.visible


@pytest.mark.parametrize("everybody", [False, True])
def test_empty_contours_are_shown_as_what_they_are(everybody: bool, panel, slicer_app) -> None:
    from segment.panel.bright import SHAPE, add_ct

    panel.parameters.ct = add_ct()
    nothing = np.zeros(SHAPE, dtype=bool)
    for name, mask in (("Ann", nothing if everybody else larger()), ("Bob", nothing)):
        add_rater(name, mask)
        settle(panel, slicer_app)
        tick(panel, slicer_app, name, EXPERT, True)
    unfold(panel, slicer_app)
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
