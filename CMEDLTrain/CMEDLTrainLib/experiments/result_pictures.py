"""An experiment's pictures, beside its results: the rows' ROC curves, and the same patients as each row sees them.

Made of what was kept when the runs were scored; no network runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.report.contour_drawing import BACKGROUND, BRIGHT, GAP, font, legend, save_png

from ..evaluation.evaluation_charts import roc_chart
from ..evaluation.roc import RATES, Roc
from ..evaluation.scoring import PatientFigures, mean_curve
from ..figures.contour_panels import score_caption, shortened, stack, telling_slices, text_line
from ..runs.run_folder import Run
from ..training.previews import TEACHER_BLUE
from .case_snapshots import SIDE, read_snapshots

ROC, PANELS = "roc.svg", "panels.png"
CAPTION = 24
SCORE = 76
"""Width that a DSC takes in a tile's caption."""
Tested = Sequence[tuple[Run, Sequence[PatientFigures]]]
"""Of a row its finished runs, the first seed's first, each with its test patients that have a structure."""


@dataclass(frozen=True)
class Snapshot:
    """A case as a run sees it: what was kept of it, and the patient's DSC."""

    run: Run
    kept: Mapping[str, Any]
    dsc: float

    def tile(self, kind: str) -> Image.Image | None:
        """The picture that is kept as ``kind``; None where there is none."""
        if kind not in self.kept:
            return None
        with Image.open(self.run.folder / self.kept[kind]) as picture:
            return picture.convert("RGB")


def write_roc(rows: Mapping[str, Sequence[PatientFigures]], folder: Path) -> bool:
    """Write :data:`ROC`: each row's mean sensitivity over patients at each false-positive rate; False without a curve.

    The area under such a mean is the mean of the patients' areas.
    """
    curves = {}
    for name, patients in rows.items():
        areas = [area for patient in patients if (area := patient.values["auc"]) is not None]
        heights = mean_curve(patient.sensitivities for patient in patients)
        if heights:
            curves[name, len(areas)] = Roc(float(np.mean(areas)), ((0.0, 0.0), *zip(RATES, heights, strict=True)))
    same = len({count for _, count in curves}) == 1
    if curves:
        named = [(name if same else f"{name} (N = {count})", curve) for (name, count), curve in curves.items()]
        with atomic_path(folder / ROC) as path:
            path.write_text(roc_chart(named), "utf-8")
    return bool(curves)


def write_panels(rows: Mapping[str, Tested], regions: Mapping[str, str], folder: Path) -> bool:
    """Write :data:`PANELS`: the best, the median and the worst patient by the DSC, which is the mean over the rows.

    Of several seeds the first is shown; ``regions`` is the part of the body by case. False where no patient was tested
    by all rows that have a run; nothing is written then.
    """
    snapshots = {name: _snapshots(tested) for name, tested in rows.items() if tested}
    shared = [case for case in next(iter(snapshots.values()), {}) if all(case in cases for cases in snapshots.values())]
    if not shared:
        return False
    means = np.array([np.mean([cases[case].dsc for cases in snapshots.values()]) for case in shared])
    real = any("real" in snapshot.kept for cases in snapshots.values() for snapshot in cases.values())
    columns = len(snapshots) + real
    width = _width(columns)
    heading = Image.new("RGB", (width, 2 * CAPTION), BACKGROUND)
    entries = [("student", MODEL_RED), ("teacher", TEACHER_BLUE), ("expert", EXPERT_YELLOW)]
    legend(ImageDraw.Draw(heading), width - GAP, CAPTION, entries)
    parts = [heading]
    for word, place in reversed(telling_slices(means)):
        case = shared[place]
        by_row = {name: cases[case] for name, cases in snapshots.items()}
        where = f"{case}, {regions[case]}" if case in regions else case
        first = next(iter(by_row.values())).kept
        rank = f"the {word} of {len(shared)} patients" if len(shared) > 1 else "the only patient"
        line = f"{where}, slice {first['slice']} (0 to {first['slices'] - 1}): {rank}"
        parts += [text_line(shortened(line, width - 2 * GAP, 15), width, CAPTION, 15), *_patient(by_row, columns)]
    # Shades of gray and a few lines: a palette shows them as well, at two thirds of the size.
    save_png(stack(parts).quantize(dither=Image.Dither.NONE), folder / PANELS)
    return True


def _patient(snapshots: Mapping[str, Snapshot], columns: int) -> list[Image.Image]:
    """A patient as each row sees it, and below, where any translates, the translated images and the real one."""
    names = {name: shortened(name, SIDE - SCORE, 14) for name in snapshots}
    parts = [
        _tiles([(of.tile("picture"), score_caption(names[name], of.dsc)) for name, of in snapshots.items()], columns)
    ]
    if any("pseudo" in of.kept for of in snapshots.values()):
        translated = [(of.tile("pseudo"), of.kept.get("pseudo_name", "")) for of in snapshots.values()]
        real = [(of.tile("real"), of.kept["real_name"]) for of in snapshots.values() if "real" in of.kept]
        parts.append(_tiles([*translated, *real[:1]], columns))
    return parts


def _snapshots(tested: Tested) -> dict[str, Snapshot]:
    """A row's patients that have a DSC by the first of their cases, each as the first run that tested it sees it."""
    first: dict[str, Snapshot] = {}
    for run, patients in tested:
        kept = read_snapshots(run)
        for patient in patients:
            case, dsc = patient.cases[0], patient.values["dsc"]
            if dsc is not None and case in kept:
                first.setdefault(case, Snapshot(run, kept[case], dsc))
    return first


def _width(columns: int) -> int:
    """Of the picture; that of two columns at least, for the legend."""
    return GAP + max(columns, 2) * (SIDE + GAP)


def _tiles(tiles: Sequence[tuple[Image.Image | None, str]], columns: int) -> Image.Image:
    """Pictures side by side, each under its caption; an empty place for one that there is not."""
    picture = Image.new("RGB", (_width(columns), CAPTION + SIDE + GAP), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for column, (tile, caption) in enumerate(tiles):
        left = GAP + column * (SIDE + GAP)
        if tile is not None:
            draw.text((left + SIDE / 2, CAPTION / 2), shortened(caption, SIDE, 14), BRIGHT, font(14), anchor="mm")
            picture.paste(tile, (left, CAPTION))
    return picture
