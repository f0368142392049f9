"""Whether a cohort can be trained from: every case looked at, every finding told, not the first alone.

An error keeps a case, or the cohort, from being trained from or makes its figures worthless; a warning is something to
look at. Each is one sentence with the case that it is about.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.base.text import counted
from CMEDLSegmentLib.io.cohort_table import ROLES, SPLITS, Case
from CMEDLSegmentLib.io.hounsfield import DARKEST_HU, check_hounsfield

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.volume import AxialView, Volume

ERROR, WARNING = "error", "warning"

PIXEL_MM = (0.3, 3.0)
"""Usual in-plane spacing of CT and MR; what is beyond may be in another unit or lost."""
THICKEST_MM = 10.0
INVERTED = 0.5
"""A mask that marks a greater share of its image marks the background."""
FEW_PIXELS = 10
FEW_PATIENTS = 5
"""Fewer training patients than this teach a network little but themselves."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found: ``error`` or ``warning``, the case's name ("" for the whole cohort), one sentence."""

    severity: str
    case: str
    sentence: str
    line: int = 0
    """Of the table; 0 where it is not known."""


@dataclass
class ExaminedCase:
    """One case as it was found.

    Attributes:
        case: which.
        findings: what is wrong or odd.
        spacing: (z, y, x) of the axial slices, mm; None where the image cannot be read.
        structure_slices: slices that the expert marked.
        volume_cc: what is marked, all labels together.
        values: the mask's values above 0.
        image_digest, mask_digest: of the voxels, whatever the file's format and the order of its axes; "" where they
            cannot be read or, of a mask, mark nothing.
        segment: what its mask marks, as its maker called it; may be empty.
        files: what the findings hold for: its files' sizes and times.
    """

    case: Case
    findings: list[Finding] = field(default_factory=list)
    spacing: tuple[float, float, float] | None = None
    structure_slices: int = 0
    volume_cc: float = 0.0
    values: tuple[int, ...] = ()
    image_digest: str = ""
    mask_digest: str = ""
    segment: str = ""
    files: list[str] = field(default_factory=list)

    def add(self, severity: str, sentence: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(severity, self.case.case, sentence, self.case.line))


def examine(case: Case, labels: Sequence[str]) -> ExaminedCase:
    """Read one image and its mask and look at all that they tell; ``labels`` name the mask's values 1, 2, ..."""
    from CMEDLSegmentLib.io.images import read_volume
    from CMEDLSegmentLib.io.volume import axial_view

    examined = ExaminedCase(case)
    try:
        volume = read_volume(case.image)
    except InputError as error:
        examined.add(ERROR, str(error))
        return examined
    view = axial_view(volume.array, volume.geometry)
    examined.spacing, examined.image_digest = view.spacing, _digest(view.array)
    for warning in volume.warnings:
        examined.add(WARNING, warning)
    _check_geometry(examined, view)
    _check_intensities(examined, volume)
    _check_mask(examined, volume, labels)
    return examined


def check_cohort(
    cases: Sequence[Case], labels: Sequence[str], roles: Collection[str] = ROLES, progress: Progress = SILENT
) -> list[Finding]:
    """All that is wrong with a cohort: of each case, between cases, and for the roles that a method learns from.

    What a table says wrongly in itself is told by ``survey_cohort``.

    Raises:
        Cancelled: it was cancelled.
    """
    examined = []
    for number, case in enumerate(cases):
        progress.stop_if_cancelled()
        progress(f"Looking at case {number + 1} of {len(cases)}", number / len(cases))
        examined.append(examine(case, labels))
    return [finding for each in examined for finding in each.findings] + compare(examined, labels, roles)


def compare(examined: Sequence[ExaminedCase], labels: Sequence[str], roles: Collection[str] = ROLES) -> list[Finding]:
    """What is wrong between the cases of a cohort, all of which were examined, and for the roles of a method."""
    cases = [each.case for each in examined]
    return [
        *_same_contents(examined),
        *_both_roles(cases),
        *(Finding(ERROR, case.case, sentence, case.line) for case, sentence in of_other_modality(cases)),
        *_unused_labels(examined, labels),
        *_too_few(cases, roles),
    ]


