"""The face for scripts: no panel is open."""

from __future__ import annotations

import pytest

from CMEDLSegmentLib.base.errors import InputError
from segment.panel.bright import add_ct
from segment.panel.conftest import FAKE


@pytest.fixture
def logic(panel, slicer_app):
    """A logic of a script's own; the panel is closed."""
    import sys

    kind = sys.modules["CMEDLSegment"].CMEDLSegmentLogic
    slicer_app.close(panel)
    made = kind()
    yield made
    made.close()


def test_a_script_waits_for_its_segmentation(logic, place) -> None:
    stages = []
    node = logic.segment(add_ct(), model="bright", probability=True, progress=lambda *facts: stages.append(facts))
    assert node.IsA("vtkMRMLSegmentationNode")
    assert node.GetName() == "CT bright"
    assert node.GetNodeReference("CMEDL.probability")
    assert [fraction for _, fraction, _, _ in stages] == sorted(fraction for _, fraction, _, _ in stages)
    assert not logic.busy
    assert logic.warm
    assert list(place.iterdir()) == []


def test_a_script_can_be_called_back_instead(logic, slicer_app) -> None:
    done, failures = [], []
    assert logic.segment(add_ct(), model="bright", finished=done.append, failed=failures.append) is None
    with pytest.raises(InputError, match="under way"):
        logic.segment(add_ct("other"), model="bright", finished=done.append)
    slicer_app.wait_until(lambda: done or failures)
    assert [node.GetName() for node in done] == ["CT bright"]
    assert failures == []


def test_a_callback_can_begin_the_next_run(logic, slicer_app) -> None:
    names, cts = [], [add_ct("second"), add_ct("first")]

    def next_one(node=None) -> None:
        if node:
            names.append(node.GetName())
        if cts:
            logic.segment(cts.pop(), model="bright", finished=next_one)

    next_one()
    slicer_app.wait_until(lambda: len(names) == 2)
    assert names == ["first bright", "second bright"]


def test_a_script_that_waits_gets_the_failure_as_an_exception(logic, python_slicer) -> None:
    from CMEDLSegmentLib.base.errors import CMEDLError

    python_slicer(str(FAKE), "exit_at_once")
    with pytest.raises(CMEDLError, match="start"):
        logic.segment(add_ct(), model="bright")
    assert not logic.busy


def test_without_its_python_slicer_says_so(logic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="PythonSlicer was not found"):
        logic.segment(add_ct(), model="bright")
