"""``cmedl-train estimate``: what a run on a cohort would take, also before its slices are prepared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.models.normalization import CT_WINDOW

from ..cohort.preparation import find_prepared
from ..cohort.store import LEVELS, Store, write_store
from ..settings.configuration import Configuration
from .dry_run import Estimate, dry_step
from .setup import check_settings
from .train_run import training_cases


def estimate(configuration: Configuration, slices: Path, progress: Progress = SILENT) -> Estimate:
    """What a run with this configuration takes; on synthetic slices where the cohort's are not prepared yet.

    Args:
        configuration: names its cohort.
        slices: the folder of prepared slices.
        progress: see ``progress.py``.

    Raises:
        InputError: the cohort cannot be used, or the memory does not suffice; the message says what would fit.
        DeviceError: the configured device is absent.
        Cancelled: it was cancelled.
    """
    cases = training_cases(configuration)
    check_settings(configuration)  # before all scans are read
    labels = len(configuration.labels)
    store = find_prepared(cases, configuration.images, labels, slices, progress.part(0.0, 0.2))
    progress.stop_if_cancelled()
    progress("Trying steps", 0.2)
    if store is not None:
        return dry_step(configuration, store)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        takes = dry_step(configuration, _synthetic(cases, configuration, Path(folder)))
    most = 0
    for case in cases:
        progress.stop_if_cancelled()
        if (case.role, case.split) == ("student", "train"):
            most += _slices(case.image)
    return replace(takes, steps_per_epoch=max(1, most // takes.batch), prepared=False)


def _synthetic(cases: Sequence[Case], configuration: Configuration, folder: Path) -> Store:
    """A store of noise with a square structure, a training and a validation case for each role of ``cases``."""
    images, random = configuration.images, np.random.default_rng(0)
    modalities = {case.role: case.modality for case in cases}
    shape = (configuration.optimization.batch, images.field, images.field)

    def made() -> Iterator[tuple[Case, np.ndarray, np.ndarray, np.ndarray]]:
        for role, modality in modalities.items():
            for split in ("train", "validation"):
                name = f"{role}-{split}"
                pixels = random.integers(-LEVELS, LEVELS, shape, np.int16)
                masks = np.zeros(shape, np.uint8)
                masks[:, images.field // 3 : images.field // 2, images.field // 3 : images.field // 2] = 1
                yield Case(name, name, modality, folder, None, role, split), np.arange(len(pixels)), pixels, masks

    write_store(folder, made(), images, modalities, dict.fromkeys(modalities, CT_WINDOW))
    return Store(folder)


def _slices(image: Path) -> int:
    """Axial slices of a scan, by its header; of a DICOM folder, its files.

    Raises:
        InputError: it cannot be read.
    """
    import SimpleITK as sitk

    from CMEDLSegmentLib.io.volume import index_axes

    if image.is_dir():
        return sum(1 for entry in os.scandir(image) if entry.is_file())
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(image))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"The image {image} cannot be read; correct its path in the cohort's table.") from error
    axes = reader.GetDimension()
    if axes < 3:
        raise InputError(f"The image {image} is no volume; correct its path in the cohort's table.")
    directions = np.reshape(reader.GetDirection(), (axes, axes))[:3, :3]
    return reader.GetSize()[index_axes(directions)[2]]
