"""From the cases of a cohort to the slice store that a run trains from, made once and found again.

A store's name is a digest of the settings and of the files' contents, so that it is found while nothing changed and
made anew when something did.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.models.normalization import Normalization, fit_landmarks

from ..settings.configuration import Images
from .checks import of_other_modality
from .contents import contents_of, table_of
from .store import FORMAT, LEVELS, Store, write_store

if TYPE_CHECKING:
    from CMEDLSegmentLib.inference.resampling import ModelField
    from CMEDLSegmentLib.io.volume import Geometry

SURROUNDINGS_MM = 10.0
"""What counts as the surroundings of a structure, which a training patch encloses too."""
ABANDONED_S = 3600.0
"""A half-made store that nobody wrote to for so long was left by a process that was killed."""
_WORKERS = 2

Extracted = tuple[np.ndarray, np.ndarray, np.ndarray]


def prepare(cases: Sequence[Case], images: Images, labels: int, parent: Path, progress: Progress = SILENT) -> Store:
    """The store of these cases and settings below ``parent``; extracted first if it is not there yet.

    Raises:
        InputError: a case cannot be read, or has no mask, or the disk is full.
        Cancelled: it was cancelled; nothing half-made is left.
    """
    folder = _folder(cases, images, labels, parent, progress.part(0.0, 0.1))
    if (folder / "store.json").is_file():
        return Store(folder)
    _remove_abandoned(parent)
    modalities, normalizations = normalizations_of(cases, images, progress)
    parts = _extracted(cases, images, labels, normalizations, progress.part(0.1, 1.0))
    return write_prepared(folder, parts, images, modalities, normalizations)


def write_prepared(
    folder: Path,
    parts: Iterable[tuple[Case, np.ndarray, np.ndarray, np.ndarray]],
    images: Images,
    modalities: Mapping[str, str],
    normalizations: Mapping[str, Normalization],
) -> Store:
    """Write a store as ``folder``, which appears whole or not at all; the arguments are :func:`.store.write_store`'s.

    Raises:
        InputError: the disk is full or not writable.
    """
    beside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        beside.mkdir(parents=True)
        write_store(beside, parts, images, modalities, normalizations)
        try:
            beside.replace(folder)
        except OSError:  # another run finished the same store meanwhile: theirs is as good
            if not (folder / "store.json").is_file():
                raise
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Store(folder)


def find_prepared(
    cases: Sequence[Case], images: Images, labels: int, parent: Path, progress: Progress = SILENT
) -> Store | None:
    """The store that :func:`prepare` would give without extracting anything; None where it has not been made.

    Raises:
        InputError: files of a case are missing.
        Cancelled: it was cancelled.
    """
    if not any(parent.glob("*/store.json")):
        return None  # to name a store, all scans have to be read once
    folder = _folder(cases, images, labels, parent, progress)
    return Store(folder) if (folder / "store.json").is_file() else None


def _folder(cases: Sequence[Case], images: Images, labels: int, parent: Path, progress: Progress) -> Path:
    """Below ``parent``, with a name that changes with the settings, the table or the contents of the files."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(parent, error) from error
    return parent / name_of(cases, images, labels, contents_of(cases, parent, progress))


def name_of(cases: Sequence[Case], images: Images, labels: int, contents: Sequence[str]) -> str:
    """The name of the store of these cases and settings; ``contents`` as :func:`.contents.contents_of` gives them."""
    described = json.dumps([FORMAT, asdict(images), labels, table_of(cases), contents])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _unwritable(parent: Path, error: OSError) -> InputError:
    return InputError(
        f"The slices could not be written to {parent} ({error.strerror or error}); free some space there, or name "
        "another folder by the environment variable CMEDL_SLICES."
    )


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(".*"):
        if folder.is_dir():
            with suppress(OSError):  # somebody else removed it just now
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if time.time() - newest > ABANDONED_S:
                    shutil.rmtree(folder, ignore_errors=True)


