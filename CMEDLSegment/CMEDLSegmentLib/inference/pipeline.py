"""One scan from file to files: the job behind ``cmedl-segment run``, ``batch`` and the demo.

What can be known beforehand (endings, folders, files that exist, DICOM results of a scan that is not DICOM) is checked
before the long work. The results appear together at the end, or not at all.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..base.errors import InputError
from ..base.files import atomic_path
from ..base.progress import SILENT, Progress
from ..base.schema import write
from ..base.text import counted, table
from ..io.labels import SEGMENTATION
from .options import DEFAULTS, THRESHOLD, SegmentationOptions

if TYPE_CHECKING:
    import numpy as np

    from ..io.labels import Label
    from ..io.volume import Volume
    from ..models.model_card import Card
    from .clicks import Load
    from .probability import Component
    from .segmenter import Segmentation, Segmenter

LABELMAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
DICOM = ".dcm"
ENDINGS = {
    "output": ("a segmentation", (SEGMENTATION, *LABELMAPS, DICOM)),
    "probability": ("a probability image", LABELMAPS),
    "rtstruct": ("an RT Structure Set", (DICOM,)),
}
"""For each result of a job what it is and how its name may end."""

LOADED, READ, SEGMENTED = 0.04, 0.10, 0.94
"""Fractions of a whole job at which its stages end: most of the time goes into segmenting."""

LISTED = 10
"""Components that a report for a person shows."""

Writer = Callable[[Path], None]
"""Writes one result to the path it is given."""


@dataclass(frozen=True)
class SegmentationJob:
    """One scan and what to make of it.

    Attributes:
        input: a volume file, or a folder with a DICOM series.
        output: the result; its ending chooses the format.
        options: how to segment.
        series: which series of a DICOM folder that holds several.
        modality: what a cohort says the scan is; None trusts the file.
        expert: an expert's labels on the scan's grid, to compare the result with.
        probability: where to write the probability image too.
        rtstruct: where to write a DICOM RT Structure Set too.
        overwrite: whether results that exist are replaced.
    """

    input: Path
    output: Path
    options: SegmentationOptions = DEFAULTS
    series: str | None = None
    modality: str | None = None
    expert: Path | None = None
    probability: Path | None = None
    rtstruct: Path | None = None
    overwrite: bool = False

    @property
    def results(self) -> dict[str, Path]:
        """Every file that the job writes, by the field that names it."""
        return {name: path for name in ENDINGS if (path := getattr(self, name)) is not None}

    def check(self) -> None:
        """Find out what can be wrong before anything is read.

        Raises:
            InputError: the input is missing, an ending is unknown, a result would replace a file, results share a path,
                a folder cannot be written to, or a DICOM result or ``series`` is asked of another input.
        """
        results = list(self.results.values())
        if not self.input.exists():
            raise InputError(
                f"{self.input} does not exist; give a NIfTI, NRRD or MetaImage file, or a folder with a DICOM series."
            )
        for field, path in self.results.items():
            (noun, endings), name = ENDINGS[field], path.name.lower()
            if not name.endswith(endings) or (name.endswith(SEGMENTATION) and SEGMENTATION not in endings):
                raise InputError(f"{path} cannot be {noun}: its name must end in {' or '.join(endings)}.")
        if not self.input.is_dir():
            self._check_dicom()
        elif any(_is_dicom(path) and path.resolve().is_relative_to(self.input.resolve()) for path in results):
            raise InputError(
                f"A DICOM result inside {self.input} would be taken for part of the scan when that is read again; "
                "write it to another folder."
            )
        absolute = [path.resolve() for path in (self.input, *results)]
        for index, path in enumerate(absolute):
            if path in absolute[:index]:
                raise InputError(f"{path} is both input and result, or two results; give each its own file.")
        for path in results:
            check_free(path, self.overwrite)

    def _check_dicom(self) -> None:
        """DICOM results refer to the slices of a DICOM series; other inputs have none."""
        for path in self.results.values():
            if _is_dicom(path):
                raise InputError(
                    f"{path} needs a DICOM series to refer to, and {self.input} is none; give the folder of "
                    f"the series as input, or a result that ends in {SEGMENTATION} or .nii.gz."
                )
        if self.series is not None:
            raise InputError(
                f"A series can only be chosen in a folder of DICOM files, and {self.input} is a file; leave "
                "--series out."
            )


@dataclass(frozen=True)
class PipelineResult:
    """What a finished job knows.

    Attributes:
        job, card, volume, segmentation: what was asked for, the model's card, the scan, and what was made of it.
        seconds: from the start of the job to its last file.
        agreement: for each label's name the figures of ``measures.compare`` with the expert, if given.
    """

    job: SegmentationJob
    card: Card
    volume: Volume
    segmentation: Segmentation
    seconds: float
    agreement: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        segmentation = self.segmentation
        result: dict[str, Any] = {
            "output": str(self.job.output),
            "student": self.card.name,
            "device": segmentation.device,
            "runtime": segmentation.runtime,
            "seconds": round(self.seconds, 3),
            "lung_slices": segmentation.lung_slices,
            "tumor_volume_cc": round(segmentation.volume_cc, 3),
            "warnings": list(segmentation.warnings),
            "components": [self._component(component) for component in segmentation.components],
        }
        result |= {name: str(path) for name, path in self.job.results.items()}
        return {**result, "agreement": self.agreement} if self.agreement else result

    def report(self) -> str:
        """A few lines for a person."""
        segmentation = self.segmentation
        count = len(segmentation.components)
        lung = f", {segmentation.lung_slices} lung slices" if segmentation.lung_slices else ""
        lines = [
            f"{self.job.output}: {segmentation.volume_cc:.1f} cc in {counted(count, 'component')}{lung}; "
            f"{self.card.name} on {segmentation.device} ({segmentation.runtime}), {self.seconds:.1f} s"
        ]
        if count:
            header = ("label", "volume (cc)", "mean", "peak", "slices", "center (mm, LPS)")
            rows = [
                (
                    self._name(component) + ("" if component.click is None else " (clicked)"),
                    f"{component.volume_cc:.2f}",
                    f"{component.mean:.2f}",
                    f"{component.peak:.2f}",
                    "-".join(str(index) for index in component.slices),
                    ", ".join(f"{coordinate:.0f}" for coordinate in component.center_mm),
                )
                for component in segmentation.components[:LISTED]
            ]
            lines += ["", table(header, rows)]
        if count > LISTED:
            lines.append(f"and {count - LISTED} more, less confident; --json lists all")
        return "\n".join(lines)

    def _name(self, component: Component) -> str:
        return next(label.name for label in self.card.labels if label.value == component.label)

    def _component(self, component: Component) -> dict[str, Any]:
        """Rounded to what the figures are worth."""
        told = {
            "label": self._name(component),
            "volume_cc": round(component.volume_cc, 3),
            "mean": round(component.mean, 4),
            "peak": round(component.peak, 4),
            "likely": is_likely(component, self.card),
            "slices": list(component.slices),
            "n_slices": component.n_slices,
            "centre_mm": [round(coordinate, 1) for coordinate in component.center_mm],
        }
        return told if component.click is None else {**told, "click": list(component.click)}


def is_likely(component: Component, card: Card) -> bool:
    """Whether a lesion candidate is a likely one: by the card's rule, and always where a person clicked it."""
    return component.click is not None or card.likely(component.mean, component.volume_cc)