def summary(cases: Sequence[Case], errors: int = 0) -> str:
    """What the cohort can support, once its errors are mended, in one sentence."""
    sentences = []
    for role in ROLES:
        own = [case for case in cases if case.role == role]
        if own:
            splits = Counter(case.split or "without split" for case in own)
            parts = ", ".join(f"{splits[name]} {name}" for name in (*SPLITS, "without split") if splits[name])
            modality = " and ".join(sorted({case.modality for case in own}))
            patients = len({case.patient for case in own})
            sentences.append(
                f"{counted(len(own), 'case')} of the {role} ({modality}) of {counted(patients, 'patient')}: {parts}"
            )
    if not _lacks(cases, ROLES):
        can = "joint training and training the student alone are possible"
    elif not _lacks(cases, ("student",)):
        can = "the student can be trained alone, but nothing teaches it"
    else:
        can = "nothing can be trained yet"
    if errors and can != "nothing can be trained yet":
        can += f", once the {'error is' if errors == 1 else f'{errors} errors are'} mended"
    return f"{'; '.join(sentences) or 'No case has a role'}; {can}."


def _lacks(cases: Sequence[Case], roles: Collection[str]) -> bool:
    """Whether nothing can be trained that learns from ``roles``."""
    return any(finding.severity == ERROR for finding in _too_few(cases, roles))


def _digest(array: np.ndarray) -> str:
    """Of the values of an array (z, y, x) and its shape, slice by slice: a copy of the whole is never made."""
    digest = hashlib.sha256(str(array.shape).encode())
    for plane in array:
        digest.update(np.ascontiguousarray(plane, np.float32).data)
    return digest.hexdigest()


def _check_geometry(examined: ExaminedCase, view: AxialView) -> None:
    from CMEDLSegmentLib.inference.segmenter import OBLIQUE_DEGREES

    z, y, x = view.spacing
    shown = f"{x:.4g} x {y:.4g} x {z:.4g} mm"
    if not all(PIXEL_MM[0] <= step <= PIXEL_MM[1] for step in (y, x)):
        examined.add(WARNING, f"The pixels are {shown}, which is unusual; check the unit and write the true spacing.")
    if z > THICKEST_MM:
        examined.add(WARNING, f"The slices are {z:.4g} mm apart; check that the spacing is the true one.")
    if (z, y, x) == (1.0, 1.0, 1.0) and not any(view.geometry.origin):
        examined.add(WARNING, "The voxels are 1 mm at the origin, as where a conversion lost the spacing; check it.")
    if view.obliquity_degrees >= OBLIQUE_DEGREES:
        examined.add(
            WARNING,
            f"The image is tilted by {view.obliquity_degrees:.0f} degrees to the patient's axes; slices are taken "
            "along its own.",
        )


def _check_intensities(examined: ExaminedCase, volume: Volume) -> None:
    modality = examined.case.modality
    if volume.modality is not None and volume.modality != modality:
        examined.add(ERROR, f"The image is {volume.modality}, but the table says {modality}; correct one of them.")
        return
    if volume.array.min() == volume.array.max():
        examined.add(ERROR, f"Every voxel of the image is {volume.array.flat[0]:g}; give the scan itself.")
        return
    if modality != "CT":
        return
    try:
        for sentence in check_hounsfield(volume.array):
            examined.add(WARNING, sentence)
    except InputError as error:
        if _part_of_a_ct(volume.array):
            examined.add(
                WARNING,
                "The values may be HU, but not of a whole chest; for a clipped CT or one of another region train with "
                "images.slices=all and a window of its own.",
            )
        else:
            examined.add(ERROR, str(error))


