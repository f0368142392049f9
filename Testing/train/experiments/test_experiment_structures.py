"""Results of experiments with several structures, with slices that are not contiguous, and the validation's figures."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from CMEDLTrainLib.evaluation.evaluation_file import write_json
from CMEDLTrainLib.evaluation.scoring import MEASURES, CaseFigures
from CMEDLTrainLib.experiments.finished_runs import kept_runs
from CMEDLTrainLib.experiments.plan import ExperimentRun
from CMEDLTrainLib.experiments.results_page import markdown
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from segment.models.making import a_model_file
from train.experiments.experiment_results import results_of, write_experiment, write_scored

ORGANS = ("Liver", "Spleen")


def runner_of(folder: Path, **changes) -> ExperimentRunner:
    rows = {"rows": {"ct-only": {}, "cmedl": {}}, "reference": "cmedl"}
    return ExperimentRunner(write_experiment(folder / "e", **rows, **changes), folder / "work")


def finished(runner: ExperimentRunner, row: str, values: dict[str, dict[str, np.ndarray]], seed: int = 0):
    """A scored run whose patients have these values, by structure and measure."""
    count = len(next(iter(next(iter(values.values())).values())))
    cases = []
    for number in range(count):
        labels = {
            label: dict.fromkeys(MEASURES, 0.5) | {name: float(column[number]) for name, column in measures.items()}
            for label, measures in values.items()
        }
        cases.append(CaseFigures(f"case{number}", labels, (), 3, 2))
    return write_scored(runner, ExperimentRun(1, row, seed), cases)


def test_each_of_several_structures_has_its_own_figures_and_tests(tmp_path):
    runner = runner_of(tmp_path)
    random = np.random.default_rng(2)
    values = {
        row: {name: {"dsc": random.uniform(0.3, 0.9, 8), "hd95_mm": random.uniform(2, 9, 8)} for name in ORGANS}
        for row in ("ct-only", "cmedl")
    }
    for row, columns in values.items():
        finished(runner, row, columns)
    results = results_of(runner)
    for row, columns in values.items():
        figures = results["methods"][row]
        for name in ORGANS:
            assert figures["labels"][name]["dsc"]["mean"] == pytest.approx(columns[name]["dsc"].mean())
            assert figures["labels"][name]["hd95_mm"]["std"] == pytest.approx(columns[name]["hd95_mm"].std(ddof=1))
        both = (columns["Liver"]["dsc"] + columns["Spleen"]["dsc"]) / 2
        assert figures["dsc"]["mean"] == pytest.approx(both.mean())
        (cell,) = (cell for cell in results["cells"] if cell["row"] == row)
        assert cell["patients"][3]["labels"]["Spleen"]["dsc"] == pytest.approx(columns["Spleen"]["dsc"][3])
    for name in ORGANS:
        ours, theirs = (values[row][name]["dsc"] for row in ("cmedl", "ct-only"))
        compared = results["comparisons"]["ct-only"]["labels"][name]
        assert compared["delta_dsc"] == pytest.approx((ours - theirs).mean())
        assert compared["p"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    write_json(runner.experiment.folder / "results.json", results)
    assert (
        results_of(ExperimentRunner(runner.experiment, tmp_path / "nothing", kept=kept_runs(runner.experiment)))
        == results
    )
    lines = markdown(runner.experiment, results).splitlines()
    assert "| DSC | Liver | Spleen | mean over structures |" in lines
    tables = [line for line in lines if line.startswith("| cmedl minus ct-only |") and ", p " in line]
    # The measures of the means, then each structure's and the mean's DSC, and HD95.
    assert [line.count(", p ") for line in tables] == [4, 3, 3]


def test_where_slices_are_missing_nothing_is_told_of_surfaces(tmp_path):
    runner = runner_of(tmp_path, contiguous=False)
    random = np.random.default_rng(3)
    values = {
        row: {"dsc": random.uniform(0, 1, 7), "dsc_structure_slices": random.uniform(0, 1, 7)}
        for row in ("ct-only", "cmedl")
    }
    for row, columns in values.items():
        finished(runner, row, {"Tumor": {**columns, "false_cc_per_empty_slice": np.full(7, 0.25)}})
    results = results_of(runner)
    figures = results["methods"]["cmedl"]
    assert figures["dsc_structure_slices"]["mean"] == pytest.approx(values["cmedl"]["dsc_structure_slices"].mean())
    assert figures["dsc"]["mean"] == pytest.approx(values["cmedl"]["dsc"].mean())
    assert figures["false_cc_per_empty_slice"]["mean"] == 0.25
    assert not {"hd95_mm", "surface_dice"} & set(figures)
    compared = results["comparisons"]["ct-only"]
    ours, theirs = (values[row]["dsc_structure_slices"] for row in ("cmedl", "ct-only"))
    assert compared["delta_dsc"] == pytest.approx((ours - theirs).mean())
    assert compared["p"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    text = markdown(runner.experiment, results)
    assert "| DSC, slices with the structure | DSC, all slices |" in text
    assert "Surface DSC at" not in text


def test_the_validation_of_the_students_is_told_as_the_mean_over_runs(tmp_path):
    runner = runner_of(tmp_path, seeds=[0, 1])
    for seed, dsc in enumerate((0.4, 0.6)):
        run = finished(runner, "cmedl", {"Tumor": {"dsc": np.array([0.5, 0.7])}}, seed)
        validation = {"loss": 0.1, "dsc": dsc, "dsc_structure_slices": dsc / 2, "false_pixels": 3.0}
        a_model_file(run.student, training={"method": "cmedl", "validation": validation})
    finished(runner, "ct-only", {"Tumor": {"dsc": np.array([0.5, 0.7])}})
    results = results_of(runner)
    assert results["methods"]["cmedl"]["validation"]["dsc"] == pytest.approx(0.5)
    assert results["methods"]["cmedl"]["validation"]["dsc_structure_slices"] == pytest.approx(0.25)
    assert results["methods"]["ct-only"]["validation"] is None
    (row,) = (line for line in markdown(runner.experiment, results).splitlines() if line.startswith("| cmedl |"))
    assert "| 0.500 |" in row


def test_the_best_row_by_validation_is_named_once_all_runs_are_finished(tmp_path):
    runner = runner_of(tmp_path)
    for row, dsc, tested in (("cmedl", 0.4, 0.9), ("ct-only", 0.6, 0.1)):
        assert "is the best row" not in markdown(runner.experiment, results_of(runner))
        run = finished(runner, row, {"Tumor": {"dsc": np.array([tested, tested])}})
        a_model_file(run.student, training={"validation": {"dsc": dsc}})
    assert "By validation patients `ct-only` is the best row." in markdown(runner.experiment, results_of(runner))