def load_segmenter(options: SegmentationOptions) -> Segmenter:
    """The model of ``options``, ready on its device.

    Raises:
        ModelError: no such model, or its file is damaged.
        DeviceError: the device is absent.
    """
    from ..models import registry
    from .segmenter import Segmenter

    return Segmenter(registry.load(options.model), device=options.device)


def segmenters(options: SegmentationOptions) -> Load:
    """Gives segmenters by their model, on the device of ``options``: made once and used for every scan of a cohort.

    Those of two models are kept: the one that finds tumors, and the one that answers clicks.
    """
    return functools.lru_cache(maxsize=2)(lambda model: load_segmenter(replace(options, model=model)))


def run(job: SegmentationJob, progress: Progress = SILENT, load: Load | None = None) -> PipelineResult:
    """Do one job from reading to writing.

    Args:
        job: what to do.
        progress: told the stage and the fraction of the whole job.
        load: gives the segmenters of the models, as :func:`segmenters` does; None loads those of the job's options.

    Raises:
        InputError: anything about the input, the model, the device or the results that the user can mend.
        Cancelled: it was cancelled; no result was written.
    """
    from ..io.images import read_mask, read_volume
    from . import clicks

    start = time.perf_counter()
    progress("Checking", 0.0)
    job.check()
    if load is None:
        progress("Loading the model", 0.0)
        load = segmenters(job.options)
    segmenter = load(job.options.model)
    progress.stop_if_cancelled()
    clicks.segmenters_for(job.options, load)
    progress("Reading the scan", LOADED)
    volume = read_volume(job.input, series_uid=job.series)
    if not volume.files:
        job._check_dicom()
    if job.modality is not None and volume.modality is None:
        volume = replace(volume, modality=job.modality)
    expert = None if job.expert is None else read_mask(job.expert, volume.geometry).array
    progress.stop_if_cancelled()
    segmentation = clicks.segment(volume, job.options, load, progress.part(READ, SEGMENTED))
    progress.stop_if_cancelled()
    card = segmenter.model.card
    spacing = volume.geometry.spacing
    agreement = {} if expert is None else _agreement(segmentation.label, expert, card.labels, spacing)
    writers = result_writers(job, volume, segmentation, card)
    write_together(writers, progress.part(SEGMENTED, 1.0))
    progress("Done", 1.0)
    return PipelineResult(job, card, volume, segmentation, time.perf_counter() - start, agreement)


