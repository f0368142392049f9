"""Sample Data takes what Slicer's takes, and makes what Slicer's makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def logic(slicer_app) -> Iterator[object]:
    import SampleData
    import slicer

    yield SampleData.SampleDataLogic()
    slicer.modules.sampleDataSources.pop("T", None)


def test_a_source_without_lists_is_refused(logic) -> None:
    with pytest.raises(TypeError):
        logic.registerCustomSampleDataSource(category="T", sampleName="made", customDownloader=print)
    with pytest.raises(ValueError, match="fileNames"):
        logic.registerCustomSampleDataSource(category="T", sampleName="made", uris=["http://a"], fileNames=[])


def test_a_source_is_offered_once_and_made_by_its_button(logic) -> None:
    from harness.samples import press

    made: list[str] = []

    def make(source: object) -> None:
        made.append(source.sampleName)

    for _ in range(2):
        logic.registerCustomSampleDataSource("T", "made", uris=[], fileNames=[], customDownloader=make)
    assert len(logic.sampleDataSourcesByCategory("T")) == 1
    assert made == []
    press("made")
    assert made == ["made"]
