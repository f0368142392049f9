"""All that experiments' runs learn from and are scored on, in one small file: a work folder for another machine.

A pack has the tables of the folds, the prepared slices of every run, what students see of the test cases, and the
files of the data folder that settings name. :func:`unpack` makes a work folder of it in which ``cmedl-train
experiment`` finds all of it prepared, so that training and scoring need neither the scans nor SimpleITK.

Intensities are kept in 8 bits (of a window of 500 HU, 2 HU a level), as differences of neighboring pixels and
compressed; a slice that several runs share is kept once. The expert's labels of test cases are kept as they are, on the
scan's grid. The file is numpy's ``.npz``: ``about`` (JSON) and arrays of bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.base.schema import parse_object, read
from CMEDLSegmentLib.io.cohort_table import Case, read_cohort, relative, write_cohort
from CMEDLSegmentLib.models.normalization import Normalization

from ..cohort.contents import NAME as CONTENTS
from ..cohort.contents import contents_of, remembered_in
from ..cohort.preparation import Scan, name_of, normalizations_of, open_case, write_prepared
from ..cohort.store import LEVELS
from ..evaluation.packed_case import SUFFIX, UNREADABLE, PackedCase, PackedCaseEntries, from_bytes, to_bytes
from ..runs import run_folder
from ..settings.configuration import Configuration, Images
from .experiment_cohorts import make_cohort
from .plan import VARIABLE, Experiment, data_folder

FORMAT = 1
DATA_FOLDER = "data"
"""Below a work folder: what takes the place of the data folder there."""
_ABSENT = "scans"
"""Where the tables say that scans are which did not come along."""
_COLUMNS = ("patient", "case", "modality", "role", "split")


def differences(slices: np.ndarray, both: bool) -> np.ndarray:
    """uint8 (n, y, x) -> differences along x, or along x and y, modulo 256: smooth images become small numbers."""
    for axis in (2, 1)[: 1 + both]:
        slices = np.diff(slices, axis=axis, prepend=np.uint8(0))
    return slices


def sums(differing: np.ndarray, both: bool) -> np.ndarray:
    """The inverse of :func:`differences`."""
    for axis in (1, 2)[1 - both :]:
        differing = np.cumsum(differing, axis=axis, dtype=np.uint8)
    return differing


def _pressed(values: np.ndarray) -> np.ndarray:
    """The bytes of an array, compressed."""
    press = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    return np.frombuffer(press.compress(np.ascontiguousarray(values).tobytes()) + press.flush(), np.uint8)


def _released(pressed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(pressed.tobytes()), np.uint8).reshape(shape)


@dataclass
class _Pool:
    """Slices of one size, each once: the bytes of image and mask, and the slice's number."""

    pixels: int
    numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, levels: np.ndarray, masks: np.ndarray) -> list[int]:
        """The numbers of slices (n, pixels, pixels), their intensities as a store has them."""
        images = to_bytes(levels / np.float32(LEVELS))
        slices = (image.tobytes() + mask.tobytes() for image, mask in zip(images, masks, strict=True))
        return [self.numbers.setdefault(each, len(self.numbers)) for each in slices]

    def pressed(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What is told of it, and its arrays."""
        slices = np.frombuffer(b"".join(self.numbers), np.uint8).reshape(-1, 2, self.pixels, self.pixels)
        along_x, along_both = (_pressed(differences(slices[:, 0], both)) for both in (False, True))
        both, masks = len(along_both) < len(along_x), _pressed(slices[:, 1])
        arrays = {f"images-{self.pixels}": along_both if both else along_x, f"masks-{self.pixels}": masks}
        return {"count": len(slices), "both": both}, arrays


class _Packer:
    """Collects what a pack has; each scan is read once."""

    def __init__(self, progress: Progress) -> None:
        self.about: dict[str, Any] = {"format": FORMAT, "tables": {}, "absent": {}, "stores": {}, "scored": {}}
        self.arrays: dict[str, np.ndarray] = {}
        self._progress = progress
        self._pools: dict[int, _Pool] = {}
        self._scans: dict[tuple[str, Images, int], Scan] = {}

    def add(self, experiment: Experiment, folder: Path) -> None:
        """All that the runs of an experiment need; its cohort is made below ``folder`` where it has to be."""
        from ..training.train_run import training_cases

        tables = make_cohort(experiment, folder, self._progress)
        for fold in sorted({cell.fold for cell in experiment.cells}):
            table = tables[fold - 1]
            wanted = [experiment.configuration(cell, table, "cpu") for cell in experiment.cells if cell.fold == fold]
            if len({(configuration.images, configuration.labels) for configuration in wanted}) > 1:
                raise InputError(
                    f"The rows of the experiment {experiment.name} see images of several kinds; pack such rows apart."
                )
            images, labels = wanted[0].images, len(wanted[0].labels)
            whole = read_cohort(table, required=("mask", "role", "split"))
            digests = contents_of(whole, folder, self._progress)
            contents = {case.case: digests[2 * n : 2 * n + 2] for n, case in enumerate(whole)}
            for configuration in {each.entry.roles: each for each in wanted}.values():
                self._store(training_cases(configuration), images, labels, contents)
            scored = {
                case.case: self._scored(case, images, labels, contents[case.case][0])
                for case in whole
                if case.split == "test" and case.role != "teacher"
            }
            self.about["tables"][table.relative_to(folder).as_posix()] = [
                [*(getattr(case, name) for name in _COLUMNS), *self._paths(case, contents[case.case], scored)]
                for case in whole
            ]
            for configuration in wanted:
                self._files(configuration)

    def _paths(self, case: Case, digests: Sequence[str], scored: Mapping[str, str]) -> tuple[str, str]:
        """Where the table of the work folder says that image and mask are, relative to that folder."""
        if case.case in scored:
            return scored[case.case], scored[case.case]
        image, mask = (f"{_ABSENT}/{digest[:16]}" for digest in digests)
        self.about["absent"] |= zip((image, mask), digests, strict=True)
        return image, mask

    def _scan(self, case: Case, images: Images, labels: int) -> Scan:
        self._progress.stop_if_cancelled()
        key = (str(case.image), images, labels)
        if key not in self._scans:
            self._progress(f"Reading the case {case.case}", 0.0)
            self._scans[key] = open_case(case, images, labels)
        return self._scans[key]

    def _pool(self, images: Images) -> _Pool:
        return self._pools.setdefault(images.field, _Pool(images.field))

    def _store(self, cases: Sequence[Case], images: Images, labels: int, contents: Mapping[str, Sequence[str]]) -> None:
        name = name_of(cases, images, labels, [digest for case in cases for digest in contents[case.case]])
        if name in self.about["stores"]:
            return
        modalities, normalizations = normalizations_of(cases, images)
        rows = []
        for case in cases:
            scan = self._scan(case, images, labels)
            levels, masks = scan.patches(normalizations[case.role], enclosed=case.split == "train")
            numbers = self._pool(images).add(levels, masks)
            rows.append([[getattr(case, column) for column in _COLUMNS], scan.kept.tolist(), numbers])
        self.about["stores"][name] = {
            "images": asdict(images),
            "modalities": modalities,
            "normalisations": {role: normalization.to_dict() for role, normalization in normalizations.items()},
            "cases": rows,
        }

    def _scored(self, case: Case, images: Images, labels: int, digest: str) -> str:
        """Adds what students see of a test case; the name of its file in the work folder."""
        if case.modality != "CT":
            raise InputError("A pack has test cases of CT alone: the intensities of MR are fitted to the whole scan.")
        name = f"scored/{digest[:16]}-{images.field}{SUFFIX}"
        if name not in self.about["scored"]:
            normalization = Normalization("window", *images.window_hu)
            scan = self._scan(case, images, labels)
            levels, masks = scan.patches(normalization, enclosed=False)
            here = np.isin(scan.kept, scan.student_slices)
            member = f"expert-{len(self.about['scored'])}"
            self.arrays[member] = _pressed(scan.expert)
            known = PackedCaseEntries(
                field=scan.field,
                geometry=scan.geometry,
                normalization=normalization,
                modality=case.modality,
                lung_slices=scan.lung_slices,
            )
            self.about["scored"][name] = {
                "patches": self._pool(images).add(levels[here], masks[here]),
                "pixels": images.field,
                "expert": member,
                "slices": scan.student_slices.tolist(),
                **known.entries_to_json(),
            }
        return name

    def _files(self, configuration: Configuration) -> None:
        """Files of the data folder that settings name."""
        for name in (configuration.features, configuration.initial):
            path = Path(name)
            if path.is_absolute() and path.exists() and path.is_relative_to(data_folder()):
                for file in [path] if path.is_file() else path.iterdir():
                    member = f"{DATA_FOLDER}/{file.relative_to(data_folder()).as_posix()}"
                    self.arrays[member] = np.frombuffer(file.read_bytes(), np.uint8)

    def write(self, path: Path) -> None:
        """Write the pack."""
        self.about["pools"] = {}
        for pixels, pool in self._pools.items():
            self.about["pools"][str(pixels)], arrays = pool.pressed()
            self.arrays |= arrays
        about = _pressed(np.frombuffer(json.dumps(self.about).encode(), np.uint8))
        members: dict[str, Any] = {"about": about, **self.arrays}
        with atomic_path(path) as beside, beside.open("wb") as stream:
            np.savez(stream, **members)


def write_pack(experiments: Sequence[Experiment], path: Path, progress: Progress = SILENT) -> None:
    """Write all that the runs of experiments need to ``path``.

    Raises:
        InputError: the data is not there or cannot be packed, or the file not be written.
        Cancelled: it was cancelled; nothing is written.
    """
    packer = _Packer(progress)
    with tempfile.TemporaryDirectory() as folder:
        for experiment in experiments:
            packer.add(experiment, Path(folder).resolve())
        packer.write(path)


def unpack(path: Path, work: Path) -> None:
    """Make ``work`` a work folder in which the pack's experiments find all prepared; what is there already stays.

    Raises:
        InputError: the file is no pack, or the folder cannot be written.
    """
    work = work.resolve()
    slices = run_folder.slices_folder(work / "runs" / "any")
    try:
        with np.load(path, allow_pickle=False) as file:
            about = parse_object(_released(file["about"], (-1,)).tobytes().decode())
            if about["format"] != FORMAT:
                raise InputError(f"The pack {path} is of another version; pack anew.")
            pools = {pixels: _read_pool(file, int(pixels), **stated) for pixels, stated in about["pools"].items()}
            for name in file.files:
                if name.startswith(f"{DATA_FOLDER}/") and not (work / name).is_file():
                    with atomic_path(work / name) as beside:
                        beside.write_bytes(file[name].tobytes())
            for name, tree in about["scored"].items():
                if not (work / name).is_file():
                    _packed_case(tree, file[tree["expert"]], pools[str(tree["pixels"])][0]).save(work / name)
        for name, tree in about["stores"].items():
            if not (slices / name / "store.json").is_file():
                _write_store(slices / name, tree, *pools[str(tree["images"]["field"])])
        # What the scans hold that are not there, so that the stores made of them are found.
        known = {relative(work / name, slices): ["", digest] for name, digest in about["absent"].items()}
        with atomic_path(slices / CONTENTS) as beside:
            beside.write_text(json.dumps({**remembered_in(slices / CONTENTS), **known}), "utf-8")
        for name, rows in about["tables"].items():  # last: with them, all is there
            write_cohort(work / name, [_case(columns, work / image, work / mask) for *columns, image, mask in rows])
    except (*UNREADABLE, zlib.error) as error:
        raise InputError(f"{path} is not a pack, or was cut ({error}); copy it again.") from error


def use_pack(path: Path, work: Path) -> None:
    """:func:`unpack`, and let what comes along stand for the data folder from now on in this process.

    Raises:
        InputError: as :func:`unpack`.
    """
    unpack(path, work)
    data = work.resolve() / DATA_FOLDER
    data.mkdir(exist_ok=True)
    os.environ[VARIABLE] = str(data)


def _read_pool(file: Any, pixels: int, count: int, both: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks, uint8 (count, pixels, pixels)."""
    shape = (count, pixels, pixels)
    return sums(_released(file[f"images-{pixels}"], shape), both), _released(file[f"masks-{pixels}"], shape)


def _packed_case(tree: Mapping[str, Any], expert: np.ndarray, images: np.ndarray) -> PackedCase:
    arrays = {"patches", "pixels", "expert", "slices"}
    known = read(PackedCaseEntries, {name: value for name, value in tree.items() if name not in arrays})
    return PackedCase(
        **vars(known),
        images=images[tree["patches"]],
        slices=np.array(tree["slices"], np.int64),
        expert=_released(expert, known.geometry.shape),
    )


def _write_store(folder: Path, tree: Mapping[str, Any], images: np.ndarray, masks: np.ndarray) -> None:
    """Write a store of a pack as training reads it."""
    parts = (
        (
            _case(columns, Path(_ABSENT)),
            np.array(kept, np.int64),
            np.round(from_bytes(images[numbers]) * LEVELS).astype(np.int16),
            masks[numbers],
        )
        for columns, kept, numbers in tree["cases"]
    )
    normalizations = {role: Normalization.from_dict(entry) for role, entry in tree["normalisations"].items()}
    write_prepared(folder, parts, read(Images, tree["images"]), tree["modalities"], normalizations)


def _case(columns: Sequence[str], image: Path, mask: Path | None = None) -> Case:
    stated: dict[str, Any] = dict(zip(_COLUMNS, columns, strict=True))
    return Case(**stated, image=image, mask=mask)
