"""The whole way: the sample, the bundled student, its network in the real worker process, a click, a contour."""

from __future__ import annotations

import numpy as np
import pytest

from panel.conftest import click_segment, settle


@pytest.fixture
def phantom(slicer_app, python_slicer, place):
    """The open module with the phantom, coarser than in Sample Data, and the bundled student."""
    python_slicer()
    panel = slicer_app.open("CMEDLSegment")
    from CMEDLSegmentPanel import samples

    samples.load(size=(48, 192, 192), spacing=(6.0, 2.0, 2.0))
    slicer_app.leave(panel)
    slicer_app.open("CMEDLSegment")
    settle(panel, slicer_app)
    return panel


def test_a_click_contours_the_phantom_s_tumor(phantom, slicer_app, place) -> None:
    import slicer

    from CMEDLSegmentLib.scene import experts
    from CMEDLSegmentLib.scene.segments import array_on_volume

    assert phantom.ui.segmentButton.enabled, phantom.ui.inputNoteLabel.text
    phantom.parameters.device = "cpu"
    click_segment(phantom, slicer_app, 300)
    assert list(place.iterdir()) == []
    phantom.ui.jumpButton.click()
    phantom.ui.keepAtCrosshairButton.click()
    settle(phantom, slicer_app)
    ct, result = phantom.parameters.ct, phantom.parameters.result
    assert result.GetName() == "CMEDL chest phantom lung-ct"
    found = slicer.util.arrayFromSegmentBinaryLabelmap(result, result.GetSegmentation().GetNthSegmentID(0), ct) > 0
    rater = next(ref for ref in experts.with_roles() if ref.name == "Rater 1")
    drawn = array_on_volume(slicer.mrmlScene.GetNodeByID(rater.node_id), rater.segment_id, ct)
    assert 2 * np.count_nonzero(found & drawn) > 0.7 * (np.count_nonzero(found) + np.count_nonzero(drawn))


@pytest.mark.slow
def test_the_module_s_self_test_passes(slicer_app, python_slicer, place) -> None:
    import slicer

    python_slicer()
    slicer_app.open("CMEDLSegment")
    slicer.selfTests["CMEDLSegment"]()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