def _part_of_a_ct(array: np.ndarray) -> bool:
    """Whether values could be HU without a lung, as of a limb or clipped at fat: soft tissue around water."""
    values = array[:: max(1, len(array) // 50), ::4, ::4]
    low = float(array.min())
    # With a float: of an unsigned image, an integer below its range crashes numpy 2.0, which Slicer 5.10 ships.
    tissue = values[values > -150.0]
    return bool(DARKEST_HU <= low <= -150 and len(tissue) and abs(float(np.median(tissue))) < 150)


def _check_mask(examined: ExaminedCase, volume: Volume, labels: Sequence[str]) -> None:
    from CMEDLSegmentLib.io.images import read_mask
    from CMEDLSegmentLib.io.volume import axial_view

    if examined.case.mask is None:
        examined.add(ERROR, "The case has no mask; training needs one for every case.")
        return
    try:
        mask = axial_view(read_mask(examined.case.mask, volume.geometry).array, volume.geometry).array
    except InputError as error:
        examined.add(ERROR, str(error))
        return
    marked = [int(np.count_nonzero(plane)) for plane in mask]
    total = sum(marked)
    examined.structure_slices = sum(count > 0 for count in marked)
    examined.volume_cc = total * volume.geometry.voxel_cc
    if not total:
        examined.add(ERROR, "The mask marks nothing; draw the structure, or take the line out.")
        return
    examined.mask_digest = _digest(mask)
    examined.values = tuple(int(value) for value in np.unique(mask) if value)
    if total > INVERTED * mask.size:
        examined.add(ERROR, f"The mask marks {total / mask.size:.0%} of the image, as if inverted; mark the structure.")
    elif total < FEW_PIXELS:
        examined.add(WARNING, f"The mask marks {counted(total, 'voxel')} only; check that it is the structure.")
    beyond = [value for value in examined.values if value > len(labels)]
    if beyond:
        shown = ", ".join(map(str, beyond[:10]))
        examined.add(
            ERROR,
            f"The mask holds the value{'s' if len(beyond) > 1 else ''} {shown}, but {counted(len(labels), 'label')} "
            f"({', '.join(labels)}) {'is' if len(labels) == 1 else 'are'} named; name them all, or write 1, 2, ...",
        )


def _same_contents(examined: Sequence[ExaminedCase]) -> Iterator[Finding]:
    """Images twice, also under another name and format, and masks that two patients share."""
    images: dict[str, Case] = {}
    masks: dict[str, Case] = {}
    for each in examined:
        case = each.case
        first = images.setdefault(each.image_digest or case.case, case)
        if first is not case:
            sentence = f"It has the same voxels as the case {first.case}; keep one of them."
            yield Finding(ERROR, case.case, sentence, case.line)
            continue
        first = masks.setdefault(each.mask_digest or case.case, case)
        if first.patient != case.patient:
            sentence = f"Its mask is that of the case {first.case}, another patient's; check whose it is."
            yield Finding(ERROR, case.case, sentence, case.line)


def _both_roles(cases: Sequence[Case]) -> Iterator[Finding]:
    """Patients who train both networks: allowed, but no longer unpaired."""
    first: dict[str, Case] = {}
    reported = set()
    for case in (case for case in cases if case.role and case.split != "test"):
        other = first.setdefault(case.patient, case)
        if other.role != case.role and case.patient not in reported:
            reported.add(case.patient)
            yield Finding(
                WARNING,
                case.case,
                f"It and the case {other.case} are of one patient in both roles; unpaired training has other patients "
                "for each, so give one role to each patient.",
                case.line,
            )


def of_other_modality(cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """The cases whose modality is not that of the first case of their role, each with a sentence about it."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(case.role, case)
        if case.role and other.modality != case.modality:
            yield (
                case,
                f"It is {case.modality} and the case {other.case} {other.modality}, but both have the role "
                f"{case.role}; give each role one modality.",
            )


def _unused_labels(examined: Sequence[ExaminedCase], labels: Sequence[str]) -> Iterator[Finding]:
    used = {value for each in examined for value in each.values}
    for value, name in enumerate(labels, start=1):
        if used and value not in used:
            yield Finding(WARNING, "", f"No mask holds the value {value}, which is to be {name}; check the labels.")


def _too_few(cases: Sequence[Case], roles: Collection[str]) -> Iterator[Finding]:
    """What the cohort lacks for a method that learns from ``roles``."""
    patients = Counter((role, split) for role, split, _ in {(case.role, case.split, case.patient) for case in cases})
    needs = [(role, "train", "trains") for role in ROLES if role in roles]
    needs.append(("student", "validation", "validates, so training cannot tell when to stop"))
    for role, split, verb in needs:
        number = patients[role, split]
        if not number:
            yield Finding(ERROR, "", f"No case of the {role} {verb}; mark some with the split '{split}'.")
        elif split == "train" and number < FEW_PATIENTS:
            count = counted(number, "patient")
            yield Finding(WARNING, "", f"Only {count} of the {role} train; expect little from so few.")
    if not patients["student", "test"]:
        yield Finding(WARNING, "", "No case of the student is left to test; mark some with the split 'test'.")