def _extracted(
    cases: Sequence[Case], images: Images, labels: int, normalizations: dict[str, Normalization], progress: Progress
) -> Iterator[tuple[Case, np.ndarray, np.ndarray, np.ndarray]]:
    """Each case with what was extracted, in order; a few are worked on at once and no more are held."""
    waiting: deque[Future[Extracted]] = deque()
    coming = iter(cases)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for number, case in enumerate(cases):
            while len(waiting) <= _WORKERS and (following := next(coming, None)) is not None:
                normalization = normalizations[following.role]
                waiting.append(pool.submit(extract_case, following, images, labels, normalization))
            progress(f"Preparing slices of case {number + 1} of {len(cases)}", number / len(cases))
            progress.stop_if_cancelled()
            try:
                made = waiting.popleft().result()
            except InputError as error:
                raise _unprepared(case, str(error)) from error
            yield (case, *made)


def normalizations_of(
    cases: Sequence[Case], images: Images, progress: Progress = SILENT
) -> tuple[dict[str, str], dict[str, Normalization]]:
    """The modality of each role, and how its intensities reach -1 to 1.

    Raises:
        InputError: a role has cases of both modalities.
        Cancelled: it was cancelled.
    """
    for case, sentence in of_other_modality(cases):
        raise _unprepared(case, sentence)
    modalities = {case.role: case.modality for case in cases}
    return modalities, {role: _normalization(cases, role, modalities[role], images, progress) for role in modalities}


def _unprepared(case: Case, sentence: str) -> InputError:
    return InputError(f"The case {case.case} cannot be prepared. {sentence}")


def _normalization(
    cases: Sequence[Case], role: str, modality: str, images: Images, progress: Progress
) -> Normalization:
    """How a role's intensities reach -1 to 1; landmarks are learned from its training cases alone."""
    from CMEDLSegmentLib.io.images import read_volume

    if modality == "CT":
        return Normalization("window", *images.window_hu)

    def volumes() -> Iterator[np.ndarray]:
        own = [case for case in cases if case.role == role]
        for case in [case for case in own if case.split == "train"] or own:
            progress.stop_if_cancelled()
            yield read_volume(case.image).array

    maximum = images.mr_maximum if role == "student" else images.teacher_mr_maximum
    return fit_landmarks(volumes(), maximum=maximum or None)


@dataclass(frozen=True)
class Scan:
    """A case in axial slices, and how the student looks at it.

    Attributes:
        array, mask: (z, y, x), the image and the expert's labels.
        expert: the same labels, uint8 in the file's own axes.
        geometry: of the file.
        field: where the student's field lies at test time: centered on the lungs, or on the image where lungs are not
            looked for; what is beyond the image is padded.
        student_slices: axial indices of the slices that the student looks at, at test time.
        lung_slices: how many slices hold lung; 0 where lungs are not looked for.
        labels: how many the mask may have.
    """

    array: np.ndarray
    mask: np.ndarray
    expert: np.ndarray
    geometry: Geometry
    field: ModelField
    student_slices: np.ndarray
    lung_slices: int
    labels: int

    @property
    def kept(self) -> np.ndarray:
        """Axial indices of the slices that patches are made of: also those with a structure that has no lung."""
        return np.union1d(self.student_slices, np.flatnonzero(self.mask.any(axis=(1, 2))))

    def patches(self, normalization: Normalization, enclosed: bool) -> tuple[np.ndarray, np.ndarray]:
        """The kept slices on the field: patches (n, f, f) int16 levels and masks (n, f, f) uint8.

        Args:
            normalization: of the case's role.
            enclosed: whether a field that would cut the structure or its surroundings is moved, in that slice, by the
                least that encloses both (section III-C); a structure larger than the field is centered.
        """
        from CMEDLSegmentLib.inference.resampling import FieldSampler

        kept, intensities = self.kept, normalization.fit(self.array)
        fields = [enclosing_square(self.field, self.mask[index]) if enclosed else self.field for index in kept]
        patches = np.empty((len(kept), self.field.pixels, self.field.pixels), np.int16)
        targets = np.empty(patches.shape, np.uint8)
        for place in dict.fromkeys(fields):
            here = np.array([field == place for field in fields])
            pixels = FieldSampler(place, intensities, "cpu")(self.array[kept[here]])[:, 0].clamp(-1, 1).numpy()
            patches[here] = np.round(pixels * LEVELS)
            targets[here] = _sampled(self.mask[kept[here]], place, self.labels)
        return patches, targets


