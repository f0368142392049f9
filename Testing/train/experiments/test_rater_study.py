"""A student beside several raters, nodule by nodule: guessed HU, figures against plain recomputation, the files."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.models import registry
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.experiments.plan import read_experiment
from CMEDLTrainLib.experiments.rater_study import (
    LUNG_HU,
    SOFT_TISSUE_HU,
    hounsfield,
    rated_cases,
    read_raters_experiment,
)
from segment.panel.bright import CARD, install_model

COMMITTED = Path(__file__).resolve().parents[2] / "experiments" / "raters"
SHAPE, SPACING = (6, 40, 40), (1.0, 1.0, 2.0)
RADII = {"nodule-a": (6.0, 7.0, 8.0, 7.0), "nodule-b": (5.0, 9.0, 5.0, 6.0), "nodule-c": (8.0, 8.0, 7.5, 9.0)}
"""Of the disks that the raters draw, pixels."""
SEEN = {"nodule-a": 7.0, "nodule-b": 7.0, "nodule-c": 0.0}
"""Of the disk that is bright; the last nodule has none, and a bright wall that is no nodule."""


def disk(radius: float) -> np.ndarray:
    y, x = np.indices(SHAPE[1:])
    mask = np.zeros(SHAPE, bool)
    mask[1:5] = np.hypot(y - 20, x - 20) <= radius
    return mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An experiment of three nodules and the student for which bright is tumor; its folder."""
    root = tmp_path_factory.mktemp("raters")
    geometry = Geometry(SHAPE[::-1], SPACING)
    random = np.random.default_rng(0)
    for name, radii in RADII.items():
        image = random.normal(30, 3, SHAPE)
        image[disk(SEEN[name])] = 140
        image[:, :, :4] = 140
        write_image(root / "data" / name / "image_8bit.nii.gz", np.rint(image).astype(np.uint8), geometry)
        for number, radius in enumerate(radii, start=1):
            write_image(root / "data" / name / f"rater{number}.nii.gz", disk(radius).astype(np.uint8), geometry)
    install_model(root / "students")
    (student,) = (root / "students" / registry.folder_name(CARD.name)).glob("*.safetensors")
    tree = {
        "title": "Nodules",
        "about": "Made for a test.",
        "note": "",
        "kind": "raters",
        "student": str(student),
        "nodules": str(root / "data"),
        "tolerance_mm": 2.0,
    }
    (root / "experiment.json").write_text(json.dumps(tree), "utf-8")
    return root


@pytest.fixture(scope="module")
def results(folder) -> dict:
    assert main(["experiment", str(folder), "--device", "cpu"]) == 0
    return json.loads((folder / "results.json").read_text("utf-8"))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_peaks_of_a_crop_become_lung_and_soft_tissue_however_its_levels_were_scaled():
    random = np.random.default_rng(1)
    hu = np.where(random.random((8, 64, 64)) < 0.7, -850.0, 40.0) + random.normal(0, 25, (8, 64, 64))
    for low, high in ((-1200, 800), (-1024, 3000)):
        crop = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        guessed = hounsfield(crop)
        assert guessed.dtype == np.float32
        level = (high - low) / 255
        assert np.abs(guessed - hu).mean() < 2 * level
    two = np.array([[10] * 30 + [200] * 10], np.uint8)
    assert np.unique(hounsfield(two)) == pytest.approx([LUNG_HU, SOFT_TISSUE_HU], abs=0.01)


def test_a_crop_of_one_value_is_refused():
    with pytest.raises(InputError):
        hounsfield(np.full((2, 4, 4), 7, np.uint8))


