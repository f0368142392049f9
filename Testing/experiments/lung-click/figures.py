"""The figures of the click model: ``figures.json`` beside this file.

    python figures.py DATA WORK [MODEL]

``WORK/fold1`` to ``WORK/fold5`` are the runs of the folds, evaluated on their test patients, so that each patient and
nodule was asked for once by a model that had not seen it. On the twelve patients that ``lung-ct`` has not seen either
(``lung/split.py``), the same click beside what ``lung-ct`` offers there: its lesion candidate, and the local threshold
of its probability. ``MODEL`` is asked for phantoms whose tumors have twenty slices or more beyond each end.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.clicked_tumor import voxels_of
from CMEDLSegmentLib.inference.clicks import segment
from CMEDLSegmentLib.inference.options import DEFAULTS, THRESHOLD, Click
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentLib.io.volume import axial_view
from CMEDLSegmentLib.metrics.surface_distance import dice
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLTrainLib.evaluation.click_evaluation import click_case, largest_piece
from CMEDLTrainLib.evaluation.click_figures import CENTRAL, ClickFigures, summarize
from CMEDLTrainLib.evaluation.comparison import difference, spread
from CMEDLTrainLib.evaluation.evaluation_file import read_evaluation, write_json

HERE = Path(__file__).resolve().parent
AUTOMATIC = "lung-ct"
PHANTOMS, FIRST_SEED, BEYOND = 20, 8200, 20
NEAR_MM = 5.0
"""A candidate so near to a click is the one that is meant, as in the panel."""


def folds(work: Path) -> list[ClickFigures]:
    """The clicks on the test patients of all folds."""
    evaluations = [read_evaluation(work / f"fold{number}" / "evaluation.json") for number in range(1, 6)]
    return [click for evaluation in evaluations for click in evaluation.clicks]


def patients(work: Path, clicks: list[ClickFigures]) -> list[list[str]]:
    """The names of each patient's cases, of those that were clicked on."""
    names: dict[str, list[str]] = {}
    clicked = {click.case for click in clicks}
    for case in read_cohort(work / "fold1.csv"):
        if case.case in clicked:
            names.setdefault(case.patient, []).append(case.case)
    return list(names.values())


def beside_automatic(data: Path, work: Path, clicks: list[ClickFigures]) -> dict[str, Any]:
    """The central click against the candidate of ``lung-ct`` at the click, and against the local threshold there."""
    spec = importlib.util.spec_from_file_location("split", HERE.parent / "lung" / "split.py")
    assert spec is not None
    assert spec.loader is not None
    split = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(split)
    unseen = {case.case for case in split.cohort(data / "msd_lung") if case.split == "test"}
    automatic = Segmenter(registry.load(AUTOMATIC), "cpu")
    values: dict[str, list[float]] = {"click": [], "candidate": [], "threshold": []}
    for case in read_cohort(work / "fold1.csv"):
        click = next((own for own in clicks if own.case == case.case and own.kind == CENTRAL), None)
        if case.case not in unseen or click is None or case.mask is None:
            continue
        volume = read_volume(case.image)
        view = axial_view(volume.array, volume.geometry)
        meant = largest_piece(view.to_axial(read_mask(case.mask, volume.geometry).array) != 0)
        holds = meant.any(axis=(1, 2))
        options = replace(DEFAULTS, all_slices=True)
        found = view.to_axial(automatic.segment(volume, options).label)
        asked = replace(options, clicks=(Click(click.point),), click_model=THRESHOLD)
        try:
            grown = view.to_axial(segment(volume, asked, lambda name: automatic).label) != 0
        except InputError:  # it sees nothing there
            grown = np.zeros_like(meant)
        (at,) = voxels_of([Click(click.point)], volume.geometry)
        values["click"].append(click.dsc_structure_slices)
        values["candidate"].append(dice(piece_at(found != 0, at, view.spacing)[holds], meant[holds]))
        values["threshold"].append(dice(piece_at(grown, at, view.spacing)[holds], meant[holds]))
        print(case.case, {name: round(float(own[-1]), 3) for name, own in values.items()})
    return {
        "about": f"the patients of msd_lung that {AUTOMATIC} has not seen; DSC on the slices with the tumor",
        **{name: spread(own) for name, own in values.items()},
        "click_minus_candidate": _difference(values, "candidate"),
        "click_minus_threshold": _difference(values, "threshold"),
    }


def _difference(values: dict[str, list[float]], other: str) -> dict[str, Any]:
    return difference("dsc_structure_slices", list(zip(values["click"], values[other], strict=True)), other)


def piece_at(mask: np.ndarray, at: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """The connected piece at a voxel, or the nearest one within :data:`NEAR_MM`; nothing where there is none."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if not count:
        return mask
    away, nearest = ndimage.distance_transform_edt(pieces == 0, spacing, return_indices=True)
    z, y, x = at
    return pieces == pieces[tuple(nearest[:, z, y, x])] if away[at] <= NEAR_MM else np.zeros_like(mask)


def phantoms(model: str) -> Iterator[ClickFigures]:
    """Clicks on phantoms of other seeds than those of training."""
    segmenter = Segmenter(registry.load(model), "cpu")
    for number in range(PHANTOMS):
        thickness = (1.0, 2.0, 3.0, 4.0)[number % 4]
        location = ("lung", "chest-wall", "mediastinum")[number % 3]
        phantom = thorax_ct(FIRST_SEED + number, (round(330 / thickness), 256, 256), (thickness, 1.5, 1.5), location)
        marked = np.flatnonzero(phantom.mask.any(axis=(1, 2)))
        if marked[0] >= BEYOND and marked[-1] < len(phantom.mask) - BEYOND:
            yield from click_case(segmenter, f"{location} {FIRST_SEED + number}", phantom.image, phantom.mask)[1]


def main(data: Path, work: Path, model: str = "lung-click") -> None:
    """Write the figures."""
    clicks = folds(work)
    results: dict[str, Any] = {}
    for name, prefix in (("msd_lung", "lung_"), ("lidc_raters", "LIDC-")):
        own = [click for click in clicks if click.case.startswith(prefix)]
        results[name] = summarize(own, patients(work, own))
    results["beside_automatic"] = beside_automatic(data, work, clicks)
    made = list(phantoms(model))
    results["phantoms"] = summarize(made, [[name] for name in dict.fromkeys(click.case for click in made)])
    results["clicks"] = [vars(click) for click in (*clicks, *made)]
    write_json(HERE / "figures.json", results)
    print(json.dumps({name: results[name] for name in results if name != "clicks"}, indent=1))


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:3]), *sys.argv[3:4])
