"""The module opened, left, entered and closed; its self-test; its texts."""

from __future__ import annotations

import gc
import weakref

import pytest

from segment.panel.bright import add_ct
from segment.panel.conftest import settle


def nodes() -> int:
    import slicer

    return slicer.mrmlScene.GetNumberOfNodes()


def test_twenty_openings_leave_no_panel_behind_and_no_node(panel, slicer_app) -> None:
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    slicer_app.close(panel)
    before, left = nodes(), []
    for _ in range(20):
        widget = slicer_app.open("CMEDLSegment")
        settle(widget, slicer_app)
        slicer_app.leave(widget)
        slicer_app.open("CMEDLSegment")
        # An observer that is left on a node or on the scene would hold its section, and that one the panel.
        left += [weakref.ref(widget), weakref.ref(widget.experts), weakref.ref(widget.parameters)]
        slicer_app.close(widget)
    assert nodes() == before
    del widget
    # Another module's connections make the harness let go of those of the last one.
    slicer_app.open("CMEDLTrain")
    gc.collect()
    assert [each() for each in left if each()] == []


def test_twenty_openings_of_the_training_module_leave_nothing_behind(slicer_app) -> None:
    slicer_app.close(slicer_app.open("CMEDLTrain"))
    before, left = nodes(), []
    for _ in range(20):
        widget = slicer_app.open("CMEDLTrain")
        slicer_app.leave(widget)
        slicer_app.open("CMEDLTrain")
        left.append(weakref.ref(widget))
        slicer_app.close(widget)
    assert nodes() == before
    del widget
    slicer_app.open("CMEDLSegment")
    gc.collect()
    assert [each() for each in left if each()] == []


def test_a_panel_that_is_left_follows_nothing(panel, slicer_app) -> None:
    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    assert any(section.Observations for section in panel.sections)
    slicer_app.leave(panel)
    assert not any(section.Observations for section in panel.sections)


def test_an_error_is_told_with_the_usual_cursor(panel, slicer_app, monkeypatch) -> None:
    """A box under an hourglass looks as if nothing could be pressed."""
    import qt
    import slicer

    from CMEDLSegmentLib.base.errors import InputError
    from CMEDLSegmentPanel.section import show_errors

    cursors = []
    usual = slicer.util.errorDisplay

    def display(*arguments, **options) -> None:
        cursors.append(qt.QApplication.overrideCursor())
        usual(*arguments, **options)

    monkeypatch.setattr(slicer.util, "errorDisplay", display)
    with show_errors("Nothing was done.", waitCursor=True):
        assert qt.QApplication.overrideCursor() is not None
        raise InputError("The folder is gone.")
    with pytest.raises(ZeroDivisionError), show_errors("Nothing was done.", waitCursor=True):
        1 / 0  # noqa: B018
    assert cursors == [None, None]
    assert "The folder is gone." in slicer_app.messages[0].text


def test_the_layouts_are_known_before_a_panel_is_opened(slicer_app, monkeypatch) -> None:
    """So that a scene that was saved in one of them opens in it."""
    from CMEDLSegmentPanel.scene import layouts
    from CMEDLTrainPanel.scene import run_views

    known = []
    for module in (layouts, run_views):
        monkeypatch.setattr(module, "describe", lambda number, description: known.append(number))
    for name in ("CMEDLSegment", "CMEDLTrain"):
        slicer_app.load(name)
    assert sorted(known) == [5701, 5702, 5711]


def test_every_text_of_the_code_is_translated(slicer_app, models, python_slicer, place, monkeypatch) -> None:
    monkeypatch.setenv("CMEDL_MODELS", str(models))
    slicer_app.translator = lambda text: f"[{text}]"
    panel = slicer_app.open("CMEDLSegment")
    settle(panel, slicer_app)
    for label in (panel.ui.segmentButton, panel.ui.agreementLabel, panel.ui.workerLabel):
        assert label.text.startswith("["), label.text


def test_the_sample_is_offered_and_made_on_the_spot(panel, slicer_app, monkeypatch) -> None:
    import SampleData
    import slicer

    from CMEDLSegmentPanel import samples
    from harness.samples import press

    samples.register()
    (source,) = SampleData.SampleDataLogic.sampleDataSourcesByCategory("CMEDL")
    assert samples.THUMBNAIL.is_file()
    assert source.thumbnailFileName == str(samples.THUMBNAIL)
    made: list[str] = []
    monkeypatch.setattr(samples, "load", lambda: made.append("phantom"))
    press(samples.NAME)
    assert made == ["phantom"]
    # From code Slicer looks for addresses alone; a script calls samples.load().
    assert SampleData.downloadSamples(samples.NAME) == []
    with pytest.raises(IndexError):
        SampleData.SampleDataLogic().downloadSample(samples.NAME)
    assert made == ["phantom"]
    monkeypatch.undo()
    ct, drawn = samples.load(size=(24, 64, 64), spacing=(12.0, 6.0, 6.0))
    assert slicer.util.arrayFromVolume(ct).shape == (24, 64, 64)
    assert slicer.util.arrayFromVolume(ct).min() < -900
    names = [drawn.GetSegmentation().GetNthSegment(index).GetName() for index in range(3)]
    assert names == ["Rater 1", "Rater 2", "Rater 3"]
    slicer_app.leave(panel)
    slicer_app.open("CMEDLSegment")
    assert panel.parameters.ct is ct
