"""From folders of scans to a cohort's folder: ``cohort.csv``, and the masks and images that had to be made.

Images and masks are referred to where they are, unless they are to be copied. What was contoured in DICOM becomes a
NIfTI mask in a folder of the case's name; so does a series that shares its folder with others. Nothing that is there is
overwritten, and a case is in the table only when its files are complete.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.case_folders import TABLE, edit_table
from CMEDLSegmentLib.io.cohort_table import (
    FORBIDDEN,
    LONGEST_CASE,
    Case,
    names_a_file,
    read_cohort,
    row_of,
    write_cohort,
)

from .patterns import Scan, find_mask, find_scans

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.volume import Volume


@dataclass(frozen=True)
class CollectionOptions:
    """What is looked for, and how it enters the cohort.

    Attributes:
        role, modality: of all cases of this call.
        image: pattern of the images' paths below the source; a folder is searched for its one series of the modality.
        mask: pattern of the masks; "" where the structures lie in the image's own DICOM folder.
        structures: names of segments or regions of interest, which become the labels 1, 2, ...; none takes a labelmap
            as it is, and of DICOM the only structure or the only tumor.
        copy: bring images and masks into the cohort's folder.
    """

    role: str
    modality: str
    image: str = "{patient}"
    mask: str = ""
    structures: tuple[str, ...] = ()
    copy: bool = False


@dataclass
class Collected:
    """What a call did.

    Attributes:
        cases: the whole cohort, the cases that were there first.
        added: names of new cases.
        there: names of cases that were in the table already.
        refused: of each scan that could not be taken, its case name and why.
        notes: of each case, its name and what was done to its structures.
    """

    cases: list[Case]
    added: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def collect(source: Path, folder: Path, rules: CollectionOptions, progress: Progress = SILENT) -> Collected:
    """Add the scans below ``source`` to the cohort in ``folder``; a scan that cannot be taken does not stop the rest.

    Raises:
        InputError: nothing matches, a pattern makes no sense, or the table that is there cannot be read or written.
        Cancelled: it was cancelled; the cases finished until then are in the table.
    """
    scans = find_scans(source, rules.image)
    made = Collected(read_table(folder))
    collector, before, table = _Collector(source, folder, rules, made), len(made.cases), folder / TABLE
    try:
        for number, scan in enumerate(scans):
            progress.stop_if_cancelled()
            progress(f"Taking scan {number + 1} of {len(scans)}", number / len(scans))
            collector.take(scan)
    finally:
        added = made.cases[before:]
        if added and table.exists():
            edit_table(table, lambda rows: [*rows, *(row_of(case, folder) for case in added)])
        elif added:
            write_cohort(table, added)
    return made


def read_table(folder: Path) -> list[Case]:
    """The cases of a cohort's folder; none where it has no table yet.

    Raises:
        InputError: the table cannot be read.
    """
    table = folder / TABLE
    return list(read_cohort(table, check_files=False)) if table.exists() else []


class _Collector:
    """Takes one scan after the other into a cohort's folder."""

    def __init__(self, source: Path, folder: Path, rules: CollectionOptions, made: Collected) -> None:
        self._source, self._folder, self._rules, self.made = source, folder, rules, made
        self._before = {case.case.casefold(): case for case in made.cases}
        self._names = set(self._before)
        self._images = {(os.path.normpath(case.image), case.role): case.case for case in made.cases}
        self._splits = {case.patient: case.split for case in made.cases if case.split}

    def take(self, scan: Scan) -> None:
        """Add a scan to the cases, or tell why it cannot be or need not be added."""
        rules, name = self._rules, self._case_name(scan)
        if name.casefold() in self._before:
            self.made.there.append(name)
            return
        try:
            self._check(scan, name)
            image, mask = self._files(scan, name)
        except InputError as error:
            self.made.refused.append((name, str(error)))
            return
        patient = scan.patient or scan.case
        split = self._splits.get(patient, "")
        self.made.cases.append(Case(patient, name, rules.modality, image, mask, rules.role, split))
        self.made.added.append(name)
        self._names.add(name.casefold())
        self._images[os.path.normpath(scan.image), rules.role] = name

    def _case_name(self, scan: Scan) -> str:
        """A name for files: patient and case, or patient and modality; that of another role's case is not taken."""
        rules, modality = self._rules, self._rules.modality.lower()
        parts = [scan.patient, scan.case] if scan.case else [scan.patient, modality]
        if scan.case.startswith(scan.patient):
            parts = [scan.case]
        letters = "-".join(part for part in parts if part)
        name = "".join("_" if c in FORBIDDEN or not c.isprintable() else c for c in letters).strip(". ")
        other = self._before.get(name.casefold())
        if other is not None and (other.role, other.modality) != (rules.role, rules.modality):
            name = f"{name}-{modality}"
        return name[:LONGEST_CASE]

    def _check(self, scan: Scan, name: str) -> None:
        """Raise for a scan that cannot be a case of this name."""
        image = scan.image
        if name.casefold() in self._names:
            raise InputError(f"The image {image} is the second of its name; write {{case}} where their paths differ.")
        same = self._images.get((os.path.normpath(image), self._rules.role))
        if same is not None:
            raise InputError(f"The image {image} is in the cohort already, as the case {same}.")
        if not names_a_file(name):
            raise InputError(f"'{name}' cannot name the files of a case; rename the folder or file {image}.")
        if not self._rules.mask and not image.is_dir():
            raise InputError(f"Where the mask of {image} lies is not known; give its pattern by --mask.")

    def _files(self, scan: Scan, name: str) -> tuple[Path, Path]:
        """The paths of a case's image and mask, made or copied in a folder of the case where needed."""
        from CMEDLSegmentLib.io.images import IMAGE_ENDINGS

        rules, image = self._rules, scan.image
        mask = find_mask(self._source, rules.mask, scan) if rules.mask else image
        as_it_is = mask.is_file() and mask.name.lower().endswith(IMAGE_ENDINGS) and not rules.structures
        volume, alone = (None, True) if as_it_is and not image.is_dir() else _read(image, rules.modality)
        if as_it_is and alone and not rules.copy:
            return image, mask
        final = self._folder / name
        if final.exists():
            raise InputError(f"The folder {final} exists, but the table has no such case; move it away.")
        beside = self._folder / f".{secrets.token_hex(6)}"
        try:
            beside.mkdir(parents=True)
            image = _image(image, volume, alone, rules.copy, beside)
            if as_it_is:
                mask = _copied(mask, beside, "mask", rules.copy)
            else:
                assert volume is not None
                mask, notes = _drawn(mask, volume, rules.structures, beside)
                self.made.notes += [(name, note) for note in notes]
            beside.replace(final)
        except OSError as error:
            raise InputError(
                f"The case could not be written to {self._folder} ({error.strerror or error}); choose another folder."
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        image, mask = (final / path.name if path.parent == beside else path for path in (image, mask))
        return image, mask


def _read(image: Path, modality: str) -> tuple[Volume, bool]:
    """An image, and whether it is alone where it is: of a folder, the one series of the modality."""
    from CMEDLSegmentLib.io.dicom_series import modalities
    from CMEDLSegmentLib.io.images import read_volume

    if not image.is_dir():
        return read_volume(image), True
    series = modalities(image)
    wanted = [uid for uid, of_series in series.items() if of_series == modality]
    if len(wanted) != 1:
        raise InputError(f"{image} holds {len(wanted)} {modality} series; give a folder with exactly one.")
    return read_volume(image, wanted[0]), len(series) == 1


def _image(path: Path, volume: Volume | None, alone: bool, copy: bool, folder: Path) -> Path:
    """The image where it is, or in ``folder``: a copy of the file, or the series as NIfTI."""
    from CMEDLSegmentLib.io.images import lossless_ending, write_image

    if not path.is_dir():
        return _copied(path, folder, "image", copy)
    if alone and not copy:
        return path
    assert volume is not None
    made = folder / f"image{lossless_ending(volume.geometry)}"
    write_image(made, volume.array, volume.geometry)
    return made


def _drawn(path: Path, volume: Volume, structures: Sequence[str], folder: Path) -> tuple[Path, list[str]]:
    """The structures as a mask on the image's grid, and what to tell; where they overlap, the first one named holds."""
    import numpy as np

    from CMEDLSegmentLib.io.contour_files import read_delineation
    from CMEDLSegmentLib.io.images import lossless_ending, write_image

    labels = np.zeros(volume.geometry.shape, np.uint8)
    notes: list[str] = []
    for value, structure in enumerate(structures or (None,), start=1):
        delineation = read_delineation(path, "expert", volume, structure)
        notes += delineation.notes
        taken = delineation.mask & (labels > 0)
        if taken.any():
            share = np.count_nonzero(taken) / np.count_nonzero(delineation.mask)
            notes.append(f"{share:.1%} of '{structure}' lies in structures named before it and is theirs.")
        labels[delineation.mask & ~taken] = value
    file = folder / f"mask{lossless_ending(volume.geometry)}"
    write_image(file, labels, volume.geometry)
    return file, notes


def _copied(path: Path, folder: Path, name: str, copy: bool) -> Path:
    """An image file where it is, or a copy below ``folder``, its format's ending kept."""
    from CMEDLSegmentLib.io.images import IMAGE_ENDINGS

    if not copy:
        return path
    ending = next((end for end in IMAGE_ENDINGS if path.name.lower().endswith(end)), None)
    if ending is None or ending == ".mhd":
        raise InputError(f"{path} is not one file of a known image format; give .nii.gz, .nrrd or .mha to copy it.")
    return Path(shutil.copyfile(path, folder / f"{name}{ending}"))