def open_case(case: Case, images: Images, labels: int) -> Scan:
    """One case read from its files.

    Raises:
        InputError: no mask, one of another geometry or with values that no label names, or no lungs where the settings
            ask for them.
    """
    from CMEDLSegmentLib.inference.lungs import field_center, find_lungs
    from CMEDLSegmentLib.inference.resampling import ModelField
    from CMEDLSegmentLib.io.images import read_mask, read_volume
    from CMEDLSegmentLib.io.volume import axial_view

    if case.mask is None:
        raise InputError("It has no mask; training needs one for every case.")
    volume = read_volume(case.image)
    view = axial_view(volume.array, volume.geometry)
    expert = read_mask(case.mask, volume.geometry).array
    mask = axial_view(expert, volume.geometry).array
    if (highest := int(mask.max())) > labels:
        raise InputError(
            f"Its mask holds the value {highest}, but {labels} label{'s are' if labels > 1 else ' is'} named; name all "
            "with --labels, or write 1, 2, ... into the mask."
        )
    rows, columns = view.array.shape[1:]
    if images.slices == "lung" and case.modality == "CT":
        lungs = find_lungs(view.array, view.spacing)
        center, slices, lung_slices = field_center(lungs), np.asarray(lungs.slices), len(lungs.slices)
    else:
        center, slices, lung_slices = ((rows - 1) / 2, (columns - 1) / 2), np.arange(len(view.array)), 0
    field = ModelField((rows, columns), view.spacing[1:], center, images.field, images.spacing_mm)
    return Scan(view.array, mask, expert, volume.geometry, field, slices, lung_slices, labels)


def extract_case(case: Case, images: Images, labels: int, normalization: Normalization) -> Extracted:
    """One case as the student will see it: slice indices, patches (n, f, f) int16 levels, masks (n, f, f) uint8.

    Of a training case the structure is enclosed (:meth:`Scan.patches`). Validation patches are never moved: they show
    what the student will see, cut or not.

    Raises:
        InputError: as :func:`open_case`.
    """
    scan = open_case(case, images, labels)
    return (scan.kept, *scan.patches(normalization, enclosed=case.split == "train"))


def enclosing_square(field: ModelField, mask: np.ndarray) -> ModelField:
    """``field`` moved by the least that encloses what ``mask`` (rows, columns) marks, and its surroundings.

    Unmoved where nothing is marked or all is enclosed; centered on the structure along an axis where it does not fit.
    """
    center = []
    for axis in (0, 1):
        marked = np.flatnonzero(mask.any(axis=1 - axis))
        if not len(marked):
            return field
        margin = SURROUNDINGS_MM / field.spacing[axis]
        half = (field.pixels - 1) / 2 * field.pixel_mm / field.spacing[axis]
        least, most = marked[-1] + margin - half, marked[0] - margin + half
        middle = (marked[0] + marked[-1]) / 2
        center.append(float(np.clip(field.center[axis], least, most)) if least <= most else float(middle))
    row, column = center
    return replace(field, center=(row, column))


def _sampled(mask: np.ndarray, field: ModelField, labels: int) -> np.ndarray:
    """A mask (n, rows, columns) on the field: of each pixel the largest fraction wins, background included."""
    down, across = field.to_field
    fractions = [down @ (mask == value).astype(np.float32) @ across.T for value in range(1, labels + 1)]
    return np.argmax([1 - sum(fractions), *fractions], axis=0).astype(np.uint8)
