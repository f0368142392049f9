"""Experiments that measure translated images: pairs of known difference, and a tiny experiment on paired phantoms."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.experiments.experiment_cohorts import make_cohort, real_images
from CMEDLTrainLib.experiments.plan import ExperimentRun, read_experiment
from CMEDLTrainLib.experiments.run_states import FINISHED, FinishedRun
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from CMEDLTrainLib.experiments.translation_results import MEASURES, compared, figures, read_translation_results
from gpu.plans import TINY
from train.experiments.experiment_results import read_results, write_experiment

FOLD = {"train": ["STS_001"], "validation": ["STS_002"], "test": ["STS_003", "STS_004"], "teacher": ["STS_005"]}
CHANGES = {
    "cohort": {"kind": "sts", "student": "CT", "folds": [FOLD]},
    "settings": {**TINY, "images.spacing_mm": 6.0, "optimization.epochs": 1},
    "rows": {"ct-only": {}, "cmedl-without-contextual": {}},
    "reference": "cmedl-without-contextual",
}
CELLS = [ExperimentRun(1, row, 0) for row in CHANGES["rows"]]


def test_figures_are_means_over_seeds_then_over_patients_and_are_compared_in_pairs():
    random = np.random.default_rng(5)
    values = {(row, seed): random.uniform(0.1, 0.9, (8, 3)) for row in "ab" for seed in (0, 1)}

    def runs(row, seeds=(0, 1), first=0):
        return [
            FinishedRun(
                cell=ExperimentRun(1, row, seed),
                state=FINISHED,
                patients=(),
                validation=None,
                missed=(),
                translated={f"c{n}": dict(zip(MEASURES, values[row, seed][n], strict=True)) for n in range(first, 8)},
            )
            for seed in seeds
        ]

    means = {row: (values[row, 0] + values[row, 1]) / 2 for row in "ab"}
    spreads = figures(runs("a"))
    for place, measure in enumerate(MEASURES):
        assert spreads[measure]["mean"] == pytest.approx(means["a"][:, place].mean())
        assert spreads[measure]["std"] == pytest.approx(means["a"][:, place].std(ddof=1))
        assert spreads[measure]["n"] == 8
    differences = compared(runs("a"), runs("b", first=1), "b")
    ssim = list(MEASURES).index("ssim")
    ours, theirs = means["a"][1:, ssim], means["b"][1:, ssim]
    assert differences["ssim"]["delta_mean"] == pytest.approx((ours - theirs).mean())
    assert differences["ssim"]["p"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    assert differences["ssim"]["n"] == 7
    # Of a row that has one seed so far, the other's values for that seed alone.
    once = compared(runs("a"), runs("b", seeds=(1,)), "b")["kl"]
    assert once["delta_mean"] == pytest.approx((values["a", 1][:, 0] - values["b", 1][:, 0]).mean())
    assert compared(runs("a"), [], "b") == {}


# A tiny experiment on files named as those of sts


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An experiment that was run without the measure first and then with it, in folders beside one work folder."""
    folder = tmp_path_factory.mktemp("translations")
    (folder / "sts").mkdir()
    for number in range(1, 6):
        phantom = thorax_ct(number, (6, 32, 32), (8.0, 6.0, 6.0), "mediastinum")
        images = {"CT": phantom.image.array, "MR_T1": (300 - phantom.image.array // 4).astype(np.int16)}
        for name, array in images.items():
            stem = folder / "sts" / f"STS_{number:03d}_{name}"
            write_image(Path(f"{stem}.nii.gz"), array, phantom.image.geometry)
            write_image(Path(f"{stem}_gtv.nii.gz"), phantom.mask, phantom.image.geometry)
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMEDL_DATA", str(folder))
        for name, measures in (("plain", []), ("measured", ["synthesis"])):
            experiment = write_experiment(folder / name, **CHANGES, measures=measures)
            states = {ExperimentRunner(experiment, folder / "local").progress_of(cell).state for cell in CELLS}
            assert states == {"not begun" if name == "plain" else "trained"}
            assert main(["experiment", str(folder / name), "--device", "cpu"]) == 0
            results[name] = read_results(folder / name)
    return folder, results


def test_a_run_that_exists_is_measured_and_not_trained_again(trained):
    folder, results = trained
    assert "ssim" not in results["plain"]["methods"]["cmedl-without-contextual"]
    row = results["measured"]["methods"]["cmedl-without-contextual"]
    for name in ("kl", "ssim", "psnr"):
        assert row[name]["n"] == 2
        assert np.isfinite(row[name]["mean"])
    assert results["measured"]["methods"]["ct-only"]["ssim"]["n"] == 0
    assert results["measured"]["comparisons"]["ct-only"]["synthesis"] == {}
    starts = [path.read_text("utf-8").count('"event": "start"') for path in folder.glob("local/runs/*/events.jsonl")]
    assert starts == [1, 1]
    # What both tell of the segmentation is the same.
    assert row["dsc"] == results["plain"]["methods"]["cmedl-without-contextual"]["dsc"]
    text = (folder / "measured" / "results.md").read_text("utf-8")
    assert "PSNR (dB)" in text
    assert "PSNR" not in (folder / "plain" / "results.md").read_text("utf-8")


def test_pictures_lie_beside_the_results_and_are_named_in_them(trained):
    folder, _ = trained
    text = (folder / "plain" / "results.md").read_text("utf-8")
    for name in ("panels.png", "roc.svg"):
        assert f"]({name})" in text
        assert (folder / "plain" / name).stat().st_size > 1000
    # Where translated images are measured, the real one stands beside them.
    widths = []
    for name in ("plain", "measured"):
        with Image.open(folder / name / "panels.png") as picture:
            widths.append(picture.width)
    assert widths[0] < widths[1] == widths[0] * 3 / 2 - 6


def test_a_run_without_its_checkpoint_is_scored_without_a_translation(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.setenv("CMEDL_DATA", str(folder))
    experiment = read_experiment(str(folder / "measured" / "experiment.json"))
    runner = ExperimentRunner(experiment, folder / "local", "cpu")
    run = runner.run_of(CELLS[1])
    for name in ("last.safetensors", "looks.json", "synthesis.json"):
        (run.folder / name).unlink()
    assert runner.progress_of(CELLS[1]).state == "trained"
    assert runner.work_off(None, lambda cell: None)
    assert read_translation_results(run) == {}
    assert all("pseudo" not in kept for kept in json.loads((run.folder / "looks.json").read_text("utf-8"))["cases"])


def test_the_real_images_are_those_of_the_test_patients_and_no_part_of_the_cohort(trained, monkeypatch, tmp_path):
    folder, _ = trained
    monkeypatch.setenv("CMEDL_DATA", str(folder))
    experiment = read_experiment(str(folder / "measured" / "experiment.json"))
    real = real_images(experiment, 1)
    assert real.keys() == {"STS_003", "STS_004"}
    assert all(case.modality == "MR" and case.image.is_file() for case in real.values())
    (table,) = make_cohort(experiment, tmp_path)
    assert not {case.image for case in real.values()} & {case.image for case in read_cohort(table)}


def test_translations_of_patients_with_one_image_each_cannot_be_measured(tmp_path):
    experiment = write_experiment(tmp_path, measures=["synthesis"])
    with pytest.raises(InputError, match=experiment.name):
        real_images(experiment, 1)


def test_the_synthesis_of_sts_asks_for_runs_that_other_experiments_make():
    asked, made = (
        {experiment.run_name(cell) for experiment in map(read_experiment, names) for cell in experiment.cells}
        for names in (["sts-synthesis"], ["sts-fusion", "sts-ablation"])
    )
    assert asked < made
