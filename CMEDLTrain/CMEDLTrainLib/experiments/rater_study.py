"""A finished student beside several raters, nodule by nodule: the measures of Table IV without training anything.

    {"title": "...", "about": "...", "note": "...", "kind": "raters",
     "student": "lung-ct",                       a bundled or installed student, or a file beside the experiment's
     "nodules": "$CMEDL_DATA/lidc_raters", "tolerance_mm": 2.0}

The data is a folder for each nodule with ``image_8bit.nii.gz``, a crop of a chest CT whose HU are lost, and the masks
``rater1.nii.gz`` and so on. Rater 1 of one nodule is not rater 1 of another: there is no row for a person. The raters'
row is over nodules, each the mean over the pairs of its raters; the student's the mean over its raters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from skimage.filters import threshold_otsu

from CMEDLSegmentLib.agreement.cohort_agreement import CohortAgreement, pool_agreements
from CMEDLSegmentLib.agreement.raters import Agreement, analyze
from CMEDLSegmentLib.base.colors import MODEL_RED, RATER_COLORS
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.base.schema import named, read
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.delineation import MODEL, Delineation, RatedCase
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentLib.io.volume import axial_view
from CMEDLSegmentLib.metrics.statistics import TEST_METHOD
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.report.contour_drawing import LUNG_WINDOW, Contour, save_png, whole_view

from ..evaluation.comparison import INTERVAL_METHOD, spread
from ..evaluation.evaluation_file import write_json
from ..evaluation.scoring import SURFACE, measure_title
from ..figures.contour_panels import draw_panel, side_by_side, telling_slices, with_title
from .plan import expanded, experiment_file
from .results_page import format_difference, format_p, format_spread, markdown_table
from .runner import machine

KIND = "raters"
LUNG_HU, SOFT_TISSUE_HU = -850.0, 40.0
"""What the two most frequent values of a crop are taken for: inflated lung and soft tissue."""
SMOOTH = 2.0
"""Standard deviation, in levels, by which the histogram is smoothed before its peaks are taken."""
HU_RULE = (
    f"HU are guessed from the 8 bit values of each crop: Otsu's threshold parts them in two, the most frequent dark "
    f"value is taken for {LUNG_HU:g} HU (inflated lung), the most frequent bright one for {SOFT_TISSUE_HU:+g} HU (soft "
    "tissue), the others by the line through both. The rule was chosen before any student was scored with it; one "
    "mistake in smoothing beside the threshold, which a test showed, was corrected afterwards (the mean DSC was "
    "0.529 with it)."
)
RATERS = "raters"
"""The row of the raters among themselves."""


@dataclass(frozen=True, kw_only=True)
class RatersEntries:
    """What the experiment's file says; see the module."""

    title: str
    about: str
    note: str
    kind: str
    student: str
    nodules: str
    tolerance_mm: float


@dataclass(frozen=True, kw_only=True)
class RatersExperiment(RatersEntries):
    """An experiment with raters, of the name of its ``folder``."""

    folder: Path

    @property
    def model(self) -> Path | str:
        """The student's file where one lies beside the experiment's, else its name."""
        beside = self.folder / self.student
        return beside if beside.is_file() else self.student


def read_raters_experiment(name: str) -> RatersExperiment | None:
    """The experiment of a name or a file if it is one with raters; None if it is another one.

    Raises:
        InputError: it is not there, or lacks something.
    """
    path, tree = experiment_file(name)
    if tree.get("kind") != KIND:
        return None
    with named(f"In the experiment {path}, the entry"):
        return RatersExperiment(**vars(read(RatersEntries, tree)), folder=path.parent)


def hounsfield(crop: np.ndarray) -> np.ndarray:
    """HU guessed from a crop's 8 bit values by :data:`HU_RULE`; float32 of its shape.

    Raises:
        InputError: the crop has one value only.
    """
    if crop.min() == crop.max():
        raise InputError("A crop has one value only, which is no image; restore its file.")
    parting = int(threshold_otsu(crop)) + 1
    counts = np.bincount(crop.ravel(), minlength=256).astype(float)
    # Each side by itself, so that the darker peak does not reach into the brighter side.
    dark, bright = (
        start + int(np.argmax(gaussian_filter1d(side, SMOOTH, mode="constant")))
        for start, side in ((0, counts[:parting]), (parting, counts[parting:]))
    )
    per_level = (SOFT_TISSUE_HU - LUNG_HU) / (bright - dark)
    return (LUNG_HU + per_level * (crop.astype(np.float32) - dark)).astype(np.float32)


