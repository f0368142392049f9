"""The slice store: every training patch of a cohort, extracted once, read through a memory map.

A store is a folder: ``patches.npy`` (n, field, field) int16, ``masks.npy`` (n, field, field) uint8, ``records.npy``,
which says of what case and slice each patch is, and ``store.json`` with the cases. Reading one needs numpy alone, and
what stays in memory is a few bytes a patch.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.schema import read, read_object, required
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.models.normalization import Normalization

from ..settings.configuration import Images

LEVELS = 32767
"""A patch stores normalized intensity (-1 to 1) times this: 0.02 HU of a 1500 HU window a level."""
FORMAT = 3
_RECORD = np.dtype([("case", "<i4"), ("slice", "<i4"), ("pixels", "<i4")])
_COLUMNS = ("patient", "case", "role", "split")


@dataclass(frozen=True)
class Patch:
    """What one patch of a store is."""

    patient: str
    case: str
    role: str
    split: str
    slice: int
    """Index of the slice in axial order (inferior to superior)."""
    pixels: int
    """Pixels of the structure on the student's grid."""


class Patches:
    """The records of a store's patches: a column of numbers each, made into a :class:`Patch` when one is asked for."""

    def __init__(self, cases: Mapping[str, Sequence[str]], records: np.ndarray) -> None:
        self.records = records
        self.columns = tuple(list(cases[name]) for name in _COLUMNS)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Patch:
        case, number, pixels = self.records[index].tolist()
        patient, name, role, split = (column[case] for column in self.columns)
        return Patch(patient, name, role, split, number, pixels)


@dataclass(frozen=True)
class _Header:
    """What ``store.json`` holds: the settings it was made with, and its cases, a list for each of their columns."""

    format: int = required(low=FORMAT, high=FORMAT)
    images: dict[str, Any] = required()
    modalities: dict[str, str] = required()
    normalizations: dict[str, Normalization] = required(formerly="normalisations")
    cases: dict[str, list[str]] = required()
    patches: int = required()


class Store:
    """A store opened for reading.

    Attributes:
        patches: one record a patch, in the order of the arrays.
        modalities: ``CT`` or ``MR`` of each role.
        normalizations: of each role, for the student's card.
    """

    def __init__(self, folder: Path) -> None:
        """Open ``folder``.

        Raises:
            InputError: it is not a complete store.
        """
        try:
            header = read(_Header, read_object(folder / "store.json"))
            self._images = np.load(folder / "patches.npy", mmap_mode="r", allow_pickle=False)
            self._masks = np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False)
            self.patches = Patches(header.cases, np.load(folder / "records.npy", allow_pickle=False))
        except (OSError, ValueError, KeyError, InputError) as error:
            raise InputError(
                f"{folder} is not a slice store of this version ({error}); delete it, and it is made anew."
            ) from error
        even = len({len(column) for column in header.cases.values()}) <= 1
        if not (even and len(self.patches) == len(self._images) == len(self._masks) == header.patches):
            raise InputError(f"The slice store {folder} is incomplete; delete it, and it is made anew.")
        self.modalities, self.normalizations = header.modalities, header.normalizations
        self.folder = folder

    def select(self, split: str, role: str = "student") -> np.ndarray:
        """Ascending indices of the patches of one split and role."""
        _, _, roles, splits = self.patches.columns
        wanted = np.array([(s, r) == (split, role) for s, r in zip(splits, roles, strict=True)], bool)
        return np.flatnonzero(wanted[self.patches.records["case"]])

    def patient_numbers(self, indices: np.ndarray) -> np.ndarray:
        """Of some patches: each one's patient as a number, in the order of the cohort's cases."""
        patients = self.patches.columns[0]
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        of_case = np.array([numbers[patient] for patient in patients], np.int64)
        return of_case[self.patches.records["case"][indices]]

    def by_patient(self, split: str, role: str = "student") -> Iterator[np.ndarray]:
        """The indices of each patient's patches of one split and role, ascending."""
        indices = self.select(split, role)
        numbers = self.patient_numbers(indices)
        order = np.argsort(numbers, kind="stable")
        yield from np.split(indices[order], np.flatnonzero(np.diff(numbers[order])) + 1) if len(indices) else ()

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, field, field) float32 in [-1, 1] and masks (n, field, field) uint8."""
        images = self._images[indices].astype(np.float32) / LEVELS
        _let_go(self._images)
        return images, self.read_masks(indices)

    def read_masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Masks (n, field, field) uint8."""
        masks = np.array(self._masks[indices])
        _let_go(self._masks)
        return masks


def _let_go(mapped: np.ndarray) -> None:
    """Take what was read out of the process's memory, where it otherwise grows to the size of the store.

    It stays in the system's cache, so that reading it again costs no disk.
    """
    if hasattr(mmap, "MADV_DONTNEED") and isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)


def write_store(
    folder: Path,
    parts: Iterable[tuple[Case, np.ndarray, np.ndarray, np.ndarray]],
    images: Images,
    modalities: Mapping[str, str],
    normalizations: Mapping[str, Normalization],
) -> None:
    """Write a store into an existing folder; memory holds one part at a time.

    Args:
        folder: new and empty.
        parts: of each case: the case, its slices' indices (n,), patches (n, field, field) of int16 levels and masks
            (n, field, field) uint8.
        images: the settings it was made with.
        modalities, normalizations: of each role.

    Raises:
        OSError, InputError: the disk is full or not writable.
    """
    cases: list[Case] = []
    records: list[np.ndarray] = []
    count = 0
    with ExitStack() as stack:
        files = {
            kind: stack.enter_context((folder / f"{name}.npy").open("wb"))
            for name, kind in (("patches", "<i2"), ("masks", "|u1"))
        }
        for file, kind in zip(files.values(), files, strict=True):
            _header(file, kind, 0, images.field)
        for case, slices, *arrays in parts:
            for (kind, file), array in zip(files.items(), arrays, strict=True):
                file.write(np.ascontiguousarray(array, kind).tobytes())
            made = np.zeros(len(slices), _RECORD)
            made["case"], made["slice"] = len(cases), slices
            made["pixels"] = np.count_nonzero(arrays[1], axis=(1, 2))
            cases.append(case)
            records.append(made)
            count += len(made)
        for kind, file in files.items():
            file.seek(0)
            _header(file, kind, count, images.field)
            file.flush()
            os.fsync(file.fileno())
    with atomic_path(folder / "records.npy") as beside:
        np.save(beside, np.concatenate([np.zeros(0, _RECORD), *records]))
    record = {
        "format": FORMAT,
        "images": asdict(images),
        "modalities": dict(modalities),
        "normalisations": {role: normalization.to_dict() for role, normalization in normalizations.items()},
        "cases": {name: [getattr(case, name) for case in cases] for name in _COLUMNS},
        "patches": count,
    }
    with atomic_path(folder / "store.json") as beside:
        beside.write_text(json.dumps(record), "utf-8")


def _header(file: BinaryIO, kind: str, count: int, field: int) -> None:
    """numpy's header; it leaves room for a first axis that grows, so that the one of the end fits over the first."""
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": (count, field, field)})