def _agreement(
    label_map: np.ndarray, expert: np.ndarray, labels: Sequence[Label], spacing: tuple[float, float, float]
) -> dict[str, dict[str, float]]:
    """Figures of ``measures.compare`` for each label, ``spacing`` (x, y, z) in mm.

    A lone label is compared with all that the expert marked.
    """
    from ..metrics.measures import compare

    return {
        label.name: compare(
            label_map == label.value, expert > 0 if len(labels) == 1 else expert == label.value, spacing[::-1]
        )
        for label in labels
    }


def result_writers(job: SegmentationJob, volume: Volume, segmentation: Segmentation, card: Card) -> dict[Path, Writer]:
    """Each result file of ``job`` with the function that writes it."""
    from ..io.dicom_writer import write_dicom_seg, write_rtstruct
    from ..io.images import write_image
    from ..io.segmentation_writer import write_segmentation

    facts = provenance(job.options, volume, segmentation, card)
    label, geometry, labels = segmentation.label, volume.geometry, card.labels
    writers: dict[Path, Writer] = {}
    if job.output.name.lower().endswith(SEGMENTATION):
        writers[job.output] = lambda path: write_segmentation(path, label, geometry, labels, facts)
    elif _is_dicom(job.output):
        writers[job.output] = lambda path: write_dicom_seg(path, label, volume, labels, facts)
    else:
        writers[job.output] = lambda path: write_image(path, label, geometry)
    if job.probability is not None:
        writers[job.probability] = lambda path: write_image(path, segmentation.probability.native(), geometry)
    if job.rtstruct is not None:
        writers[job.rtstruct] = lambda path: write_rtstruct(path, label, volume, labels, facts)
    return writers


def making(options: SegmentationOptions, volume: Volume, segmentation: Segmentation, card: Card) -> dict[str, Any]:
    """How a segmentation was made: model, weights, parameters, device, date (ISO 8601, UTC) and series, or None.

    Where there are clicks, also they, and the model that answered them, or ``threshold``.
    """
    facts = {
        "student": card.name,
        "weights_sha256": card.weights_sha256,
        "threshold": card.threshold if options.threshold is None else options.threshold,
        "slices": "all" if options.all_slices else card.slices,
        "minimum_cc": options.minimum_cc,
        "device": segmentation.device,
        "runtime": segmentation.runtime,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "series_uid": volume.series_uid,
    }
    if options.clicks:
        facts["clicks"] = [write(click) for click in options.clicks]
        facts["click_model"] = THRESHOLD if segmentation.click_card is None else segmentation.click_card.name
    if segmentation.click_card is not None:
        facts["click_weights_sha256"] = segmentation.click_card.weights_sha256
    return facts


def provenance(options: SegmentationOptions, volume: Volume, segmentation: Segmentation, card: Card) -> dict[str, str]:
    """What a result file says about its making: the program and :func:`making`, as texts."""
    facts = making(options, volume, segmentation, card)
    texts = {key: f"{value:g}" if isinstance(value, float) else value for key, value in facts.items()}
    if not volume.series_uid:
        del texts["series_uid"]
    if "clicks" in texts:
        texts["clicks"] = json.dumps(texts["clicks"])
    return {"program": f"CMEDL {__version__}", **texts}


def write_together(writers: dict[Path, Writer], progress: Progress) -> None:
    """Write several files so that all of them appear, or none.

    Each is written beside its final name; only when all are whole are they renamed.

    Raises:
        InputError: a file cannot be written.
        Cancelled: before the renaming began.
    """
    with contextlib.ExitStack() as staged:
        for index, (final, write) in enumerate(writers.items()):
            # Without the name, which may be a patient's.
            progress(f"Writing result {index + 1} of {len(writers)}", index / len(writers))
            beside = staged.enter_context(atomic_path(final))
            try:
                write(beside)
            except InputError as error:
                # The writer knows the temporary name only; the user must read the one asked for.
                raise type(error)(str(error).replace(str(beside), str(final))) from error
            progress.stop_if_cancelled()


def _is_dicom(path: Path) -> bool:
    return path.name.lower().endswith(DICOM)


def check_free(path: Path, overwrite: bool) -> None:
    """``path`` can be created: it does not exist (or may be replaced) and its folder takes files."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file in it.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; give another name, or --overwrite to replace it.")
    check_writable(path.absolute().parent)


def check_writable(folder: Path) -> None:
    """Try to create a file in ``folder``, or in its nearest parent that exists.

    Only trying tells on every platform: permission bits do not know of read-only disks or of administrators.

    Raises:
        InputError: no file can be created there.
    """
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".cmedl-"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"The folder {folder} takes no file ({reason}); choose another one.") from error