def rated_cases(experiment: RatersExperiment, device: str = "auto", progress: Progress = SILENT) -> Iterator[RatedCase]:
    """Each nodule with its raters' masks, the student's, and the guessed HU, in the order of their names.

    The student looks at every slice: lungs are not searched for in a crop.

    Raises:
        InputError: there is no nodule, or one cannot be read.
        Cancelled: the user did.
    """
    nodules = Path(expanded(experiment.nodules))
    folders = sorted(path.parent for path in nodules.glob("*/image_8bit.nii.gz"))
    if not folders:
        raise InputError(f"There is no nodule in {nodules}; name the folder of the data by CMEDL_DATA.")
    student = registry.load(experiment.model)
    segmenter = Segmenter(replace(student, card=replace(student.card, slices="all")), device=device)
    for number, folder in enumerate(folders):
        progress.stop_if_cancelled()
        progress(f"Nodule {number + 1} of {len(folders)}", number / len(folders))
        crop = read_volume(folder / "image_8bit.nii.gz")
        volume = replace(crop, array=hounsfield(crop.array))
        raters = tuple(
            Delineation(f"R{path.name[5:-7]}", read_mask(path, crop.geometry).array != 0)
            for path in sorted(folder.glob("rater*.nii.gz"))
        )
        student_mask = Delineation(MODEL, segmenter.segment(volume, progress=progress).label != 0)
        yield RatedCase(folder.name, crop.geometry, raters, student_mask, volume.array)


def run_raters(experiment: RatersExperiment, device: str = "auto", progress: Progress = SILENT) -> dict[str, Any]:
    """Score the student beside the raters and write ``results.json``, ``results.md`` and ``nodules.png``.

    Returns:
        What ``results.json`` holds.

    Raises:
        InputError: the data or the student cannot be read.
        Cancelled: the user did; nothing was written.
    """
    cases, agreements = [], []
    for case in rated_cases(experiment, device, progress):
        cases.append(case)
        agreements.append(analyze(case, experiment.tolerance_mm))
    card = registry.load(experiment.model).card
    figures = collect(experiment, pool_agreements(agreements, same_people=False), agreements, card.name)
    results = {**figures, "weights_sha256": card.weights_sha256, "device": machine(device), "complete": True}
    save_png(picture(cases, agreements), experiment.folder / "nodules.png")
    write_json(experiment.folder / "results.json", results)
    with atomic_path(experiment.folder / "results.md") as path:
        path.write_text(markdown(experiment, results), "utf-8")
    return results


def collect(
    experiment: RatersExperiment, cohort: CohortAgreement, agreements: Sequence[Agreement], student: str
) -> dict[str, Any]:
    """The figures in JSON's types.

    ``methods``: over nodules the mean over the pairs of raters, and of the student over the raters; ``cv`` is that of
    Table IV, over all single values. ``comparisons``: the student minus the raters, nodule by nodule. ``within``: for
    each measure, of how many nodules the student is no farther from the raters than the farthest rater, and of how
    many that can be said. ``nodules``: the single figures.
    """
    nodules: dict[str, dict[str, Any]] = {}
    assert cohort.model is not None
    for row, agreement in zip(cohort.cases, agreements, strict=True):
        assert row.model is not None
        nodules[row.case] = {
            RATERS: {name: row.raters[name].mean for name in SURFACE},
            student: {name: row.model[name].mean for name in SURFACE},
            "within": {name: row.within[name] for name in SURFACE},
            "volume_cc": row.volume.mean,
            "volume_cv": row.volume.cv,
            "student_cc": agreement.raters[-1].volume_cc,
            "missed": bool(agreement.raters[-1].values["dsc"].mean == 0.0),
        }
    pooled = {RATERS: cohort.spread, student: cohort.model.values}
    methods: dict[str, dict[str, Any]] = {
        who: {
            name: {**spread(row[who][name] for row in nodules.values()), "cv": pooled[who][name].cv} for name in SURFACE
        }
        for who in pooled
    }
    methods[RATERS]["volume_cv"] = spread(nodule["volume_cv"] for nodule in nodules.values())
    methods[student]["missed"] = {"times": sum(nodule["missed"] for nodule in nodules.values()), "of": len(nodules)}
    tests = {name: cohort.tests[name] for name in SURFACE}
    return {
        "title": experiment.title,
        "methods": methods,
        "reference": student,
        "comparisons": {
            RATERS: {
                "delta_dsc": tests["dsc"].difference,
                "p": tests["dsc"].p,
                "measures": {
                    name: {"delta_mean": test.difference, "ci95": list(test.interval), "p": test.p, "n": test.n}
                    for name, test in tests.items()
                },
            }
        },
        "within": {name: {"nodules": cohort.within[name][0], "of": cohort.within[name][1]} for name in SURFACE},
        "tolerance_mm": experiment.tolerance_mm,
        "note": experiment.note,
        "hounsfield": HU_RULE,
        "people": cohort.refusal,
        "intervals": INTERVAL_METHOD.replace("patients", "nodules"),
        "test": TEST_METHOD,
        "nodules": nodules,
    }


