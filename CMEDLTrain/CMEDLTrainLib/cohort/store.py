"""The slice store: every training patch of a cohort, extracted once, read through a memory map.

A store is a folder: ``patches.npy`` (n, field, field) int16, ``masks.npy`` (n, field, field) uint8 and ``store.json``,
which says what each patch is. Its name is a digest of the settings and of the files' contents, so that a store is
found again when nothing changed and made anew when something did. Reading one needs numpy alone.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from CMEDLSegmentLib.cohort import Case
from CMEDLSegmentLib.errors import InputError, ModelError
from CMEDLSegmentLib.normalisation import Normalisation, fit_landmarks
from CMEDLSegmentLib.progress import CancelCheck, Progress, never, silent, stop_if

from ..configuration import Images

LEVELS = 32767
"""A patch stores normalised intensity (-1 to 1) times this: 0.02 HU of a 1500 HU window a level."""
FORMAT = 2
SAMPLED_BYTES = 1 << 20
"""A file's contents enter the store's name by its size, its first and its last so many bytes."""


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


class Store:
    """A store opened for reading.

    Attributes:
        patches: one record a patch, in the order of the arrays.
        modalities: ``CT`` or ``MR`` of each role.
        normalisations: of each role, for the student's card.
    """

    def __init__(self, folder: Path) -> None:
        """Open ``folder``.

        Raises:
            InputError: it is not a complete store.
        """
        try:
            record = json.loads((folder / "store.json").read_text("utf-8"))
            self._images = np.load(folder / "patches.npy", mmap_mode="r", allow_pickle=False)
            self._masks = np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False)
            self.patches = [Patch(**entry) for entry in record["patches"]]
            self.modalities: dict[str, str] = record["modalities"]
            self.normalisations = {
                role: Normalisation.from_dict(stored) for role, stored in record["normalisations"].items()
            }
            complete = record["format"] == FORMAT and len(self.patches) == len(self._images) == len(self._masks)
        except (OSError, ValueError, KeyError, TypeError, ModelError) as error:
            raise InputError(f"{folder} is not a slice store ({error}); delete it, and it is made anew.") from error
        if not complete:
            raise InputError(f"The slice store {folder} is incomplete or of another version; delete it.")
        self.folder = folder

    def select(self, split: str, role: str = "student") -> np.ndarray:
        """Indices of the patches of one split and role."""
        return np.array([i for i, p in enumerate(self.patches) if p.split == split and p.role == role], np.int64)

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, field, field) float32 in [-1, 1] and masks (n, field, field) uint8."""
        images = self._images[indices].astype(np.float32) / LEVELS
        return images, np.asarray(self._masks[indices])


def prepare(
    cases: Sequence[Case],
    images: Images,
    labels: int,
    parent: Path,
    progress: Progress = silent,
    cancelled: CancelCheck = never,
) -> Store:
    """The store of these cases and settings below ``parent``; extracted first if it is not there yet.

    Raises:
        InputError: a case cannot be read, or has no mask.
    """
    folder = parent / _digest(cases, images, labels)
    if (folder / "store.json").is_file():
        return Store(folder)
    parent.mkdir(parents=True, exist_ok=True)
    beside = parent / f".{folder.name}.{secrets.token_hex(4)}"
    beside.mkdir()
    try:
        _extract(cases, images, labels, beside, progress, cancelled)
        try:
            beside.replace(folder)
        except OSError:  # another run finished the same store meanwhile: theirs is as good
            if not (folder / "store.json").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Store(folder)


def _extract(
    cases: Sequence[Case],
    images: Images,
    labels: int,
    folder: Path,
    progress: Progress,
    cancelled: CancelCheck,
) -> None:
    """Write the three files, patch by patch: memory holds one case at a time."""
    modalities = _modalities(cases)
    normalisations = {role: _normalisation(cases, role, modalities[role], images) for role in modalities}
    patches: list[Patch] = []
    shape = (images.field, images.field)
    with (folder / "patches.raw").open("wb") as image_file, (folder / "masks.raw").open("wb") as mask_file:
        for number, case in enumerate(cases):
            stop_if(cancelled)
            progress(f"Preparing slices of case {number + 1} of {len(cases)}", number / len(cases))
            indices, pixels, masks = extract_case(case, images, labels, normalisations[case.role])
            image_file.write(np.ascontiguousarray(pixels, "<i2").tobytes())
            mask_file.write(np.ascontiguousarray(masks, np.uint8).tobytes())
            for index, mask in zip(indices, masks, strict=True):
                found = int(np.count_nonzero(mask))
                patches.append(Patch(case.patient, case.case, case.role, case.split, int(index), found))
    for name, kind in (("patches", "<i2"), ("masks", "|u1")):
        raw = folder / f"{name}.raw"
        header = {"descr": kind, "fortran_order": False, "shape": (len(patches), *shape)}
        with (folder / f"{name}.npy").open("wb") as target, raw.open("rb") as source:
            np.lib.format.write_array_header_1_0(target, header)
            shutil.copyfileobj(source, target, 1 << 24)
        raw.unlink()
    record = {
        "format": FORMAT,
        "images": asdict(images),
        "modalities": modalities,
        "normalisations": {role: found.to_dict() for role, found in normalisations.items()},
        "patches": [asdict(patch) for patch in patches],
    }
    (folder / "store.json").write_text(json.dumps(record), "utf-8")


