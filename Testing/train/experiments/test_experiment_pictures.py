"""What an experiment shows beside its tables: missed patients, pictures and ROC curves, against crafted masks."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.normalization import CT_WINDOW
from CMEDLTrainLib.evaluation.case_view import CaseView
from CMEDLTrainLib.evaluation.evaluation_file import write_json
from CMEDLTrainLib.evaluation.roc import RATES
from CMEDLTrainLib.evaluation.scoring import PatientFigures
from CMEDLTrainLib.evaluation.teacher_inference import TeacherInference
from CMEDLTrainLib.experiments.case_snapshots import (
    SIDE,
    CaseSnapshots,
    missed_lesions,
    missed_structures,
    read_snapshots,
)
from CMEDLTrainLib.experiments.plan import ExperimentRun
from CMEDLTrainLib.experiments.result_pictures import CAPTION, PANELS, ROC, write_panels, write_roc
from CMEDLTrainLib.runs.run_folder import Run
from train.evaluation.made_figures import case_figures

SHAPE, SPACING = (10, 40, 40), (4.0, 2.0, 2.0)
GEOMETRY = Geometry(SHAPE[::-1], SPACING[::-1], (0.0, 0.0, 0.0))
CARD = SimpleNamespace(normalization=CT_WINDOW, labels=(TUMOR,))


def segmented(labels: np.ndarray, probability: float = 0.25) -> SimpleNamespace:
    """A segmentation with these labels, whose probability is the same everywhere."""
    planes = [(z, np.full(SHAPE[1:], probability, np.float32)) for z in range(SHAPE[0])]
    field = ModelField(SHAPE[1:], SPACING[1:], (19.5, 19.5), 40, 2.0)
    field = SimpleNamespace(slices=np.arange(SHAPE[0]), field=field, planes=lambda label: planes)
    return SimpleNamespace(label=labels, probability=field)


def cube(z: int, y: int, x: int, side: int = 3) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[z : z + side, y : y + side, x : x + side] = TUMOR.value
    return mask


def air() -> Volume:
    return Volume(np.full(SHAPE, -1000.0, np.float32), GEOMETRY)


def test_a_missed_tumor_is_told_with_what_was_marked_instead():
    expert, marked = cube(2, 10, 10), cube(2, 10, 20) + cube(7, 30, 30, side=2)
    result = segmented(marked)
    (missed,) = missed_structures(CaseView("c", air(), expert, result, CARD))
    voxel = 4 * 2 * 2 / 1000
    assert missed["structure_cc"] == pytest.approx(27 * voxel)
    assert missed["marked_cc"] == pytest.approx((27 + 8) * voxel)
    assert missed["slices"] == [2, 4, 10]
    assert missed["nearest_mm"] == pytest.approx((20 - 12) * 2.0)
    assert missed["highest_probability"] == pytest.approx(0.25)


def test_nothing_marked_has_no_distance_and_a_found_tumor_is_not_missed():
    for marked, count in ((np.zeros(SHAPE, np.uint8), 1), (cube(4, 12, 12), 0)):
        result = segmented(marked)
        missed = missed_structures(CaseView("c", air(), cube(2, 10, 10), result, CARD))
        assert len(missed) == count
        assert all(lesion["nearest_mm"] is None and lesion["marked_cc"] == 0 for lesion in missed)


def test_of_each_case_the_slice_with_most_of_the_tumor_is_kept_with_both_contours(tmp_path):
    run = Run(tmp_path)
    expert = cube(2, 15, 15, side=5)
    expert[4, 12:24, 12:24] = TUMOR.value
    snapshots = CaseSnapshots(run, TeacherInference())
    snapshots.add(CaseView("c1", air(), expert, segmented(cube(4, 20, 20, side=6)), CARD))
    snapshots.add(CaseView("empty", air(), np.zeros(SHAPE, np.uint8), segmented(expert), CARD))
    snapshots.write()
    kept = read_snapshots(run)
    assert kept.keys() == {"c1"}
    assert (kept["c1"]["slice"], kept["c1"]["slices"], kept["c1"]["missed"]) == (4, 10, [])
    with Image.open(tmp_path / kept["c1"]["picture"]) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)

    def where(color) -> np.ndarray:
        return np.argwhere(np.abs(pixels - color).sum(axis=-1) < 60).mean(axis=0)

    # The student's square lies right of and below the expert's, which is in the middle.
    assert where(EXPERT_YELLOW) == pytest.approx([SIDE / 2, SIDE / 2], abs=8)
    assert np.all(where(MODEL_RED) > SIDE / 2 + 10)


def test_the_translated_slice_is_kept_where_there_is_one(tmp_path):
    snapshots = CaseSnapshots(Run(tmp_path), TeacherInference(translate=lambda images: 0 * images, pseudo="pMRI"))
    snapshots.add(CaseView("c1", air(), cube(2, 15, 15), segmented(cube(2, 15, 15)), CARD))
    snapshots.write()
    kept = read_snapshots(Run(tmp_path))["c1"]
    assert kept["pseudo_name"] == "pMRI"
    with Image.open(tmp_path / kept["pseudo"]) as picture:
        # Half-way between black and white, away from contour, letters and bar.
        assert picture.getpixel((SIDE // 2 + 30, SIDE // 2))[0] == pytest.approx(127.5, abs=1)


def test_the_real_image_is_kept_where_it_is_known_on_the_student_s_grid(tmp_path):
    bright = Geometry((20, 40, 10), GEOMETRY.spacing, GEOMETRY.origin)  # the half with the lower x
    write_image(tmp_path / "mr.nrrd", np.full(bright.shape, 500.0, np.float32), bright)
    real = {"c1": Case("p", "mr", "MR", tmp_path / "mr.nrrd")}
    snapshots = CaseSnapshots(Run(tmp_path), TeacherInference(), real, CT_WINDOW)
    for name in ("c1", "c2"):
        snapshots.add(CaseView(name, air(), cube(2, 15, 18), segmented(cube(2, 15, 18)), CARD))
    snapshots.write()
    kept = read_snapshots(Run(tmp_path))
    assert "real" not in kept["c2"]
    assert kept["c1"]["real_name"] == "real MR"
    with Image.open(tmp_path / kept["c1"]["real"]) as picture:
        assert [picture.getpixel((SIDE // 2 + away, SIDE // 2))[0] for away in (-30, 30)] == [255, 0]


# An experiment's pictures and table, from runs whose looks are plain colors


def patient(case: str, dsc: float | None, auc: float | None = None, heights: tuple[float, ...] = ()) -> PatientFigures:
    return PatientFigures.of([case_figures(case, curve=heights, dsc=dsc, auc=auc)])


def run_with(folder, shades, pseudo: bool = False, missed_cases=()) -> Run:
    """A run whose looks are pictures of one shade, ``{case: shade}``."""
    (folder / "looks").mkdir(parents=True)
    cases = {}
    for case, shade in shades.items():
        cases[case] = {"slice": 3, "slices": 9, "picture": f"looks/{case}.png", "missed": []}
        Image.new("RGB", (SIDE, SIDE), (shade,) * 3).save(folder / "looks" / f"{case}.png")
        if pseudo:
            cases[case] |= {"pseudo": f"looks/{case}-pseudo.png", "pseudo_name": "pMRI"}
            Image.new("RGB", (SIDE, SIDE), (shade + 10,) * 3).save(folder / "looks" / f"{case}-pseudo.png")
        if case in missed_cases:
            cases[case]["missed"] = [{"label": "Tumor", "structure_cc": 4.04, "nearest_mm": None}]
    write_json(folder / "looks.json", {"cases": cases})
    return Run(folder)


def test_the_best_the_median_and_the_worst_patient_are_shown_as_each_row_sees_them(tmp_path):
    one = run_with(tmp_path / "one", {"a": 40, "b": 60, "c": 80, "d": 100})
    other = run_with(tmp_path / "other", {"a": 140, "b": 160, "c": 180}, pseudo=True)
    rows = {
        # By one row alone b would be the best; d was tested by one row only.
        "ct-only": [(one, [patient("a", 0.2), patient("b", 0.9), patient("c", 0.8), patient("d", 1.0)])],
        "cmedl": [(other, [patient("a", 0.1), patient("b", 0.4), patient("c", 0.7)])],
        "later": [],
    }
    assert write_panels(rows, {"a": "thigh"}, tmp_path)
    with Image.open(tmp_path / PANELS) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    column = SIDE + 12
    assert pixels.shape[1] == 12 + 2 * column
    shades = [pixels[:, 12 + SIDE // 2], pixels[:, 12 + column + SIDE // 2]]
    shown = [[shade for shade in range(30, 200, 10) if (np.abs(line - shade) <= 3).sum() > SIDE / 2] for line in shades]
    assert shown == [[40, 60, 80], [140, 150, 160, 170, 180, 190]]
    # The median: a caption's letters have a pixel of any shade.
    order = [float(np.median(np.flatnonzero(np.abs(shades[0] - shade) <= 3))) for shade in (80, 60, 40)]
    assert order == sorted(order)
    assert order[0] < 4 * CAPTION + SIDE / 2


def test_where_no_patient_was_tested_by_all_rows_there_is_no_picture(tmp_path):
    rows = {
        "ct-only": [(run_with(tmp_path / "one", {"a": 40}), [patient("a", 0.5)])],
        "cmedl": [(run_with(tmp_path / "two", {"b": 40}), [patient("b", 0.5)])],
    }
    assert not write_panels(rows, {}, tmp_path)
    assert not write_panels({"ct-only": [], "cmedl": []}, {}, tmp_path)
    assert not (tmp_path / PANELS).exists()


def test_the_curve_of_a_row_is_the_mean_over_its_patients_and_so_is_the_area(tmp_path):
    rates = np.array(RATES)
    curves = [tuple(rates**power) for power in (0.5, 0.25)]  # areas 2/3 and 4/5
    rows = {
        "ct-only": [patient("a", 0.5, 2 / 3, curves[0]), patient("b", 0.5, 4 / 5, curves[1]), patient("c", 0.5)],
        "cmedl": [patient("a", 0.5, 2 / 3, curves[0])],
        "later": [],
    }
    assert write_roc(rows, tmp_path)
    drawn = ElementTree.fromstring((tmp_path / ROC).read_text("utf-8"))
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert f"{(2 / 3 + 4 / 5) / 2:.4f}" in texts
    assert f"{2 / 3:.4f}" in texts
    assert {"ct-only (N = 2)", "cmedl (N = 1)"} <= set(texts)
    first, second = (element for element in drawn.iter() if element.tag.endswith("polyline"))
    heights = [
        np.array([float(point.split(",")[1]) for point in line.get("points").split()]) for line in (first, second)
    ]
    up = heights[0][0] - heights[0]
    assert up[1:] / up[-1] == pytest.approx(np.mean(curves, axis=0), abs=1e-3)
    assert not write_roc({"ct-only": [patient("c", 0.5)]}, tmp_path)


def test_missed_patients_are_listed_with_their_region(tmp_path):
    run = run_with(tmp_path / "one", {"b": 40, "a": 60}, missed_cases=("a", "b"))
    missed = missed_lesions(ExperimentRun(2, "cmedl", 1), run, {"a": "thigh"})
    assert json.loads(json.dumps(missed)) == missed
    run_keys = {"row": "cmedl", "fold": 2, "seed": 1}
    assert [(lesion["case"], lesion["region"], lesion | run_keys == lesion) for lesion in missed] == [
        ("b", None, True),
        ("a", "thigh", True),
    ]