def markdown(experiment: RatersExperiment, results: Mapping[str, Any]) -> str:
    """The results for a reader."""
    titles = {name: measure_title(name) for name in SURFACE}
    student, count = results["reference"], len(results["nodules"])
    missed = results["methods"][student]["missed"]
    rows = [
        [
            "raters to each other" if who == RATERS else f"student `{who}` to the raters",
            *(format_spread(figures[name]) for name in titles),
            *(f"{figures[name]['cv']:.3f}" for name in ("dsc", "hd95_mm")),
        ]
        for who, figures in results["methods"].items()
    ]
    compared = results["comparisons"][RATERS]["measures"]
    lines = [f"# {experiment.title}", "", experiment.about, ""]
    lines += [f"`cmedl-train experiment {experiment.folder.name}` makes these results. {results['device']}.", ""]
    lines += markdown_table(["", *titles.values(), "CV DSC", "CV HD95"], rows)
    lines += [
        f"Over {count} nodules; mean ± standard deviation [95 % interval of the mean]; median; N. Surface DSC at "
        f"{results['tolerance_mm']:g} mm. CV is the standard deviation over the mean of all single values, as in Table "
        f"IV. The student missed {missed['times']} of {missed['of']} nodules altogether (DSC 0; no HD95 where it "
        f"marked nothing). The raters' volumes of a nodule vary by a CV of "
        f"{results['methods'][RATERS]['volume_cv']['mean']:.2f} (mean). {results['intervals']}",
        "",
    ]
    header = [f"{student} minus raters", "difference", "p", "N", "nodules within the raters' range"]
    rows = [
        [
            title,
            format_difference(compared[name]),
            format_p(compared[name]["p"]),
            str(compared[name]["n"]),
            f"{results['within'][name]['nodules']} of {results['within'][name]['of']}",
        ]
        for name, title in titles.items()
    ]
    lines += [
        *markdown_table(header, rows),
        "Within the range: the student's mean agreement with the raters is no worse than that of the rater who is "
        f"farthest from the others. {results['test']}",
        "",
        results["people"],
        "",
        results["hounsfield"] + " " + experiment.note,
        "",
        "![Nodules with four raters' contours and the student's in red](nodules.png)",
        "",
    ]
    return "\n".join(lines)


def picture(cases: Sequence[RatedCase], agreements: Sequence[Agreement]) -> Image.Image:
    """As Fig. 7: the worst, a middle and the best nodule by the student's mean DSC, below by the raters' pairs."""
    of_student = np.array([agreement.raters[-1].values["dsc"].mean for agreement in agreements])
    of_raters = np.array([agreement.spread["dsc"].mean for agreement in agreements])
    rows = []
    for who, values, other, others in (
        ("student", of_student, "raters", of_raters),
        ("raters", of_raters, "student", of_student),
    ):
        panels = [
            _panel(cases[number], f"{who}: {word}, DSC {values[number]:.2f} ({other} {others[number]:.2f})")
            for word, number in telling_slices(values)
        ]
        rows.append(side_by_side(panels))
    entries = [("student", MODEL_RED)] + [(f"rater {n}", RATER_COLORS[n - 1]) for n in range(1, 5)]
    return with_title("Nodules, each with raters of its own", entries, rows)


def _panel(case: RatedCase, caption: str) -> Image.Image:
    """The slice on which the raters together marked most."""
    masks = [axial_view(rater.mask, case.geometry).array for rater in case.all]
    z = int(np.argmax(sum(mask.sum(axis=(1, 2)) for mask in masks[: len(case.raters)])))
    assert case.image is not None
    view = axial_view(case.image, case.geometry)
    low, high = LUNG_WINDOW
    shown = np.clip(2.0 * (view.array[z] - low) / (high - low) - 1.0, -1.0, 1.0)
    colors = [*RATER_COLORS[: len(case.raters)], MODEL_RED]
    drawn = tuple(
        Contour(mask[z], color, 1.6 if color == MODEL_RED else 1.2) for mask, color in zip(masks, colors, strict=True)
    )
    spacing = view.spacing[1:]
    return draw_panel(shown, drawn, caption, whole_view(shown.shape, spacing), spacing)