def test_the_figures_are_means_over_nodules_of_each_ones_pairs(folder, results):
    cases = {case.name: case for case in rated_cases(read_raters_experiment(str(folder)), "cpu")}
    raters = {name: [each.mask for each in case.raters] for name, case in cases.items()}
    pairs = {name: [dice(a, b) for a, b in combinations(masks, 2)] for name, masks in raters.items()}
    to_raters = {name: [dice(cases[name].model.mask, mask) for mask in raters[name]] for name in cases}
    methods = results["methods"]
    of_raters, of_student = ([np.mean(values) for values in dsc.values()] for dsc in (pairs, to_raters))
    assert methods["raters"]["dsc"]["mean"] == pytest.approx(np.mean(of_raters))
    assert methods["raters"]["dsc"]["std"] == pytest.approx(np.std(of_raters, ddof=1))
    assert methods["bright"]["dsc"]["mean"] == pytest.approx(np.mean(of_student))
    singles = np.concatenate(list(pairs.values()))
    assert methods["raters"]["dsc"]["cv"] == pytest.approx(np.std(singles, ddof=1) / np.mean(singles))
    volumes = [[mask.sum() for mask in masks] for masks in raters.values()]
    cv = np.mean([np.std(each, ddof=1) / np.mean(each) for each in volumes])
    assert methods["raters"]["volume_cv"]["mean"] == pytest.approx(cv)
    compared = results["comparisons"]["raters"]
    assert compared["delta_dsc"] == pytest.approx(np.mean(of_student) - np.mean(of_raters))
    assert compared["p"] == pytest.approx(wilcoxon(of_student, of_raters).pvalue)
    assert methods["bright"]["dsc"]["n"] == 3


def test_what_the_student_marks_beside_the_nodule_counts_and_a_missed_nodule_is_told(results):
    nodules = results["nodules"]
    assert [name for name, nodule in nodules.items() if nodule["missed"]] == ["nodule-c"]
    assert results["methods"]["bright"]["missed"] == {"times": 1, "of": 3}
    assert nodules["nodule-a"]["bright"]["dsc"] < 0.9  # the wall is bright, too
    assert results["within"]["dsc"]["of"] == 3


def test_there_is_a_picture_and_no_figure_of_a_person(folder, results):
    assert "nobody" in results["people"]
    text = (folder / "results.json").read_text("utf-8") + (folder / "results.md").read_text("utf-8")
    assert not any(f"R{number}" in text for number in range(1, 5))
    with Image.open(folder / "nodules.png") as picture:
        assert picture.width > 900


def test_an_experiment_with_raters_that_lacks_something_is_refused(folder, tmp_path):
    tree = json.loads((folder / "experiment.json").read_text("utf-8"))
    for changed, name in (
        ({**tree, "color": 1}, "'color'"),
        ({key: value for key, value in tree.items() if key != "student"}, "'student'"),
        ({**tree, "tolerance_mm": "wide"}, "wide"),
        ({**tree, "student": 3}, "experiment.json"),
    ):
        path = tmp_path / "experiment.json"
        path.write_text(json.dumps(changed), "utf-8")
        with pytest.raises(InputError, match=name):
            read_raters_experiment(str(path))
    empty = {**tree, "nodules": str(tmp_path)}
    (tmp_path / "experiment.json").write_text(json.dumps(empty), "utf-8")
    with pytest.raises(InputError, match=str(tmp_path)):
        next(rated_cases(read_raters_experiment(str(tmp_path)), "cpu"))


def test_the_committed_experiment_is_read_and_an_experiment_that_trains_is_another_one(monkeypatch, tmp_path):
    monkeypatch.setenv("CMEDL_DATA", str(tmp_path))
    experiment = read_raters_experiment("raters")
    assert experiment.model == "lung-ct"
    with pytest.raises(InputError, match=str(tmp_path / "lidc_raters")):
        next(rated_cases(experiment))
    assert read_raters_experiment("phantom") is None
    with pytest.raises(InputError, match="'kind'"):
        read_experiment("raters")


def test_the_committed_results_are_of_all_nodules():
    results = json.loads((COMMITTED / "results.json").read_text("utf-8"))
    assert results["complete"] is True
    assert len(results["nodules"]) == results["methods"]["raters"]["dsc"]["n"] == 78
    worst = min(results["nodules"], key=lambda name: results["nodules"][name]["raters"]["dsc"])
    assert worst == "LIDC-IDRI-0497_nodule-0"
    assert results["nodules"][worst]["raters"]["dsc"] == pytest.approx(0.62, abs=0.01)
