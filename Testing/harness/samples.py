"""A stand-in for Sample Data, module ``SampleData``: what modules registered, and the buttons that make it.

As in Slicer 5.10 and 5.12, a source is checked when it is made, and its own downloader is called by the module's button
alone. Nothing is downloaded here.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable

import slicer

LISTS = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")


@dataclasses.dataclass
class SampleDataSource:
    """One data set. ``uris`` must be a list, a tuple or a text; all lists must be as long as it is."""

    sampleName: str | None = None
    sampleDescription: str | None = None
    uris: object = None
    fileNames: object = None
    nodeNames: object = None
    checksums: object = None
    loadFiles: object = None
    customDownloader: Callable | None = None
    thumbnailFileName: str | None = None
    loadFileTypes: object = None
    loadFileProperties: dict | None = None

    def __post_init__(self) -> None:
        if isinstance(self.uris, str):
            for name in LISTS:
                setattr(self, name, [getattr(self, name)])
        elif isinstance(self.uris, (list, tuple)):
            if isinstance(self.loadFileTypes, str):
                self.loadFileTypes = [self.loadFileTypes] * len(self.uris)
            for name in LISTS[2:]:
                if getattr(self, name) is None:
                    setattr(self, name, [None] * len(self.uris))
        # Nothing replaces file names that are not given: len(None) raises, in Slicer too.
        lengths = {name: len(getattr(self, name)) for name in LISTS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists of a sample's source are not equally long: {lengths}")


class SampleDataLogic:
    """The sources by category, in ``slicer.modules.sampleDataSources``."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str | None = None, **properties: object
    ) -> None:
        """Offer a data set; one that looks the same as another of its category is not offered twice."""
        if "sampleDescription" in properties:
            raise TypeError("registerCustomSampleDataSource() takes no sampleDescription")
        source = SampleDataSource(sampleName, **properties)
        known = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in known:
            known.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> object:
        known = slicer.modules.sampleDataSources
        return known if category is None else known.get(category, [])

    @staticmethod
    def downloadSample(sampleName: str) -> object:
        """The first node of a sample.

        Raises:
            IndexError: nothing was loaded; Slicer's does not say more either.
        """
        return downloadSamples(sampleName)[0]


def _source(sampleName: str) -> SampleDataSource:
    everything = [source for sources in slicer.modules.sampleDataSources.values() for source in sources]
    return next(source for source in everything if source.sampleName == sampleName)


def press(sampleName: str) -> None:
    """As if the sample's button in the module Sample Data were clicked: it calls the source's own downloader."""
    source = _source(sampleName)
    source.customDownloader(source)


def downloadSamples(sampleName: str) -> list:
    """What the source's addresses give, which is nothing where it has none; its own downloader is not called."""
    if _source(sampleName).uris:
        raise NotImplementedError("the harness downloads nothing")
    return []


def install() -> None:
    """Put the stand-in where modules import it from; once per process."""
    slicer.modules.sampleDataSources = {}
    made = types.ModuleType("SampleData", __doc__)
    for item in (SampleDataSource, SampleDataLogic, downloadSamples):
        setattr(made, item.__name__, item)
    sys.modules[made.__name__] = made
