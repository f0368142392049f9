"""A stand-in for Sample Data, module ``SampleData``: what modules registered, and the buttons that make it.

As in Slicer 5.10 and 5.12, a source is checked when it is made, and its own downloader is called by the module's button
alone: :func:`SampleDataLogic.downloadSample` only loads what comes from a network, which is not done here.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import slicer

LISTS = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")


class SampleDataSource:
    """One data set. ``uris`` must be a list, a tuple or a text; all lists must be as long as it is."""

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: object = None,
        fileNames: object = None,
        nodeNames: object = None,
        checksums: object = None,
        loadFiles: object = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: object = None,
        loadFileProperties: dict | None = None,
        loadFileType: object = None,
    ) -> None:
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType is the old name of loadFileTypes: only one can be given")
        loadFileTypes = loadFileTypes if loadFileType is None else loadFileType
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        self.uris, self.fileNames, self.nodeNames, self.checksums = uris, fileNames, nodeNames, checksums
        self.loadFiles, self.loadFileTypes = loadFiles, loadFileTypes
        if isinstance(uris, str):
            for name in LISTS:
                setattr(self, name, [getattr(self, name)])
        elif isinstance(uris, (list, tuple)):
            if isinstance(loadFileTypes, str):
                self.loadFileTypes = [loadFileTypes] * len(uris)
            for name in LISTS[2:]:
                if getattr(self, name) is None:
                    setattr(self, name, [None] * len(uris))
        # Nothing replaces file names that are not given: len(None) raises, in Slicer too.
        lengths = {name: len(getattr(self, name)) for name in LISTS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists of a sample's source are not equally long: {lengths}")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    __hash__ = None

    def __str__(self) -> str:
        return str(vars(self))


class SampleDataLogic:
    """The sources by category, in ``slicer.modules.sampleDataSources``."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: object = None,
        fileNames: object = None,
        nodeNames: object = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: object = None,
        loadFiles: object = None,
        loadFileProperties: dict | None = None,
        checksums: object = None,
        loadFileType: object = None,
    ) -> None:
        """Offer a data set; one that looks the same as another of its category is not offered twice."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            loadFileType=loadFileType,
        )
        known = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in known:
            known.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> object:
        known = slicer.modules.sampleDataSources
        return known if category is None else known.get(category, [])

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        everything = (source for sources in slicer.modules.sampleDataSources.values() for source in sources)
        return next((source for source in everything if source.sampleName == sampleName), None)

    def downloadFromSource(self, source: SampleDataSource) -> list:
        """What the source's addresses give; its own downloader is not called.

        Raises:
            NotImplementedError: there is an address, and tests use no network.
        """
        if source.uris:
            raise NotImplementedError("the harness downloads nothing")
        return []

    def downloadSamples(self, sampleName: str) -> list:
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadSample(self, sampleName: str) -> object:
        """The first node of a sample.

        Raises:
            IndexError: nothing was loaded; Slicer's does not say more either.
        """
        return self.downloadSamples(sampleName)[0]


def press(sampleName: str) -> None:
    """As if the sample's button in the module Sample Data were clicked."""
    logic = SampleDataLogic()
    source = logic.sourceForSampleName(sampleName)
    if source.customDownloader:
        source.customDownloader(source)
    else:
        logic.downloadFromSource(source)


def install() -> None:
    """Put the stand-in where modules import it from; once per process."""
    slicer.modules.sampleDataSources = {}
    made = types.ModuleType("SampleData", __doc__)
    made.SampleDataSource, made.SampleDataLogic = SampleDataSource, SampleDataLogic
    made.downloadSample = lambda sampleName: SampleDataLogic().downloadSample(sampleName)
    made.downloadSamples = lambda sampleName: SampleDataLogic().downloadSamples(sampleName)
    sys.modules[made.__name__] = made