def _modalities(cases: Sequence[Case]) -> dict[str, str]:
    """The modality of each role.

    Raises:
        InputError: a role has cases of both.
    """
    found: dict[str, Case] = {}
    for case in cases:
        first = found.setdefault(case.role, case)
        if first.modality != case.modality:
            raise InputError(
                f"The case {first.case} is {first.modality} and {case.case} is {case.modality}, but both have the role "
                f"{case.role}; give each role one modality."
            )
    return {role: case.modality for role, case in found.items()}


def _normalisation(cases: Sequence[Case], role: str, modality: str, images: Images) -> Normalisation:
    """How a role's intensities reach -1 to 1; landmarks are learned from its training cases alone."""
    from CMEDLSegmentLib.volume import read_volume

    if modality == "CT":
        return Normalisation("window", *images.window_hu)
    own = [case for case in cases if case.role == role]
    learned = [case for case in own if case.split == "train"] or own
    return fit_landmarks((read_volume(case.image).array for case in learned), maximum=images.mr_maximum or None)


def extract_case(
    case: Case, images: Images, labels: int, normalisation: Normalisation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One case as the student will see it: slice indices, patches (n, f, f) int16 levels, masks (n, f, f) uint8.

    Raises:
        InputError: no mask, a mask of another geometry, or no lungs where the settings ask for them.
    """
    from CMEDLSegmentLib.anatomy import field_centre, find_lungs
    from CMEDLSegmentLib.resampling import FieldSampler, StudentField
    from CMEDLSegmentLib.volume import axial_view, read_mask, read_volume

    if case.mask is None:
        raise InputError(f"The case {case.case} has no mask; training needs one for every case.")
    volume = read_volume(case.image)
    view = axial_view(volume.array, volume.geometry)
    mask = axial_view(read_mask(case.mask, volume.geometry).array, volume.geometry).array
    rows, columns = view.array.shape[1:]
    marked = np.flatnonzero(mask.any(axis=(1, 2)))
    if images.slices == "lung" and case.modality == "CT":
        lungs = find_lungs(view.array, view.spacing)
        centre, kept = field_centre(lungs), np.union1d(lungs.slices, marked)
    else:
        centre, kept = ((rows - 1) / 2, (columns - 1) / 2), np.arange(len(view.array))
    field = StudentField((rows, columns), view.spacing[1:], centre, images.field, images.spacing_mm)
    intensities = normalisation.fit(view.array)
    pixels = FieldSampler(field, intensities, "cpu")(view.array[kept])[:, 0].clamp(-1, 1).numpy()
    # Each label is sampled as a fraction of the pixel; the largest fraction, background included, wins.
    down, across = field.to_student
    fractions = [down @ (mask[kept] == value).astype(np.float32) @ across.T for value in range(1, labels + 1)]
    target = np.argmax([1 - sum(fractions), *fractions], axis=0).astype(np.uint8)
    return kept, np.round(pixels * LEVELS).astype(np.int16), target


def _digest(cases: Sequence[Case], images: Images, labels: int) -> str:
    """A name that changes with the settings, the table or the contents of the files."""
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(images), labels]).encode())
    for case in cases:
        digest.update(json.dumps([case.patient, case.case, case.role, case.split]).encode())
        for path in (case.image, case.mask):
            for file in sorted(path.iterdir()) if path is not None and path.is_dir() else [path]:
                digest.update(b"-" if file is None else _sampled(file))
    return digest.hexdigest()[:16]


def _sampled(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(SAMPLED_BYTES)
        stream.seek(max(0, size - SAMPLED_BYTES))
        return hashlib.sha256(size.to_bytes(8, "little") + head + stream.read(SAMPLED_BYTES)).digest()
